"""The front of several objectives: which points no other beats, how alone each of them is, and what they dominate.

Losses are lower-is-better throughout. The hypervolume of a front is the volume of what it dominates up to a reference
point, the worst that is worth having (Zitzler and Thiele, "Multiobjective optimization using evolutionary algorithms",
1998).
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from podium_contract.experiment import Objective
from podium_suggestion.history import BoolArray
from podium_suggestion.space import FloatArray


def non_dominated(losses: FloatArray) -> BoolArray:
    """Answer which rows no other row dominates, shape (n,); rows, shape (n, m), are in lexicographic order.

    A row can only be dominated by an earlier one, and is not behind it in the first column, so one sweep over the other
    columns suffices. Equal rows do not dominate each other: they stand and fall together.
    """
    is_first = np.ones(len(losses), dtype=np.bool_)
    is_first[1:] = (losses[1:] != losses[:-1]).any(axis=1)
    columns = losses[is_first, 1:].T.copy()
    alive = np.ones(columns.shape[1], dtype=np.bool_)
    for index in range(len(alive)):
        if alive[index]:
            alive[index + 1 :] &= ~(columns[:, index + 1 :] >= columns[:, index, None]).all(axis=0)
    return np.asarray(alive[np.cumsum(is_first) - 1])


def front_of(losses: FloatArray) -> FloatArray:
    """Return the rows, shape (n, objectives), that no other dominates, in lexicographic order."""
    ordered = losses[np.lexsort(losses.T[::-1])]
    return ordered[non_dominated(ordered)]


def crowding_distances(losses: FloatArray) -> FloatArray:
    """Return how alone each point of a front is, shape (n,) from (n, objectives): Deb et al., 2002, NSGA-II.

    For each objective the distance between a point's neighbours, relative to the front's extent; the ends are infinite.
    """
    distances = np.zeros(len(losses))
    largest = np.abs(losses).max(axis=0, initial=0.0, where=np.isfinite(losses))
    for column in np.ldexp(losses, -np.frexp(largest)[1]).T:  # within 1, where differences do not overflow
        order = np.argsort(column, kind="stable")
        extent = column[order[-1]] - column[order[0]]
        distances[order[[0, -1]]] = np.inf
        if extent > 0:
            distances[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / extent
    return distances


def given_reference(objectives: Sequence[Objective]) -> FloatArray:
    """Return the reference point that a manifest states, as losses, shape (objectives,); infinite where it states none."""
    stated = [np.inf if each.reference is None else each.loss(each.reference) for each in objectives]
    return np.array(stated)


def hypervolume(losses: FloatArray, reference: Sequence[float] | FloatArray) -> float:
    """Return the volume that losses, shape (n, objectives), dominate up to a reference point, shape (objectives,).

    By slices along the last objective: between two neighbouring values of it the dominated area is that of the points below.
    """
    bound = np.asarray(reference, dtype=np.float64)
    front = _front_within(losses, bound)
    return _volume(front, bound) if len(front) else 0.0


def growing_hypervolume(losses: FloatArray, reference: Sequence[float] | FloatArray) -> FloatArray:
    """Return the hypervolume of the first row, the first two and so on, shape (n,) from (n, objectives)."""
    bound = np.asarray(reference, dtype=np.float64)
    volumes = np.zeros(len(losses))
    front = np.empty((0, losses.shape[1]))
    for count, row in enumerate(losses):
        front = _front_within(np.vstack([front, row]), bound)
        volumes[count] = _volume(front, bound) if len(front) else 0.0
    return volumes


def undominated_boxes(losses: FloatArray, reference: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return disjoint boxes that make up what losses, shape (n, objectives), leave undominated below a reference point.

    They are given by their lower corners, whose coordinates may be -inf, and their upper ones, shape (boxes, objectives).
    """
    return _boxes(_front_within(losses, reference), reference)


def _front_within(losses: FloatArray, bound: FloatArray) -> FloatArray:
    """Return the front of those losses that are better than the bound in every objective, in lexicographic order."""
    return front_of(losses[(losses < bound).all(axis=1)])


def _volume(front: FloatArray, bound: FloatArray) -> float:
    if front.shape[1] == 1:
        return float(bound[0] - front[:, 0].min())
    by_last = front[np.argsort(front[:, -1], kind="stable")]
    if front.shape[1] == 2:
        ceilings = np.minimum.accumulate(np.concatenate([bound[:1], by_last[:, 0]]))
        return float(((ceilings[:-1] - ceilings[1:]) * (bound[1] - by_last[:, 1])).sum())
    heights = np.diff(np.append(by_last[:, -1], bound[-1]))
    return sum(
        float(height) * _volume(by_last[: n + 1, :-1], bound[:-1]) for n, height in enumerate(heights) if height > 0
    )


def _boxes(points: FloatArray, bound: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Cut what points leave undominated into slices along the last objective, and each slice by the points below it."""
    if points.shape[1] == 1:
        return np.array([[-np.inf]]), np.array([[points.min(initial=bound[0])]])
    by_last = points[np.argsort(points[:, -1], kind="stable")]
    edges = np.unique(np.concatenate([[-np.inf], by_last[:, -1], bound[-1:]]))
    lower, upper = [], []
    for floor, ceiling in pairwise(edges):
        lows, highs = _boxes(front_of(by_last[by_last[:, -1] <= floor, :-1]), bound[:-1])
        lower.append(np.column_stack([lows, np.full(len(lows), floor)]))
        upper.append(np.column_stack([highs, np.full(len(highs), ceiling)]))
    return np.vstack(lower), np.vstack(upper)
