"""Quasi-random search: the points of one scrambled Sobol sequence, trial n the n-th.

Owen, "Scrambling Sobol' and Niederreiter-Xing points", Journal of Complexity 14, 1998.
"""

import numpy as np

from podium_contract.parameters import Assignment
from podium_suggestion.history import History
from podium_suggestion.samplers.base import trial_rng
from podium_suggestion.space import FloatArray, Space

_BLOCK = 256
"""Points computed at a time: a power of 2, as the sequence is balanced over such blocks."""
_NO_TRIAL = 0
"""Number under which the scrambling is drawn: no trial bears it, so it shares randomness with none."""


class SobolSampler:
    """Proposes the sequence's point of a trial's number: the same whenever, and after whatever, it is asked."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._seed = seed
        self._block = -1
        self._points: FloatArray = np.empty((0, space.dimension))

    def propose(self, history: History, number: int, rng: np.random.Generator) -> Assignment:  # noqa: ARG002
        return self._space.from_unit(self.point(number))

    def point(self, number: int) -> FloatArray:
        """Return the full point of trial `number` (from 1), shape (dimension,)."""
        block, row = divmod(number - 1, _BLOCK)
        if block != self._block:
            from scipy.stats import qmc  # noqa: PLC0415  (half a second of start-up, of every command)

            # A new engine each time: one cannot go back, and the scrambling must be the same.
            engine = qmc.Sobol(self._space.dimension, seed=trial_rng(self._seed, _NO_TRIAL))
            if block:
                engine.fast_forward(block * _BLOCK)
            self._block, self._points = block, engine.random(_BLOCK)
        return np.asarray(self._points[row])
