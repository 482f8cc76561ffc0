"""The loop of one experiment: observe, ask for advice, reconcile, perform. The same for pods and processes."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from podium_contract.wire import Advice, AdviceRequest, TrialFacts
from podium_operator.core.actions import Plan
from podium_operator.core.facts import World
from podium_operator.core.ports import Advisor, AdvisorUnavailableError, Backend, UnknownExperimentError
from podium_operator.core.reconcile import describe, reconcile, take_in


@dataclass(frozen=True)
class Pass:
    """What one pass saw and did."""

    world: World
    advice: Advice | None
    """None when the advisor did not answer."""
    plan: Plan
    fault: str = ""
    """Why the advisor did not answer."""


class Loop:
    """Drives one experiment. It keeps nothing that a restart could not do without: only what it has already told."""

    def __init__(self, backend: Backend, advisor: Advisor, clock: Callable[[], datetime]) -> None:
        self._backend = backend
        self._advisor = advisor
        self._clock = clock
        self._told: dict[int, TrialFacts] = {}
        self._ruled: set[int] = set()
        self._has_introduced_itself = False
        self._forgotten = 0

    async def step(self) -> Pass:
        """Make one pass. Raises BackendError when an action fails; the next pass plans what is left again."""
        world, now = await self._backend.observe(), self._clock()
        try:
            advice = await self._consult(world, now)
        except AdvisorUnavailableError as fault:
            plan = reconcile(world, None, now)
            await self._perform(plan)
            return Pass(world, None, plan, str(fault))
        plan = reconcile(world, advice, now)
        await self._perform(plan)
        self._backend.acknowledge()
        return Pass(world, advice, plan)

    async def _consult(self, world: World, now: datetime) -> Advice:
        is_complete = not self._has_introduced_itself or world.forgotten != self._forgotten
        try:
            return await self._ask(world, now, complete=is_complete)
        except UnknownExperimentError:
            return await self._ask(world, now, complete=True)

    async def _ask(self, world: World, now: datetime, *, complete: bool) -> Advice:
        draft = take_in(world, now)
        full = describe(draft, uuid4().hex, complete=complete, ruled=self._ruled)
        advice = await self._advisor.advise(full if complete else self._news_of(full))
        self._ruled = {verdict.trial for verdict in advice.verdicts}
        self._told = {facts.number: _without_reports(facts) for facts in full.facts}
        self._has_introduced_itself, self._forgotten = True, world.forgotten
        return advice

    def _news_of(self, request: AdviceRequest) -> AdviceRequest:
        """Leave out facts that the advisor has already acknowledged."""
        news = tuple(
            facts
            for facts in request.facts
            if facts.observations or self._told.get(facts.number) != _without_reports(facts)
        )
        return request.model_copy(update={"facts": news})

    async def _perform(self, plan: Plan) -> None:
        for action in plan.actions:
            await self._backend.perform(action)


def _without_reports(facts: TrialFacts) -> TrialFacts:
    return facts.model_copy(update={"observations": ()})
