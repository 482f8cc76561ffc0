"""Every sampler against the conformance suite, and what each promises besides."""

from typing import Any

import pytest

from builders.experiments import a_choice, a_float, an_int
from podium_contract.parameters import Assignment
from podium_suggestion.history import History
from podium_suggestion.samplers import Exhausted
from podium_suggestion.space import Space
from unit.suggestion.sampler_conformance import CONDITIONAL, PLANE, SamplerConformance, bowl, by_lr, median_best


class TestRandom(SamplerConformance):
    algorithm = "random"

    def test_twenty_five_trials_have_twenty_five_values_of_each_parameter(self) -> None:
        _, proposed = self.run(self.a_spec(PLANE, max_trials=25), 25, bowl)
        assert len({a["x"] for a in proposed}) == len({a["y"] for a in proposed}) == 25

    def test_golden_trace(self) -> None:
        _, proposed = self.run(self.a_spec(PLANE, seed=7), 3, bowl)
        assert [(round(a["x"], 4), round(a["y"], 4)) for a in proposed] == GOLDEN["random"]


class TestGrid(SamplerConformance):
    algorithm = "grid"
    is_finite = True

    def test_twenty_five_trials_have_five_values_of_each_of_two_parameters(self) -> None:
        _, proposed = self.run(self.a_spec(PLANE, max_trials=25), 30, bowl)
        assert len(proposed) == 25
        assert {a["x"] for a in proposed} == {a["y"] for a in proposed} == {0.0, 0.25, 0.5, 0.75, 1.0}

    def test_grid_that_is_used_up_says_how_many_points_it_had(self) -> None:
        spec = self.a_spec(PLANE, max_trials=9)
        history, proposed = self.run(spec, 20, bowl)
        assert len(proposed) == 9
        ended = self.propose(history, spec, 10)
        assert isinstance(ended, Exhausted)
        assert "9" in ended.reason

    def test_inactive_parameters_do_not_multiply_the_grid(self) -> None:
        parameters = [a_choice("kind", ["plain", "rich"]), an_int("depth", 1, 3, when={"kind": ["rich"]})]
        _, proposed = self.run(self.a_spec(parameters), 20, lambda _: 1.0)
        assert len(proposed) == 4
        assert proposed.count({"kind": "plain"}) == 1

    @pytest.mark.parametrize("points", [2, 3, 7])
    def test_points_per_parameter_is_how_many_there_are(self, points: int) -> None:
        search = {"algorithm": "grid", "settings": {"pointsPerParameter": points}}
        _, proposed = self.run(self.a_spec(PLANE, search=search), 200, bowl)
        assert len(proposed) == points**2


class TestSobol(SamplerConformance):
    algorithm = "sobol"

    def test_points_fill_every_cell_of_a_fine_mesh(self) -> None:
        _, proposed = self.run(self.a_spec(PLANE, max_trials=64), 64, bowl)
        cells = {(int(a["x"] * 8), int(a["y"] * 8)) for a in proposed}
        assert len(cells) == 64

    def test_point_of_a_trial_does_not_depend_on_the_others(self) -> None:
        spec = self.a_spec(PLANE)
        _, proposed = self.run(spec, 10, bowl)
        assert self.propose(History(Space(spec.parameters), spec.objectives), spec, 10) == proposed[9]

    def test_golden_trace(self) -> None:
        _, proposed = self.run(self.a_spec(PLANE, seed=7), 3, bowl)
        assert [(round(a["x"], 4), round(a["y"], 4)) for a in proposed] == GOLDEN["sobol"]


class TestTpe(SamplerConformance):
    algorithm = "tpe"

    def proposals(self, seed: int, trials: int = 60, **settings: Any) -> list[Assignment]:
        search = {"algorithm": "tpe", "seed": seed, "settings": settings}
        return self.run(self.a_spec(PLANE, search=search), trials, bowl)[1]

    def random_proposals(self, seed: int, trials: int = 60) -> list[Assignment]:
        search = {"algorithm": "random", "seed": seed}
        return self.run(self.a_spec(PLANE, search=search), trials, bowl)[1]

    def test_beats_random_search_by_far(self) -> None:
        assert median_best(self.proposals, bowl) < 0.2 * median_best(self.random_proposals, bowl)

    def test_beats_random_search_on_a_conditional_space(self) -> None:
        def best(algorithm: str) -> float:
            def propose(seed: int) -> list[Assignment]:
                search = {"algorithm": algorithm, "seed": seed}
                return self.run(self.a_spec(CONDITIONAL, search=search), 50, by_lr)[1]

            return median_best(propose, by_lr, seeds=5)

        assert best("tpe") < 0.5 * best("random")

    def test_startup_trials_are_a_sobol_sequence(self) -> None:
        sobol = self.run(self.a_spec(PLANE, search={"algorithm": "sobol", "seed": 2}), 20, bowl)[1]
        assert self.proposals(seed=2, trials=12)[:10] == sobol[:10]
        assert self.proposals(seed=2, trials=12)[10:] != sobol[10:12]
        assert self.proposals(seed=2, trials=20, startupTrials=20) == sobol

    @pytest.mark.parametrize("setting", [{"candidates": 4}, {"priorWeight": 20.0}, {"multivariate": False}])
    def test_setting_changes_what_is_proposed(self, setting: dict[str, Any]) -> None:
        assert self.proposals(seed=1, trials=30, **setting) != self.proposals(seed=1, trials=30)

    def test_heavier_prior_explores_more(self) -> None:
        def spread(weight: float) -> float:
            late = [a for seed in range(5) for a in self.proposals(seed, 40, priorWeight=weight)[20:]]
            return sum(bowl(a) for a in late) / len(late)

        assert spread(50.0) > 1.5 * spread(1.0)

    def test_defaults_are_tried_first(self) -> None:
        parameters = [a_float("x", 0.0, 1.0, "linear", default=0.5), a_float("y", 0.0, 1.0, "linear", default=0.25)]
        _, proposed = self.run(self.a_spec(parameters), 2, bowl)
        assert proposed[0] == {"x": 0.5, "y": 0.25}
        assert proposed[1] != proposed[0]

    def test_maximising_is_minimising_the_negative(self) -> None:
        spec = self.a_spec(PLANE, objectives=[{"metric": "loss", "goal": "maximize"}])
        _, proposed = self.run(spec, 40, lambda a: -bowl(a))
        assert proposed == self.run(self.a_spec(PLANE), 40, bowl)[1]

    def test_golden_trace(self) -> None:
        _, proposed = self.run(self.a_spec(PLANE, seed=7), 14, bowl)
        assert [(round(a["x"], 4), round(a["y"], 4)) for a in proposed[-3:]] == GOLDEN["tpe"]


GOLDEN: dict[str, list[tuple[float, float]]] = {
    "random": [(0.7701, 0.1119), (0.278, 0.4452), (0.975, 0.8846)],
    "sobol": [(0.6504, 0.9173), (0.1527, 0.4989), (0.3073, 0.5618)],
    "tpe": [(0.0692, 0.8975), (0.095, 0.8952), (0.1295, 0.8732)],
}
