"""What every scheduler keeps, whatever it decides. A scheduler's tests inherit SchedulerConformance and name a manifest."""

import random
from itertools import repeat
from typing import Any, ClassVar

import numpy as np

from builders.experiments import a_float, a_search, an_experiment_spec
from builders.simulated_operator import Parameters, SimulatedOperator, essence
from podium_contract.experiment import ExperimentSpec
from podium_contract.lifecycle import FINAL, Phase
from podium_contract.wire import AdviceRequest
from podium_suggestion.engine import Engine
from podium_suggestion.store import open_store

MAXIMUM = 27


def learning_curve(parameters: Parameters, step: int) -> dict[str, float]:
    """Every configuration learns towards its own floor, the better ones lower, with bumps on the way."""
    floor = (parameters["x"] - 0.3) ** 2 + 0.5 * (parameters["y"] - 0.7) ** 2
    bump = 0.02 * np.sin(37 * parameters["x"] + 5 * step)
    return {"loss": float(floor + 0.5 / step + bump)}


class ShuffledFacts(SimulatedOperator):
    """Tells its trials in another order each time."""

    shuffle = random.Random(11)

    def request(self, slots: int | None = None) -> AdviceRequest:
        request = super().request(slots)
        facts = list(request.facts)
        self.shuffle.shuffle(facts)
        return request.model_copy(update={"facts": tuple(facts)})


class SchedulerConformance:
    """Tests that hold for any scheduler."""

    scheduler: ClassVar[dict[str, Any]]
    """As a manifest writes it; its maximum is MAXIMUM."""
    saves_at_least: ClassVar[float] = 0.0
    """The share of full training's steps that it saves on the toy."""
    may_lose: ClassVar[float] = 0.0
    """By how much the best loss may be worse than full training's, on average."""

    makes_every_trial: ClassVar[bool] = True
    """Whether it makes as many trials as it may: a population clones only where it replaces."""

    def assert_made(self, operator: SimulatedOperator, limit: int) -> None:
        assert len(operator.trials) == limit if self.makes_every_trial else 8 <= len(operator.trials) <= limit

    def a_spec(self, **spec: Any) -> ExperimentSpec:
        defaults: dict[str, Any] = {
            "parameters": [a_float("x", 0.0, 1.0, "linear"), a_float("y", 0.0, 1.0, "linear")],
            "search": a_search("random", seed=1),
            "scheduler": self.scheduler,
            "max_trials": 40,
            "parallelism": 4,
        }
        return an_experiment_spec(**defaults | spec)

    def an_operator(self, objective: Any = learning_curve, stride: int = 1, **spec: Any) -> SimulatedOperator:
        return SimulatedOperator(Engine(open_store()), self.a_spec(**spec), objective, repeat(stride))

    def test_limits_are_respected(self) -> None:
        operator = self.an_operator(max_trials=23, parallelism=5)
        while not operator.advice.idle:
            operator.train()
            operator.exchange()
            active = [t for t in operator.trials.values() if t.phase in (Phase.PENDING, Phase.RUNNING)]
            assert len(active) <= 5
        self.assert_made(operator, 23)
        assert all(1 <= (trial.target or 0) <= MAXIMUM for trial in operator.trials.values())
        assert max(trial.step for trial in operator.trials.values()) <= MAXIMUM

    def test_the_same_seed_gives_the_same_story(self) -> None:
        logs = []
        for _ in range(2):
            operator = self.an_operator(stride=5)
            operator.run()
            logs.append(operator.log)
        assert logs[0] == logs[1]

    def test_the_order_in_which_trials_are_told_is_irrelevant(self) -> None:
        orderly = self.an_operator(max_trials=20, stride=3)
        orderly.run()
        shuffled = ShuffledFacts(Engine(open_store()), self.a_spec(max_trials=20), learning_curve, repeat(3))
        shuffled.run()
        assert shuffled.log == orderly.log
        assert [essence(r) for r in shuffled.records()] == [essence(r) for r in orderly.records()]

    def test_failed_and_non_finite_trials_are_survived(self) -> None:
        def trouble(parameters: Parameters, step: int) -> dict[str, float] | None:
            if parameters["x"] < 0.2:
                return None
            if parameters["x"] < 0.3 and step > 3:
                return None
            if parameters["x"] > 0.8:
                return {"loss": float("nan") if parameters["y"] > 0.5 else float("inf")}
            return learning_curve(parameters, step)

        operator = self.an_operator(trouble, stride=2)
        operator.run()
        self.assert_made(operator, 40)
        assert operator.advice.best
        assert all(0.2 <= s.parameters["x"] <= 0.8 for s in operator.advice.best)  # type: ignore[operator]  # floats

    def test_losses_at_the_limits_of_floats_are_survived(self) -> None:
        for size in (1e300, 5e-324):
            operator = self.an_operator(lambda _parameters, step, size=size: {"loss": size * (-1) ** step}, stride=2)
            operator.run()
            self.assert_made(operator, 40)
            assert operator.advice.best

    def test_an_experiment_without_one_usable_value_ends_too(self) -> None:
        for outcome in (None, {"loss": float("nan")}, {"another": 1.0}):
            operator = self.an_operator(lambda _parameters, _step, outcome=outcome: outcome, max_trials=10)
            operator.run()
            self.assert_made(operator, 10)
            assert operator.advice.best == ()

    def test_a_straggler_stalls_nobody(self) -> None:
        operator = self.an_operator(stride=MAXIMUM)
        operator.hanging = {2}
        for _ in range(100):
            operator.train()
            operator.exchange()
        self.assert_made(operator, 40)
        others = [trial for number, trial in operator.trials.items() if number != 2]
        assert all(trial.phase not in (Phase.PENDING, Phase.RUNNING) for trial in others)
        assert not operator.advice.idle

    def test_every_verdict_has_a_reason_with_a_number(self) -> None:
        operator = self.an_operator(stride=4)
        operator.run()
        verdicts = [line for line in operator.log if not line.startswith("start")]
        assert all(any(sign.isdigit() for sign in line.split(": ", 1)[1]) for line in verdicts)

    def test_the_end_is_idle_and_leaves_nobody_waiting(self) -> None:
        operator = self.an_operator(stride=4)
        operator.run()
        assert {record.phase for record in operator.records()} <= FINAL
        again = operator.exchange()
        assert again.idle
        assert again.assignments == ()
        assert again.verdicts == ()

    def test_it_costs_less_than_full_training_and_finds_as_good(self) -> None:
        spent, full, losses, best = 0, 0, [], []
        for seed in range(4):
            operator = self.an_operator(stride=MAXIMUM, search=a_search("random", seed=seed))
            operator.run()
            spent += operator.advice.steps
            full += MAXIMUM * len(operator.trials)
            losses.append(operator.advice.best[0].metrics["loss"])
            best.append(min(learning_curve(t.parameters, MAXIMUM)["loss"] for t in operator.trials.values()))
        assert spent <= (1 - self.saves_at_least) * full
        assert np.mean(losses) - np.mean(best) <= self.may_lose
