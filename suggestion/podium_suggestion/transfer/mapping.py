"""From the configurations of one space to those of another that shares parameters with it.

Parameters are the same when they have the same name and kind: numbers (float, int, an ordinal of numbers) or choices. Values
map by what they are, not by where in their range they lie. A number between two values of a lattice or of an ordinal becomes
the nearer one.
A configuration with a value that the other space does not have is left out: a loss that was measured out there is no word
on the edge. Parameters of the first space alone are ignored, those of the other alone stay open.
"""

import math
from collections.abc import Sequence
from typing import cast

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


class SpaceMap:
    """Maps configurations of one space into another."""

    def __init__(self, origin: Sequence[Parameter], destination: Sequence[Parameter]) -> None:
        known = {parameter.name: parameter for parameter in origin}
        self._shared: list[Parameter] = []
        for parameter in in_dependency_order(list(destination)):
            same = known.get(parameter.name)
            has_parents = parameter.when.keys() <= {shared.name for shared in self._shared}
            if same is not None and _is_number(same) == _is_number(parameter) and has_parents:
                self._shared.append(parameter)

    @property
    def shared(self) -> list[str]:
        """Names of the parameters that both spaces have, parents before children.

        A conditional one only with all its parents: without them nobody knows when it is active.
        """
        return [parameter.name for parameter in self._shared]

    def __call__(self, assignment: Assignment) -> Assignment | None:
        """Return the shared part of a configuration, in the destination's terms; None where it lies outside.

        What is inactive in the destination is left out; what is active there alone stays open.
        """
        mapped: Assignment = {}
        for parameter in self._shared:
            if parameter.name not in assignment or not is_active(parameter, mapped):
                continue
            value = nearest_value(parameter, assignment[parameter.name])
            if value is None:
                return None
            mapped[parameter.name] = value
        return mapped or None


def nearest_value(parameter: Parameter, value: object) -> object | None:
    """Return the parameter's own value that is nearest to one within its range; None for one outside."""
    if parameter.contains(value) and not isinstance(parameter, FloatParameter | IntParameter):
        return parameter.values[parameter.index_of(value)]
    if not _is_number(parameter) or not _are_numbers([value]):
        return None
    number = cast("float", value)
    if isinstance(parameter, OrdinalParameter | CategoricalParameter):
        return _nearest_of(cast("list[float]", parameter.values), number)
    if not parameter.min <= number <= parameter.max:
        return None
    if isinstance(parameter, FloatParameter) and parameter.step is None:
        return float(number)
    size = parameter.lattice_size
    assert size is not None
    return parameter.lattice_value(min(round((number - parameter.min) / (parameter.step or 1)), size - 1))


def _nearest_of(values: list[float], number: float) -> float | None:
    """Return the value that is nearest by ratio, or by difference where not all are positive; None for one beyond them."""
    if not min(values) <= number <= max(values):
        return None
    if min(values) > 0:
        return min(values, key=lambda value: abs(math.log(value / number)))
    return min(values, key=lambda value: abs(value - number))


def _is_number(parameter: Parameter) -> bool:
    if isinstance(parameter, OrdinalParameter):
        return _are_numbers(parameter.values)
    return isinstance(parameter, FloatParameter | IntParameter)


def _are_numbers(values: Sequence[object]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
