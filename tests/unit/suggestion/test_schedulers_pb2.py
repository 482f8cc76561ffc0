"""The time-varying bandit, and the population whose clones it chooses."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from builders.experiments import a_choice, a_float, a_population, a_search, an_experiment_spec, an_int
from builders.simulated_operator import SimulatedOperator
from podium_contract.parameters import assignment_faults
from podium_suggestion.engine import Engine
from podium_suggestion.schedulers.bandit import Bandit, Kernel, Segments
from podium_suggestion.store import open_store
from unit.suggestion.test_schedulers_pbt import a_population_at_work, a_schedule_task, final_error, schedule_of


def segments(values: list[float], time: float = 1.0, context: float = 0.0) -> Segments:
    return Segments(np.array(values)[:, None], np.full(len(values), context), np.full(len(values), time))


NOTHING = segments([])


# --- the process ------------------------------------------------------------------------------------------------


def test_covariances_are_those_of_the_formula() -> None:
    kernel = Kernel(length=0.5, context_length=2.0, forgetting=0.2, noise=0.1)
    left = Segments(np.array([[0.1, 0.2]]), np.array([1.0]), np.array([3.0]))
    right = Segments(np.array([[0.4, 0.6]]), np.array([0.0]), np.array([7.0]))
    expected = np.exp(-(0.3**2 + 0.4**2) / (2 * 0.25)) * np.exp(-1 / 8) * 0.8 ** (4 / 2)
    assert kernel.between(left, right)[0, 0] == pytest.approx(expected)


def test_a_kernel_of_any_segments_is_positive_definite() -> None:
    rng = np.random.default_rng(1)
    some = Segments(rng.random((40, 3)), rng.standard_normal(40), rng.integers(1, 9, 40).astype(float))
    eigenvalues = np.linalg.eigvalsh(Kernel(0.3, 1.0, 0.3, 0.0).between(some, some))
    assert eigenvalues.min() > -1e-10


def test_the_kernel_that_is_chosen_has_the_largest_likelihood() -> None:
    """The likelihood at the best variance is the normal density, counted out by scipy."""
    rng = np.random.default_rng(2)
    known = segments(rng.random(20).tolist())
    gains = np.sin(6 * known.values[:, 0]) + 0.05 * rng.standard_normal(20)
    bandit = Bandit(known, gains)

    def log_likelihood(kernel: Kernel) -> float:
        correlation = kernel.between(known, known) + kernel.noise * np.eye(20)
        variance = gains @ np.linalg.solve(correlation, gains) / 20
        return float(multivariate_normal(np.zeros(20), variance * correlation).logpdf(gains))

    worse = [Kernel(length, 1.0, 0.1, noise) for length in (0.02, 3.0) for noise in (0.05, 5.0)]
    assert all(log_likelihood(bandit.kernel) > log_likelihood(other) for other in worse)


def test_without_exploration_the_bound_is_the_mean_and_finds_the_top() -> None:
    known = segments(np.linspace(0, 1, 15).tolist())
    bandit = Bandit(known, -((known.values[:, 0] - 0.6) ** 2) * 10 + 1)
    grid = segments(np.linspace(0, 1, 101).tolist())
    best = grid.values[int(np.argmax(bandit.bound(grid, NOTHING, 0.0))), 0]
    assert best == pytest.approx(0.6, abs=0.05)


def test_exploration_raises_the_bound_where_little_is_known() -> None:
    bandit = Bandit(segments([0.1, 0.15, 0.2, 0.25]), np.array([0.3, -0.2, 0.1, -0.2]))
    candidates = segments([0.18, 0.9])
    near, far = bandit.bound(candidates, NOTHING, 1.0) - bandit.bound(candidates, NOTHING, 0.0)
    assert far > near > 0


def test_pending_segments_lower_the_bound_around_them_and_leave_the_mean() -> None:
    bandit = Bandit(segments([0.1, 0.2, 0.3]), np.array([0.5, 0.0, -0.5]))
    candidates = segments([0.8, 0.5])
    without, pending = bandit.bound(candidates, NOTHING, 1.0), bandit.bound(candidates, segments([0.8]), 1.0)
    assert pending[0] < without[0]
    assert without[0] - pending[0] > without[1] - pending[1]
    assert bandit.bound(candidates, segments([0.8]), 0.0) == pytest.approx(bandit.bound(candidates, NOTHING, 0.0))


def test_what_is_long_past_tells_less() -> None:
    kernel = Kernel(0.3, 1.0, 0.3, 0.01)
    now, then = segments([0.5], time=10.0), segments([0.5], time=2.0)
    assert kernel.between(now, then)[0, 0] < kernel.between(now, segments([0.5], time=9.0))[0, 0] < 1.0


# --- the population ---------------------------------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(5))
def test_bandits_beat_the_best_fixed_rate_there_is_and_their_schedule_changes(seed: int) -> None:
    operator = a_population_at_work(seed, algorithm="pb2")
    optimum = min(final_error(rate, 100) for rate in np.exp(np.linspace(np.log(1e-4), 0.0, 500)))
    best = operator.advice.best[0]
    assert operator.trained_steps == 1000
    assert best.metrics["loss"] < 0.6 * optimum
    schedule = schedule_of(operator, best.trial)
    assert np.mean(schedule[:5]) > 3 * np.mean(schedule[-20:])


@pytest.mark.thorough
def test_bandits_come_further_than_perturbations_on_average() -> None:
    results = {
        algorithm: [a_population_at_work(seed, algorithm=algorithm).advice.best[0].metrics["loss"] for seed in range(5)]
        for algorithm in ("pbt", "pb2")
    }
    assert np.mean(results["pb2"]) < np.mean(results["pbt"])


def a_mixed_population(**settings: Any) -> SimulatedOperator:
    spec = an_experiment_spec(
        parameters=[
            a_float("rate", 1e-4, 1.0, "log"),
            a_choice(),
            a_float("momentum", 0.0, 0.99, "linear", when={"optimizer": ["sgd"]}),
            an_int("depth", 1, 8),
        ],
        scheduler=a_population(60, populationSize=8, interval=3, **settings) | {"algorithm": "pb2"},
        search=a_search("random", seed=1),
        max_trials=100,
        parallelism=8,
    )
    operator = SimulatedOperator(
        Engine(open_store()), spec, lambda given, _: {"loss": given["weights"]}, learn=a_schedule_task
    )
    operator.run()
    return operator


def clones_of(operator: SimulatedOperator) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(parent's, clone's) configurations."""
    trials = operator.trials
    return [(trials[t.parent.trial].parameters, t.parameters) for t in trials.values() if t.parent is not None]


def test_chosen_values_keep_the_space_and_its_conditions() -> None:
    operator = a_mixed_population()
    clones = clones_of(operator)
    assert len(clones) > 20
    assert not any(assignment_faults(operator.spec.parameters, clone) for _, clone in clones)


@pytest.mark.option("pb2.resampleProbability")
def test_categories_are_drawn_anew_as_often_as_set() -> None:
    for probability, changes in ((0.0, False), (1.0, True)):
        clones = clones_of(a_mixed_population(resampleProbability=probability))
        assert any(before["optimizer"] != after["optimizer"] for before, after in clones) is changes


@pytest.mark.option("pb2.mutable")
def test_only_mutable_parameters_are_chosen() -> None:
    clones = clones_of(a_mixed_population(mutable=["rate"]))
    assert all(before["depth"] == after["depth"] for before, after in clones)
    assert any(before["rate"] != after["rate"] for before, after in clones)


@pytest.mark.option("pb2.exploration")
def test_exploration_spreads_the_clones() -> None:
    spread = {}
    for exploration in (0.0, 10.0):
        operator = a_population_at_work(2, algorithm="pb2", exploration=exploration)
        logs = [np.log(after["rate"] / before["rate"]) for before, after in clones_of(operator)]
        spread[exploration] = np.mean(np.abs(logs))
    assert spread[10.0] > spread[0.0]
