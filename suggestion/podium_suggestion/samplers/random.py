"""Random search: independent draws, uniform on each parameter's scale.

Bergstra and Bengio, "Random search for hyper-parameter optimization", JMLR 13, 2012.
"""

import numpy as np

from podium_contract.parameters import Assignment
from podium_suggestion.history import History
from podium_suggestion.space import Space


class RandomSampler:
    """Draws every configuration from the whole space, whatever came of the earlier ones."""

    def __init__(self, space: Space) -> None:
        self._space = space

    def propose(self, history: History, number: int, rng: np.random.Generator) -> Assignment:  # noqa: ARG002
        return self._space.sample(rng)
