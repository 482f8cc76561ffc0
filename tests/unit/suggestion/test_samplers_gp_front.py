"""Expected hypervolume improvement, against what defines it."""

import numpy as np
import pytest
from scipy.stats import norm

from builders.experiments import a_float
from builders.spaces import a_space
from podium_suggestion.pareto import hypervolume, non_dominated
from podium_suggestion.samplers.gp.acquisition import log_expected_improvement
from podium_suggestion.samplers.gp.front import HypervolumeTerm, thinned
from podium_suggestion.samplers.gp.kernel import Embedding
from podium_suggestion.samplers.gp.model import GaussianProcess, Hyperparameters
from podium_suggestion.space import FloatArray

SPACE = a_space(a_float("x", 0.0, 1.0, "linear"), a_float("y", 0.0, 1.0, "linear"))
EMBEDDING = Embedding(SPACE)


def processes(objectives: int, seed: int = 0) -> list[GaussianProcess]:
    """Models of so many objectives, each given the same eight points."""
    rng = np.random.default_rng(seed)
    units = rng.random((8, 2))
    hyperparameters = Hyperparameters(np.full(2, 0.4), signal=1.0, noise=1e-3)
    return [GaussianProcess(EMBEDDING, hyperparameters, units, rng.standard_normal(8)) for _ in range(objectives)]


def a_term(objectives: int, reference: float = 1.0) -> HypervolumeTerm:
    models = processes(objectives)
    fitted = np.column_stack([model.fitted for model in models])
    return HypervolumeTerm(models, fitted, np.full(objectives, reference))


def test_it_is_the_integral_that_defines_it() -> None:
    models = processes(2)
    fitted, reference = np.column_stack([model.fitted for model in models]), np.ones(2)
    point = np.array([[0.31, 0.77]])
    (mean, deviation), (other_mean, other_deviation) = (
        tuple(map(float, np.ravel(model.predict(point)))) for model in models
    )
    before = hypervolume(fitted, reference)
    nodes, weights = np.polynomial.legendre.leggauss(40)

    def spread(mean: float, deviation: float) -> tuple[FloatArray, FloatArray]:
        """Return where to look between far below the mean and the reference, and what a look counts."""
        half = (1.0 - mean + 7.0 * deviation) / 2.0
        looked = 1.0 + half * (nodes - 1.0)
        return looked, half * weights * norm.pdf(looked, mean, deviation)

    (firsts, first_counts), (seconds, second_counts) = spread(mean, deviation), spread(other_mean, other_deviation)
    gains = [
        [hypervolume(np.vstack([fitted, [[first, second]]]), reference) - before for second in seconds]
        for first in firsts
    ]
    integral = float(first_counts @ np.array(gains) @ second_counts)
    assert np.exp(a_term(2).score(point)[0]) == pytest.approx(integral, rel=0.01)


@pytest.mark.parametrize("objectives", [3, 4])
def test_with_more_objectives_it_is_the_mean_over_draws(objectives: int) -> None:
    models = processes(objectives)
    fitted, reference = np.column_stack([model.fitted for model in models]), np.ones(objectives)
    point = np.array([[0.31, 0.77]])
    means, deviations = np.array([np.ravel(model.predict(point)) for model in models]).T
    draws = means + deviations * np.random.default_rng(1).standard_normal((4000, objectives))
    before = hypervolume(fitted, reference)
    gains = [hypervolume(np.vstack([fitted, draw]), reference) - before for draw in draws]
    error = np.std(gains) / np.sqrt(len(gains))
    assert np.exp(a_term(objectives).score(point)[0]) == pytest.approx(np.mean(gains), abs=4 * error)


def test_of_one_objective_it_is_the_expected_improvement() -> None:
    (model,) = processes(1)
    units = np.random.default_rng(2).random((20, 2))
    best = min(1.0, float(model.fitted.min()))
    expected = log_expected_improvement(*model.predict(units), best).value
    np.testing.assert_allclose(a_term(1).score(units), expected, rtol=1e-9)


@pytest.mark.parametrize("objectives", [1, 2, 3])
@pytest.mark.parametrize("reference", [1.0, -3.0, -40.0])
def test_its_slope_agrees_with_finite_differences(objectives: int, reference: float) -> None:
    term = a_term(objectives, reference)
    for point in np.random.default_rng(3).random((5, 2)):
        value, by_coordinate = term.slope(point)
        assert value == pytest.approx(term.score(point[None])[0])
        steps = 1e-6 * np.eye(2)
        numeric = [(term.score((point + step)[None])[0] - term.score((point - step)[None])[0]) / 2e-6 for step in steps]
        np.testing.assert_allclose(by_coordinate, numeric, rtol=1e-3, atol=1e-4)


def test_it_is_finite_where_no_improvement_is_left_to_speak_of() -> None:
    term = a_term(2, reference=-60.0)
    assert np.isfinite(term.score(np.random.default_rng(4).random((50, 2)))).all()


def a_sphere(points: int, objectives: int) -> FloatArray:
    directions = np.abs(np.random.default_rng(5).standard_normal((points, objectives)))
    return np.asarray(1.0 - directions / np.linalg.norm(directions, axis=1, keepdims=True))


@pytest.mark.parametrize(("objectives", "least"), [(2, 300), (3, 50), (4, 15), (8, 4)])
def test_a_long_front_is_thinned_to_what_can_be_afforded(objectives: int, least: int) -> None:
    front = a_sphere(300, objectives)
    kept = thinned(front)
    assert least <= len(kept) <= 300
    assert non_dominated(kept[np.lexsort(kept.T[::-1])]).all()
    assert {tuple(row) for row in kept} <= {tuple(row) for row in front}
    assert len(thinned(front[:3])) == 3
