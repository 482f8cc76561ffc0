"""CMA-ES: conformance, the update against its invariances, the replay of asynchronous histories, and every setting."""

from typing import Any

import numpy as np
import pytest

from builders.experiments import a_float, an_experiment_spec, an_int
from builders.spaces import a_history, a_report, a_space, with_trial
from podium_contract.algorithms import CmaesSettings
from podium_contract.lifecycle import Phase
from podium_contract.parameters import Assignment
from podium_suggestion.history import History, TrialHistory
from podium_suggestion.samplers.base import trial_rng
from podium_suggestion.samplers.cmaes import CmaesSampler, Gaussian, Rates, Run
from unit.suggestion.sampler_conformance import PLANE, SamplerConformance, bowl, median_best

BOX = [a_float(f"x{index}", 0.0, 1.0, "linear") for index in range(4)]


def valley(assignment: Assignment) -> float:
    """A valley askew: far easier for who learns its direction."""
    x = np.array([assignment[f"x{index}"] for index in range(4)])
    return float(((x - 0.4) ** 2).sum() + 50 * (x[0] + x[1] - 0.8) ** 2)


class TestCmaes(SamplerConformance):
    algorithm = "cmaes"
    has_choices = False

    def proposals(self, seed: int, trials: int = 60, **settings: Any) -> list[Assignment]:
        search = {"algorithm": "cmaes", "seed": seed, "settings": settings}
        return self.run(self.a_spec(PLANE, search=search), trials, bowl)[1]

    @pytest.mark.thorough
    def test_beats_random_search_by_far(self) -> None:
        def best(algorithm: str) -> float:
            def propose(seed: int) -> list[Assignment]:
                spec = self.a_spec(BOX, search={"algorithm": algorithm, "seed": seed})
                return self.run(spec, 120, valley)[1]

            return median_best(propose, valley, 5)

        assert best("cmaes") < 0.4 * best("random")

    @pytest.mark.option("cmaes.startupTrials")
    def test_startup_trials_are_a_sobol_sequence(self) -> None:
        sobol = self.run(self.a_spec(PLANE, search={"algorithm": "sobol", "seed": 2}), 20, bowl)[1]
        assert self.proposals(2, 20, startupTrials=20) == sobol
        assert self.proposals(2, 20, startupTrials=8)[:8] == sobol[:8]
        assert self.proposals(2, 20, startupTrials=8)[8:] != sobol[8:]

    @pytest.mark.option("cmaes.initialStep")
    def test_first_step_is_how_far_the_first_generation_goes(self) -> None:
        def spread(step: float) -> float:
            return float(np.std([a["x"] for a in self.proposals(1, 30, initialStep=step, population=20)[10:]]))

        assert spread(0.3) > 5 * spread(0.02)

    @pytest.mark.option("cmaes.population")
    def test_population_is_the_length_of_a_generation(self) -> None:
        for population in (5, 12):
            search = {"algorithm": "cmaes", "settings": {"population": population, "startupTrials": 4}}
            history, _ = self.run(self.a_spec(PLANE, search=search), 4 + 3 * population, bowl)
            run = state(history, population=population, startup_trials=4)
            assert (run.first, run.gaussian.generations) == (5 + 3 * population, 3)


def state(history: History, **settings: Any) -> Run:
    run = CmaesSampler(history.space, CmaesSettings(**settings), 0).state(history)
    assert run is not None
    return run


def told(losses: dict[int, float], trials: int, sampler: CmaesSampler, pending: tuple[int, ...] = ()) -> History:
    """A history of `trials` of the sampler's proposals, each made when all earlier ones but the pending had ended."""
    history = a_history(*PLANE)
    for number in range(1, trials + 1):
        assignment = sampler.propose(history, number, trial_rng(0, number))
        if number in pending:
            with_trial(history, assignment)
        else:
            with_trial(history, assignment, losses.get(number, bowl(assignment)))
    return history


def a_sampler(**settings: Any) -> CmaesSampler:
    return CmaesSampler(a_space(*PLANE), CmaesSettings(**settings), seed=0)


def same(left: Run, right: Run) -> bool:
    return left.first == right.first and np.array_equal(left.gaussian.covariance, right.gaussian.covariance)


def test_state_from_the_checkpoint_is_the_state_from_the_history() -> None:
    sampler = a_sampler()
    history = told({}, 100, sampler)
    from_checkpoint, anew = sampler.state(history), a_sampler().state(history)
    assert from_checkpoint is not None
    assert anew is not None
    assert same(from_checkpoint, anew)


def test_report_that_comes_late_is_learnt_from_as_if_it_had_come_in_time() -> None:
    sampler = a_sampler()
    history = told({}, 60, sampler, pending=(13, 17, 31))
    before = sampler.state(history)
    for number in (13, 17, 31):
        with_report(history, number, 0.0)
    after, anew = sampler.state(history), a_sampler().state(history)
    assert before is not None
    assert after is not None
    assert anew is not None
    assert same(after, anew)
    assert not same(before, after)


def with_report(history: History, number: int, loss: float) -> None:
    history.observe(number, a_report(1, loss=loss))
    history.settle(number, Phase.SUCCEEDED)


def test_straggler_holds_up_no_generation() -> None:
    sampler = a_sampler(population=6)
    run = sampler.state(told({}, 46, sampler, pending=(12,)))
    assert run is not None
    assert run.gaussian.generations == 6


def test_generation_waits_until_half_of_it_has_ended() -> None:
    sampler = a_sampler(population=6)
    run = sampler.state(told({}, 16, sampler, pending=(11, 12, 13, 14)))
    assert run is not None
    assert run.gaussian.generations == 0


def test_generation_that_failed_whole_leaves_the_gaussian_as_it_was() -> None:
    sampler = a_sampler(population=6)
    run = sampler.state(told(dict.fromkeys(range(11, 17), float("nan")), 16, sampler))
    assert run is not None
    assert run.first == 17
    assert run.gaussian.generations == 0


def test_converged_run_is_followed_by_one_of_twice_the_population() -> None:
    history = a_history(*PLANE)
    for number in range(1, 400):
        with_trial(history, {"x": 0.5, "y": 0.5}, 1.0, number=number)
        run = (
            CmaesSampler(history.space, CmaesSettings(restarts="ipop"), 0).state(history) if number % 20 == 0 else None
        )
        if run is not None and run.enlarged:
            assert (run.population, run.enlarged) == (12, 1)
            return
    pytest.fail("400 trials of one configuration are convergence")


@pytest.mark.option("cmaes.restarts")
@pytest.mark.parametrize("restarts", ["bipop", "ipop", "none"])
def test_restarts_are_what_the_setting_says(restarts: str) -> None:
    history = a_history(*PLANE)
    for number in range(1, 1200):
        with_trial(history, {"x": 0.5, "y": 0.5}, 1.0, number=number)
    run = state(history, restarts=restarts)
    assert (run.enlarged > 0) == (restarts != "none")
    assert (run.spent[1] > 0 or run.is_local) == (restarts == "bipop")


def test_update_does_not_depend_on_how_the_axes_are_turned() -> None:
    rng = np.random.default_rng(3)
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    points = 0.5 + 0.05 * rng.standard_normal((4, 3))
    plain = Gaussian.around(np.full(3, 0.5), 0.2).learnt(points, 8)
    turned = Gaussian.around(np.full(3, 0.5), 0.2).learnt(0.5 + (points - 0.5) @ turn.T, 8)
    assert turned.mean - 0.5 == pytest.approx(turn @ (plain.mean - 0.5))
    assert turned.covariance == pytest.approx(turn @ plain.covariance @ turn.T)
    assert turned.step == pytest.approx(plain.step)


def test_far_point_moves_the_mean_by_a_bounded_step() -> None:
    moved = Gaussian.around(np.full(2, 0.5), 0.01).learnt(np.array([[1.0, 1.0]]), 6)
    assert np.linalg.norm(moved.mean - 0.5) < 0.01 * (2**0.5 + 1.0) + 1e-12


def test_rates_are_those_of_the_tutorial() -> None:
    rates = Rates.of(n=10, population=10, points=5)
    assert rates.weights.sum() == pytest.approx(1.0)
    assert rates.weights == pytest.approx([0.456, 0.271, 0.162, 0.085, 0.026], abs=0.001)
    assert rates.effective == pytest.approx(3.167, abs=0.001)
    assert rates.one == pytest.approx(2 / (11.3**2 + 3.167), rel=1e-3)


def test_lattice_never_freezes() -> None:
    parameters = [an_int("n", 0, 9), a_float("x", 0.0, 1.0, "linear")]
    history = a_history(*parameters)
    sampler = CmaesSampler(history.space, CmaesSettings(restarts="none"), 0)
    for number in range(1, 160):
        assignment = sampler.propose(history, number, trial_rng(0, number))
        with_trial(history, assignment, (assignment["n"] - 3) ** 2 + assignment["x"])
    late = [history.trials[number].assignment["n"] for number in range(100, 160)]
    assert 3 in late
    assert len(set(late)) > 1


def test_whatever_was_promoted_later_the_checkpoint_follows() -> None:
    spec = an_experiment_spec(parameters=PLANE)
    history = History(a_space(*PLANE), spec.objectives)
    sampler = a_sampler(population=4, startup_trials=4)
    for number in range(1, 30):
        history.add(TrialHistory(number, sampler.propose(history, number, trial_rng(0, number)), target=3))
        with_step(history, number, 3, Phase.PAUSED)
    for number in (2, 9, 15):
        history.retarget(number, 9)
        with_step(history, number, 9, Phase.SUCCEEDED)
    now, anew = sampler.state(history), a_sampler(population=4, startup_trials=4).state(history)
    assert now is not None
    assert anew is not None
    assert same(now, anew)


def with_step(history: History, number: int, step: int, phase: Phase) -> None:
    history.observe(number, a_report(step, loss=bowl(history.trials[number].assignment) - step))
    history.settle(number, phase)
