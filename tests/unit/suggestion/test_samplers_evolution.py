"""Both variants of evolution: conformance, who becomes a parent, and what each setting changes."""

from typing import Any, ClassVar

import numpy as np
import pytest

from builders.experiments import a_choice, a_float
from builders.spaces import a_history, a_space, with_trial
from podium_contract.algorithms import EvolutionSettings
from podium_contract.lifecycle import Phase
from podium_contract.parameters import Assignment
from podium_suggestion.samplers.base import trial_rng
from podium_suggestion.samplers.evolution import RegularisedEvolution
from podium_suggestion.samplers.moves import neighbours, reflected
from unit.suggestion.sampler_conformance import CONDITIONAL, PLANE, SamplerConformance, bowl, by_lr, median_best


class _Evolution(SamplerConformance):
    algorithm = "evolution"
    variant: ClassVar[str]

    def proposals(self, seed: int, trials: int = 60, **settings: Any) -> list[Assignment]:
        search = {"algorithm": "evolution", "seed": seed, "settings": {"variant": self.variant, **settings}}
        return self.run(self.a_spec(PLANE, search=search), trials, bowl)[1]

    def test_beats_random_search_by_far(self) -> None:
        def at_random(seed: int) -> list[Assignment]:
            return self.run(self.a_spec(PLANE, search={"algorithm": "random", "seed": seed}), 80, bowl)[1]

        assert median_best(lambda seed: self.proposals(seed, 80), bowl) < 0.3 * median_best(at_random, bowl)

    def test_beats_random_search_on_a_conditional_space(self) -> None:
        def best(search: dict[str, Any]) -> float:
            def propose(seed: int) -> list[Assignment]:
                return self.run(self.a_spec(CONDITIONAL, search={**search, "seed": seed}), 60, by_lr)[1]

            return median_best(propose, by_lr, seeds=5)

        evolved = best({"algorithm": "evolution", "settings": {"variant": self.variant}})
        assert evolved < best({"algorithm": "random"})

    def test_startup_trials_are_a_sobol_sequence(self) -> None:
        sobol = self.run(self.a_spec(PLANE, search={"algorithm": "sobol", "seed": 2}), 30, bowl)[1]
        assert self.proposals(2, 30, startupTrials=30, population=30) == sobol
        assert self.proposals(2, 30, startupTrials=8, population=8)[:8] == sobol[:8]
        assert self.proposals(2, 30, startupTrials=8, population=8)[8:] != sobol[8:]

    def test_population_changes_what_is_proposed(self) -> None:
        assert self.proposals(1, 40, population=5) != self.proposals(1, 40, population=15)


class TestRegularised(_Evolution):
    variant = "regularised"
    settings = {"variant": "regularised"}

    def test_sample_of_everyone_lets_only_the_best_have_children(self) -> None:
        history = a_history(*PLANE)
        for number in range(12):
            with_trial(history, {"x": number / 12, "y": 0.5}, abs(number - 7.0))
        greedy = RegularisedEvolution(history.space, EvolutionSettings(sample_size=12), 0)
        lenient = RegularisedEvolution(history.space, EvolutionSettings(sample_size=1), 0)
        assert parents_of(greedy, history) == {7}
        assert len(parents_of(lenient, history)) > 6

    def test_the_oldest_dies_however_good_it_was(self) -> None:
        history = a_history(*PLANE)
        with_trial(history, {"x": 0.9, "y": 0.9}, -5.0)
        for number in range(20):
            with_trial(history, {"x": number / 40, "y": 0.5}, 1.0 + number)
        sampler = RegularisedEvolution(history.space, EvolutionSettings(sample_size=20), 0)
        children = [sampler.propose(history, 22, trial_rng(seed, 22)) for seed in range(20)]
        assert not [child for child in children if child["y"] == 0.9 or child["x"] == 0.9]

    def test_failed_trial_has_no_children(self) -> None:
        history = a_history(*PLANE)
        for number in range(12):
            phase = Phase.FAILED if number == 3 else Phase.SUCCEEDED
            with_trial(history, {"x": number / 12, "y": 0.5}, abs(number - 3.0), phase=phase)
        sampler = RegularisedEvolution(history.space, EvolutionSettings(sample_size=4), 0)
        assert 3 not in parents_of(sampler, history)


class TestDifferential(_Evolution):
    variant = "differential"
    settings = {"variant": "differential"}

    @pytest.mark.parametrize("setting", [{"differentialWeight": 1.2}, {"crossoverRate": 0.1}])
    def test_setting_changes_what_is_proposed(self, setting: dict[str, Any]) -> None:
        assert self.proposals(1, 30, **setting) != self.proposals(1, 30)

    def test_without_crossover_a_challenger_differs_from_the_champion_in_one_parameter(self) -> None:
        history, proposed = self.run_with(crossoverRate=0.0)
        for row in range(40, 60):
            same_slot = [history.trials[number].assignment for number in range(row + 1, 0, -1)]
            assert any(
                (a["x"] == proposed[row]["x"]) != (a["y"] == proposed[row]["y"])
                for a in same_slot
                if a != proposed[row]
            )

    def run_with(self, **settings: Any) -> Any:
        search = {"algorithm": "evolution", "settings": {"variant": "differential", **settings}}
        return self.run(self.a_spec(PLANE, search=search), 60, bowl)

    def test_population_that_agrees_on_a_choice_keeps_it(self) -> None:
        parameters = [a_choice("c", ["a", "b"]), *PLANE]
        search = {"algorithm": "evolution", "settings": {"variant": "differential", "population": 8}}
        _, proposed = self.run(self.a_spec(parameters, search=search), 80, lambda a: bowl(a) + 9 * (a["c"] == "b"))
        assert {a["c"] for a in proposed[60:]} == {"a"}


def parents_of(sampler: RegularisedEvolution, history: Any) -> set[int]:
    """The members, by x in twelfths, from which children differ in one parameter."""
    found = set()
    for seed in range(200):
        child = sampler.propose(history, 13, trial_rng(seed, 13))
        if child["x"] * 12 == pytest.approx(round(child["x"] * 12)):
            found.add(round(child["x"] * 12))
    return found


def test_neighbour_differs_in_one_parameter_at_least_and_stays_in_the_space() -> None:
    space = a_space(*CONDITIONAL)
    rng = np.random.default_rng(0)
    points = space.encode(rng.random((300, space.dimension)))
    near = neighbours(space, points, rng, 0.05)
    assert all(space.key(a) != space.key(b) for a, b in zip(points, near, strict=True))
    again = space.encode(np.where(np.isnan(near), 0.5, near))
    assert again == pytest.approx(near, nan_ok=True)


@pytest.mark.parametrize("width", [0.01, 0.2])
def test_width_is_how_far_an_ordered_parameter_moves(width: float) -> None:
    space = a_space(a_float("x", 0.0, 1.0, "linear"))
    near = neighbours(space, np.full((4000, 1), 0.5), np.random.default_rng(0), width)
    assert np.std(near) == pytest.approx(width, rel=0.1)


def test_changes_are_how_many_parameters_move() -> None:
    space = a_space(*(a_float(f"x{index}", 0.0, 1.0, "linear") for index in range(10)))
    points = np.full((2000, 10), 0.5)
    moved = (neighbours(space, points, np.random.default_rng(0), 0.1, changes=3.0) != points).sum(axis=1)
    assert moved.min() == 1
    assert moved.mean() == pytest.approx(3.0, abs=0.15)


def test_reflection_folds_at_both_ends() -> None:
    folded = reflected(np.array([-0.2, 0.3, 1.1, 2.5, -1.4]))
    assert folded == pytest.approx([0.2, 0.3, 0.9, 0.5, 0.6])
