"""Expected hypervolume improvement: how much more a front is expected to dominate with a point, by a model per objective.

What the front does not dominate, up to the reference point, is cut into boxes. Of a box a point adds, along each objective,
what lies above the point's loss. The models being independent, the expected volume is the product of the expected lengths,
and a length is the difference of two expected improvements, on the box's upper and on its lower edge (Yang et al.,
"Efficient computation of expected hypervolume improvement using box decomposition algorithms", Journal of Global
Optimization 75, 2019). The logarithm is computed throughout, which has a gradient where the improvement itself underflows
(Ament et al., "Unexpected improvements to expected improvement for Bayesian optimization", NeurIPS 2023).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from podium_suggestion.history import IntArray
from podium_suggestion.pareto import crowding_distances, undominated_boxes
from podium_suggestion.samplers.gp.acquisition import log_expected_improvement
from podium_suggestion.samplers.gp.model import GaussianProcess
from podium_suggestion.space import FloatArray

_MOST_BOXES = 2_000
"""About so many boxes at most: a front of more points is thinned, the most crowded first."""
_THINNEST = 1e-9
"""Ratio of two expected improvements beyond which their difference would be rounding, as 1 minus the ratio."""


@dataclass(frozen=True)
class _Edges:
    """The different edges of the boxes along one objective, the first of them -inf."""

    losses: FloatArray
    lower: IntArray
    """Which is the lower edge of each box, shape (boxes,); so with `upper`."""
    upper: IntArray


class HypervolumeTerm:
    """The logarithm of the expected hypervolume improvement, as a function of encoded points."""

    def __init__(self, processes: Sequence[GaussianProcess], losses: FloatArray, reference: FloatArray) -> None:
        """Improve on losses as the processes have them, shape (n, objectives), up to a reference point."""
        self._processes = processes
        lower, upper = undominated_boxes(thinned(losses), reference)
        self._edges = [_edges(lows, highs) for lows, highs in zip(lower.T, upper.T, strict=True)]

    def score(self, units: FloatArray) -> FloatArray:
        """Return the values at points, shape (k,) from (k, dimension)."""
        total: FloatArray | float = 0.0
        for process, edges in zip(self._processes, self._edges, strict=True):
            total = total + _Lengths(*process.predict(units), edges).log_length
        return np.asarray(logsumexp(total, axis=0))

    def slope(self, point: FloatArray) -> tuple[float, FloatArray]:
        """Return the value at a point and its derivatives by the coordinates, shape (dimension,)."""
        logs, slopes = [], []
        for process, edges in zip(self._processes, self._edges, strict=True):
            mean, deviation, by_mean, by_deviation = process.predict_with_slope(point)
            lengths = _Lengths(np.array([mean]), np.array([deviation]), edges)
            logs.append(lengths.log_length)
            slopes.append(lengths.by_mean * by_mean + lengths.by_deviation * by_deviation)
        log_volumes = np.sum(logs, axis=0)[:, 0]
        value = float(logsumexp(log_volumes))
        return value, np.exp(log_volumes - value) @ np.sum(slopes, axis=0)


class _Lengths:
    """What is expected to be gained of each box along one objective, from means and deviations, shape (k,) each."""

    def __init__(self, mean: FloatArray, deviation: FloatArray, edges: _Edges) -> None:
        at_edges = log_expected_improvement(mean, deviation, edges.losses[1:, None])
        none = np.zeros((1, len(mean)))
        log_gains = np.vstack([none - np.inf, at_edges.value])
        self._edges = edges
        self._slopes = [np.vstack([none, slope]) for slope in (at_edges.by_mean, at_edges.by_deviation)]
        upper = log_gains[edges.upper]
        self._ratio = np.minimum(np.exp(log_gains[edges.lower] - upper), 1.0 - _THINNEST)
        self.log_length = upper + np.log1p(-self._ratio)
        """Shape (boxes, k), as are the derivatives."""

    @property
    def by_mean(self) -> FloatArray:
        return self._difference(self._slopes[0])

    @property
    def by_deviation(self) -> FloatArray:
        return self._difference(self._slopes[1])

    def _difference(self, slopes: FloatArray) -> FloatArray:
        upper, lower = slopes[self._edges.upper], slopes[self._edges.lower]
        return np.asarray((upper - self._ratio * lower) / (1.0 - self._ratio))


def thinned(losses: FloatArray) -> FloatArray:
    """Return as many losses, shape (n, objectives), as make a limited number of boxes: the least crowded."""
    most, objectives = len(losses), losses.shape[1]
    while _box_count(most, objectives) > _MOST_BOXES:
        most -= 1
    if most == len(losses):
        return losses
    return losses[np.argsort(-crowding_distances(losses), kind="stable")[:most]]


def _box_count(points: int, objectives: int) -> float:
    """Return about how many boxes a front leaves: a slice a point, and in it those of the points below."""
    count = 1.0
    for divisor in range(1, objectives):
        count *= points / divisor + 1.0
    return count


def _edges(lows: FloatArray, highs: FloatArray) -> _Edges:
    losses, places = np.unique(np.concatenate([lows, highs]), return_inverse=True)
    return _Edges(losses, places[: len(lows)], places[len(lows) :])
