"""How a clone's configuration departs from that of the member it was made of (Jaderberg et al., 2017, "explore").

Each mutable parameter is drawn anew with a small probability, else perturbed by a factor:

- a float or int on a log scale, or whose range is positive, is multiplied by it: 0.01 becomes 0.008 or 0.012;
- on a logit scale the odds are multiplied, so that 0.999 moves towards 0.9988 or 0.9992 and never beyond 1;
- where the range reaches zero or below, a multiple would get stuck there: the value is shifted by (factor - 1) of the range;
- on a lattice it moves to the nearest value, at least one step where the factor is not 1; an ordinal moves one place;
- a categorical, which has no neighbours, stays.

Values are kept within their ranges. A parameter that becomes active by what its parents turned to is drawn anew, mutable or
not, for it had no value; one that becomes inactive is dropped.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from podium_contract.parameters import (
    Assignment,
    CategoricalParameter,
    FloatParameter,
    IntParameter,
    OrdinalParameter,
    is_active,
)
from podium_contract.trial import Parent
from podium_suggestion.history import History
from podium_suggestion.space import Column, Space


@dataclass(frozen=True)
class Perturbation:
    """How far clones depart from their parents."""

    factors: tuple[float, ...]
    resample_probability: float
    mutable: Collection[str] | None = None
    """Names of the parameters that may change; None: all."""

    def may_change(self, name: str) -> bool:
        return self.mutable is None or name in self.mutable


class Explorer(Protocol):
    """Chooses what clones are to try."""

    def explore(self, history: History, parent: Parent, until: int, rng: np.random.Generator) -> Assignment:
        """Return the configuration of a clone that goes on from `parent` and is next compared at the step `until`."""
        ...


@dataclass(frozen=True)
class Perturbing:
    """Perturbs the parent's values, whatever else is known."""

    space: Space
    how: Perturbation

    def explore(self, history: History, parent: Parent, until: int, rng: np.random.Generator) -> Assignment:  # noqa: ARG002
        return explore(self.space, history.trials[parent.trial].assignment, self.how, rng)


def explore(space: Space, assignment: Assignment, how: Perturbation, rng: np.random.Generator) -> Assignment:
    """Return the configuration of a clone of one that has `assignment`."""
    point = space.to_unit(assignment)
    fresh, draws = rng.random(space.dimension), rng.random(space.dimension)
    factors = rng.choice(how.factors, space.dimension)
    full = np.where(np.isnan(point), fresh, point)
    kept = set()
    for position, column in enumerate(space.columns):
        name = column.parameter.name
        if name not in assignment:
            continue
        if how.may_change(name) and draws[position] < how.resample_probability:
            full[position] = fresh[position]
        elif how.may_change(name) and not isinstance(column.parameter, CategoricalParameter):
            full[position] = perturbed(column, assignment[name], float(factors[position]))
        else:
            kept.add(name)
    explored: Assignment = {}
    for position, column in enumerate(space.columns):
        name = column.parameter.name
        if is_active(column.parameter, explored):
            # The cube's coordinates round: what shall not change is copied, and decides by its own value what is active.
            explored[name] = assignment[name] if name in kept else column.from_unit(float(full[position]))
    return explored


def perturbed(column: Column, value: float, factor: float) -> float:
    """Return the coordinate of a value that is moved by a factor, within its range. The parameter has an order."""
    parameter = column.parameter
    assert not isinstance(parameter, CategoricalParameter)
    direction = int(np.sign(factor - 1.0))
    if isinstance(parameter, OrdinalParameter):
        return _neighbour(column, parameter.index_of(value), direction)
    moved = min(max(_moved(parameter, value, factor), parameter.min), parameter.max)
    if column.size is None:
        return float(column.to_unit([moved])[0])
    step = parameter.step or 1
    old, new = round((value - parameter.min) / step), round((moved - parameter.min) / step)
    return _neighbour(column, old, direction) if new == old else _neighbour(column, new, 0)


def told(before: Assignment, after: Assignment) -> str:
    """Return what differs between a member and its clone: "lr 0.01 -> 0.012"; "nothing changed" where nothing does."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    changes = [f"{name} {_shown(before.get(name))} -> {_shown(after.get(name))}" for name in names]
    return ", ".join(changes) if changes else "nothing changed"


def _moved(parameter: FloatParameter | IntParameter, value: float, factor: float) -> float:
    if parameter.scale == "logit":
        odds = factor * value / (1.0 - value)
        return odds / (1.0 + odds)
    if parameter.min > 0:
        return value * factor
    return value + (factor - 1.0) * (parameter.max - parameter.min)


def _neighbour(column: Column, cell: int, direction: int) -> float:
    assert column.size is not None
    return float(column.centre(np.array(min(max(cell + direction, 0), column.size - 1), dtype=np.float64)))


def _shown(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
