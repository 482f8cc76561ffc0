"""Where an acquisition is highest: candidates over the whole space, mutations of the best, then ascent by gradient.

Candidates are encoded points, so whatever conditions a space has, parameters are present exactly where they are active.
Mutations change all kinds of parameters and may switch branches; the ascent moves the continuous ones, and lattices as
fine as these, to their optimum.
"""

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize

from podium_suggestion.space import FloatArray, Space

Score = Callable[[FloatArray], FloatArray]
"""Values of encoded points, shape (k,) from (k, dimension): higher is better."""
ScoreWithSlope = Callable[[FloatArray], tuple[float, FloatArray]]
"""Value of one encoded point and its derivatives by the coordinates, shape (dimension,)."""

_UNIFORM = 256
"""Candidates drawn from the whole space."""
_CHILDREN = 128
"""Mutations made of the incumbents, and then of the best candidates, round by round."""
_ROUNDS = 3
_PARENTS = 8
_STARTS = 3
"""Candidates that ascend by gradient."""
_ASCENT_STEPS = 40
_FINE = 50
"""A lattice of more values ascends as if it were continuous, and ends on the nearest value."""
_STEPS = (1e-3, 0.5)
"""The shortest and the longest mutation of an ordered coordinate, drawn on a log scale."""
_LEAST_CELLS = 0.7
"""The shortest mutation of a lattice, in cells: half of them reach a neighbour."""


class AcquisitionSearch:
    """Finds points of a space that score high."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._ascends = np.array(
            [column.size is None or (column.is_ordered and column.size > _FINE) for column in space.columns]
        )
        self._least_steps = np.array([_LEAST_CELLS / column.size if column.size else 0.0 for column in space.columns])
        self._is_ordered = np.array([column.is_ordered for column in space.columns])

    def best_first(
        self, score: Score, slope: ScoreWithSlope, incumbents: FloatArray, rng: np.random.Generator
    ) -> FloatArray:
        """Return encoded candidates, best first, shape (k, dimension). `incumbents` are encoded, best first."""
        uniform = self._space.encode(rng.random((_UNIFORM, self._space.dimension)))
        pool = np.vstack([uniform, self._mutations(incumbents, rng)])
        scores = score(pool)
        for _ in range(_ROUNDS):
            parents = pool[np.argsort(-scores, kind="stable")[:_PARENTS]]
            children = self._mutations(parents, rng)
            pool, scores = np.vstack([pool, children]), np.concatenate([scores, score(children)])
        order = np.argsort(-scores, kind="stable")
        starts = pool[order[:_STARTS]]
        ascended = np.array([self._ascended(start, slope) for start in starts])
        pool, scores = np.vstack([pool, ascended]), np.concatenate([scores, score(ascended)])
        return pool[np.argsort(-scores, kind="stable")]

    def _mutations(self, parents: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Return points in which some parameters of random parents have changed, shape (_CHILDREN, dimension)."""
        dimension = self._space.dimension
        chosen = parents[rng.integers(len(parents), size=_CHILDREN)]
        uniform = rng.random(chosen.shape)
        full = np.where(np.isnan(chosen), uniform, chosen)
        moves = rng.random(chosen.shape) < rng.choice([1.0, 2.0 / dimension], size=(_CHILDREN, 1))
        moves[np.arange(_CHILDREN), rng.integers(dimension, size=_CHILDREN)] = True
        shortest, longest = np.log(_STEPS)
        steps = np.exp(rng.uniform(shortest, longest, size=(_CHILDREN, 1)))
        shifted = full + np.maximum(steps, self._least_steps) * rng.standard_normal(chosen.shape)
        changed = np.where(self._is_ordered, np.clip(shifted, 0.0, 1.0), uniform)
        return self._space.encode(np.where(moves, changed, full))

    def _ascended(self, start: FloatArray, slope: ScoreWithSlope) -> FloatArray:
        """Return the point to which active continuous and fine parameters lead uphill, the others as they are."""
        free = np.flatnonzero(self._ascends & ~np.isnan(start))
        if not len(free):
            return start
        point = start.copy()

        def descent(coordinates: FloatArray) -> tuple[float, FloatArray]:
            point[free] = coordinates
            value, by_coordinate = slope(point)
            return -value, -by_coordinate[free]

        found = minimize(
            descent,
            start[free],
            jac=True,
            method="L-BFGS-B",
            bounds=[(0.0, 1.0)] * len(free),
            options={"maxiter": _ASCENT_STEPS, "maxfun": 2 * _ASCENT_STEPS},
        )
        point[free] = np.clip(found.x, 0.0, 1.0)
        # A continuous parent may have crossed the border of a condition.
        return self._space.to_unit(self._space.from_unit(np.where(np.isnan(point), 0.5, point)))
