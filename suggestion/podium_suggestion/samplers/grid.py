"""Grid search: every combination of evenly spaced values, each once, in a fixed order, and then the end."""

from collections.abc import Callable, Sequence
from math import gcd

import numpy as np

from podium_contract.parameters import Assignment, FloatParameter, IntParameter
from podium_suggestion.history import History
from podium_suggestion.samplers.base import Exhausted
from podium_suggestion.samplers.combinations import Choices, Combinations
from podium_suggestion.space import Column, Space

_FEWEST = 2
"""Both ends of a range: a grid has no fewer values of a parameter, even where `maxTrials` does not afford them."""
_GOLDEN = (5**0.5 - 1) / 2


class GridSampler:
    """Proposes the grid's next point that has not been tried.

    The order leaps through the grid by the golden section of its size, so that a grid that is not finished has been
    sampled all over rather than in one corner. Trial n is the n-th point, or the first after it that has not been tried:
    a grid that a larger `maxTrials` has made finer leaves nothing out and repeats nothing.
    """

    def __init__(self, space: Space, max_trials: int, points_per_parameter: int | None = None) -> None:
        self._space = space
        if points_per_parameter is None:
            self.points = affordable_points(space, max_trials)
        else:
            self.points = [points_per_parameter] * space.dimension
        self._grid = _grid(space, self.points)
        self._stride = _stride(self._grid.size)

    @property
    def size(self) -> int:
        """How many points the grid has."""
        return self._grid.size

    def propose(self, history: History, number: int, rng: np.random.Generator) -> Assignment | Exhausted:  # noqa: ARG002
        for place in range(number - 1, number - 1 + self.size):
            point = self._grid.point(place * self._stride % self.size)
            if self._space.key(point) not in history.tried:
                return self._space.from_unit(point)
        return Exhausted(f"the grid's {self.size} points have all been tried")


def affordable_points(space: Space, max_trials: int) -> list[int]:
    """Return how many values to take of each numeric column, for the finest grid of at most `max_trials` points.

    All get the same number, at least 2; what that leaves of `max_trials` goes to the first parameters, one value each:
    25 trials afford 5 and 5 values of two floats, 30 trials 6 and 5.
    """

    def fits(points: Sequence[int]) -> bool:
        return _grid(space, points).size <= max_trials

    most = _largest(lambda count: fits([count] * space.dimension), _FEWEST, max(max_trials, _FEWEST))
    points = [most] * space.dimension
    for position in range(space.dimension):
        finer = [*points[:position], most + 1, *points[position + 1 :]]
        if fits(finer):
            points = finer
    return points


def _grid(space: Space, points: Sequence[int]) -> Combinations:
    return Combinations(space, [_choices(column, count) for column, count in zip(space.columns, points, strict=True)])


def _choices(column: Column, points: int) -> Choices:
    """Return the coordinates to combine: every value of a choice, evenly spaced values with both ends of a range."""
    size = column.size
    if size is None:
        return [*map(float, np.linspace(0.0, 1.0, points))]
    if not isinstance(column.parameter, FloatParameter | IntParameter) or size <= points:
        return [*map(float, column.centre(np.arange(float(size))))]
    return [*map(float, np.unique(column.encode(np.linspace(0.0, 1.0, points))))]


def _largest(holds: Callable[[int], bool], low: int, high: int) -> int:
    """Return a number for which `holds`, and for whose successor it does not, within the bounds; `low` when none does."""
    if holds(high):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            low = middle
        else:
            high = middle
    return low


def _stride(size: int) -> int:
    """Return the number nearest above the golden section of `size` that shares no factor with it."""
    stride = int(size * _GOLDEN) + 1
    while gcd(stride, size) != 1:
        stride += 1
    return stride
