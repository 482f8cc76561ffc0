"""What a configuration promises, by the model's mean and standard deviation of its loss there: acquisition functions.

All are to be maximised, for a loss that is minimised; m and s are mean and deviation, f the best loss so far, and
z = (f - m) / s:

- expected improvement, EI = s h(z) with h(z) = phi(z) + z Phi(z): z Phi(z) exploits, phi(z) explores (Mockus, 1975);
- log-EI, its logarithm, computed so that it neither underflows nor loses its gradient where EI is zero in floating point
  (Ament et al., "Unexpected improvements to expected improvement for Bayesian optimization", NeurIPS 2023);
- UCB, the optimistic bound k s - m (Srinivas et al., "Gaussian process optimization in the bandit setting", 2010);
- PI, the logarithm of the probability of improving by at least a margin, Phi(z) (Kushner, 1964).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import erfcx, log_ndtr, ndtr

from podium_suggestion.space import FloatArray

AcquisitionName = Literal["log-ei", "ei", "ucb", "pi"]
_LOG_SQRT_2PI = 0.5 * float(np.log(2.0 * np.pi))
_SQRT_HALF_PI = float(np.sqrt(np.pi / 2.0))
_SQRT_HALF = float(np.sqrt(0.5))
_NEAR = -1.0
"""Below this z phi(z) + z Phi(z) cancels, and is computed from the ratio of Phi to phi instead."""
_FAR = -1e3
"""Below this z even that cancels, and the asymptotic series takes over: its next term is below 1e-16."""


@dataclass(frozen=True)
class Promise:
    """An acquisition's values and how they change with the model's mean and deviation, shape (n,) each."""

    value: FloatArray
    by_mean: FloatArray
    by_deviation: FloatArray


Acquisition = Callable[[FloatArray, FloatArray], Promise]
"""Of means and positive deviations, shape (n,) each."""


def make_acquisition(name: AcquisitionName, best: float, exploration: float, margin: float) -> Acquisition:
    """Return an acquisition for the best loss so far; `exploration` is UCB's k, `margin` PI's."""
    match name:
        case "log-ei":
            return lambda mean, deviation: log_expected_improvement(mean, deviation, best)
        case "ei":
            return lambda mean, deviation: expected_improvement(mean, deviation, best)
        case "ucb":
            return lambda mean, deviation: upper_confidence_bound(mean, deviation, exploration)
        case "pi":
            return lambda mean, deviation: log_probability_of_improvement(mean, deviation, best - margin)


def expected_improvement(mean: FloatArray, deviation: FloatArray, best: float) -> Promise:
    """Return E[max(best - loss, 0)]: at mean 0.6, deviation 0.3 and best 0.7 it is 0.063 + 0.113 = 0.176."""
    exploitation, exploration = improvement_parts(mean, deviation, best)
    z = (best - mean) / deviation
    return Promise(exploitation + exploration, -ndtr(z), np.exp(-0.5 * z**2 - _LOG_SQRT_2PI))


def improvement_parts(mean: FloatArray, deviation: FloatArray, best: float) -> tuple[FloatArray, FloatArray]:
    """Return what exploitation, (best - m) Phi(z), and exploration, s phi(z), add to the expected improvement."""
    z = (best - mean) / deviation
    return (best - mean) * ndtr(z), deviation * np.exp(-0.5 * z**2 - _LOG_SQRT_2PI)


def log_expected_improvement(mean: FloatArray, deviation: FloatArray, best: float | FloatArray) -> Promise:
    """Return log E[max(best - loss, 0)]; of bests in a column, shape (m, 1), shape (m, n)."""
    z = (best - mean) / deviation
    log_h, slope = _log_h(z)
    return Promise(np.log(deviation) + log_h, -slope / deviation, (1.0 - z * slope) / deviation)


def upper_confidence_bound(mean: FloatArray, deviation: FloatArray, exploration: float) -> Promise:
    return Promise(exploration * deviation - mean, np.full_like(mean, -1.0), np.full_like(mean, exploration))


def log_probability_of_improvement(mean: FloatArray, deviation: FloatArray, threshold: float) -> Promise:
    """Return log P[loss < threshold]; the logarithm has the same optimum, and a gradient everywhere."""
    z = (threshold - mean) / deviation
    log_probability = log_ndtr(z)
    slope = np.exp(-0.5 * z**2 - _LOG_SQRT_2PI - log_probability)
    return Promise(log_probability, -slope / deviation, -z * slope / deviation)


def _log_h(z: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return log(phi(z) + z Phi(z)) and its derivative Phi(z) / (phi(z) + z Phi(z)), without cancellation."""
    near = np.maximum(z, _NEAR)
    density = np.exp(-0.5 * near**2 - _LOG_SQRT_2PI)
    plain = density + near * ndtr(near)
    middle = np.clip(z, _FAR, _NEAR)
    mills = _SQRT_HALF_PI * erfcx(-middle * _SQRT_HALF)
    left = 1.0 + middle * mills
    far = np.minimum(z, _FAR) ** -2.0
    series = 1.0 - 3.0 * far + 15.0 * far**2
    tail = -0.5 * z**2 - _LOG_SQRT_2PI
    beyond = np.where(z > _FAR, np.log(left), np.log(far * series)) + tail
    slope_beyond = np.where(z > _FAR, mills / left, -z * (1.0 - far + 3.0 * far**2) / series)
    is_near = z > _NEAR
    return np.where(is_near, np.log(plain), beyond), np.where(is_near, ndtr(near) / plain, slope_beyond)
