"""With one trial at a time, what is decided is a function of the manifest and the metrics alone.

One deterministic objective, with a crash and values that are not finite in it, is told in different strides, with the
engine rebuilt from its store before any exchange, with the operator restarted and with answers lost on the way. Every
assignment, every verdict and every record must be those of the undisturbed run.
"""

import random
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count, repeat
from pathlib import Path
from typing import Any

import pytest

from builders.experiments import (
    a_choice,
    a_float,
    a_population,
    a_scheduler,
    a_search,
    an_experiment_spec,
    an_objective,
)
from builders.simulated_operator import Parameters, SimulatedOperator, essence
from podium_contract.experiment import ExperimentSpec
from podium_suggestion.engine import Engine
from podium_suggestion.store import open_store

pytestmark = pytest.mark.thorough
SCHEDULERS: dict[str, dict[str, Any]] = {
    "none": {"algorithm": "none", "max": 9},
    "median": a_scheduler("median", 1, 9, startupTrials=3),
    "halving": a_scheduler("halving", 1, 9, bracketSize=9),
    "asha": a_scheduler("asha", 1, 9),
    "asha, stopping": a_scheduler("asha", 1, 9, variant="stopping"),
    "hyperband": a_scheduler("hyperband", 1, 9),
    "pbt": a_population(9, populationSize=6, interval=2),
    "pb2": a_population(9, populationSize=6, interval=2) | {"algorithm": "pb2"},
    "hyperband, asynchronous": a_scheduler("hyperband", 1, 9, asynchronous=True),
}

Story = tuple[list[str], list[dict[str, Any]], list[dict[str, Any]]]
"""Assignments and verdicts, records, and the podium."""


def a_spec(scheduler: str, **spec: Any) -> ExperimentSpec:
    defaults: dict[str, Any] = {
        "parameters": [a_float(), a_choice()],
        "search": a_search("random", seed=3),
        "scheduler": SCHEDULERS[scheduler],
        "max_trials": 15,
        "parallelism": 1,
    }
    return an_experiment_spec(**defaults | spec)


def objective(parameters: Parameters, step: int) -> dict[str, float] | None:
    """A bumpy learning curve; where the learning rate is large it diverges, and the smallest ones crash."""
    rate = parameters["lr"]
    if rate < 3e-5 and step == 3:
        return None
    if rate > 3e-2 and step >= 2:
        return {"loss": float("nan") if step % 2 else float("inf")}
    bump = 0.05 * ((step * 7919 + int(rate * 1e7)) % 5)
    return {"loss": abs(rate - 0.003) * 50 + 1 / step + bump}


def story_of(operator: SimulatedOperator) -> Story:
    best = [standing.to_json() for standing in operator.advice.best]
    return operator.log, [essence(record) for record in operator.records()], best


def undisturbed(spec: ExperimentSpec) -> Story:
    operator = SimulatedOperator(Engine(open_store()), spec, objective)
    operator.run()
    return story_of(operator)


@cache
def the_story(scheduler: str) -> Story:
    """The undisturbed story, told once for all tests; nobody changes it."""
    return undisturbed(a_spec(scheduler))


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_story_has_something_to_tell(scheduler: str) -> None:
    log, records, best = the_story(scheduler)
    phases = {record["phase"] for record in records}
    assert len(records) == 15 if not scheduler.startswith("pb") else 8 < len(records) <= 15
    assert len(best) == 3
    assert "Failed" in phases
    assert scheduler == "none" or any(line.startswith(("stop", "promote")) for line in log)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("strides", ["all at once", "two by two", "at random"])
def test_how_reports_are_spread_over_exchanges_decides_nothing(scheduler: str, strides: str) -> None:
    shuffle = random.Random(5)
    patterns: dict[str, Callable[[], Iterator[int]]] = {
        "all at once": lambda: repeat(100),
        "two by two": lambda: repeat(2),
        "at random": lambda: (shuffle.randint(0, 4) for _ in count()),
    }
    operator = SimulatedOperator(Engine(open_store()), a_spec(scheduler), objective, patterns[strides]())
    operator.run()
    assert story_of(operator) == the_story(scheduler)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_service_restarted_before_every_exchange_decides_the_same(scheduler: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'podium.db'}"
    store = open_store(url)
    operator = SimulatedOperator(Engine(store), a_spec(scheduler), objective, repeat(3))
    while not operator.advice.idle:
        store.close()
        store = open_store(url)
        operator.engine = Engine(store)
        operator.train()
        operator.exchange()
    assert story_of(operator) == the_story(scheduler)
    store.close()


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("seed", range(3))
def test_restarts_of_both_sides_and_lost_answers_change_nothing(scheduler: str, seed: int) -> None:
    chance = random.Random(seed)
    store = open_store()
    operator = SimulatedOperator(Engine(store), a_spec(scheduler), objective, (chance.randint(0, 5) for _ in count()))
    while not operator.advice.idle:
        operator.train()
        if chance.random() < 0.3:
            operator.engine = Engine(store)
        if chance.random() < 0.2:
            operator.crash()
        operator.exchange(lose_answer=chance.random() < 0.3)
    assert story_of(operator) == the_story(scheduler)


@pytest.mark.parametrize("search", ["auto", "grid", "sobol", "tpe", "gp", "forest", "cmaes", "evolution", "frugal"])
def test_whatever_searches_a_restarted_and_interrupted_run_tells_the_same_story(search: str) -> None:
    ordered = {"parameters": [a_float()]} if search == "cmaes" else {}
    spec = a_spec("asha", search=a_search(search, seed=3), max_trials=18, **ordered)
    chance = random.Random(2)
    store = open_store()
    operator = SimulatedOperator(Engine(store), spec, objective, (chance.randint(0, 5) for _ in count()))
    while not operator.advice.idle:
        operator.train()
        operator.engine = Engine(store)
        if chance.random() < 0.2:
            operator.crash()
        operator.exchange(lose_answer=chance.random() < 0.2)
    assert story_of(operator) == undisturbed(spec)


def test_the_target_is_reached_at_the_same_step_however_it_is_told() -> None:
    spec = a_spec("none", objectives=[an_objective(target=0.35)])
    stories = []
    for stride in (1, 4, 100):
        operator = SimulatedOperator(Engine(open_store()), spec, objective, repeat(stride))
        operator.run()
        assert operator.advice.target_reached
        records = [essence(record) for record in operator.records()]
        stories.append([(r["number"], r.get("judgedStep"), r["observations"]) for r in records])
    assert stories[0] == stories[1] == stories[2]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_same_manifest_gives_the_same_story_twice(scheduler: str) -> None:
    assert undisturbed(a_spec(scheduler)) == the_story(scheduler)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_another_seed_gives_another_story(scheduler: str) -> None:
    assert the_story(scheduler) != undisturbed(a_spec(scheduler, search=a_search("random", seed=4)))
