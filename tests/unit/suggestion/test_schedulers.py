"""Every scheduler keeps what any scheduler must, and two of them their golden traces."""

import re
from typing import Any, ClassVar

import pytest

from builders.experiments import a_population, a_scheduler, a_search, an_experiment_spec, an_int
from builders.simulated_operator import Parameters, SimulatedOperator
from podium_contract.algorithms import SCHEDULERS, algorithm_name
from podium_suggestion.engine import Engine
from podium_suggestion.schedulers import make_scheduler
from podium_suggestion.store import open_store
from unit.suggestion.scheduler_conformance import MAXIMUM, SchedulerConformance


class TestNone(SchedulerConformance):
    scheduler: ClassVar[dict[str, Any]] = {"algorithm": "none", "max": MAXIMUM}


class TestMedian(SchedulerConformance):
    scheduler: ClassVar[dict[str, Any]] = a_scheduler("median", 1, MAXIMUM)
    saves_at_least = 0.2
    may_lose = 0.01


class TestHalving(SchedulerConformance):
    scheduler: ClassVar[dict[str, Any]] = a_scheduler("halving", 1, MAXIMUM)
    saves_at_least = 0.8
    may_lose = 0.02


class TestAsha(SchedulerConformance):
    scheduler: ClassVar[dict[str, Any]] = a_scheduler("asha", 1, MAXIMUM)
    saves_at_least = 0.75
    may_lose = 0.02


class TestStoppingAsha(SchedulerConformance):
    scheduler: ClassVar[dict[str, Any]] = a_scheduler("asha", 1, MAXIMUM, variant="stopping")
    saves_at_least = 0.6
    may_lose = 0.02


class TestHyperband(SchedulerConformance):
    scheduler: ClassVar[dict[str, Any]] = a_scheduler("hyperband", 1, MAXIMUM)
    saves_at_least = 0.6
    may_lose = 0.02


class TestAsynchronousHyperband(SchedulerConformance):
    scheduler: ClassVar[dict[str, Any]] = a_scheduler("hyperband", 1, MAXIMUM, asynchronous=True)
    saves_at_least = 0.6
    may_lose = 0.02


class TestPbt(SchedulerConformance):
    scheduler: ClassVar[dict[str, Any]] = a_population(high=MAXIMUM, interval=3)
    makes_every_trial = False
    saves_at_least = 0.4
    may_lose = 0.02


class TestPb2(SchedulerConformance):
    scheduler: ClassVar[dict[str, Any]] = a_population(high=MAXIMUM, interval=3) | {"algorithm": "pb2"}
    makes_every_trial = False
    saves_at_least = 0.4
    may_lose = 0.02


@pytest.mark.parametrize("model", SCHEDULERS, ids=algorithm_name)
def test_every_scheduler_of_the_contract_can_be_made(model: Any) -> None:
    scheduler: dict[str, Any] = {"algorithm": algorithm_name(model)}
    if scheduler["algorithm"] != "none":
        scheduler |= {"max": 9}
    make_scheduler(an_experiment_spec(scheduler=scheduler))


# --- golden traces --------------------------------------------------------------------------------------------

LOSSES = [5, 12, 3, 8, 1, 10, 7, 2, 11, 4, 9, 6]
"""Of trials 1 to 12, however long they are trained."""


def trace_of(scheduler: dict[str, Any]) -> list[str]:
    """Who did what in a run of twelve trials, two at a time; stops without their reasons."""
    spec = an_experiment_spec(
        parameters=[an_int("x", 1, 12)],
        search=a_search("grid"),
        scheduler=scheduler,
        max_trials=12,
        parallelism=2,
    )
    order: list[int] = []

    def by_number(parameters: Parameters, _step: int) -> dict[str, float]:
        if parameters["x"] not in order:
            order.append(parameters["x"])
        return {"loss": float(LOSSES[order.index(parameters["x"])])}

    operator = SimulatedOperator(Engine(open_store()), spec, by_number)
    operator.run()
    return [re.sub(r" \{.*\}|: .*", "", line) for line in operator.log]


def test_the_golden_trace_of_asha() -> None:
    assert trace_of(a_scheduler("asha", 1, 9)) == GOLDEN_ASHA


def test_the_golden_trace_of_stopping_asha() -> None:
    assert trace_of(a_scheduler("asha", 1, 9, variant="stopping")) == GOLDEN_STOPPING


def test_the_golden_trace_of_hyperband() -> None:
    assert trace_of(a_scheduler("hyperband", 1, 9)) == GOLDEN_HYPERBAND


def test_the_golden_trace_of_halving() -> None:
    assert trace_of(a_scheduler("halving", 1, 9)) == GOLDEN_HALVING


GOLDEN_ASHA = [
    "start 1 to 1",
    "start 2 to 1",
    "start 3 to 1",
    "start 4 to 1",
    "promote 3 to 3",
    "start 5 to 1",
    "promote 5 to 3",
    "start 6 to 1",
    "start 7 to 1",
    "start 8 to 1",
    "promote 8 to 3",
    "start 9 to 1",
    "start 10 to 1",
    "promote 5 to 9",
    "start 11 to 1",
    "start 12 to 1",
    "promote 10 to 3",
    "stop 1 at 1",
    "stop 2 at 1",
    "stop 3 at 3",
    "stop 4 at 1",
    "stop 6 at 1",
    "stop 7 at 1",
    "stop 8 at 3",
    "stop 9 at 1",
    "stop 10 at 3",
    "stop 11 at 1",
    "stop 12 at 1",
]

GOLDEN_HALVING = [
    "start 1 to 1",
    "start 2 to 1",
    "start 3 to 1",
    "start 4 to 1",
    "start 5 to 1",
    "start 6 to 1",
    "start 7 to 1",
    "start 8 to 1",
    "start 9 to 1",
    "start 10 to 1",
    "stop 1 at 1",
    "stop 2 at 1",
    "stop 4 at 1",
    "promote 5 to 3",
    "stop 6 at 1",
    "stop 7 at 1",
    "promote 8 to 3",
    "stop 9 at 1",
    "promote 3 to 3",
    "start 11 to 1",
    "start 12 to 1",
    "stop 3 at 3",
    "promote 5 to 9",
    "stop 8 at 3",
    "promote 10 to 3",
    "stop 11 at 1",
    "stop 12 at 1",
    "promote 10 to 9",
]

GOLDEN_STOPPING = [
    "start 1 to 9",
    "start 2 to 9",
    "start 3 to 9",
    "start 4 to 9",
    "stop 4 at 1",
    "start 5 to 9",
    "start 6 to 9",
    "stop 6 at 1",
    "start 7 to 9",
    "start 8 to 9",
    "stop 7 at 1",
    "start 9 to 9",
    "stop 9 at 1",
    "start 10 to 9",
    "stop 10 at 3",
    "start 11 to 9",
    "stop 11 at 1",
    "start 12 to 9",
    "stop 12 at 1",
]

GOLDEN_HYPERBAND = [
    "start 1 to 1",
    "start 2 to 1",
    "start 3 to 1",
    "start 4 to 1",
    "start 5 to 1",
    "start 6 to 1",
    "stop 1 at 1",
    "stop 2 at 1",
    "promote 3 to 3",
    "stop 4 at 1",
    "promote 5 to 3",
    "stop 6 at 1",
    "stop 3 at 3",
    "promote 5 to 9",
    "start 7 to 3",
    "start 8 to 3",
    "start 9 to 3",
    "start 10 to 3",
    "stop 7 at 3",
    "promote 8 to 9",
    "stop 9 at 3",
    "stop 10 at 3",
    "start 11 to 9",
    "start 12 to 9",
]
