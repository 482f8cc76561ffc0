"""The front of several objectives: which points no other beats, and how alone each of them is."""

import numpy as np

from podium_suggestion.history import BoolArray
from podium_suggestion.space import FloatArray


def non_dominated(losses: FloatArray) -> BoolArray:
    """Answer which rows no other row dominates, shape (n,); rows, shape (n, m), are in lexicographic order.

    A row can only be dominated by an earlier one, so one sweep suffices; equal rows do not dominate each other.
    """
    alive = np.ones(len(losses), dtype=np.bool_)
    for index in range(len(losses)):
        if alive[index]:
            later = losses[index + 1 :]
            is_dominated = (later >= losses[index]).all(axis=1) & (later > losses[index]).any(axis=1)
            alive[index + 1 :] &= ~is_dominated
    return alive


def crowding_distances(losses: FloatArray) -> FloatArray:
    """Return how alone each point of a front is, shape (n,) from (n, objectives): Deb et al., 2002, NSGA-II.

    For each objective the distance between a point's neighbours, relative to the front's extent; the ends are infinite.
    """
    distances = np.zeros(len(losses))
    for column in losses.T:
        order = np.argsort(column, kind="stable")
        extent = column[order[-1]] - column[order[0]]
        distances[order[[0, -1]]] = np.inf
        if extent > 0:
            distances[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / extent
    return distances
