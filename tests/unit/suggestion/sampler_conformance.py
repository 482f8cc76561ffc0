"""What every sampler keeps, whatever it proposes. A sampler's tests inherit SamplerConformance and name the algorithm."""

import math
import random
from collections.abc import Callable
from itertools import count
from typing import Any, ClassVar

import numpy as np
import pytest

from builders.experiments import a_choice, a_float, a_scheduler, a_search, an_experiment_spec, an_int, an_ordinal
from podium_contract.experiment import ExperimentSpec
from podium_contract.lifecycle import Phase
from podium_contract.parameters import Assignment, assignment_faults
from podium_contract.trial import Observation
from podium_suggestion.history import History, TrialHistory
from podium_suggestion.samplers import Exhausted, make_sampler, trial_rng
from podium_suggestion.space import Space

Loss = Callable[[Assignment], float]

CONDITIONAL = [
    a_float("lr"),
    a_float("share", 0.01, 0.99, "logit"),
    an_int("layers", 1, 4),
    an_int("units", 8, 512, scale="log"),
    a_float("rate", 0.1, 0.9, "linear", step=0.2),
    an_ordinal("batch"),
    a_choice("optimizer", ["sgd", "adam"]),
    a_float("momentum", 0.0, 0.99, "linear", when={"optimizer": ["sgd"]}),
    a_choice("nesterov", [True, False], when={"optimizer": ["sgd"], "layers": {"min": 2}}),
]
ORDERED = [parameter for parameter in CONDITIONAL if parameter["type"] != "categorical" and "when" not in parameter]
PLANE = [a_float("x", 0.0, 1.0, "linear"), a_float("y", 0.0, 1.0, "linear")]


def bowl(assignment: Assignment) -> float:
    return float((assignment["x"] - 0.3) ** 2 + (assignment["y"] - 0.8) ** 2)


def by_lr(assignment: Assignment) -> float:
    return abs(math.log10(assignment["lr"]) + 3.0)


class SamplerConformance:
    """Tests that hold for any sampler."""

    algorithm: ClassVar[str]
    settings: ClassVar[dict[str, Any]] = {}
    is_finite: ClassVar[bool] = False
    """Whether it ends by itself on a continuous space."""
    has_choices: ClassVar[bool] = True
    """Whether it takes categorical and conditional parameters."""

    @property
    def space(self) -> list[Any]:
        """The richest space that it takes."""
        return CONDITIONAL if self.has_choices else ORDERED

    def a_few(self, name: str, values: list[str]) -> dict[str, Any]:
        """A parameter of a few values."""
        return a_choice(name, values) if self.has_choices else an_ordinal(name, values)

    def a_spec(self, parameters: list[Any], seed: int = 0, **spec: Any) -> ExperimentSpec:
        search = a_search(self.algorithm, seed=seed, **self.settings)
        return an_experiment_spec(**{"parameters": parameters, "search": search, "max_trials": 200, **spec})

    def propose(self, history: History, spec: ExperimentSpec, number: int) -> Assignment | Exhausted:
        sampler = make_sampler(spec, history.space)
        return sampler.propose(history, number, trial_rng(spec.search.seed, number))

    def run(self, spec: ExperimentSpec, trials: int, loss: Loss) -> tuple[History, list[Assignment]]:
        """Propose one trial after another, each finished before the next; stop when the sampler has no more."""
        history = History(Space(spec.parameters), spec.objectives, spec.constraints)
        sampler = make_sampler(spec, history.space)
        proposed: list[Assignment] = []
        for number in range(1, trials + 1):
            assignment = sampler.propose(history, number, trial_rng(spec.search.seed, number))
            if isinstance(assignment, Exhausted):
                break
            proposed.append(assignment)
            self.finish(history, number, assignment, {"loss": loss(assignment)})
        return history, proposed

    def finish(self, history: History, number: int, assignment: Assignment, metrics: dict[str, float]) -> None:
        history.add(TrialHistory(number=number, assignment=assignment))
        history.observe(number, Observation(attempt=1, step=1, metrics=metrics))
        history.settle(number, Phase.SUCCEEDED, "Finished", "")

    # --- the tests

    def test_proposals_stay_in_the_space_with_its_conditions(self) -> None:
        spec = self.a_spec(self.space, max_trials=40)
        _, proposed = self.run(spec, 40, by_lr)
        assert len(proposed) == 40
        for assignment in proposed:
            assert assignment_faults(spec.parameters, assignment) == []

    def test_same_seed_gives_the_same_proposals(self) -> None:
        first = self.run(self.a_spec(self.space, seed=4), 25, by_lr)[1]
        assert self.run(self.a_spec(self.space, seed=4), 25, by_lr)[1] == first

    def test_order_in_which_facts_arrived_is_irrelevant(self) -> None:
        spec = self.a_spec(self.space)
        history, _ = self.run(spec, 20, by_lr)
        shuffled = History(history.space, spec.objectives)
        trials = list(history.trials.values())
        random.Random(3).shuffle(trials)
        for trial in trials:
            shuffled.add(TrialHistory(number=trial.number, assignment=trial.assignment))
        random.Random(4).shuffle(trials)
        for trial in trials:
            for observation in trial.observations.values():
                shuffled.observe(trial.number, observation)
            shuffled.settle(trial.number, trial.phase, trial.reason, trial.message)
        assert self.propose(shuffled, spec, 21) == self.propose(history, spec, 21)

    def test_failed_and_unusable_trials_are_survived(self) -> None:
        spec = self.a_spec(PLANE)
        history = History(Space(spec.parameters), spec.objectives)
        for number in range(1, 31):
            assignment = self.propose(history, spec, number)
            assert not isinstance(assignment, Exhausted)
            value = [math.nan, math.inf, -math.inf, 0.5][number % 4]
            history.add(TrialHistory(number=number, assignment=assignment))
            history.observe(number, Observation(attempt=1, step=1, metrics={"loss": value} if number % 5 else {}))
            history.settle(number, Phase.FAILED if number % 3 else Phase.SUCCEEDED, "", "")
        assert assignment_faults(spec.parameters, self.as_assignment(self.propose(history, spec, 31))) == []

    def test_batch_of_pending_trials_has_no_point_twice(self) -> None:
        spec = self.a_spec(PLANE)
        history, _ = self.run(spec, 15, bowl)
        batch = []
        for number in range(16, 32):
            assignment = self.as_assignment(self.propose(history, spec, number))
            history.add(TrialHistory(number=number, assignment=assignment))
            batch.append((assignment["x"], assignment["y"]))
        assert len(set(batch)) == len(batch)

    def test_finite_space_is_tried_once_through_and_then_exhausted_with_a_reason(self) -> None:
        spec = self.a_spec([self.a_few("c", ["a", "b", "c"]), an_int("n", 1, 4)])
        history, proposed = self.run(spec, 100, lambda assignment: assignment["n"])
        assert len(proposed) == 12
        assert len({(assignment["c"], assignment["n"]) for assignment in proposed}) == 12
        ended = self.propose(history, spec, 13)
        assert isinstance(ended, Exhausted)
        assert "12" in ended.reason

    def test_one_parameter_and_one_value_are_enough(self) -> None:
        _, proposed = self.run(
            self.a_spec([self.a_few("only", ["one"]), a_float("x", 0.0, 1.0, "linear")]), 15, lambda _: 1.0
        )
        assert {assignment["only"] for assignment in proposed} == {"one"}

    def test_several_objectives_and_constraints_are_accepted(self) -> None:
        objectives = [{"metric": "loss", "goal": "minimize"}, {"metric": "speed", "goal": "maximize"}]
        spec = self.a_spec(PLANE, objectives=objectives, constraints=[{"metric": "size", "max": 0.5}])
        history = History(Space(spec.parameters), spec.objectives, spec.constraints)
        for number in range(1, 31):
            assignment = self.as_assignment(self.propose(history, spec, number))
            metrics = {"loss": bowl(assignment), "speed": assignment["x"], "size": assignment["y"]}
            self.finish(history, number, assignment, metrics)
        assert len(history.trials) == 30

    def test_space_without_continuous_parameters_is_searched(self) -> None:
        parameters = [self.a_few("c", ["a", "b", "c"]), self.a_few("d", ["a", "b", "c", "d"]), an_int("n", 1, 20)]
        history, proposed = self.run(self.a_spec(parameters), 60, lambda a: a["n"] + (a["c"] != "b"))
        assert len(proposed) == len(history.tried) == 60

    def test_space_of_one_configuration_is_tried_once(self) -> None:
        spec = self.a_spec([self.a_few("only", ["one"])])
        history, proposed = self.run(spec, 3, lambda _: 1.0)
        assert proposed == [{"only": "one"}]
        assert isinstance(self.propose(history, spec, 2), Exhausted)

    def test_experiment_of_one_trial_is_served(self) -> None:
        assert len(self.run(self.a_spec(self.space, max_trials=1), 1, by_lr)[1]) == 1

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.5], ids=str)
    def test_losses_that_are_all_alike_or_none_at_all_are_survived(self, value: float) -> None:
        spec = self.a_spec(self.space, max_trials=30)
        _, proposed = self.run(spec, 30, lambda _: value)
        assert all(assignment_faults(spec.parameters, assignment) == [] for assignment in proposed)

    @pytest.mark.parametrize(
        "loss", [lambda n: 10.0 ** (n % 40 * 10 - 200), lambda n: (-1) ** n * 1e300], ids=["wide", "huge"]
    )
    def test_ranges_and_losses_at_the_limits_of_floats_are_survived(self, loss: Callable[[int], float]) -> None:
        parameters = [
            a_float("scale", 1e-300, 1e300),
            an_int("n", -(2**53), 2**53),
            a_float("x", 1.0, 1.0 + 1e-12, "linear"),
        ]
        spec, numbers = self.a_spec(parameters), count()
        _, proposed = self.run(spec, 25, lambda _: loss(next(numbers)))
        assert all(assignment_faults(spec.parameters, assignment) == [] for assignment in proposed)
        assert len({assignment["n"] for assignment in proposed}) > 1

    def test_trials_that_rest_at_a_schedulers_rungs_are_learnt_from(self) -> None:
        spec = self.a_spec(PLANE, scheduler=a_scheduler("asha", 1, 9))
        history = History(Space(spec.parameters), spec.objectives)
        for number in range(1, 31):
            assignment = self.as_assignment(self.propose(history, spec, number))
            history.add(TrialHistory(number=number, assignment=assignment, target=3 if number % 3 else 9))
            for step in (1, 3, 9)[: 2 if number % 3 else 3]:
                history.observe(
                    number, Observation(attempt=1, step=step, metrics={"loss": bowl(assignment) + 1 / step})
                )
            history.settle(number, Phase.PAUSED if number % 3 else Phase.SUCCEEDED)
        assert self.as_assignment(self.propose(history, spec, 31)) not in [
            t.assignment for t in history.trials.values()
        ]

    def as_assignment(self, proposal: Assignment | Exhausted) -> Assignment:
        assert not isinstance(proposal, Exhausted), proposal
        return proposal


def median_best(propose: Callable[[int], list[Assignment]], loss: Loss, seeds: int = 9) -> float:
    """Return the median over seeds of the best loss."""
    return float(np.median([min(map(loss, propose(seed))) for seed in range(seeds)]))
