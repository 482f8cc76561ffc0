"""How alike configurations are: a Matérn-5/2 kernel over coordinates in which what is inactive has a place of its own.

Every parameter has a few coordinates, and the distance between two configurations is r^2 = sum over parameters i of
D_i / l_i^2, where D_i is the squared distance of their coordinates for i and l_i the parameter's length scale. Distances in
a Euclidean space keep the kernel positive definite, whatever is active:

- an ordered parameter that is always active has its own coordinate of the unit cube, so D = (x - x')^2;
- an ordered parameter with a condition lies on a quarter of a circle whose arc has length 1, and on the circle's centre
  where it is inactive: equally far from all its values (Swersky et al., "Raiders of the lost architecture", 2014). Two
  configurations that both lack it are not told apart by it;
- a categorical parameter has the corners of a simplex, so D = 1 between any two values, and the origin where inactive.

The input may be warped first by Kumaraswamy's distribution function w(x) = 1 - (1 - x^a)^b per ordered parameter, which
stretches the parts of the range in which the loss moves faster (Snoek et al., "Input warping for Bayesian optimization
of non-stationary functions", ICML 2014).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from podium_suggestion.history import IntArray
from podium_suggestion.space import FloatArray, Space

_ANGLE = np.pi / 2.0
_RADIUS = 1.0 / _ANGLE
_SQRT_HALF = float(np.sqrt(0.5))
_SQRT_5 = float(np.sqrt(5.0))
_BELOW_ONE = float(np.nextafter(1.0, 0.0))
_ACTIVITY_DRAWS = 256
_EDGE = 1e-9
"""Warped coordinates keep this far from 0 and 1, where a warp's slope may be infinite."""


@dataclass(frozen=True)
class Warp:
    """Kumaraswamy's distribution functions, one per parameter; a = b = 1 leaves a parameter as it is."""

    a: FloatArray
    """Shape (dimension,)."""
    b: FloatArray
    """Shape (dimension,)."""

    def __call__(self, units: FloatArray) -> FloatArray:
        """Return warped coordinates, shape (n, dimension) as given; NaN stays."""
        x = np.clip(units, _EDGE, 1.0 - _EDGE)
        return np.asarray(-np.expm1(self.b * np.log1p(-(x**self.a))))

    def slope(self, units: FloatArray) -> FloatArray:
        """Return the derivatives by the coordinates themselves, shape (n, dimension)."""
        x = np.clip(units, _EDGE, 1.0 - _EDGE)
        return np.asarray(self.a * self.b * x ** (self.a - 1.0) * (1.0 - x**self.a) ** (self.b - 1.0))

    def slope_by_shape(self, units: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the derivatives by log(a) and by log(b), shape (n, dimension) each."""
        x = np.clip(units, _EDGE, 1.0 - _EDGE)
        power, left = x**self.a, 1.0 - x**self.a
        by_a = self.a * self.b * left ** (self.b - 1.0) * power * np.log(x)
        by_b = -self.b * left**self.b * np.log(left)
        return by_a, by_b


class Embedding:
    """The coordinates of encoded points: first lines, then arcs (sines, then cosines), then corners of simplices."""

    def __init__(self, space: Space) -> None:
        self.dimension = space.dimension
        # A parameter of one value tells nothing apart, and whether it is there follows from its parents.
        several = [position for position, column in enumerate(space.columns) if column.size != 1]
        ordered = [position for position in several if space.columns[position].is_ordered]
        self._lines = _positions(position for position in ordered if not space.parents(position))
        self._arcs = _positions(position for position in ordered if space.parents(position))
        sizes = {position: space.columns[position].size or 0 for position in several if position not in ordered}
        self._corners = _positions(position for position, size in sizes.items() for _ in range(size))
        """The parameters of the simplices' coordinates."""
        self._values = _positions(value for size in sizes.values() for value in range(size))
        """The values that they stand for."""
        self._sizes = _positions(size for size in sizes.values() for _ in range(size))
        self.owner = np.concatenate([self._lines, self._arcs, self._arcs, self._corners])
        """The parameter that each coordinate belongs to, shape (coordinates,)."""
        self.matters = _positions(several)
        """The parameters that have coordinates at all, shape (k,)."""
        self.is_line = np.isin(several, self._lines)
        """Which of these have an order and no condition, shape (k,)."""
        draws = np.random.default_rng(0).random((_ACTIVITY_DRAWS, self.dimension))
        self.active_count = float(max(space.activity(draws)[:, several].sum(axis=1).mean(), 1.0))
        """How many of these are active in a configuration, on average."""
        self.is_ordered = np.isin(np.arange(self.dimension), ordered)
        """Which parameters have coordinates that move with them, shape (dimension,)."""
        self._membership = (self.owner[:, None] == np.arange(self.dimension)).astype(np.float64)
        self.place = np.searchsorted(self.matters, self.owner)
        """The place in `matters` of each coordinate's parameter, shape (coordinates,)."""
        self.coordinates = [np.flatnonzero(self.place == place) for place in range(len(self.matters))]
        """The coordinates of each parameter that matters."""

    def __call__(self, units: FloatArray) -> FloatArray:
        """Return the coordinates of encoded points, shape (n, coordinates) from (n, dimension)."""
        parts = [units[:, self._lines]]
        if len(self._arcs):
            angles = _ANGLE * (units[:, self._arcs] - 0.5)
            parts += [np.nan_to_num(_RADIUS * np.sin(angles)), np.nan_to_num(_RADIUS * np.cos(angles))]
        if len(self._corners):
            # NaN is no value's number, so an inactive parameter has none of the corners.
            is_value = np.floor(np.minimum(units[:, self._corners], _BELOW_ONE) * self._sizes) == self._values
            parts.append(_SQRT_HALF * is_value)
        return np.concatenate(parts, axis=1)

    def slope(self, units: FloatArray) -> FloatArray:
        """Return each coordinate's derivative by its own parameter, shape (n, coordinates); 0 where it cannot move."""
        angles = _ANGLE * (units[:, self._arcs] - 0.5)
        parts = [
            np.ones((len(units), len(self._lines))),
            np.nan_to_num(np.cos(angles)),
            np.nan_to_num(-np.sin(angles)),
            np.zeros((len(units), len(self._corners))),
        ]
        return np.concatenate(parts, axis=1)

    def squares_by_parameter(self, left: FloatArray, right: FloatArray) -> Iterator[FloatArray]:
        """Yield for each parameter that matters D between coordinates, shape (n, m) from (n, ...) and (m, ...)."""
        for own in self.coordinates:
            yield squared_distances(left[:, own], right[:, own])

    def by_parameter(self, values: FloatArray) -> FloatArray:
        """Add up what belongs to the same parameter, shape (..., dimension) from (..., coordinates)."""
        return np.asarray(values @ self._membership)


def _positions(positions: Iterable[int]) -> IntArray:
    return np.array(list(positions), dtype=np.int64)


def squared_distances(left: FloatArray, right: FloatArray) -> FloatArray:
    """Return r^2 between scaled coordinates, shape (n, k) from (n, coordinates) and (k, coordinates)."""
    if left.shape[1] == 1:  # the general way cancels, and takes longer
        return np.asarray((left - right[:, 0]) ** 2)
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2.0 * left @ right.T
    return np.asarray(np.maximum(squares, 0.0))


def matern(squares: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return Matérn-5/2 correlations of squared distances, and minus their derivatives by the squared distance.

    With s = sqrt(5) r they are (1 + s + s^2/3) exp(-s) and 5/6 (1 + s) exp(-s), smooth at r = 0 both.
    """
    scaled = _SQRT_5 * np.sqrt(squares)
    decay = np.exp(-scaled)
    slope = (1.0 + scaled) * decay
    return np.asarray(slope + (5.0 / 3.0) * squares * decay), np.asarray((5.0 / 6.0) * slope)
