"""What can be tuned: float, int, ordinal and categorical parameters, their scales, lattices and conditions.

A stepped parameter is a lattice anchored at `min`: the values are `min + k * step` for k = 0 ... `lattice_size - 1`, and the
last one is the largest that does not exceed `max`. Lattice values are computed in decimal, so 0.1 + 2 * 0.1 is 0.3.
"""

import json
import math
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, JsonValue, StrictInt, model_validator

from podium_contract.model import MAX_COUNT, FieldError, Finite, Model, refuse

Scale = Literal["linear", "log", "logit"]
Assignment = dict[str, Any]
"""Values by parameter name; a parameter whose condition does not hold is absent."""

Whole = Annotated[StrictInt, Field(ge=-MAX_COUNT, le=MAX_COUNT)]
PARAMETER_NAME = r"^[A-Za-z_][A-Za-z0-9_.-]{0,62}$"


class Range(Model):
    """Holds while a numeric parent lies between the bounds, both included."""

    min: Finite | None = None
    max: Finite | None = None

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("a range condition needs min, max or both, got neither; add a bound")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min <= max must hold, got min={self.min:g}, max={self.max:g}; swap the bounds")
        return self

    def holds(self, value: float) -> bool:
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


Condition = Range | Annotated[list[JsonValue], Field(min_length=1, max_length=1024)]
"""When a parent has one of the listed values, or lies in the range."""


def _condition_from_plain(condition: Any) -> Any:
    """Decide between the two forms of a condition, so that a fault is told once and in the user's terms."""
    if isinstance(condition, dict):
        return Range.model_validate(condition)
    if not isinstance(condition, Range) and not (isinstance(condition, list) and condition):
        raise ValueError(
            f"a condition is a list of values or a range, got {_show(condition)}; write [a, b] or {{min: 1, max: 2}}"
        )
    return condition


def condition_holds(condition: Condition, value: Any) -> bool:
    """Answer whether an active parent's `value` satisfies `condition`."""
    if isinstance(condition, Range):
        return condition.holds(value)
    return any(same_value(value, wanted) for wanted in condition)


def same_value(left: Any, right: Any) -> bool:
    """Equality that keeps True apart from 1 but lets 1 equal 1.0, as users of YAML expect."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same_value, left, right))
    return bool(left == right)


class _ParameterBase(Model):
    name: Annotated[str, Field(pattern=PARAMETER_NAME)]
    """The name by which the trial receives the value, and which `${name}` stands for."""
    when: Annotated[dict[str, Annotated[Condition, BeforeValidator(_condition_from_plain)]], Field(max_length=8)] = {}
    """The parameter exists only while every named parent is active and has a listed value, or lies in the range."""

    def contains(self, value: Any) -> bool:
        """Answer whether `value` is one this parameter can take."""
        raise NotImplementedError


class _NumericParameter(_ParameterBase):
    scale: Scale = "linear"
    """How distance is measured: linear, log (orders of magnitude), or logit (for shares, between 0 and 1)."""

    def _check_numeric(self, low: float, high: float, step: float | None) -> None:
        if low >= high:
            raise FieldError(
                ".max", f"min < max must hold, got min={low:g}, max={high:g}; swap the bounds or widen the range"
            )
        if self.scale == "log" and low <= 0:
            raise FieldError(".min", f"a log scale needs min > 0, got min={low:g}; raise min or use scale: linear")
        if self.scale == "logit" and not (low > 0 and high < 1):
            raise FieldError(
                ".min" if low <= 0 else ".max",
                f"a logit scale needs 0 < min and max < 1, got min={low:g}, max={high:g}; tighten the range "
                "or use scale: linear",
            )
        if step is not None and step <= 0:
            raise FieldError(".step", f"step must be positive, got {step:g}; remove it or give a positive step")
        if step is not None and _decimal(step) > _decimal(high) - _decimal(low):
            raise FieldError(
                ".step", f"step must not exceed max - min, got {step:g} for {low:g} to {high:g}; use a smaller step"
            )


class FloatParameter(_NumericParameter):
    """A real number between `min` and `max`."""

    type: Literal["float"]
    min: Finite
    """The smallest value, included."""
    max: Finite
    """The largest value, included."""
    step: Finite | None = None
    """Distance between neighbouring values of the lattice anchored at `min`; absent means continuous."""
    default: Finite | None = None
    """The value of the first trial, which runs the defaults when every parameter has one."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        self._check_numeric(self.min, self.max, self.step)
        if self.step is not None and self.scale != "linear":
            raise FieldError(
                ".step",
                f"step needs a linear scale, got scale={self.scale}; remove step, or list the values of an ordinal",
            )
        _check_default(self, self.default)
        return self

    @property
    def lattice_size(self) -> int | None:
        """How many values there are; None when continuous."""
        if self.step is None:
            return None
        return int((_decimal(self.max) - _decimal(self.min)) / _decimal(self.step)) + 1

    def lattice_value(self, index: int) -> float:
        """Return the value `index` steps above `min`, free of binary rounding noise."""
        assert self.step is not None
        return float(_decimal(self.min) + index * _decimal(self.step))

    def contains(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.min <= value <= self.max:
            return False
        if self.step is None:
            return True
        nearest = round((value - self.min) / self.step)
        return math.isclose(self.lattice_value(nearest), value, rel_tol=1e-12, abs_tol=1e-12 * self.step)


class IntParameter(_NumericParameter):
    """A whole number between `min` and `max`."""

    type: Literal["int"]
    min: Whole
    """The smallest value, included."""
    max: Whole
    """The largest value, included."""
    step: Whole | None = None
    """Distance between neighbouring values of the lattice anchored at `min`; absent means 1."""
    default: StrictInt | None = None
    """The value of the first trial, which runs the defaults when every parameter has one."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.scale == "logit":
            raise FieldError(".scale", "an int has no logit scale, got logit; use linear or log")
        self._check_numeric(self.min, self.max, self.step)
        if self.step is not None and self.step > 1 and self.scale == "log":
            raise FieldError(
                ".step", f"step needs a linear scale, got {self.step} with scale=log; remove step, or list an ordinal"
            )
        _check_default(self, self.default)
        return self

    @property
    def lattice_size(self) -> int:
        return (self.max - self.min) // (self.step or 1) + 1

    def lattice_value(self, index: int) -> int:
        return self.min + index * (self.step or 1)

    def contains(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int):
            return False
        return self.min <= value <= self.max and (value - self.min) % (self.step or 1) == 0


class _ChoiceParameter(_ParameterBase):
    values: Annotated[list[JsonValue], Field(min_length=1, max_length=1024)]
    """The values to choose from: scalars, or lists handed to the trial as they are."""
    default: JsonValue = None
    """The value of the first trial, which runs the defaults when every parameter has one."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        for index, value in enumerate(self.values):
            if any(same_value(value, earlier) for earlier in self.values[:index]):
                raise FieldError(f".values[{index}]", f"values must be distinct, got {_show(value)} twice; remove one")
            if value is None or not _is_finite(value):
                raise FieldError(
                    f".values[{index}]",
                    f"a value is text, a finite number, true, false or a list, got {_show(value)}; put it in quotes",
                )
        _check_default(self, self.default)
        return self

    @property
    def lattice_size(self) -> int:
        return len(self.values)

    def lattice_value(self, index: int) -> JsonValue:
        return self.values[index]

    def index_of(self, value: Any) -> int:
        """Return the position of `value` among the values; ValueError when it is not one of them."""
        for index, candidate in enumerate(self.values):
            if same_value(candidate, value):
                return index
        raise ValueError(f"{_show(value)} is not a value of parameter '{self.name}'")

    def contains(self, value: Any) -> bool:
        return any(same_value(value, candidate) for candidate in self.values)


class OrdinalParameter(_ChoiceParameter):
    """One of several values whose order means something: neighbours behave alike."""

    type: Literal["ordinal"]


class CategoricalParameter(_ChoiceParameter):
    """One of several values without order."""

    type: Literal["categorical"]


Parameter = Annotated[
    FloatParameter | IntParameter | OrdinalParameter | CategoricalParameter, Field(discriminator="type")
]


def in_dependency_order(parameters: list[Parameter]) -> list[Parameter]:
    """Return the parameters with every parent before its children, otherwise as written.

    Raises ValueError, naming the parameters, when conditions form a cycle or name a parameter that does not exist.
    """
    by_name = {parameter.name: parameter for parameter in parameters}
    refuse(
        FieldError(
            f"[{index}].when.{parent}",
            f"when names a parameter of this experiment, got '{parent}'; choose one of {', '.join(by_name)}",
        )
        for index, parameter in enumerate(parameters)
        for parent in parameter.when
        if parent not in by_name
    )
    placed: dict[str, Parameter] = {}
    while len(placed) < len(by_name):
        ready = [p for p in by_name.values() if p.name not in placed and all(parent in placed for parent in p.when)]
        if not ready:
            cycle = _cycle_among({name: p for name, p in by_name.items() if name not in placed})
            raise FieldError(
                f"[{list(by_name).index(cycle[0])}].when",
                f"conditions must not form a cycle, got {' -> '.join([*cycle, cycle[0]])}; remove one of the conditions",
            )
        placed.update((parameter.name, parameter) for parameter in ready)
    return list(placed.values())


def _cycle_among(stuck: dict[str, Parameter]) -> list[str]:
    """Return the names on one cycle of parameters that all wait for another, the first as written leading."""
    path = [next(iter(stuck))]
    while True:
        parent = next(parent for parent in stuck[path[-1]].when if parent in stuck)
        if parent in path:
            cycle = path[path.index(parent) :]
            first = min(range(len(cycle)), key=lambda position: list(stuck).index(cycle[position]))
            return cycle[first:] + cycle[:first]
        path.append(parent)


def is_active(parameter: Parameter, assignment: Assignment) -> bool:
    """Answer whether `parameter` exists under `assignment`, which must already hold its parents' values."""
    return all(
        parent in assignment and condition_holds(condition, assignment[parent])
        for parent, condition in parameter.when.items()
    )


def assignment_faults(parameters: list[Parameter], assignment: Assignment) -> list[str]:
    """Return what is wrong with `assignment`, one sentence each: missing, inactive, unknown or impossible values."""
    faults = []
    for parameter in in_dependency_order(parameters):
        active, given = is_active(parameter, assignment), parameter.name in assignment
        if active and not given:
            faults.append(f"parameter '{parameter.name}' has no value; add one")
        if given and not active:
            faults.append(f"parameter '{parameter.name}' is inactive here, got a value; remove it")
        if active and given and not parameter.contains(assignment[parameter.name]):
            faults.append(
                f"parameter '{parameter.name}' cannot be {_show(assignment[parameter.name])}; choose a value of its range"
            )
    known = {parameter.name for parameter in parameters}
    faults.extend(f"parameter '{name}' does not exist; remove it" for name in assignment if name not in known)
    return faults


def why_no_point(parameters: list[Parameter], point: Assignment) -> tuple[str, str] | None:
    """Return the name at fault and what is wrong when `point` is no part of an assignment; None when it is.

    A point may leave out parameters, but not the parents of those that it gives.
    """
    by_name = {parameter.name: parameter for parameter in parameters}
    for name, value in point.items():
        if name not in by_name:
            return name, f"a point gives parameters of this experiment, got '{name}'; known: {', '.join(by_name)}"
        if not by_name[name].contains(value):
            return (
                name,
                f"a point gives a value that the parameter can take, got {_show(value)}; choose one of its range",
            )
        for parent, condition in by_name[name].when.items():
            if parent not in point:
                return (
                    name,
                    f"a conditional parameter needs its parents beside it, got no '{parent}'; add it to the point",
                )
            if not condition_holds(condition, point[parent]):
                return name, (
                    f"the parameter is inactive with {parent}={_show(point[parent])}, got {_show(value)}; "
                    f"remove it, or choose another {parent}"
                )
    return None


def typed(parameters: list[Parameter], assignment: Assignment) -> Assignment:
    """Return an assignment with whole-valued floats as floats.

    JSON knows one kind of number, and an API server writes 1.0 as 1: a trial would be given a float here and an int there.
    The values of a choice are floats where all of them are numbers and one has a fraction.
    """
    floats = {parameter.name for parameter in parameters if _has_floats(parameter)}
    return {
        name: float(value) if name in floats and isinstance(value, int) and not isinstance(value, bool) else value
        for name, value in assignment.items()
    }


def _has_floats(parameter: Parameter) -> bool:
    if isinstance(parameter, OrdinalParameter | CategoricalParameter):
        are_numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in parameter.values)
        return are_numbers and any(isinstance(value, float) for value in parameter.values)
    return isinstance(parameter, FloatParameter)


def default_assignment(parameters: list[Parameter]) -> Assignment | None:
    """Return the defaults of the active parameters, or None unless every one of them has a default."""
    assignment: Assignment = {}
    for parameter in in_dependency_order(parameters):
        if is_active(parameter, assignment):
            if parameter.default is None:
                return None
            assignment[parameter.name] = parameter.default
    return assignment


def _check_default(parameter: _ParameterBase, default: Any) -> None:
    if default is not None and not parameter.contains(default):
        raise FieldError(
            ".default", f"default must be a value of the parameter, got {_show(default)}; choose {_values(parameter)}"
        )


def _values(parameter: _ParameterBase) -> str:
    """Return in words what values a parameter has."""
    if isinstance(parameter, FloatParameter | IntParameter):
        steps = f" in steps of {parameter.step:g}" if parameter.step else ""
        return f"one from {parameter.min:g} to {parameter.max:g}{steps}"
    assert isinstance(parameter, OrdinalParameter | CategoricalParameter)
    return f"one of {_show(parameter.values)}"


def _is_finite(value: JsonValue) -> bool:
    """Answer whether no number in a value is NaN or infinite."""
    if isinstance(value, list):
        return all(map(_is_finite, value))
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    return not isinstance(value, float) or math.isfinite(value)


def _decimal(value: float) -> Decimal:
    return Decimal(repr(value))


def _show(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
