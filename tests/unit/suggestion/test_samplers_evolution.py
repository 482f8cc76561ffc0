"""Both variants of evolution: conformance, who becomes a parent, and what each setting changes."""

from typing import Any, ClassVar

import numpy as np
import pytest

from builders.experiments import a_choice, a_float
from builders.spaces import a_history, a_space, with_trial
from podium_contract.algorithms import EvolutionSettings
from podium_contract.lifecycle import Phase
from podium_contract.parameters import Assignment
from podium_suggestion.samplers.base import Exhausted, trial_rng
from podium_suggestion.samplers.evolution import RegularisedEvolution, make_evolution
from podium_suggestion.samplers.moves import neighbours, reflected
from podium_suggestion.space import FloatArray
from unit.suggestion.sampler_conformance import CONDITIONAL, PLANE, SamplerConformance, bowl, by_lr, median_best


class _Evolution(SamplerConformance):
    algorithm = "evolution"
    variant: ClassVar[str]

    def proposals(self, seed: int, trials: int = 60, **settings: Any) -> list[Assignment]:
        search = {"algorithm": "evolution", "seed": seed, "settings": {"variant": self.variant, **settings}}
        return self.run(self.a_spec(PLANE, search=search), trials, bowl)[1]

    @pytest.mark.thorough
    def test_beats_random_search_by_far(self) -> None:
        def at_random(seed: int) -> list[Assignment]:
            return self.run(self.a_spec(PLANE, search={"algorithm": "random", "seed": seed}), 80, bowl)[1]

        assert median_best(lambda seed: self.proposals(seed, 80), bowl) < 0.3 * median_best(at_random, bowl)

    @pytest.mark.thorough
    def test_beats_random_search_on_a_conditional_space(self) -> None:
        def best(search: dict[str, Any]) -> float:
            def propose(seed: int) -> list[Assignment]:
                return self.run(self.a_spec(CONDITIONAL, search={**search, "seed": seed}), 60, by_lr)[1]

            return median_best(propose, by_lr, seeds=5)

        evolved = best({"algorithm": "evolution", "settings": {"variant": self.variant}})
        assert evolved < best({"algorithm": "random"})

    @pytest.mark.option("evolution.startupTrials")
    def test_startup_trials_are_a_sobol_sequence(self) -> None:
        sobol = self.run(self.a_spec(PLANE, search={"algorithm": "sobol", "seed": 2}), 30, bowl)[1]
        assert self.proposals(2, 30, startupTrials=30, population=30) == sobol
        assert self.proposals(2, 30, startupTrials=8, population=8)[:8] == sobol[:8]
        assert self.proposals(2, 30, startupTrials=8, population=8)[8:] != sobol[8:]


class TestRegularised(_Evolution):
    variant = "regularised"
    settings = {"variant": "regularised"}

    @pytest.mark.option("evolution.sampleSize")
    def test_sample_of_everyone_lets_only_the_best_have_children(self) -> None:
        history = a_history(*PLANE)
        for number in range(12):
            with_trial(history, {"x": number / 12, "y": 0.5}, abs(number - 7.0))
        greedy = RegularisedEvolution(history.space, EvolutionSettings(sample_size=12), 0)
        lenient = RegularisedEvolution(history.space, EvolutionSettings(sample_size=1), 0)
        assert parents_of(greedy, history) == {7}
        assert len(parents_of(lenient, history)) > 6

    @pytest.mark.option("evolution.population", "evolution.variant")
    @pytest.mark.parametrize(
        ("settings", "lives"),
        [({}, False), ({"population": 20}, False), ({"population": 21}, True), ({"variant": "differential"}, True)],
        ids=str,
    )
    def test_the_oldest_dies_however_good_it_was_but_not_of_differential_evolution(
        self, settings: dict[str, Any], *, lives: bool
    ) -> None:
        """Twenty trials ago there was one by far better, elsewhere."""
        history = a_history(*PLANE)
        with_trial(history, {"x": 0.9, "y": 0.9}, -5.0)
        for number in range(20):
            with_trial(history, {"x": number / 40, "y": 0.1 + number / 400}, 1.0 + number)
        sampler = make_evolution(history.space, EvolutionSettings.model_validate({"sample_size": 30, **settings}), 0)
        children = [as_assignment(sampler.propose(history, 22, trial_rng(seed, 22))) for seed in range(20)]
        assert (float(np.median([child["y"] for child in children])) > 0.4) == lives

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

    @pytest.mark.option("evolution.population")
    @pytest.mark.parametrize("population", [5, 12])
    def test_a_challenger_is_made_of_the_best_trial_of_its_place_in_the_population(self, population: int) -> None:
        """Without crossover it takes one step from it, and leaves its other parameters as they are."""
        history, proposed = self.run(self.a_spec(PLANE, search={"algorithm": "random"}), 60, bowl)
        settings = EvolutionSettings(variant="differential", population=population, crossover_rate=0.0)
        sampler = make_evolution(history.space, settings, 0)
        for number in range(61, 61 + population):
            champion = min((proposed[n - 1] for n in range(1, 61) if n % population == number % population), key=bowl)
            child = as_assignment(sampler.propose(history, number, trial_rng(0, number)))
            assert [child[name] == pytest.approx(champion[name]) for name in ("x", "y")].count(True) == 1

    def displacements(self, **settings: Any) -> FloatArray:
        """How far challengers of many seeds are from their champion in each of ten parameters, shape (seeds, 10)."""
        history = a_history(*(a_float(f"x{index}", 0.0, 1.0, "linear") for index in range(10)))
        rng = np.random.default_rng(0)
        for _ in range(12):
            values = rng.uniform(0.48, 0.52, 10)
            with_trial(history, {f"x{index}": value for index, value in enumerate(values)}, float(rng.random()))
        sampler = make_evolution(history.space, EvolutionSettings(variant="differential", population=12, **settings), 0)
        children = [as_assignment(sampler.propose(history, 13, trial_rng(seed, 13))) for seed in range(200)]
        return np.asarray(np.abs(history.space.to_unit_many(children) - history.units[0]))

    @pytest.mark.option("evolution.crossoverRate")
    @pytest.mark.parametrize("rate", [0.3, 0.8])
    def test_crossover_rate_is_the_share_of_parameters_that_take_the_step(self, rate: float) -> None:
        moved = (self.displacements(crossover_rate=rate) > 1e-9).mean()
        assert moved == pytest.approx(rate + 0.1 * (1.0 - rate), abs=0.04), "one takes it in any case"

    @pytest.mark.option("evolution.differentialWeight")
    def test_differential_weight_is_how_long_steps_are(self) -> None:
        short, long = (self.displacements(crossover_rate=1.0, differential_weight=weight) for weight in (0.4, 1.2))
        assert long == pytest.approx(3.0 * short)

    def test_population_that_agrees_on_a_choice_keeps_it(self) -> None:
        parameters = [a_choice("c", ["a", "b"]), *PLANE]
        search = {"algorithm": "evolution", "settings": {"variant": "differential", "population": 8}}
        _, proposed = self.run(self.a_spec(parameters, search=search), 80, lambda a: bowl(a) + 9 * (a["c"] == "b"))
        assert {a["c"] for a in proposed[60:]} == {"a"}


def as_assignment(proposal: Assignment | Exhausted) -> Assignment:
    assert not isinstance(proposal, Exhausted)
    return proposal


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
