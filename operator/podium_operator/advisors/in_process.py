"""The suggestion engine in this process. Imported on a laptop only: the operator's image has no engine."""

import asyncio

from podium_contract.wire import Advice, AdviceRequest
from podium_operator.core.ports import UnknownExperimentError
from podium_suggestion.engine import Engine
from podium_suggestion.engine import UnknownExperimentError as EngineDoesNotKnowError


class InProcessAdvisor:
    """Asks an engine, in a thread of its own so that the loop stays responsive."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def advise(self, request: AdviceRequest) -> Advice:
        try:
            return await asyncio.to_thread(self._engine.advise, request)
        except EngineDoesNotKnowError as fault:
            raise UnknownExperimentError(str(fault)) from fault
