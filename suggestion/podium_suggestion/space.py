"""The search space as a unit cube: one column per parameter, and one pair of vectorised maps between values and the cube.

Columns follow `in_dependency_order`, parents before children. A continuous parameter covers [0, 1] on its scale. A discrete
one with n values (stepped, int, ordinal, categorical) divides [0, 1] into n cells and is encoded by its cell's centre; cells
are equal (so that both ends are as likely as the rest), except an int's on a log scale, whose value v spans
[log(v - 1/2), log(v + 1/2)]. Inactive parameters are NaN.

A point is *full* when every column has a coordinate, active or not, and *encoded* when it stands for one assignment:
discrete coordinates are centres and inactive ones NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from podium_contract.parameters import (
    Assignment,
    CategoricalParameter,
    Condition,
    FloatParameter,
    IntParameter,
    OrdinalParameter,
    Parameter,
    Range,
    in_dependency_order,
    is_active,
)

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_BELOW_ONE = float(np.nextafter(1.0, 0.0))
_INACTIVE_CELL = -1.0


@dataclass(frozen=True)
class Column:
    """One parameter's axis of the cube. Its methods take and return arrays of any shape."""

    parameter: Parameter

    @cached_property
    def size(self) -> int | None:
        """Number of cells; None when continuous."""
        return self.parameter.lattice_size

    @property
    def is_ordered(self) -> bool:
        return not isinstance(self.parameter, CategoricalParameter)

    def to_unit(self, values: Sequence[Any]) -> FloatArray:
        """Return the coordinates of values of this parameter, shape (n,)."""
        if self.size is not None:
            return self.centre(np.array([self._cell_of(value) for value in values], dtype=np.float64))
        low, width = self._span
        return np.clip((self._scaled(np.array(values, dtype=np.float64)) - low) / width, 0.0, 1.0)

    def from_unit(self, unit: float) -> Any:
        """Return the value at a coordinate; coordinates outside [0, 1] count as the nearer end."""
        coordinate = np.asarray(unit, dtype=np.float64)
        if self.size is not None:
            return self.parameter.lattice_value(int(self.cell(coordinate)))
        return float(self.numbers(coordinate))

    def cell(self, unit: FloatArray) -> FloatArray:
        """Return the cells that coordinates lie in, as whole floats: a lattice may outgrow the integer types."""
        assert self.size is not None
        unit = np.clip(unit, 0.0, _BELOW_ONE)
        if not self._has_log_cells:
            return np.floor(unit * self.size)
        low, width = self._span
        nearest = np.floor(np.exp(low + unit * width) + 0.5) - self._first
        return np.clip(nearest, 0.0, self.size - 1)

    def edge(self, cell: FloatArray) -> FloatArray:
        """Return the lower borders of cells, shape as given; the border below cell `size` is 1."""
        assert self.size is not None
        if not self._has_log_cells:
            return np.asarray(cell / self.size)
        low, width = self._span
        return np.asarray((np.log(self._first + cell - 0.5) - low) / width)

    def centre(self, cell: FloatArray) -> FloatArray:
        """Return the coordinates that encode cells."""
        return np.asarray((self.edge(cell) + self.edge(cell + 1.0)) / 2.0)

    def encode(self, unit: FloatArray) -> FloatArray:
        """Return the coordinates, discrete ones moved to their cells' centres."""
        return unit if self.size is None else self.centre(self.cell(unit))

    def numbers(self, unit: FloatArray) -> FloatArray:
        """Return the values of a float or int parameter at coordinates, as floats."""
        parameter = self.parameter
        assert isinstance(parameter, FloatParameter | IntParameter)
        if self.size is not None:
            return np.asarray(parameter.min + self.cell(unit) * (parameter.step or 1))
        low, width = self._span
        values = np.clip(self._unscaled(low + np.clip(unit, 0.0, 1.0) * width), parameter.min, parameter.max)
        # low + width may round to something else than high: the ends are the ends, to the last bit.
        return np.where(unit <= 0.0, parameter.min, np.where(unit >= 1.0, parameter.max, values))

    def satisfies(self, condition: Condition, unit: FloatArray) -> BoolArray:
        """Answer at which coordinates this parameter, if active, has a value that satisfies a condition."""
        if isinstance(condition, Range):
            numbers = self.numbers(unit)
            low = -np.inf if condition.min is None else condition.min - self._slack
            high = np.inf if condition.max is None else condition.max + self._slack
            return np.asarray((low <= numbers) & (numbers <= high))
        if self.size is None:
            return np.isin(self.numbers(unit), np.asarray(condition, dtype=np.float64))
        return np.isin(self.cell(unit), [float(self._cell_of(value)) for value in condition])

    @property
    def _has_log_cells(self) -> bool:
        return isinstance(self.parameter, IntParameter) and self.parameter.scale == "log"

    @property
    def _first(self) -> float:
        assert isinstance(self.parameter, FloatParameter | IntParameter)
        return float(self.parameter.min)

    @property
    def _slack(self) -> float:
        """How far rounding may move a lattice's value, computed in floats, off its bound."""
        return 0.0 if self.size is None else 1e-9 * float(getattr(self.parameter, "step", None) or 1)

    @cached_property
    def _span(self) -> tuple[float, float]:
        """The lower end and the width of the range on its scale."""
        parameter = self.parameter
        assert isinstance(parameter, FloatParameter | IntParameter)
        margin = 0.5 if self._has_log_cells else 0.0
        low, high = self._scaled(np.array([parameter.min - margin, parameter.max + margin]))
        return float(low), float(high - low)

    def _scaled(self, value: FloatArray) -> FloatArray:
        assert isinstance(self.parameter, FloatParameter | IntParameter)
        match self.parameter.scale:
            case "linear":
                return value
            case "log":
                return np.log(value)
            case "logit":
                return np.asarray(np.log(value) - np.log1p(-value))

    def _unscaled(self, value: FloatArray) -> FloatArray:
        assert isinstance(self.parameter, FloatParameter | IntParameter)
        match self.parameter.scale:
            case "linear":
                return value
            case "log":
                return np.exp(value)
            case "logit":
                return np.asarray(1.0 / (1.0 + np.exp(-value)))

    def _cell_of(self, value: Any) -> int:
        parameter = self.parameter
        if isinstance(parameter, OrdinalParameter | CategoricalParameter):
            return parameter.index_of(value)
        return int(round((value - parameter.min) / (parameter.step or 1)))  # noqa: RUF046  (a float for float steps)


class Space:
    """The unit cube of an experiment's parameters."""

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self.parameters = in_dependency_order(list(parameters))
        self.columns = [Column(parameter) for parameter in self.parameters]
        self.index = {parameter.name: position for position, parameter in enumerate(self.parameters)}

    @property
    def dimension(self) -> int:
        return len(self.columns)

    @cached_property
    def is_conditional(self) -> bool:
        return any(parameter.when for parameter in self.parameters)

    @cached_property
    def is_continuous(self) -> bool:
        """Whether any parameter is continuous, so that the configurations cannot be counted."""
        return any(column.size is None for column in self.columns)

    def parents(self, position: int) -> list[int]:
        """Return the positions of the columns on which a column's activity depends."""
        return [self.index[name] for name in self.parameters[position].when]

    # --- one assignment ----------------------------------------------------------------------------------------

    def to_unit(self, assignment: Assignment) -> FloatArray:
        """Return the encoded point of an assignment, shape (dimension,), NaN where inactive."""
        return np.asarray(self.to_unit_many([assignment])[0])

    def from_unit(self, point: FloatArray) -> Assignment:
        """Return the assignment at a full point, shape (dimension,); coordinates of inactive parameters are ignored."""
        assignment: Assignment = {}
        for position, column in enumerate(self.columns):
            if is_active(column.parameter, assignment):
                assignment[column.parameter.name] = column.from_unit(float(point[position]))
        return assignment

    def sample(self, rng: np.random.Generator) -> Assignment:
        """Draw uniformly on the cube."""
        return self.from_unit(rng.random(self.dimension))

    def key(self, point: FloatArray) -> bytes:
        """Return what an encoded point, shape (dimension,), shares with every point of its assignment and no other."""
        return self.keys(point[None])[0]

    # --- many at once ------------------------------------------------------------------------------------------

    def to_unit_many(self, assignments: Sequence[Assignment]) -> FloatArray:
        """Return the encoded points of assignments, shape (n, dimension)."""
        points = np.full((len(assignments), self.dimension), np.nan)
        for position, column in enumerate(self.columns):
            name = column.parameter.name
            given = [row for row, assignment in enumerate(assignments) if name in assignment]
            points[given, position] = column.to_unit([assignments[row][name] for row in given])
        return points

    def keys(self, points: FloatArray) -> list[bytes]:
        """Return the keys of encoded points, shape (n, dimension)."""
        is_active = ~np.isnan(points)
        cells = np.where(is_active, points, _INACTIVE_CELL)
        for position, column in enumerate(self.columns):
            if column.size is not None:
                cells[:, position] = np.where(is_active[:, position], column.cell(cells[:, position]), _INACTIVE_CELL)
        return [row.tobytes() for row in cells]

    def activity(self, points: FloatArray) -> BoolArray:
        """Answer which parameters are active at full points, shape (n, dimension) for both."""
        active = np.ones(points.shape, dtype=np.bool_)
        for position in range(self.dimension):
            self.update_activity(active, points, position)
        return active

    def update_activity(self, active: BoolArray, points: FloatArray, position: int) -> None:
        """Fill in column `position` of `active`, for which its parents' columns must be filled in, here and in `points`."""
        for name, condition in self.parameters[position].when.items():
            parent = self.index[name]
            active[:, position] &= active[:, parent] & self.columns[parent].satisfies(condition, points[:, parent])

    def encode(self, points: FloatArray) -> FloatArray:
        """Return the encoded points of full ones, shape (n, dimension) for both."""
        encoded = np.empty_like(points)
        for position, column in enumerate(self.columns):
            encoded[:, position] = column.encode(points[:, position])
        encoded[~self.activity(points)] = np.nan
        return encoded
