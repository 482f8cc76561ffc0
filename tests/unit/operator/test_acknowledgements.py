"""A verdict that was carried out is acknowledged, so that advice stays as small as what is going on."""

import asyncio
from typing import Any

import pytest

from builders.experiments import a_scheduler, a_search, an_experiment
from builders.fake_backend import FakeBackend
from podium_contract.parameters import Assignment
from podium_contract.wire import Advice, AdviceRequest
from podium_operator.core.loop import Loop
from podium_suggestion.engine import Engine
from podium_suggestion.store import open_store

PARALLELISM = 3


class Advisor:
    """The engine, asked directly."""

    def __init__(self) -> None:
        self._engine = Engine(open_store())

    async def advise(self, request: AdviceRequest) -> Advice:
        return self._engine.advise(request)


def bowl(assignment: Assignment, step: int) -> dict[str, float]:
    return {"loss": (assignment["lr"] - 0.01) ** 2 + 1.0 / step}


@pytest.mark.parametrize(
    "scheduler",
    [a_scheduler("median", 1, 9, startupTrials=2), a_scheduler("halving", 1, 9), a_scheduler("asha", 1, 9)],
    ids=lambda scheduler: scheduler["algorithm"],
)
def test_no_verdict_is_advised_in_more_than_a_few_passes(scheduler: dict[str, Any]) -> None:
    experiment = an_experiment(
        search=a_search("random", seed=1), scheduler=scheduler, max_trials=30, parallelism=PARALLELISM
    )
    backend = FakeBackend(experiment, bowl)
    loop = Loop(backend, Advisor(), lambda: backend.now)
    passes: dict[tuple[int, str, str], int] = {}

    async def drive() -> Advice:
        while True:
            step = await loop.step()
            assert step.advice is not None
            for verdict in step.advice.verdicts:
                key = (verdict.trial, verdict.kind, verdict.reason)
                passes[key] = passes.get(key, 0) + 1
            if step.plan.is_finished:
                return (await loop.step()).advice or Advice()
            backend.tick()

    last = asyncio.run(drive())
    assert passes
    assert max(passes.values()) <= 4
    assert last.verdicts == ()
