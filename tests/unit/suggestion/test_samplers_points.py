"""Points of the manifest and defaults: first, in order, each once, whatever restarts and however many workers there are."""

from typing import Any

import numpy as np
import pytest

from builders.experiments import a_choice, a_float, a_population, an_experiment_spec, an_int, an_objective
from builders.simulated_operator import SimulatedOperator
from builders.spaces import a_history, a_space, with_trial
from podium_contract.algorithms import SEARCHES, algorithm_name
from podium_contract.lifecycle import Phase
from podium_contract.parameters import Assignment
from podium_contract.trial import Parent
from podium_suggestion.engine import Engine
from podium_suggestion.history import History, TrialHistory
from podium_suggestion.samplers.base import Exhausted, suggest, trial_rng
from podium_suggestion.samplers.points import Point, PointsFirst, default_points, manifest_points
from podium_suggestion.store import open_store
from podium_suggestion.study import Study

KIND = a_choice("kind", ["plain", "rich"])
ONLY_RICH = a_float("x", 0, 1, "linear", when={"kind": ["rich"]})


class Stubborn:
    """Proposes one configuration for ever, and counts how often it is asked."""

    def __init__(self, assignment: Assignment | Exhausted) -> None:
        self.assignment = assignment

    def propose(self, history: History, number: int, rng: np.random.Generator) -> Assignment | Exhausted:  # noqa: ARG002
        return self.assignment


def proposed(points: list[Point], history: History, number: int, own: Assignment | Exhausted) -> Assignment:
    sampler = PointsFirst(history.space, points, Stubborn(own))
    proposal = sampler.propose(history, number, trial_rng(0, number))
    assert not isinstance(proposal, Exhausted)
    return proposal


class TestPoints:
    def test_points_come_in_their_order_and_then_the_sampler_with_what_it_says(self) -> None:
        history = a_history(an_int("n", 1, 9))
        sampler = PointsFirst(history.space, manifest_points([{"n": 3}, {"n": 1}]), Stubborn({"n": 7}))
        told = [suggest(sampler, history, number, trial_rng(0, number)) for number in (1, 2, 3)]
        assert [(p.assignment, p.origin) for p in told if not isinstance(p, Exhausted)] == [
            ({"n": 3}, "point 1 of the manifest"),
            ({"n": 1}, "point 2 of the manifest"),
            ({"n": 7}, ""),
        ]

    def test_what_a_point_leaves_out_takes_its_default_and_else_what_the_sampler_proposes(self) -> None:
        history = a_history(an_int("n", 1, 9, default=5), an_int("m", 1, 9), an_int("k", 1, 9))
        points = manifest_points([{"k": 2}])
        assert proposed(points, history, 1, {"n": 9, "m": 8, "k": 7}) == {"n": 5, "m": 8, "k": 2}

    def test_only_active_parameters_are_completed(self) -> None:
        history = a_history(KIND, ONLY_RICH)
        assert proposed(manifest_points([{"kind": "plain"}]), history, 1, {"kind": "rich", "x": 0.5}) == {
            "kind": "plain"
        }

    @pytest.mark.parametrize("own", [{"kind": "plain"}, Exhausted("all tried")])
    def test_what_the_sampler_has_no_value_of_is_drawn(self, own: Assignment | Exhausted) -> None:
        history = a_history(KIND, ONLY_RICH)
        (one, other) = (proposed(manifest_points([{"kind": "rich"}] * 2), history, n, own) for n in (1, 2))
        assert one["kind"] == other["kind"] == "rich"
        assert 0 <= one["x"] <= 1
        assert one["x"] != other["x"]

    def test_values_are_taken_as_they_are_written_and_typed_as_the_parameter_is(self) -> None:
        parameters = [a_float("x", 0, 1, "linear"), a_float("y", 0.1, 1, "log"), a_choice("b", [True, False, 1.5])]
        history = a_history(*parameters, a_float("z", 0, 1, "linear", step=0.1))
        got = proposed(manifest_points([{"x": 1, "y": 0.123456789, "b": True, "z": 0.3}]), history, 1, {})
        assert got == {"x": 1.0, "y": 0.123456789, "b": True, "z": 0.3}
        assert isinstance(got["x"], float)
        assert got["b"] is True

    def test_a_clone_uses_up_no_point(self) -> None:
        history = a_history(an_int("n", 1, 9))
        with_trial(history, {"n": 3}, 0.5)
        history.add(TrialHistory(2, {"n": 4}, parent=Parent(trial=1, step=1)))
        points = manifest_points([{"n": 3}, {"n": 1}])
        assert proposed(points, history, 3, {"n": 7}) == {"n": 1}
        with_trial(history, {"n": 1}, 0.5)
        assert proposed(points, history, 4, {"n": 7}) == {"n": 7}

    def test_a_trial_whose_record_was_lost_has_used_its_point(self) -> None:
        history = a_history(an_int("n", 1, 9))
        with_trial(history, {"n": 1}, 0.5, number=2)
        assert proposed(manifest_points([{"n": 3}, {"n": 1}, {"n": 2}]), history, 3, {"n": 7}) == {"n": 2}


class TestDefaults:
    def test_defaults_are_a_point_where_every_active_parameter_has_one(self) -> None:
        kind = a_choice("kind", ["plain", "rich"], default="plain")
        (point,) = default_points(a_space(kind, ONLY_RICH, an_int("n", 1, 9, default=5)))
        assert point.values == {"kind": "plain", "n": 5}

    def test_one_missing_default_leaves_the_first_trial_to_the_sampler(self) -> None:
        assert default_points(a_space(a_float("x", 0, 1, "linear", default=0.5), an_int("n", 1, 9))) == []

    def test_defaults_that_have_been_tried_give_way_to_the_sampler(self) -> None:
        history = a_history(an_int("n", 1, 9, default=5))
        points = [*manifest_points([{"n": 5}]), *default_points(history.space)]
        assert proposed(points, history, 1, {"n": 7}) == {"n": 5}
        with_trial(history, {"n": 5}, 0.5)
        assert proposed(points, history, 2, {"n": 7}) == {"n": 7}


PARAMETERS = [a_float("lr", default=0.01), a_choice("optimizer", ["sgd", "adam"]), an_int("depth", 1, 8)]
POINTS: list[Assignment] = [
    {"lr": 0.001, "optimizer": "adam", "depth": 3},
    {"lr": 0.002, "depth": 5},
    {"optimizer": "sgd"},
]


def agrees(assignment: Assignment, point: Assignment) -> bool:
    return all(assignment[name] == value for name, value in point.items())


@pytest.mark.option("search.points")
@pytest.mark.parametrize("algorithm", [algorithm_name(model) for model in SEARCHES])
def test_every_search_begins_with_the_points(algorithm: str) -> None:
    numbers = algorithm == "cmaes"
    parameters = [PARAMETERS[0], PARAMETERS[2]] if numbers else PARAMETERS
    points: list[Any] = [{"lr": 0.001, "depth": 3}, {"depth": 5}] if numbers else POINTS
    search = {"algorithm": algorithm, "points": points}
    study = Study.create(parameters, [an_objective()], search=search, max_trials=12)
    tried = []
    while (work := study.ask()) is not None:
        study.tell(work.number, 1, work.parameters["lr"])
        study.finish(work.number)
        tried.append(work.parameters)
    assert all(agrees(one, point) for one, point in zip(tried, points, strict=False))
    assert len(tried) == 12


def test_parallel_workers_and_restarts_use_each_point_once() -> None:
    store = open_store()
    spec = an_experiment_spec(
        parameters=PARAMETERS,
        search={"algorithm": "random", "points": POINTS, "seed": 5},
        parallelism=2,
        max_trials=8,
    )
    operator = SimulatedOperator(Engine(store), spec, lambda parameters, _: {"loss": parameters["lr"]}, natural_end=2)
    for turn in range(60):
        operator.engine = Engine(store)
        operator.train()
        operator.exchange(lose_answer=turn % 3 == 1)
        if operator.advice.idle:
            break
    tried = [operator.trials[number] for number in range(1, 9)]
    assert [agrees(trial.parameters, point) for trial, point in zip(tried, POINTS, strict=False)] == [True] * 3
    assert [trial.origin for trial in tried if "manifest" in trial.origin] == [
        f"proposed by random: point {place} of the manifest" for place in (1, 2, 3)
    ]
    assert not any(trial.phase is Phase.FAILED for trial in tried)


def test_a_population_begins_with_the_points() -> None:
    spec = an_experiment_spec(
        parameters=PARAMETERS[:1],
        search={"algorithm": "random", "points": [{"lr": 0.05}, {"lr": 0.06}]},
        scheduler=a_population(6, populationSize=4, interval=2),
        max_trials=8,
    )
    operator = SimulatedOperator(Engine(open_store()), spec, lambda parameters, _: {"loss": parameters["lr"]})
    operator.run()
    assert [operator.trials[number].parameters["lr"] for number in (1, 2)] == [0.05, 0.06]
    assert [t.parameters["lr"] for t in operator.trials.values() if t.parent is None].count(0.05) == 1
