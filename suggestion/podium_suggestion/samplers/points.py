"""Configurations that somebody has chosen, tried before the sampler is asked: the manifest's points, an earlier winner.

Which one a trial gets follows from its number: the n-th proposal is the n-th point. Trials are made once and numbered once,
so that restarts and parallel workers neither lose nor repeat a point.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from podium_contract.parameters import (
    Assignment,
    default_assignment,
    is_active,
)
from podium_suggestion.history import History
from podium_suggestion.samplers.base import Exhausted, Explaining, Proposal, Sampler, suggest
from podium_suggestion.space import Space
from podium_suggestion.transfer.inheritance import StartingPoint
from podium_suggestion.transfer.mapping import nearest_value


@dataclass(frozen=True)
class Point:
    """A part of a configuration, or a whole one; it gives no conditional parameter without its parents."""

    values: Assignment
    origin: str
    """A clause for a person: "point 2 of the manifest"."""
    again: bool = False
    """Whether it is tried even where an earlier trial has had the configuration."""


class PointsFirst(Explaining):
    """Tries given points in their order, each once, and then asks the sampler.

    What a point leaves out takes the parameter's default, or else the value that the sampler proposes for this trial.
    """

    def __init__(self, space: Space, points: Sequence[Point], sampler: Sampler) -> None:
        self._space = space
        self._points = points
        self._sampler = sampler

    def suggest(self, history: History, number: int, rng: np.random.Generator) -> Proposal | Exhausted:
        place = _proposals_before(history, number, len(self._points))
        if place < len(self._points):
            point = self._points[place]
            assignment = self._completed(point.values, history, number, rng)
            if point.again or self._space.key(self._space.to_unit(assignment)) not in history.tried:
                return Proposal(assignment, point.origin)
        return suggest(self._sampler, history, number, rng)

    def _completed(self, values: Assignment, history: History, number: int, rng: np.random.Generator) -> Assignment:
        assignment: Assignment = {}
        others: Assignment | None = None
        for column in self._space.columns:
            parameter = column.parameter
            if not is_active(parameter, assignment):
                continue
            if parameter.name in values:
                assignment[parameter.name] = nearest_value(parameter, values[parameter.name])
                continue
            if parameter.default is not None:
                assignment[parameter.name] = parameter.default
                continue
            others = self._proposed(history, number, rng) if others is None else others
            is_proposed = parameter.name in others
            assignment[parameter.name] = others[parameter.name] if is_proposed else column.from_unit(rng.random())
        return assignment

    def _proposed(self, history: History, number: int, rng: np.random.Generator) -> Assignment:
        proposal = suggest(self._sampler, history, number, rng)
        return {} if isinstance(proposal, Exhausted) else proposal.assignment


def manifest_points(points: Sequence[Assignment]) -> list[Point]:
    """Return the points of a manifest: tried whatever was tried before, for somebody asked for them."""
    return [Point(values, f"point {place} of the manifest", again=True) for place, values in enumerate(points, start=1)]


def default_points(space: Space) -> list[Point]:
    """Return the default configuration, where every active parameter has a default."""
    defaults = default_assignment(space.parameters)
    return [] if defaults is None else [Point(defaults, "the parameters' defaults")]


def inherited_points(points: Sequence[StartingPoint]) -> list[Point]:
    """Return the starting points that earlier experiments give."""
    return [Point(point.parameters, point.origin) for point in points]


def _proposals_before(history: History, number: int, most: int) -> int:
    """Return how many of the trials before `number` were proposed and not cloned; `most` for that many or more.

    A trial whose record was lost counts as proposed.
    """
    count = 0
    for earlier in range(1, number):
        if count == most:
            break
        trial = history.trials.get(earlier)
        count += trial is None or trial.parent is None
    return count
