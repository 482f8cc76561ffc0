"""The search space as a unit cube: one column per parameter, and one pair of vectorised maps between values and the cube.

Columns follow `in_dependency_order`, parents before children. A continuous parameter covers [0, 1] on its scale. A discrete
one with n values (stepped, int, ordinal, categorical) divides [0, 1] into n cells and is encoded by its cell's centre; cells
are equal (so that both ends are as likely as the rest), except an int's on a log scale, whose value v spans
[log(v - 1/2), log(v + 1/2)]. Inactive parameters are NaN.
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
    FloatParameter,
    IntParameter,
    OrdinalParameter,
    Parameter,
    in_dependency_order,
    is_active,
)

FloatArray = NDArray[np.float64]
_BELOW_ONE = np.nextafter(1.0, 0.0)


@dataclass(frozen=True)
class Column:
    """One parameter's axis of the cube."""

    parameter: Parameter

    @property
    def size(self) -> int | None:
        """Number of cells; None when continuous."""
        return self.parameter.lattice_size

    @property
    def is_ordered(self) -> bool:
        return not isinstance(self.parameter, CategoricalParameter)

    @cached_property
    def edges(self) -> FloatArray:
        """Borders of the cells in the cube, shape (size + 1,); only for discrete columns."""
        assert self.size is not None
        if isinstance(self.parameter, IntParameter) and self.parameter.scale == "log":
            values = self.parameter.min + np.arange(self.size + 1) - 0.5
            logs = np.log(values)
            return np.asarray((logs - logs[0]) / (logs[-1] - logs[0]))
        return np.linspace(0.0, 1.0, self.size + 1)

    def to_unit(self, value: Any) -> float:
        """Return the coordinate of a value of this parameter."""
        parameter = self.parameter
        if isinstance(parameter, FloatParameter) and parameter.step is None:
            low, high = _scaled(parameter, parameter.min), _scaled(parameter, parameter.max)
            return float(np.clip((_scaled(parameter, float(value)) - low) / (high - low), 0.0, 1.0))
        cell = self._cell_of(value)
        return float((self.edges[cell] + self.edges[cell + 1]) / 2)

    def from_unit(self, unit: float) -> Any:
        """Return the value at a coordinate; coordinates outside [0, 1] count as the nearer end."""
        unit = min(max(unit, 0.0), 1.0)
        parameter = self.parameter
        if isinstance(parameter, FloatParameter) and parameter.step is None:
            low, high = _scaled(parameter, parameter.min), _scaled(parameter, parameter.max)
            value = _unscaled(parameter, low + unit * (high - low))
            return min(max(value, parameter.min), parameter.max)
        cell = int(np.searchsorted(self.edges, min(unit, _BELOW_ONE), side="right")) - 1
        return parameter.lattice_value(cell)

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

    def to_unit(self, assignment: Assignment) -> FloatArray:
        """Return the point of an assignment, shape (dimension,), NaN where inactive."""
        point = np.full(self.dimension, np.nan)
        for position, column in enumerate(self.columns):
            if column.parameter.name in assignment:
                point[position] = column.to_unit(assignment[column.parameter.name])
        return point

    def from_unit(self, point: FloatArray) -> Assignment:
        """Return the assignment at a point of the full cube; coordinates of inactive parameters are ignored."""
        assignment: Assignment = {}
        for position, column in enumerate(self.columns):
            if is_active(column.parameter, assignment):
                assignment[column.parameter.name] = column.from_unit(float(point[position]))
        return assignment

    def sample(self, rng: np.random.Generator) -> Assignment:
        """Draw uniformly on the cube."""
        return self.from_unit(rng.random(self.dimension))


def _scaled(parameter: FloatParameter, value: float) -> float:
    match parameter.scale:
        case "linear":
            return value
        case "log":
            return float(np.log(value))
        case "logit":
            return float(np.log(value) - np.log1p(-value))


def _unscaled(parameter: FloatParameter, value: float) -> float:
    match parameter.scale:
        case "linear":
            return value
        case "log":
            return float(np.exp(value))
        case "logit":
            return float(1.0 / (1.0 + np.exp(-value)))
