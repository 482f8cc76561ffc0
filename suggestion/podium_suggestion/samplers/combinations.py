"""All combinations of given coordinates, each configuration once: counted and reached by index, never listed.

A conditional parameter varies only where it is active, so the combinations form a tree rather than a box. Parameters that
no condition connects vary independently; each connected group is a tree of its own, whose branches are counted once
per state of its parents.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from podium_suggestion.space import Column, FloatArray, Space

Choices = Sequence[float]
"""Coordinates of one column, in the order in which they are taken."""
_State = tuple[float | None, ...]
"""Coordinates of a group's parents, as far as they are chosen, in order of the columns; None where inactive."""


@dataclass(frozen=True)
class Cells(Sequence[float]):
    """The centres of all cells of a discrete column, computed when asked for."""

    column: Column

    def __len__(self) -> int:
        assert self.column.size is not None
        return self.column.size

    def __getitem__(self, index: int) -> float:  # type: ignore[override]  # nobody slices
        if not 0 <= index < len(self):
            raise IndexError(f"a column of {len(self)} cells has none of index {index}")
        return float(self.column.centre(np.asarray(float(index))))


class Combinations:
    """Every combination of choices that is one configuration, in lexicographic order of the columns."""

    def __init__(self, space: Space, choices: Sequence[Choices]) -> None:
        self._space = space
        self._trees = [_Tree(space, group, choices) for group in _connected(space)]

    @cached_property
    def size(self) -> int:
        """How many there are."""
        return prod(tree.size for tree in self._trees)

    def point(self, index: int) -> FloatArray:
        """Return combination `index`, 0 <= index < size, as a point, shape (dimension,), NaN where inactive."""
        if not 0 <= index < self.size:
            raise IndexError(f"of {self.size} combinations there is none of index {index}")
        point = np.full(self._space.dimension, np.nan)
        for tree in reversed(self._trees):
            index, branch = divmod(index, tree.size)
            tree.fill(point, branch)
        return point


def all_configurations(space: Space, most_states: int = 10_000) -> Combinations | None:
    """Return the configurations of a space without continuous parameters; None for one that has them.

    None as well when the states of the parents are more than `most_states`, too many to count the branches of.
    """
    if space.is_continuous:
        return None
    for group in _connected(space):
        if prod(space.columns[parent].size or 1 for parent in _parents_in(space, group)) > most_states:
            return None
    return Combinations(space, [Cells(column) for column in space.columns])


class _Tree:
    """The combinations of one connected group of columns, parents before children."""

    def __init__(self, space: Space, group: Sequence[int], choices: Sequence[Choices]) -> None:
        self._space = space
        self._group = group
        self._choices = choices
        self._parents = _parents_in(space, group)
        self._counts: dict[tuple[int, _State], int] = {}

    @cached_property
    def size(self) -> int:
        return self._count(0, ())

    def fill(self, point: FloatArray, index: int) -> None:
        """Write the coordinates of combination `index` into `point`."""
        state: _State = ()
        for depth, position in enumerate(self._group):
            if position in self._parents:
                coordinate, index = self._branch(depth, state, index)
                state = (*state, coordinate)
            elif self._is_active(position, state):
                option, index = divmod(index, self._count(depth + 1, state))
                coordinate = self._choices[position][option]
            else:
                continue
            point[position] = np.nan if coordinate is None else coordinate

    def _branch(self, depth: int, state: _State, index: int) -> tuple[float | None, int]:
        """Return the parent's coordinate under which combination `index` lies, and its index there."""
        for coordinate in self._options(depth, state):
            size = self._count(depth + 1, (*state, coordinate))
            if index < size:
                return coordinate, index
            index -= size
        raise AssertionError("the sizes of the branches add up to the tree's")

    def _count(self, depth: int, state: _State) -> int:
        """Count the combinations of the columns from `depth` on, given the coordinates of the parents before."""
        if depth == len(self._group):
            return 1
        if (depth, state) not in self._counts:
            position = self._group[depth]
            if position in self._parents:
                branches = (self._count(depth + 1, (*state, option)) for option in self._options(depth, state))
                self._counts[depth, state] = sum(branches)
            else:
                width = len(self._choices[position]) if self._is_active(position, state) else 1
                self._counts[depth, state] = width * self._count(depth + 1, state)
        return self._counts[depth, state]

    def _options(self, depth: int, state: _State) -> Iterable[float | None]:
        position = self._group[depth]
        return self._choices[position] if self._is_active(position, state) else (None,)

    def _is_active(self, position: int, state: _State) -> bool:
        for name, condition in self._space.parameters[position].when.items():
            parent = self._space.index[name]
            coordinate = state[self._parents.index(parent)]
            if coordinate is None or not self._space.columns[parent].satisfies(condition, np.asarray(coordinate)):
                return False
        return True


def _parents_in(space: Space, group: Sequence[int]) -> list[int]:
    """Return the columns of a group on which others depend, ascending."""
    return sorted({parent for position in group for parent in space.parents(position)})


def _connected(space: Space) -> list[tuple[int, ...]]:
    """Return the columns in groups that conditions connect, ascending within and by their first column."""
    group_of = {position: {position} for position in range(space.dimension)}
    for position in range(space.dimension):
        for parent in space.parents(position):
            merged = group_of[position] | group_of[parent]
            group_of.update(dict.fromkeys(merged, merged))
    return sorted({tuple(sorted(group)) for group in group_of.values()})
