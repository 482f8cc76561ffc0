"""The Gaussian process piece by piece: kernel, likelihood, posterior and acquisitions against their definitions."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from builders.experiments import a_choice, a_float, an_int
from builders.spaces import a_history, a_space, with_trial
from podium_contract.algorithms import GpSettings
from podium_suggestion.samplers.base import trial_rng
from podium_suggestion.samplers.gp.acquisition import (
    Acquisition,
    expected_improvement,
    improvement_parts,
    log_expected_improvement,
    make_acquisition,
)
from podium_suggestion.samplers.gp.kernel import Embedding, Warp, matern, squared_distances
from podium_suggestion.samplers.gp.landscape import Bound, Landscape, ModelTerm
from podium_suggestion.samplers.gp.model import Fit, GaussianProcess, Hyperparameters
from podium_suggestion.samplers.gp.sampler import GpSampler, has_settled
from podium_suggestion.samplers.gp.search import AcquisitionSearch
from podium_suggestion.samplers.gp.sums import Sums, sums_across
from podium_suggestion.samplers.gp.targets import (
    bend,
    comparable_losses,
    excesses,
    normal_scores,
    scalarised,
    scaled,
    standardised,
)
from podium_suggestion.space import FloatArray, Space

SPACE = a_space(
    a_float("x", 0.0, 1.0, "linear"),
    a_choice("c", ["a", "b", "d"]),
    a_float("m", 0.0, 1.0, "linear", when={"c": ["a"]}),
    an_int("n", 1, 5),
    a_choice("k", [1, 2], when={"c": ["a", "b"]}),
    a_choice("only", ["one"]),
)
EMBEDDING = Embedding(SPACE)


def points(count: int, seed: int = 0, space: Space = SPACE) -> FloatArray:
    return space.encode(np.random.default_rng(seed).random((count, space.dimension)))


def encoded(**assignment: Any) -> FloatArray:
    return SPACE.to_unit_many([{"only": "one", **assignment}])


def distance(left: FloatArray, right: FloatArray) -> float:
    return float(squared_distances(EMBEDDING(left), EMBEDDING(right))[0, 0])


def finite_differences(function: Any, at: FloatArray, step: float = 1e-6) -> FloatArray:
    """Central differences, shape (k, ...) from a function of shape (k,) arrays."""
    rows = step * np.eye(len(at))
    return np.array([(function(at + row) - function(at - row)) / (2.0 * step) for row in rows])


# --- kernel -----------------------------------------------------------------------------------------------------


def test_an_inactive_parameter_does_not_tell_configurations_apart() -> None:
    left, right = encoded(x=0.5, c="d", n=1), encoded(x=0.5, c="d", n=1)
    assert np.isnan(left[0, SPACE.index["m"]])
    assert distance(left, right) == 0.0


def test_where_a_parameter_is_missing_is_equally_far_from_all_its_values() -> None:
    without = encoded(x=0.5, c="b", n=1, k=1)
    far = [distance(encoded(x=0.5, c="a", m=m, n=1, k=1), without) for m in (0.0, 0.3, 1.0)]
    np.testing.assert_allclose(far, far[0])
    assert far[0] > 1.0, "what c itself differs by, and more"


def test_values_of_a_choice_are_all_equally_different() -> None:
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    space = a_space(a_choice("c", ["a", "b", "c"]))
    embedding = Embedding(space)
    for left, right in pairs:
        units = embedding(space.to_unit_many([{"c": left}, {"c": right}]))
        assert squared_distances(units, units)[0, 1] == pytest.approx(1.0)


def test_the_distance_of_ordered_values_is_that_of_the_unit_cube() -> None:
    assert distance(encoded(x=0.1, c="d", n=1), encoded(x=0.4, c="d", n=3)) == pytest.approx(0.3**2 + 0.4**2)


def test_near_values_of_a_conditional_parameter_are_as_far_apart_as_they_would_be_without_condition() -> None:
    left, right = encoded(x=0.5, c="a", m=0.50, n=1, k=1), encoded(x=0.5, c="a", m=0.52, n=1, k=1)
    assert math.sqrt(distance(left, right)) == pytest.approx(0.02, rel=1e-3)


def test_the_kernel_is_matern_five_halves() -> None:
    r = np.array([0.0, 0.1, 1.0, 3.0])
    correlation, slope = matern(r**2)
    np.testing.assert_allclose(correlation, (1 + np.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-np.sqrt(5) * r))
    numeric = (matern(r**2 + 1e-6)[0] - matern(r**2)[0]) / 1e-6
    np.testing.assert_allclose(-slope, numeric, rtol=1e-4)


def test_covariances_are_positive_definite_whatever_is_active() -> None:
    embedded = EMBEDDING(points(80)) / 0.3
    correlation = matern(squared_distances(embedded, embedded))[0]
    assert np.linalg.eigvalsh(correlation).min() > -1e-9


def test_a_warp_maps_the_unit_interval_onto_itself_and_its_slopes_are_right() -> None:
    warp = Warp(np.array([2.0, 0.5]), np.array([0.7, 3.0]))
    units = np.array([[0.2, 0.3], [0.6, 0.9]])
    assert warp(np.array([[0.0, 1.0]])) == pytest.approx(np.array([[0.0, 1.0]]), abs=1e-4)
    np.testing.assert_allclose(warp.slope(units), (warp(units + 1e-6) - warp(units - 1e-6)) / 2e-6, rtol=1e-6)
    by_a, by_b = warp.slope_by_shape(units)

    def moved(a: float, b: float) -> FloatArray:
        return Warp(warp.a * np.exp(a), warp.b * np.exp(b))(units)

    np.testing.assert_allclose(by_a, (moved(1e-6, 0) - moved(-1e-6, 0)) / 2e-6, rtol=1e-6)
    np.testing.assert_allclose(by_b, (moved(0, 1e-6) - moved(0, -1e-6)) / 2e-6, rtol=1e-6)


# --- likelihood -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("warping", [False, True], ids=["plain", "warped"])
@pytest.mark.parametrize("power", [1.0, 0.3, 0.0, -0.7])
def test_the_gradient_of_the_likelihood_agrees_with_finite_differences(warping: bool, power: float) -> None:
    rng = np.random.default_rng(1)
    losses = standardised(np.exp(rng.standard_normal(25)))
    fit = Fit(EMBEDDING, points(25), losses, bending=True, warping=warping)
    at = fit.vector(Hyperparameters.typical(EMBEDDING))
    at += 0.2 * rng.standard_normal(len(at))
    at[len(EMBEDDING.matters) + 1 :][:2] = np.log(0.05), power
    numeric = finite_differences(lambda vector: fit.loss(vector)[0], at)
    np.testing.assert_allclose(fit.loss(at)[1], numeric, rtol=1e-5, atol=1e-4)


def test_the_likelihood_is_that_of_a_multivariate_normal_and_the_bend() -> None:
    units, losses = points(12), standardised(np.exp(np.random.default_rng(2).standard_normal(12)))
    fit = Fit(EMBEDDING, units, losses, bending=True)

    def expected(chosen: Hyperparameters) -> float:
        scaled = EMBEDDING(units) / chosen.lengths[EMBEDDING.owner]
        assert chosen.sums is not None
        product = matern(squared_distances(scaled, scaled))[0]
        summed = sums_across(EMBEDDING, EMBEDDING(units), EMBEDDING(units), chosen.sums.lengths)
        correlation = (1.0 - chosen.sums.share) * product + chosen.sums.share * summed
        covariance = chosen.signal * correlation + chosen.noise * np.eye(12)
        targets = chosen.targets(losses)
        evidence = 0.5 * targets @ np.linalg.solve(covariance, targets) + 0.5 * np.linalg.slogdet(covariance)[1]
        bent = bend(losses, chosen.power)[0]
        slopes = (1.0 + np.abs(losses)) ** ((chosen.power - 1.0) * np.sign(losses)) / bent.std()
        return float(evidence - np.log(slopes).sum())

    # Of two hyperparameters with the same prior density the difference is that of the likelihoods.
    lengths = np.full(SPACE.dimension, np.exp(np.sqrt(2.0)) * np.sqrt(EMBEDDING.active_count))
    little, much = (Sums(1.0 / (1.0 + np.exp(1.0 + apart)), np.full(len(EMBEDDING.matters), 0.3)) for apart in (1, -1))
    first = Hyperparameters(lengths, signal=2.0, noise=np.exp(-7.0), power=0.7, sums=little)
    second = Hyperparameters(lengths, signal=0.5, noise=np.exp(-9.0), power=1.3, sums=much)
    difference = fit.loss(fit.vector(first))[0] - fit.loss(fit.vector(second))[0]
    assert difference == pytest.approx(expected(first) - expected(second), rel=1e-6)


def test_fitting_finds_what_matters() -> None:
    space = a_space(*[a_float(f"x{index}", 0.0, 1.0, "linear") for index in range(4)])
    embedding, units = Embedding(space), points(60, space=space)
    losses = standardised(np.sin(6.0 * units[:, 1]) * (1.0 + units[:, 2]))
    fitted = Fit(embedding, units, losses).best(Hyperparameters.typical(embedding), iterations=60)
    assert np.argsort(fitted.lengths)[:2].tolist() == [1, 2]
    assert fitted.lengths[0] > 10.0 * fitted.lengths[1]
    assert fitted.noise < 1e-3


@pytest.mark.option("gp.inputWarping")
def test_warping_learns_where_in_its_range_each_parameter_moves_the_loss_faster() -> None:
    """Of x at the upper end, of y at the lower one: the shapes of a power's warp are its exponent and 1."""
    history = a_history(a_float("x", 0.0, 1.0, "linear"), a_float("y", 0.0, 1.0, "linear"))
    for x, y in points(40, space=history.space):
        with_trial(history, {"x": x, "y": y}, float(np.sin(6.0 * x**4) + np.sin(6.0 * y**0.3)))

    def warp_of(settings: GpSettings) -> Warp | None:
        sampler = GpSampler(history.space, settings, seed=0, max_trials=100)
        sampler.propose(history, 41, trial_rng(0, 41))
        ((_, fitted),) = sampler._fitted.values()
        return fitted.warp

    learnt = warp_of(GpSettings(input_warping=True))
    assert warp_of(GpSettings()) is None
    assert learnt is not None
    assert learnt.a[0] / learnt.b[0] > 2.5
    assert learnt.a[1] / learnt.b[1] < 0.6


def test_fitting_tells_sums_from_interactions() -> None:
    space = a_space(*[a_float(f"x{index}", 0.0, 1.0, "linear") for index in range(4)])
    embedding, units = Embedding(space), points(60, space=space)
    waves = np.sin(9.0 * units)

    def share(losses: FloatArray) -> float:
        fitted = Fit(embedding, units, standardised(losses)).best(Hyperparameters.typical(embedding), iterations=60)
        assert fitted.sums is not None
        return fitted.sums.share

    assert share(waves.sum(axis=1)) > 0.6
    assert share(waves[:, 0] * waves[:, 1]) < 0.1


def test_sums_need_fewer_trials_to_be_learnt() -> None:
    space = a_space(*[a_float(f"x{index}", 0.0, 1.0, "linear") for index in range(5)])
    embedding, units, asked = Embedding(space), points(40, space=space), points(200, seed=1, space=space)

    def losses(at: FloatArray) -> FloatArray:
        return np.asarray(np.sin(9.0 * at).sum(axis=1))

    def error(*, is_sum: bool) -> float:
        fit = Fit(embedding, units, standardised(losses(units)))
        chosen = fit.best(Hyperparameters.typical(embedding), iterations=60)
        chosen = chosen if is_sum else replace(chosen, sums=None)
        process = GaussianProcess(embedding, chosen, units, standardised(losses(units)))
        truth = (losses(asked) - losses(units).mean()) / losses(units).std()
        return float(np.abs(process.predict(asked)[0] - truth).mean())

    assert error(is_sum=True) < 0.3 * error(is_sum=False)


def test_what_was_never_tried_counts_more_where_it_has_a_condition_or_no_order() -> None:
    space = a_space(
        a_float("x", 0.0, 1.0, "linear"),
        a_float("y", 0.0, 1.0, "linear"),
        a_choice("c", ["a", "b"]),
        a_float("m", 0.0, 1.0, "linear", when={"c": ["b"]}),
    )
    embedding, units = Embedding(space), points(40, space=space)
    units[:, space.index["c"]], units[:, space.index["m"]], units[:, space.index["y"]] = 0.25, np.nan, 0.5
    fitted = Fit(embedding, units, standardised(units[:, 0])).best(Hyperparameters.typical(embedding), iterations=60)
    of_y, of_c, of_m = (fitted.lengths[space.index[name]] for name in ("y", "c", "m"))
    assert [of_c, of_m] == pytest.approx([np.sqrt(embedding.active_count)] * 2, rel=0.3)
    assert of_y > 2.0 * of_m


def test_scales_grow_with_the_parameters_that_are_active_at_a_time() -> None:
    branches = [a_float(f"x{index}", 0.0, 1.0, "linear", when={"c": [index]}) for index in range(4)]
    assert Embedding(a_space(a_choice("c", [0, 1, 2, 3]), *branches)).active_count == 2.0
    assert Embedding(a_space(*[a_float(f"x{index}") for index in range(4)])).active_count == 4.0


def test_fitting_tells_noise_from_signal() -> None:
    space = a_space(a_float("x", 0.0, 1.0, "linear"))
    embedding, units = Embedding(space), points(80, space=space)
    noise = np.random.default_rng(3).standard_normal(80)
    losses = standardised(np.sin(6.0 * units[:, 0]) + 0.5 * noise)
    fitted = Fit(embedding, units, losses).best(Hyperparameters.typical(embedding), iterations=60)
    assert fitted.noise == pytest.approx(0.25 / np.var(np.sin(6.0 * units[:, 0]) + 0.5 * noise), rel=0.5)


# --- posterior --------------------------------------------------------------------------------------------------


def a_process(warp: Warp | None = None, count: int = 20) -> GaussianProcess:
    rng = np.random.default_rng(5)
    lengths = rng.uniform(0.4, 1.5, SPACE.dimension)
    sums = Sums(0.4, rng.uniform(0.3, 1.0, len(EMBEDDING.matters)))
    chosen = Hyperparameters(lengths, signal=1.4, noise=1e-4, warp=warp, sums=sums)
    return GaussianProcess(EMBEDDING, chosen, points(count), rng.standard_normal(count))


def test_the_posterior_is_the_conditional_normal_distribution() -> None:
    units, targets, asked = points(15), np.random.default_rng(1).standard_normal(15), points(4, seed=9)
    chosen = Hyperparameters(np.full(SPACE.dimension, 0.8), signal=1.7, noise=0.1)
    scaled, new = EMBEDDING(units) / 0.8, EMBEDDING(asked) / 0.8
    own = 1.7 * matern(squared_distances(scaled, scaled))[0] + 0.1 * np.eye(15)
    cross = 1.7 * matern(squared_distances(new, scaled))[0]
    mean, deviation = GaussianProcess(EMBEDDING, chosen, units, targets).predict(asked)
    np.testing.assert_allclose(mean, cross @ np.linalg.solve(own, targets))
    np.testing.assert_allclose(deviation**2, 1.7 - np.einsum("ij,ji->i", cross, np.linalg.solve(own, cross.T)))


def test_the_posterior_passes_through_exact_data_and_knows_nothing_far_away() -> None:
    space = a_space(a_float("x", 0.0, 1.0, "linear"))
    chosen = Hyperparameters(np.array([0.05]), signal=1.0, noise=1e-6)
    process = GaussianProcess(Embedding(space), chosen, np.array([[0.1], [0.2]]), np.array([1.0, -1.0]))
    mean, deviation = process.predict(np.array([[0.1], [0.2], [0.9]]))
    np.testing.assert_allclose(mean, [1.0, -1.0, 0.0], atol=1e-4)
    np.testing.assert_allclose(deviation, [0.0, 0.0, 1.0], atol=2e-3)


@pytest.mark.parametrize(
    "warp", [None, Warp(np.full(SPACE.dimension, 1.3), np.full(SPACE.dimension, 0.8))], ids=["plain", "warped"]
)
def test_the_posterior_changes_with_coordinates_as_it_says(warp: Warp | None) -> None:
    process = a_process(warp)
    for point in points(10, seed=3):
        mean, deviation, by_mean, by_deviation = process.predict_with_slope(point)
        assert (mean, deviation) == pytest.approx([values[0] for values in process.predict(point[None, :])])
        for position in range(SPACE.dimension):
            if np.isnan(point[position]) or not EMBEDDING.is_ordered[position]:
                assert by_mean[position] == by_deviation[position] == 0.0
                continue
            step = 1e-6 * np.eye(SPACE.dimension)[position]
            high, low = (process.predict((point + sign * step)[None, :]) for sign in (1.0, -1.0))
            assert by_mean[position] == pytest.approx((high[0] - low[0])[0] / 2e-6, rel=1e-4, abs=1e-6)
            assert by_deviation[position] == pytest.approx((high[1] - low[1])[0] / 2e-6, rel=1e-4, abs=1e-6)


def test_believing_in_pending_trials_keeps_the_means_and_takes_the_doubt_there() -> None:
    process, pending, elsewhere = a_process(), points(3, seed=7), points(5, seed=8)
    believing = process.believing(pending)
    np.testing.assert_allclose(believing.predict(elsewhere)[0], process.predict(elsewhere)[0], atol=1e-3)
    assert (believing.predict(elsewhere)[1] <= process.predict(elsewhere)[1] + 1e-9).all()
    np.testing.assert_allclose(believing.predict(pending)[1], 0.0, atol=0.02)
    assert process.predict(pending)[1].mean() > 0.1


def test_the_same_configuration_many_times_is_no_singular_matrix() -> None:
    chosen = Hyperparameters(np.ones(SPACE.dimension), signal=1.0, noise=1e-6)
    units = np.repeat(points(2), 20, axis=0)
    mean, deviation = GaussianProcess(EMBEDDING, chosen, units, np.repeat([1.0, -1.0], 20)).predict(units)
    np.testing.assert_allclose(mean, np.repeat([1.0, -1.0], 20), atol=1e-3)
    assert np.isfinite(deviation).all()


# --- targets ----------------------------------------------------------------------------------------------------


def test_bending_by_power_one_is_no_bending() -> None:
    losses = np.array([-2.0, -0.5, 0.0, 3.0])
    np.testing.assert_allclose(bend(losses, 1.0)[0], losses)


@pytest.mark.parametrize("power", [-1.0, -0.3, 0.0, 1e-6, 0.5, 1.0])
def test_bending_keeps_the_order_and_tells_how_it_changes_with_the_power(power: float) -> None:
    losses = np.array([-3.0, -0.5, 0.0, 0.2, 5.0])
    bent, by_power = bend(losses, power)
    assert (np.diff(bent) > 0).all()
    np.testing.assert_allclose(
        by_power, (bend(losses, power + 1e-4)[0] - bend(losses, power - 1e-4)[0]) / 2e-4, rtol=1e-4
    )


def test_lower_powers_draw_in_the_bad_tail() -> None:
    losses = np.array([-1.0, 0.0, 100.0])
    assert bend(losses, 0.0)[0][2] == pytest.approx(math.log(101.0))


@pytest.mark.parametrize("losses", [[3.0, 3.0], [0.0, 0.0], [1e300, 1e300], [7.0]], ids=str)
def test_losses_without_spread_become_zeros(losses: list[float]) -> None:
    np.testing.assert_array_equal(standardised(np.array(losses)), np.zeros(len(losses)))


def test_losses_of_any_size_are_standardised() -> None:
    for scale in (1e-200, 1.0, 1e300):
        scores = standardised(scale * np.array([1.0, 2.0, 4.0]))
        assert (scores.mean(), scores.std()) == pytest.approx((0.0, 1.0))


def test_outliers_do_not_change_the_scale_of_the_others() -> None:
    losses = np.arange(20.0)
    with_outlier = np.append(losses[:-1], 1e9)
    np.testing.assert_allclose(scaled(with_outlier)[:-1], scaled(losses)[:-1])


def test_the_scale_of_losses_most_of_which_are_equal_is_their_spread() -> None:
    scores = scaled(np.array([1.0] * 9 + [2.0]))
    assert scores.std() == pytest.approx(1.0)


def test_normal_scores_are_symmetric_and_in_order() -> None:
    scores = normal_scores(np.array([2, 0, 1]))
    np.testing.assert_allclose(scores, [scores[0], -scores[0], 0.0], atol=1e-12)
    assert scores[0] > 0


def test_scalarised_losses_prefer_what_the_weights_ask_for() -> None:
    losses = np.array([[0.0, 10.0], [5.0, 5.0], [10.0, 0.0], [10.0, 10.0]])
    for weights, best in (((1.0, 0.0), 0), ((0.5, 0.5), 1), ((0.0, 1.0), 2)):
        assert int(np.argmin(scalarised(losses, np.array(weights)))) == best


def test_losses_are_comparable_where_the_ranking_of_the_feasible_is_theirs() -> None:
    history = a_history(a_float(), constraints=({"metric": "size", "max": 1.0},))
    for loss, size in ((0.3, 0.0), (0.1, 2.0), (0.2, 0.0)):
        with_trial(history, {"lr": 0.01}, loss=loss, size=size)
    losses = comparable_losses(history, np.array([2, 0, 1]))
    assert losses is not None
    np.testing.assert_array_equal(losses[:, 0], [0.2, 0.3, 0.1])
    assert comparable_losses(history, np.array([0, 2, 1])) is None


def test_an_excess_is_zero_at_its_bound_and_beyond_it_where_the_metric_is_missing() -> None:
    history = a_history(a_float(), constraints=({"metric": "size", "min": 1.0, "max": 5.0},))
    for size in (1.0, 3.0, 5.0, 50.0, math.nan):
        with_trial(history, {"lr": 0.01}, loss=0.0, size=size)
    above, below = excesses(history, np.arange(5))
    assert np.sign(above.values).tolist() == [-1.0, -1.0, 0.0, 1.0, 1.0]
    assert np.sign(below.values).tolist() == [0.0, -1.0, -1.0, -1.0, 1.0]
    assert above.targets[2] == pytest.approx(above.limit)
    assert above.values[4] >= above.values[3]


@pytest.mark.parametrize(("size", "sign"), [(0.5, 1.0), (2.0, -1.0)])
def test_a_bound_that_all_trials_keep_or_break_alike_is_far_away(size: float, sign: float) -> None:
    history = a_history(a_float(), constraints=({"metric": "size", "max": 1.0},))
    for _ in range(3):
        with_trial(history, {"lr": 0.01}, loss=0.0, size=size)
    (excess,) = excesses(history, np.arange(3))
    assert excess.limit * sign > 5.0
    np.testing.assert_array_equal(excess.targets, 0.0)


# --- acquisitions -----------------------------------------------------------------------------------------------


def test_expected_improvement_of_the_worked_example() -> None:
    mean, deviation = np.array([0.6]), np.array([0.3])
    exploitation, exploration = improvement_parts(mean, deviation, best=0.7)
    assert exploitation[0] == pytest.approx(0.063, abs=5e-4)
    assert exploration[0] == pytest.approx(0.113, abs=5e-4)
    assert expected_improvement(mean, deviation, best=0.7).value[0] == pytest.approx(0.176, abs=5e-4)


@pytest.mark.parametrize(("mean", "deviation"), [(0.6, 0.3), (2.0, 0.5), (-1.0, 0.2), (0.7, 1.0)])
def test_expected_improvement_is_the_integral_that_defines_it(mean: float, deviation: float) -> None:
    integral = quad(lambda loss: (0.7 - loss) * norm.pdf(loss, mean, deviation), mean - 12 * deviation, 0.7)[0]
    assert expected_improvement(np.array([mean]), np.array([deviation]), 0.7).value[0] == pytest.approx(integral)


def test_log_expected_improvement_is_the_logarithm_where_that_exists() -> None:
    mean, deviation = np.linspace(-3.0, 20.0, 200), np.full(200, 0.7)
    plain = expected_improvement(mean, deviation, 0.5).value
    exists = plain > 1e-280
    assert exists.sum() > 150
    log = log_expected_improvement(mean, deviation, 0.5).value
    np.testing.assert_allclose(log[exists][:150], np.log(plain[exists][:150]), rtol=1e-6, atol=1e-9)


def test_log_expected_improvement_is_finite_smooth_and_falling_far_beyond_underflow() -> None:
    mean = np.logspace(0.0, 7.0, 4000)
    log = log_expected_improvement(mean, np.ones_like(mean), 0.0)
    assert np.isfinite(log.value).all()
    assert (np.diff(log.value) < 0).all()
    # Between neighbours the value changes as the slopes say: no branch of the computation is off.
    expected = 0.5 * (log.by_mean[1:] + log.by_mean[:-1]) * np.diff(mean)
    np.testing.assert_allclose(np.diff(log.value), expected, rtol=1e-4)


ACQUISITIONS = {
    name: make_acquisition(name, best=0.4, exploration=1.7, margin=0.05) for name in ("log-ei", "ei", "ucb", "pi")
}


@pytest.mark.parametrize("name", ACQUISITIONS)
@pytest.mark.parametrize("mean", [-1.0, 0.4, 1.5, 4.0])
def test_acquisitions_change_with_mean_and_deviation_as_they_say(name: str, mean: float) -> None:
    acquisition: Acquisition = ACQUISITIONS[name]
    at = np.array([mean, 0.6])
    promise = acquisition(at[:1], at[1:])
    numeric = finite_differences(lambda pair: acquisition(pair[:1], pair[1:]).value[0], at)
    np.testing.assert_allclose([promise.by_mean[0], promise.by_deviation[0]], numeric, rtol=1e-5, atol=1e-8)


@pytest.mark.option("gp.acquisition")
@pytest.mark.parametrize(("name", "preferred"), [("pi", 0), ("ei", 1), ("log-ei", 1), ("ucb", 2)])
def test_each_acquisition_prefers_what_it_is_for(name: Any, preferred: int) -> None:
    """Sure of a little, likely to gain much, and hardly likely to gain very much, over the best of 0.4."""
    sampler = GpSampler(SPACE, GpSettings(acquisition=name), seed=0, max_trials=100)
    acquisition = sampler._acquisition(0.4, is_bounded=False)
    means, deviations = np.array([0.34, 0.3, 1.4]), np.array([0.005, 0.3, 1.2])
    assert np.argmax(acquisition(means, deviations).value) == preferred


def test_the_probability_of_improvement_is_the_normal_distributions() -> None:
    promise = ACQUISITIONS["pi"](np.array([0.5]), np.array([0.2]))
    assert np.exp(promise.value[0]) == pytest.approx(norm.cdf(0.35, 0.5, 0.2))


def test_the_optimistic_bound_weighs_deviations() -> None:
    assert ACQUISITIONS["ucb"](np.array([0.5]), np.array([0.2])).value[0] == pytest.approx(1.7 * 0.2 - 0.5)


def test_a_landscape_is_the_sum_of_improvement_and_the_chances_to_keep_bounds() -> None:
    process = a_process()
    bound = Bound(a_process(count=12), limit=0.3)
    landscape = Landscape([ModelTerm(process, ACQUISITIONS["log-ei"]), bound.term])
    asked = points(6, seed=4)
    mean, deviation = bound.process.predict(asked)
    expected = ACQUISITIONS["log-ei"](*process.predict(asked)).value + norm.logcdf((0.3 - mean) / deviation)
    np.testing.assert_allclose(landscape.score(asked), expected)
    assert bound.is_kept(asked).tolist() == (mean <= 0.3).tolist()
    for point in asked:
        value, by_coordinate = landscape.slope(point)
        assert value == pytest.approx(landscape.score(point[None, :])[0])
        step = 1e-6 * np.eye(SPACE.dimension)[0]
        high, low = landscape.score((point + step)[None, :])[0], landscape.score((point - step)[None, :])[0]
        assert by_coordinate[0] == pytest.approx((high - low) / 2e-6, rel=1e-4, abs=1e-6)


# --- search -----------------------------------------------------------------------------------------------------


def test_the_search_finds_a_narrow_peak_in_a_branch_of_a_conditional_space() -> None:
    target = encoded(x=0.123, c="a", m=0.777, n=4, k=2)

    def score(units: FloatArray) -> FloatArray:
        return -squared_distances(EMBEDDING(units), EMBEDDING(target))[:, 0]

    def slope(point: FloatArray) -> tuple[float, FloatArray]:
        units = point[None, :]
        by_coordinate = -2.0 * (EMBEDDING(units) - EMBEDDING(target)) * EMBEDDING.slope(units)
        return float(score(units)[0]), EMBEDDING.by_parameter(by_coordinate)[0]

    incumbents = encoded(x=0.9, c="b", n=1, k=1)
    best = AcquisitionSearch(SPACE).best_first(score, slope, incumbents, np.random.default_rng(0))[0]
    np.testing.assert_allclose(best, target[0], atol=1e-4)


# --- how often hyperparameters are fitted -----------------------------------------------------------------------


@pytest.mark.parametrize("metrics", [("loss",), ("loss", "size")], ids=["one objective", "two objectives"])
def test_hyperparameters_are_fitted_when_the_trials_have_grown_by_a_tenth(
    metrics: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = []

    def best(_fit: Fit, start: Hyperparameters, iterations: int) -> Hyperparameters:
        fits.append(iterations)
        return start

    monkeypatch.setattr(Fit, "best", best)
    parameters = a_float("x", 0.0, 1.0, "linear"), a_float("y", 0.0, 1.0, "linear")
    history = a_history(*parameters, objectives=[(metric, "minimize") for metric in metrics])
    sampler = GpSampler(history.space, GpSettings(), seed=0, max_trials=1000)
    for number, (x, y) in enumerate(points(60, seed=4, space=history.space), start=1):
        if number > 50:  # as many trials have ended
            sampler.propose(history, number, trial_rng(0, number))
        with_trial(history, {"x": x, "y": y}, loss=x**2 + y, size=(1.0 - x) ** 2 + y)
    assert len(fits) == 2 * len(metrics), "of 50 and of 55 trials"


# --- when to look elsewhere -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("losses", "is_settled"),
    [
        ([5.0, 3.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], True),
        ([5.0, 3.0, 1.0, 0.999, 0.998, 0.997, 0.996, 0.995], True),
        ([5.0, 3.0, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5], False),
        ([5.0, 3.0, 1.0, 4.0, 2.0, 3.0], False),
        ([5.0, 3.0, 1.0, 4.0, 2.0, 3.0, 6.0, 2.0], True),
        ([2.0, 2.0], False),
    ],
    ids=["repeated", "polished", "improving", "a moment ago", "nothing better", "level"],
)
def test_the_best_has_settled_once_nothing_worthwhile_is_found(losses: list[float], is_settled: bool) -> None:
    order = np.argsort(losses, kind="stable")
    assert has_settled(order, np.array(losses)[order]) is is_settled


def test_a_settled_search_looks_elsewhere_every_other_time() -> None:
    history = a_history(a_float("x", 0.0, 1.0, "linear"), a_float("y", 0.0, 1.0, "linear"))
    for x, y in points(20, seed=4, space=history.space):
        with_trial(history, {"x": x, "y": y}, float((x - 0.5) ** 2 + (y - 0.5) ** 2))
    for index in range(6):
        with_trial(history, {"x": 0.5 + 1e-5 * index, "y": 0.5}, 1e-10 * index**2)
    sampler = GpSampler(history.space, GpSettings(closing_share=0.0), seed=0, max_trials=100)
    proposals = [sampler.propose(history, number, trial_rng(0, number)) for number in range(27, 33)]
    away = [float(np.hypot(each["x"] - 0.5, each["y"] - 0.5)) for each in proposals]
    assert max(away[::2]) < 0.1 * min(away[1::2])
