"""Cost-frugal search: conformance, the cheap start, opposite steps, restarts, and what each setting changes."""

from functools import partial
from typing import Any

import numpy as np
import pytest

from builders.experiments import a_choice, a_float
from builders.spaces import a_history, with_trial
from podium_contract.algorithms import FrugalSettings
from podium_contract.parameters import Assignment
from podium_suggestion.history import History
from podium_suggestion.samplers.base import trial_rng
from podium_suggestion.samplers.frugal import FrugalSampler
from unit.suggestion.sampler_conformance import PLANE, SamplerConformance, bowl, median_best

CHEAP = [a_float("x", 0.0, 1.0, "linear", default=0.1), a_float("y", 0.0, 1.0, "linear")]
LOCAL = FrugalSettings(global_share=0.0)


class TestFrugal(SamplerConformance):
    algorithm = "frugal"

    def proposals(self, seed: int, trials: int = 60, **settings: Any) -> list[Assignment]:
        search = {"algorithm": "frugal", "seed": seed, "settings": settings}
        return self.run(self.a_spec(PLANE, search=search), trials, bowl)[1]

    @pytest.mark.thorough
    def test_beats_random_search_by_far(self) -> None:
        def at_random(seed: int) -> list[Assignment]:
            return self.run(self.a_spec(PLANE, search={"algorithm": "random", "seed": seed}), 60, bowl)[1]

        for share in (0.0, 0.2):
            ours = median_best(partial(self.proposals, globalShare=share), bowl)
            assert ours < 0.3 * median_best(at_random, bowl)

    def test_first_trial_has_the_defaults_that_there_are(self) -> None:
        _, proposed = self.run(self.a_spec(CHEAP), 1, bowl)
        assert proposed[0]["x"] == 0.1

    @pytest.mark.thorough
    def test_good_level_is_reached_at_less_cost_than_by_a_search_that_ignores_it(self) -> None:
        """Cost grows a thousandfold with x, and a little of it is enough."""

        def cost_until_good(algorithm: str, seed: int) -> float:
            search = {"algorithm": algorithm, "seed": seed}
            _, proposed = self.run(self.a_spec(CHEAP, search=search), 60, bowl)
            spent = np.cumsum([1000 ** a["x"] for a in proposed])
            good = [bowl(a) < 0.01 for a in proposed]
            return float(spent[good.index(True)] if any(good) else spent[-1])

        frugal, tpe = (np.median([cost_until_good(name, seed) for seed in range(7)]) for name in ("frugal", "tpe"))
        assert frugal < 0.5 * tpe


def a_step_from(history: History, seed: int = 0, settings: FrugalSettings = LOCAL) -> Assignment:
    number = history.rows + 1
    return FrugalSampler(history.space, settings, 0).propose(history, number, trial_rng(seed, number))


def length(step: Assignment, x: float, y: float) -> float:
    return float(np.hypot(step["x"] - x, step["y"] - y))


@pytest.mark.option("frugal.initialStep")
def test_steps_have_the_initial_length_per_parameter() -> None:
    history = a_history(*PLANE)
    with_trial(history, {"x": 0.5, "y": 0.5}, 1.0)
    for step in (0.05, 0.2):
        settings = FrugalSettings(initial_step=step, global_share=0.0)
        assert length(a_step_from(history, settings=settings), 0.5, 0.5) == pytest.approx(step * 2**0.5)


def test_step_that_led_nowhere_is_followed_by_its_opposite() -> None:
    history = a_history(*PLANE)
    with_trial(history, {"x": 0.5, "y": 0.5}, 1.0)
    with_trial(history, {"x": 0.6, "y": 0.45}, 2.0)
    assert a_step_from(history) == pytest.approx({"x": 0.4, "y": 0.55})


def test_opposite_that_was_tried_or_still_runs_is_not_tried_again() -> None:
    history = a_history(*PLANE)
    with_trial(history, {"x": 0.5, "y": 0.5}, 1.0)
    with_trial(history, {"x": 0.6, "y": 0.45}, 2.0)
    with_trial(history, {"x": 0.4, "y": 0.55})
    step = a_step_from(history)
    assert step not in [trial.assignment for trial in history.trials.values()]
    assert length(step, 0.5, 0.5) > 0.1


def test_better_trial_is_where_the_next_step_begins() -> None:
    history = a_history(*PLANE)
    with_trial(history, {"x": 0.5, "y": 0.5}, 1.0)
    with_trial(history, {"x": 0.7, "y": 0.5}, 0.5)
    settings = FrugalSettings(initial_step=0.05, global_share=0.0)
    assert length(a_step_from(history, settings=settings), 0.7, 0.5) < 0.1


def test_steps_shorten_while_they_lead_nowhere_and_the_search_then_begins_anew() -> None:
    history = a_history(*PLANE)
    with_trial(history, {"x": 0.2, "y": 0.2}, 0.0)
    distances = []
    for _ in range(60):
        step = a_step_from(history)
        distances.append(length(step, 0.2, 0.2))
        with_trial(history, step, 1.0)
    assert np.mean(distances[10:20]) < 0.6 * np.mean(distances[:4])
    late = [trial.assignment for trial in history.trials.values()][45:]
    assert max(length(step, 0.2, 0.2) for step in late) > 0.2


@pytest.mark.option("frugal.globalShare")
@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.25, 10), (1.0, 40)])
def test_global_share_is_how_many_trials_are_no_step_from_the_best(share: float, count: int) -> None:
    """Trials are all alike, so that the best is the first, and local steps come in pairs of opposites about it."""
    history = a_history(*PLANE)
    with_trial(history, {"x": 0.5, "y": 0.5}, 1.0)
    sampler = FrugalSampler(history.space, FrugalSettings(global_share=share), 0)
    steps = [sampler.propose(history, number, trial_rng(0, number)) for number in range(2, 42)]
    far = [step for step in steps if length(step, 0.5, 0.5) != pytest.approx(0.15 * 2**0.5)]
    assert len(far) == count


def test_share_of_trials_is_global_but_within_what_has_worked() -> None:
    history = a_history(a_float("x", 0.0, 1.0, "linear", default=0.1), a_float("y", 0.0, 1.0, "linear", default=0.1))
    for number in range(40):
        with_trial(history, {"x": 0.1 + number / 1000, "y": 0.1}, -float(number))
    everything_global = FrugalSettings(global_share=1.0, initial_step=0.05)
    steps = [a_step_from(history, seed, everything_global) for seed in range(30)]
    assert 0.139 < max(step["x"] for step in steps) <= 0.139 + 0.05 + 1e-12
    assert len({step["x"] for step in steps}) > 10


def test_space_of_choices_alone_is_walked_too() -> None:
    history = a_history(*(a_choice(f"c{index}", ["a", "b", "c", "d"]) for index in range(4)))
    best = 9.0
    for _ in range(60):
        step = a_step_from(history)
        loss = float(sum(value != "c" for value in step.values()))
        best = min(best, loss)
        with_trial(history, step, loss)
    assert best == 0.0
