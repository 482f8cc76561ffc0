"""The random-forest sampler: conformance, its acquisition against quadrature, and what each setting changes."""

from typing import Any

import numpy as np
import pytest

from builders.experiments import a_choice, a_float
from builders.spaces import a_history, a_space, with_trial
from podium_contract.lifecycle import Phase
from podium_contract.parameters import Assignment
from podium_suggestion.ranking import ranking
from podium_suggestion.samplers import make_sampler
from podium_suggestion.samplers.base import trial_rng
from podium_suggestion.samplers.forest import Forest, training_set
from unit.suggestion.sampler_conformance import PLANE, SamplerConformance, bowl, median_best


class TestForest(SamplerConformance):
    algorithm = "forest"
    settings = {"trees": 6}

    def proposals(self, seed: int, trials: int = 25, **settings: Any) -> list[Assignment]:
        search = {"algorithm": "forest", "seed": seed, "settings": settings}
        return self.run(self.a_spec(PLANE, search=search), trials, bowl)[1]

    @pytest.mark.thorough
    def test_beats_random_search_by_far(self) -> None:
        def at_random(seed: int) -> list[Assignment]:
            search = {"algorithm": "random", "seed": seed}
            return self.run(self.a_spec(PLANE, search=search), 30, bowl)[1]

        assert median_best(lambda seed: self.proposals(seed, 30, trees=10), bowl, 3) < 0.2 * median_best(
            at_random, bowl, 3
        )

    @pytest.mark.option("forest.startupTrials")
    def test_startup_trials_are_a_sobol_sequence(self) -> None:
        sobol = self.run(self.a_spec(PLANE, search={"algorithm": "sobol", "seed": 2}), 12, bowl)[1]
        assert self.proposals(2, 12, startupTrials=12) == sobol
        assert self.proposals(2, 12, startupTrials=5)[:5] == sobol[:5]
        assert self.proposals(2, 12, startupTrials=5)[5:] != sobol[5:]

    @pytest.mark.option("forest.trees")
    def test_more_trees_agree_more_on_what_to_try(self) -> None:
        """Forests of different seeds over one history: their proposals lie the closer together the more trees they have."""
        history, _ = self.run(self.a_spec(PLANE), 20, bowl)

        def spread(trees: int) -> float:
            search = {"algorithm": "forest", "settings": {"trees": trees, "randomShare": 0}}
            sampler = make_sampler(self.a_spec(PLANE, search=search), history.space)
            proposals = [self.as_assignment(sampler.propose(history, 21, trial_rng(seed, 21))) for seed in range(20)]
            return float(np.std([a["x"] for a in proposals]) + np.std([a["y"] for a in proposals]))

        assert spread(100) < 0.5 * spread(2)

    @pytest.mark.option("forest.randomShare")
    def test_random_share_is_how_many_trials_no_model_placed(self) -> None:
        def far(share: float) -> int:
            return sum(bowl(assignment) > 0.1 for assignment in self.proposals(0, 40, randomShare=share)[20:])

        assert far(1.0) > far(0.0) + 5


def test_forest_knows_its_trials_and_doubts_elsewhere() -> None:
    space = a_space(a_float("x", 0.0, 1.0, "linear"))
    points = np.array([[0.1], [0.3], [0.9]])
    forest = Forest.fit(space, points, np.array([1.0, 0.0, 2.0]), 50, trial_rng(0, 1))
    means, deviations = forest.predict(np.array([[0.1], [0.3], [0.9], [0.6]]))
    assert means[:3] == pytest.approx([1.0, 0.0, 2.0])
    assert deviations[:3] == pytest.approx([0.0, 0.0, 0.0])
    assert deviations[3] > 0.3
    assert 0.2 < means[3] < 1.8


def test_inactive_parameter_is_told_apart_from_each_of_its_values() -> None:
    space = a_space(a_choice("kind", ["a", "b"]), a_float("x", 0.0, 1.0, "linear", when={"kind": ["b"]}))
    points = space.to_unit_many([{"kind": "a"}, *({"kind": "b", "x": x} for x in (0.0, 0.5, 1.0))])
    forest = Forest.fit(space, points, np.array([5.0, 1.0, 1.0, 1.0]), 30, trial_rng(0, 1))
    means, _ = forest.predict(points)
    assert means == pytest.approx([5.0, 1.0, 1.0, 1.0])


def test_trials_of_one_loss_share_a_score() -> None:
    history = a_history(a_float("x", 0.0, 1.0, "linear"))
    for x, loss in ((0.1, 2.0), (0.2, 1.0), (0.3, 2.0), (0.4, 3.0)):
        with_trial(history, {"x": x}, loss)
    rows, scores = training_set(history, ranking(history), trial_rng(0, 5))
    assert list(rows) == [1, 0, 2, 3]
    assert scores[0] < scores[1] == scores[2] < scores[3]


def test_failed_trials_are_learnt_as_the_worst() -> None:
    history = a_history(a_float("x", 0.0, 1.0, "linear"))
    with_trial(history, {"x": 0.1}, phase=Phase.FAILED)
    with_trial(history, {"x": 0.2}, 3.0)
    with_trial(history, {"x": 0.3}, 1.0)
    rows, scores = training_set(history, ranking(history), trial_rng(0, 4))
    assert list(rows) == [2, 1, 0]
    assert scores[0] < scores[1] < scores[2]


def test_of_very_many_trials_the_best_half_of_what_is_learnt_from_are_the_best() -> None:
    history = a_history(a_float("x", 0.0, 1.0, "linear"))
    for number in range(900):
        with_trial(history, {"x": number / 900}, float(number % 890))
    rows, scores = training_set(history, ranking(history), trial_rng(0, 1))
    assert len(rows) == len(set(rows)) == 800
    assert set(rows[:400]) == set(ranking(history)[:400])
    assert np.all(np.diff(scores) >= 0)
