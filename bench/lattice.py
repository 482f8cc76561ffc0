"""Finite spaces, point by point: the configurations of a table of trainings, in one fixed order."""

import json
from collections.abc import Iterator, Sequence

from podium_contract.parameters import Assignment, Parameter, in_dependency_order, is_active


def lattice(parameters: Sequence[Parameter]) -> list[Assignment]:
    """Return every configuration of a finite space; the last parameter varies fastest.

    Raises ValueError where a parameter is continuous.
    """
    return list(_extensions({}, in_dependency_order(list(parameters))))


def key_of(assignment: Assignment) -> str:
    """Return what equal configurations share, whatever the order of their parameters, and 1 or 1.0, 0.3 or 0.1 + 0.2."""
    return json.dumps({name: _plain(value) for name, value in sorted(assignment.items())})


def _extensions(assignment: Assignment, parameters: list[Parameter]) -> Iterator[Assignment]:
    if not parameters:
        yield assignment
        return
    first, *others = parameters
    if not is_active(first, assignment):
        yield from _extensions(assignment, others)
        return
    if first.lattice_size is None:
        raise ValueError(f"a lattice has discrete parameters alone, got continuous '{first.name}'; give it a step")
    for index in range(first.lattice_size):
        yield from _extensions({**assignment, first.name: first.lattice_value(index)}, others)


def _plain(value: object) -> object:
    """Return numbers as floats, free of the binary noise that some tuners put into the values of a lattice."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(f"{value:.12g}") if is_number else value
