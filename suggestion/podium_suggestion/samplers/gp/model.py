"""A Gaussian process over configurations: fitted by marginal likelihood, asked for means and deviations.

Hyperparameters are one length scale per parameter, the signal's and the noise's variance, with output warping the power
that bends the losses, and with input warping two shapes per ordered parameter. They are chosen together, so that the
bend is the one under which the losses are most like a Gaussian process (Snelson et al., "Warped Gaussian processes",
NeurIPS 2003), not the one under which they look most normal. Priors are weak; that of the length scales grows with the
square root of the number of parameters, so that a model of many is not lost (Hvarfner et al., "Vanilla Bayesian
optimization performs great in high dimensions", ICML 2024).

Rasmussen and Williams, "Gaussian processes for machine learning", 2006: equations (2.25), (2.26), (2.30) and (5.9).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri, dtrtri
from scipy.optimize import minimize

from podium_suggestion.samplers.gp.kernel import Embedding, Warp, matern, squared_distances
from podium_suggestion.samplers.gp.sums import Sums, SumsAmong, sum_distances, sums_about, sums_across
from podium_suggestion.samplers.gp.targets import bend, standardised
from podium_suggestion.space import FloatArray

_LENGTH_MEAN = float(np.sqrt(2.0))
_LENGTH_DEVIATION = float(np.sqrt(3.0))
"""Prior of log(length scale) - log(active parameters) / 2 (Hvarfner et al., 2024)."""
_JUMPY_LENGTH_MEAN = 0.0
"""The same for choices and for parameters with a condition: taken not to matter until the trials say otherwise, a branch
would be given up for one bad trial in it, and a value never tried would be no reason to try it."""
_FIRST_LENGTH = 0.2
"""Where fits start, relative to the square root of the number of parameters: about the prior's mode."""
_OWN_LENGTH_DEVIATION = 1.0
"""Prior deviation of the logarithm of the sums' length scales about that of `_FIRST_OWN_LENGTH`."""
_FIRST_OWN_LENGTH = 0.3
_SHARE_MEAN, _SHARE_DEVIATION = -1.0, 1.5
"""Prior of log(share / (1 - share)) of the sums in the signal."""
_SIGNAL_DEVIATION = 1.0
"""Prior deviation of log(signal variance) about 0: the targets' own variance."""
_NOISE_MEAN, _NOISE_DEVIATION = -8.0, 3.0
"""Prior of log(noise variance): most trainings repeat to within a few per cent of the losses' spread."""
_POWER_DEVIATION = 0.5
"""Prior deviation of the power about 1: losses as they are."""
_WARP_DEVIATION = 0.5
"""Prior deviation of log(a) and log(b) about 0: no warp."""
_LENGTH_BOUNDS = (float(np.log(5e-3)), float(np.log(1e3)))
_SIGNAL_BOUNDS = (float(np.log(1e-2)), float(np.log(1e2)))
_NOISE_BOUNDS = (float(np.log(1e-6)), float(np.log(1.0)))
_POWER_BOUNDS = (-1.0, 1.0)
"""Lower powers draw in the tail of bad losses."""
_WARP_BOUNDS = (-1.5, 1.5)
_SHARE_BOUNDS = (-7.0, 7.0)
_FIRST_JITTER, _MOST_JITTER = 1e-10, 1e-2
_FIT_TOLERANCE = 1e-6
"""Of the density's logarithm, relative: a fit that gains less in a step has ended. Smaller ones find no more."""
_LEAST_VARIANCE = 1e-12
"""Rounding may leave the variance at a known point below 0."""


@dataclass(frozen=True)
class Hyperparameters:
    """What the kernel is made of."""

    lengths: FloatArray
    """Length scales, shape (dimension,), in units of the embedding."""
    signal: float
    """Variance of the losses."""
    noise: float
    """Variance of what a repetition would change."""
    power: float = 1.0
    """How losses are bent (targets.py); 1 leaves them as they are."""
    warp: Warp | None = None
    """How coordinates are bent."""
    sums: Sums | None = None
    """What part of the signal is a sum; None where all of it may interact."""

    def targets(self, losses: FloatArray) -> FloatArray:
        """Return losses of a common scale bent and standardised, shape (n,)."""
        return standardised(bend(losses, self.power)[0])

    @classmethod
    def typical(cls, embedding: Embedding) -> Self:
        """Return where fits start: from length scales at the short end, which more data lengthen, seldom the reverse."""
        count = len(embedding.matters)
        lengths = np.full(embedding.dimension, _FIRST_LENGTH * np.sqrt(embedding.active_count))
        sums = Sums(0.3, np.full(count, _FIRST_OWN_LENGTH)) if count > 1 else None
        return cls(lengths, signal=1.0, noise=1e-3, sums=sums)


class Fit:
    """The posterior density of hyperparameters, as a function of one vector that an optimiser moves.

    The vector holds log lengths of the parameters that matter, log signal, log noise, the power, and with input warping
    log a and log b of the ordered parameters.
    """

    def __init__(
        self,
        embedding: Embedding,
        units: FloatArray,
        losses: FloatArray,
        *,
        bending: bool = False,
        warping: bool = False,
    ) -> None:
        """Take encoded points, shape (n, dimension), and losses of a common scale, shape (n,).

        `bending` learns the power of the output, `warping` the shapes of the input.
        """
        self._embedding = embedding
        self._units = units
        self._losses = losses
        self._bending = bending
        self._log_size = float((np.sign(losses) * np.log1p(np.abs(losses))).sum())
        self._lengths = len(embedding.matters)
        self._warped = np.flatnonzero(embedding.is_ordered) if warping else np.empty(0, dtype=np.int64)
        by_kind = np.where(embedding.is_line, _LENGTH_MEAN, _JUMPY_LENGTH_MEAN)
        self._length_means = by_kind + 0.5 * float(np.log(embedding.active_count))
        self._plain = None if warping else embedding(units)
        self._functions = self._lengths if self._lengths > 1 else 0
        self._distances: FloatArray | None = None
        if self._plain is not None and self._functions:
            self._distances = sum_distances(embedding, self._plain)

    @property
    def bounds(self) -> list[tuple[float, float]]:
        return [
            *[_LENGTH_BOUNDS] * self._lengths,
            _SIGNAL_BOUNDS,
            _NOISE_BOUNDS,
            _POWER_BOUNDS if self._bending else (1.0, 1.0),
            *[_SHARE_BOUNDS] * (self._functions > 0),
            *[_LENGTH_BOUNDS] * self._functions,
            *[_WARP_BOUNDS] * (2 * len(self._warped)),
        ]

    def vector(self, hyperparameters: Hyperparameters) -> FloatArray:
        """Return hyperparameters as a vector."""
        lengths = np.log(hyperparameters.lengths[self._embedding.matters])
        warp = hyperparameters.warp or _no_warp(self._embedding.dimension)
        shapes = np.log(np.concatenate([warp.a[self._warped], warp.b[self._warped]]))
        variances = np.log([hyperparameters.signal, hyperparameters.noise])
        sums = hyperparameters.sums
        own = [] if sums is None else [[np.log(sums.share) - np.log1p(-sums.share)], np.log(sums.lengths)]
        return np.concatenate([lengths, variances, [hyperparameters.power], *own, shapes])

    def hyperparameters(self, vector: FloatArray) -> Hyperparameters:
        """Return what a vector stands for."""
        lengths = np.ones(self._embedding.dimension)
        lengths[self._embedding.matters] = np.exp(vector[: self._lengths])
        signal, noise = np.exp(vector[self._lengths : self._lengths + 2])
        power = vector[self._lengths + 2]
        warp = None
        rest = vector[self._lengths + 3 :]
        sums = None
        if self._functions:
            share = float(1.0 / (1.0 + np.exp(-rest[0])))
            sums = Sums(share, np.exp(rest[1 : self._functions + 1]))
            rest = rest[self._functions + 1 :]
        if len(self._warped):
            warp = _no_warp(self._embedding.dimension)
            warp.a[self._warped], warp.b[self._warped] = np.split(np.exp(rest), 2)
        return Hyperparameters(lengths, float(signal), float(noise), float(power), warp, sums)

    def loss(self, vector: FloatArray) -> tuple[float, FloatArray]:
        """Return minus the logarithm of the posterior density, up to a constant, and its gradient."""
        chosen = self.hyperparameters(vector)
        units = self._units if chosen.warp is None else chosen.warp(self._units)
        coordinates = self._embedding(units) if self._plain is None else self._plain
        scale = chosen.lengths[self._embedding.owner]
        scaled = coordinates / scale
        product, slope = matern(_own_squares(scaled))
        summed = None if chosen.sums is None else self._summed(chosen.sums, coordinates, product)
        correlation = product if summed is None else summed.mixed
        covariance = chosen.signal * correlation
        factor = _cholesky(covariance, chosen.noise)
        inverse = _inverse(factor)
        targets, by_power, log_slope, log_slope_by_power = self._targets(chosen.power)
        weights = inverse @ targets
        evidence = 0.5 * float(targets @ weights) + float(np.log(np.diag(factor)).sum()) - log_slope

        sensitivity = inverse - np.outer(weights, weights)  # twice the derivative by the covariance
        by_correlation = chosen.signal * sensitivity
        by_distance = -by_correlation * slope  # twice the derivative by the squared distances
        if chosen.sums is not None:
            by_distance *= 1.0 - chosen.sums.share
        moved = by_distance.sum(axis=1)[:, None] * scaled - by_distance @ scaled
        by_lengths = self._embedding.by_parameter(-2.0 * (scaled * moved).sum(axis=0))[self._embedding.matters]
        by_signal = 0.5 * float((sensitivity * covariance).sum())
        by_noise = 0.5 * chosen.noise * float(np.trace(sensitivity))
        by_bend = float(weights @ by_power) - log_slope_by_power
        by_sums = np.empty(0) if summed is None else summed.slope(by_correlation)
        by_shapes = np.empty(0)
        if chosen.warp is not None:
            by_coordinates = 2.0 * moved / scale
            if summed is not None:
                by_coordinates += summed.by_coordinates(by_correlation, self._embedding, coordinates)
            by_shapes = self._by_shapes(chosen.warp, units, by_coordinates)
        prior, by_prior = self._prior(vector)
        gradient = np.concatenate([by_lengths, [by_signal, by_noise, by_bend], by_sums, by_shapes])
        return evidence + prior, gradient + by_prior

    def best(self, start: Hyperparameters, iterations: int) -> Hyperparameters:
        """Return the most probable hyperparameters that so many steps of L-BFGS reach from a start."""
        found = minimize(
            self.loss,
            self.vector(start),
            jac=True,
            method="L-BFGS-B",
            bounds=self.bounds,
            options={"maxiter": iterations, "maxfun": 2 * iterations, "ftol": _FIT_TOLERANCE},
        )
        return self.hyperparameters(found.x)

    def _summed(self, sums: Sums, coordinates: FloatArray, product: FloatArray) -> SumsAmong:
        distances = sum_distances(self._embedding, coordinates) if self._distances is None else self._distances
        return SumsAmong(sums, distances, product)

    def _targets(self, power: float) -> tuple[FloatArray, FloatArray, float, float]:
        """Return the targets, shape (n,), their derivatives by the power, and log of the product of their slopes with its.

        The slopes are those by the losses; without them the likelihood would favour whatever flattens the losses.
        """
        bent, by_power = bend(self._losses, power)
        spread = float(bent.std())
        if spread == 0.0:
            return bent, by_power, 0.0, 0.0
        targets = (bent - bent.mean()) / spread
        log_spread_by_power = float(targets @ by_power) / (len(bent) * spread)
        by_power = (by_power - by_power.mean()) / spread - targets * log_spread_by_power
        log_slope = (power - 1.0) * self._log_size - len(bent) * float(np.log(spread))
        return targets, by_power, log_slope, self._log_size - len(bent) * log_spread_by_power

    def _by_shapes(self, warp: Warp, warped: FloatArray, by_coordinates: FloatArray) -> FloatArray:
        """Return the derivatives by log a and log b, given those by the embedding's coordinates."""
        by_warped = self._embedding.by_parameter(by_coordinates * self._embedding.slope(warped))
        shapes = [(by_warped * slope)[:, self._warped] for slope in warp.slope_by_shape(self._units)]
        return np.concatenate([np.nansum(shape, axis=0) for shape in shapes])

    def _prior(self, vector: FloatArray) -> tuple[float, FloatArray]:
        """Return minus the logarithm of the prior density and its gradient: independent normals."""
        means = np.zeros(len(vector))
        deviations = np.full(len(vector), _WARP_DEVIATION)
        means[: self._lengths], deviations[: self._lengths] = self._length_means, _LENGTH_DEVIATION
        deviations[self._lengths] = _SIGNAL_DEVIATION
        means[self._lengths + 1], deviations[self._lengths + 1] = _NOISE_MEAN, _NOISE_DEVIATION
        means[self._lengths + 2], deviations[self._lengths + 2] = 1.0, _POWER_DEVIATION
        if self._functions:
            first = self._lengths + 3
            means[first], deviations[first] = _SHARE_MEAN, _SHARE_DEVIATION
            own = slice(first + 1, first + 1 + self._functions)
            means[own], deviations[own] = np.log(_FIRST_OWN_LENGTH), _OWN_LENGTH_DEVIATION
        scores = (vector - means) / deviations
        return 0.5 * float(scores @ scores), scores / deviations


class GaussianProcess:
    """The posterior given data."""

    def __init__(
        self, embedding: Embedding, hyperparameters: Hyperparameters, units: FloatArray, targets: FloatArray
    ) -> None:
        """Condition on encoded points, shape (n, dimension), n > 0, and their targets, shape (n,)."""
        self._embedding = embedding
        self._hyperparameters = hyperparameters
        self._scale = hyperparameters.lengths[embedding.owner]
        self._units = units
        self._targets = targets
        self._coordinates = self._embedded(units)
        self._points = self._coordinates / self._scale
        correlation = matern(_own_squares(self._points))[0]
        if hyperparameters.sums is not None:
            summed = sums_across(embedding, self._coordinates, self._coordinates, hyperparameters.sums.lengths)
            correlation += hyperparameters.sums.share * (summed - correlation)
        covariance = hyperparameters.signal * correlation
        factor = _cholesky(covariance, hyperparameters.noise)
        self._whitener = np.tril(dtrtri(factor, lower=1)[0])
        self._weights = self._whitener.T @ (self._whitener @ targets)

    @property
    def fitted(self) -> FloatArray:
        """The means at the data, shape (n,): K w, where (K + noise) w are the targets."""
        return np.asarray(self._targets - self._hyperparameters.noise * self._weights)

    def predict(self, units: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the loss's mean and standard deviation, noise apart, at encoded points, shape (k,) each."""
        signal, sums = self._hyperparameters.signal, self._hyperparameters.sums
        coordinates = self._embedded(units)
        correlation = matern(squared_distances(coordinates / self._scale, self._points))[0]
        if sums is not None:
            summed = sums_across(self._embedding, coordinates, self._coordinates, sums.lengths)
            correlation += sums.share * (summed - correlation)
        covariance = signal * correlation
        white = self._whitener @ covariance.T
        variance = np.maximum(signal - np.einsum("ij,ij->j", white, white), _LEAST_VARIANCE)
        return covariance @ self._weights, np.sqrt(variance)

    def predict_with_slope(self, point: FloatArray) -> tuple[float, float, FloatArray, FloatArray]:
        """Return mean and deviation at one encoded point, and their derivatives by its coordinates, shape (dimension,)."""
        units = point[None, :]
        signal = self._hyperparameters.signal
        coordinates, sums = self._embedded(units), self._hyperparameters.sums
        correlation, slope = matern(squared_distances(coordinates / self._scale, self._points))
        by_square = slope[0][:, None] / self._scale**2
        if sums is not None:
            summed, by_summed = sums_about(self._embedding, coordinates, self._coordinates, sums.lengths)
            correlation += sums.share * (summed - correlation)
            by_square += sums.share * (by_summed - by_square)
        covariance = signal * correlation[0]
        white = self._whitener @ covariance
        variance = max(signal - float(white @ white), _LEAST_VARIANCE)
        deviation = float(np.sqrt(variance))
        # d covariance_j / d coordinate = -signal slope_j 2 (coordinate - coordinate_j)
        by_coordinate = -2.0 * signal * by_square * (coordinates - self._coordinates)
        by_units = self._embedding.by_parameter(by_coordinate * self._slope(units))
        by_mean = self._weights @ by_units
        by_deviation = -((self._whitener.T @ white) @ by_units) / deviation
        return float(covariance @ self._weights), deviation, by_mean, by_deviation

    def believing(self, units: FloatArray) -> "GaussianProcess":
        """Return the process as it would be if points, shape (k, dimension), turned out as it predicts.

        It then predicts the same means, and is sure of them there (Ginsbourger et al., "Kriging is well-suited to
        parallelize optimization", 2010: the kriging believer).
        """
        if not len(units):
            return self
        targets = np.concatenate([self._targets, self.predict(units)[0]])
        return GaussianProcess(self._embedding, self._hyperparameters, np.vstack([self._units, units]), targets)

    def _embedded(self, units: FloatArray) -> FloatArray:
        warp = self._hyperparameters.warp
        return self._embedding(units if warp is None else warp(units))

    def _slope(self, units: FloatArray) -> FloatArray:
        """Return the derivatives of the coordinates by their own parameters, shape (n, coordinates)."""
        warp = self._hyperparameters.warp
        if warp is None:
            return self._embedding.slope(units)
        by_units = np.nan_to_num(warp.slope(units))[:, self._embedding.owner]
        return np.asarray(self._embedding.slope(warp(units)) * by_units)


def _no_warp(dimension: int) -> Warp:
    return Warp(np.ones(dimension), np.ones(dimension))


def _own_squares(scaled: FloatArray) -> FloatArray:
    squares = squared_distances(scaled, scaled)
    np.fill_diagonal(squares, 0.0)
    return squares


def _cholesky(covariance: FloatArray, noise: float) -> FloatArray:
    """Return the lower factor of covariance + noise, shape (n, n), with as little jitter on the diagonal as will do."""
    matrix = covariance.copy()
    diagonal = np.einsum("ii->i", matrix)
    diagonal += noise
    jitter = _FIRST_JITTER
    while jitter <= _MOST_JITTER:
        factor, info = dpotrf(matrix, lower=1, clean=1)
        if info == 0:
            return np.asarray(factor)
        diagonal += jitter * covariance[0, 0]
        jitter *= 10.0
    raise AssertionError("a kernel's matrix is positive definite but for rounding")


def _inverse(factor: FloatArray) -> FloatArray:
    """Return the inverse of the matrix whose lower Cholesky factor is given."""
    half = dpotri(factor, lower=1)[0]
    return np.asarray(np.tril(half) + np.tril(half, -1).T)
