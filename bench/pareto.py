"""Hypervolume: how much of the space below a reference point a set of results dominates."""

from collections.abc import Sequence

import numpy as np

from podium_suggestion.pareto import non_dominated
from podium_suggestion.space import FloatArray


def hypervolume(losses: FloatArray, reference: Sequence[float]) -> float:
    """Return the volume that losses, shape (n, m), dominate up to a reference point, shape (m,); lower losses are better.

    By slices along the last objective: between two neighbouring values of it the dominated area is that of the points below.
    """
    bound = np.asarray(reference, dtype=np.float64)
    inside = losses[(losses < bound).all(axis=1)]
    if not len(inside):
        return 0.0
    ordered = inside[np.lexsort(inside.T[::-1])]
    return _volume(ordered[non_dominated(ordered)], bound)


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
