"""Parzen estimators on the unit cube: the density of configurations, a mixture of one kernel per trial and a uniform prior.

A kernel is a product over the parameters. On an ordered one it is a Gaussian truncated to [0, 1], integrated exactly over
the cells of a lattice; on a categorical one it keeps the trial's value with probability 1 - s and draws uniformly otherwise.
Densities are relative to the uniform one, so that a parameter about which nothing is known contributes the factor 1.

Conditional parameters need no special space: whether one is active follows from its parents, whose kernels are factors of
the product already. A kernel whose trial did not have a parameter knows nothing of it, so it is uniform there.

Bandwidths follow Scott's rule, b * k^(-1/(d + 4)), as usual, where b is the spread of the k trials on each parameter itself,
shrunk towards a typical one: parameters on which good trials agree are searched finely, those which do not matter coarsely.
"""

from typing import Protocol

import numpy as np
from scipy.special import ndtr, ndtri

from podium_suggestion.history import IntArray
from podium_suggestion.space import BoolArray, Column, FloatArray, Space

_PRIOR_SPREAD = 0.2
"""Spread that kernels have before any trial says otherwise: that of a parameter which matters somewhat."""
_PRIOR_TRIALS = 1.0
"""How many trials the prior spread weighs as much as."""
_SCALE = 0.8
"""Bandwidths relative to Scott's rule, which is made for densities with one peak (Scott, 1992)."""
_LEAST = 0.01
"""The narrowest kernel on a continuous parameter."""
_LEAST_CELLS = 0.3
"""The narrowest kernel on a lattice, in cells: one of twenty draws goes to either neighbour."""
_NARROW = 1e-9
"""Cells that are narrower are taken for points of a continuum: rounding leaves nothing to integrate over."""
_SQRT_2PI = float(np.sqrt(2.0 * np.pi))
_TINY = 1e-300
"""Stands for a mass of zero, whose logarithm would be infinite."""


class Parzen:
    """The density that trials suggest."""

    def __init__(
        self, space: Space, points: FloatArray, weights: FloatArray, prior_weight: float, *, joint: bool = True
    ) -> None:
        """Build it from encoded points, shape (k, dimension), and their weights, shape (k,).

        `prior_weight` is that of the uniform component. A joint density is one mixture of products; otherwise it is a
        product of mixtures, one per parameter, which cannot tell which values go together.
        """
        self._space = space
        self._joint = joint
        active = ~np.isnan(points)
        counts = active.sum(axis=0)
        # A trial without a parameter takes no part in that parameter's own mixture.
        parts = np.where(active, weights[:, None], 0.0)
        self._weights = np.vstack([parts, np.full(space.dimension, prior_weight)])
        self._joint_weights = np.append(weights, prior_weight)
        dimension = active.sum() / max(len(points), 1) if joint else 1.0
        shrinkage = _SCALE * np.maximum(counts, 1.0) ** (-1.0 / (dimension + 4.0))
        self._axes = [
            _axis(column, points[:, position], float(shrinkage[position]))
            for position, column in enumerate(space.columns)
        ]

    def log_density(self, points: FloatArray) -> FloatArray:
        """Return the logarithms of the density at encoded points, shape (n,) from (n, dimension)."""
        columns = [axis.log_kernels(points[:, position]) for position, axis in enumerate(self._axes)]
        if self._joint:
            return _log_mixture(np.asarray(sum(columns)), self._joint_weights)
        total = np.zeros(len(points))
        for position, kernels in enumerate(columns):
            mixture = _log_mixture(kernels, self._weights[:, position])
            total += np.where(np.isnan(points[:, position]), 0.0, mixture)
        return total

    def sample(self, rng: np.random.Generator, n: int) -> FloatArray:
        """Draw encoded points, shape (n, dimension)."""
        units = rng.random((n, self._space.dimension))
        kernels = _draw_kernels(rng, self._joint_weights, n)
        for position, axis in enumerate(self._axes):
            if not self._joint:
                kernels = _draw_kernels(rng, self._weights[:, position], n)
            units[:, position] = axis.draw(kernels, units[:, position])
        return self._space.encode(units)


class _Axis(Protocol):
    """The kernels' factors on one parameter. Kernel k, one above the last trial's, is the uniform prior."""

    def log_kernels(self, units: FloatArray) -> FloatArray:
        """Return the logarithms of each kernel's factor at encoded coordinates, shape (n, k) from (n,); 0 for NaN."""
        ...

    def draw(self, kernels: IntArray, uniform: FloatArray) -> FloatArray:
        """Return a coordinate from each of the kernels, shape (n,), made from uniform numbers, shape (n,)."""
        ...


def _axis(column: Column, centres: FloatArray, shrinkage: float) -> _Axis:
    if column.is_ordered:
        return _Gaussians(column, centres, shrinkage)
    return _Choices(column, centres, shrinkage)


class _Gaussians:
    """Truncated Gaussians about the trials' coordinates."""

    def __init__(self, column: Column, centres: FloatArray, shrinkage: float) -> None:
        self._column = column
        self._is_blind = np.isnan(centres)
        """Which kernels are uniform, for want of a coordinate."""
        self._centres = np.where(self._is_blind, 0.5, centres)
        self._widths = np.maximum(shrinkage * _spread(centres[~self._is_blind]), self._least())
        self._below = ndtr(-self._centres / self._widths)
        self._inside = ndtr((1.0 - self._centres) / self._widths) - self._below

    def log_kernels(self, units: FloatArray) -> FloatArray:
        known = np.where(np.isnan(units), 0.5, units)
        logs = self._log_densities(known) if self._column.size is None else self._log_masses(known)
        return _without_unknown(logs, units, self._is_blind)

    def draw(self, kernels: IntArray, uniform: FloatArray) -> FloatArray:
        is_uniform = np.append(self._is_blind, True)[kernels]
        chosen = np.where(is_uniform, 0, kernels)
        quantiles = self._below[chosen] + uniform * self._inside[chosen]
        drawn = self._centres[chosen] + self._widths[chosen] * ndtri(quantiles)
        return np.where(is_uniform, uniform, np.clip(drawn, 0.0, 1.0))

    def _least(self) -> FloatArray:
        column = self._column
        if column.size is None:
            return np.full(len(self._centres), _LEAST)
        cells = column.cell(self._centres)
        return np.maximum(_LEAST, _LEAST_CELLS * (column.edge(cells + 1.0) - column.edge(cells)))

    def _log_densities(self, units: FloatArray) -> FloatArray:
        scores = (units[:, None] - self._centres) / self._widths
        return np.asarray(-0.5 * scores**2 - np.log(self._widths * self._inside * _SQRT_2PI))

    def _log_masses(self, units: FloatArray) -> FloatArray:
        """Return the kernels' masses on the cells of `units`, relative to the uniform one.

        Trials of one cell share a kernel, so each is computed once.
        """
        cells = self._column.cell(units)
        low, high = self._column.edge(cells)[:, None], self._column.edge(cells + 1.0)[:, None]
        centres, first, inverse = np.unique(self._centres, return_index=True, return_inverse=True)
        widths, inside = self._widths[first], self._inside[first]
        masses = ndtr((high - centres) / widths) - ndtr((low - centres) / widths)
        cell_widths = high - low
        logs = np.log(np.maximum(masses, _TINY) / (np.maximum(cell_widths, _NARROW) * inside))[:, inverse]
        is_narrow = cell_widths[:, 0] < _NARROW
        if is_narrow.any():
            logs[is_narrow] = self._log_densities(units[is_narrow])
        return np.asarray(logs)


class _Choices:
    """Kernels that keep their trial's value, or draw any."""

    def __init__(self, column: Column, centres: FloatArray, shrinkage: float) -> None:
        assert column.size is not None
        self._column = column
        self._size = column.size
        self._is_blind = np.isnan(centres)
        self._centres = np.where(self._is_blind, 0.5, centres)
        self._cells = column.cell(self._centres)
        self._leave = shrinkage**2 * _disagreement(self._cells[~self._is_blind], self._size)
        """The share of draws that are uniform: the counterpart of a variance."""

    def log_kernels(self, units: FloatArray) -> FloatArray:
        cells = self._column.cell(np.where(np.isnan(units), 0.5, units))
        other, same = np.log([self._leave, self._leave + (1.0 - self._leave) * self._size])
        logs = np.full((len(units), len(self._cells)), other)
        logs[cells[:, None] == self._cells] = same
        return _without_unknown(logs, units, self._is_blind)

    def draw(self, kernels: IntArray, uniform: FloatArray) -> FloatArray:
        is_uniform = np.append(self._is_blind, True)[kernels]
        chosen = np.where(is_uniform, 0, kernels)
        leaves = uniform < self._leave
        drawn = np.where(leaves, uniform / self._leave, self._centres[chosen])
        return np.where(is_uniform, uniform, drawn)


def _spread(coordinates: FloatArray) -> float:
    """Return the standard deviation of coordinates, shrunk towards the prior one."""
    count = len(coordinates)
    variance = float(coordinates.var()) if count else 0.0
    return float(np.sqrt((count * variance + _PRIOR_TRIALS * _PRIOR_SPREAD**2) / (count + _PRIOR_TRIALS)))


def _disagreement(cells: FloatArray, size: int) -> float:
    """Return how likely two trials differ, relative to random ones, shrunk towards 1 (Gini's impurity)."""
    if size == 1:
        return 1.0
    count = len(cells)
    shares = np.bincount(cells.astype(np.int64), minlength=size) / max(count, 1)
    impurity = (1.0 - float(shares @ shares)) / (1.0 - 1.0 / size) if count else 0.0
    return (count * impurity + _PRIOR_TRIALS) / (count + _PRIOR_TRIALS)


def _without_unknown(logs: FloatArray, units: FloatArray, is_blind: BoolArray) -> FloatArray:
    """Make factors 1 where the kernel or the point has no coordinate."""
    is_unknown = np.isnan(units)
    if is_blind.any() or is_unknown.any():
        logs[is_unknown[:, None] | is_blind] = 0.0
    return logs


def _log_mixture(log_kernels: FloatArray, weights: FloatArray) -> FloatArray:
    """Return log(sum of w_k kernel_k / sum of w_k), shape (n,) from (n, k) and (k + 1,); the last kernel is 1."""
    highest = np.maximum(log_kernels.max(axis=1, initial=0.0), 0.0)
    kernels = np.exp(log_kernels - highest[:, None]) @ weights[:-1] + np.exp(-highest) * weights[-1]
    return np.asarray(highest + np.log(kernels / weights.sum()))


def _draw_kernels(rng: np.random.Generator, weights: FloatArray, n: int) -> IntArray:
    """Draw indices with probabilities in proportion to weights, shape (n,)."""
    heights = np.cumsum(weights)
    drawn = np.searchsorted(heights, rng.random(n) * heights[-1], side="right")
    return np.asarray(np.minimum(drawn, len(weights) - 1))
