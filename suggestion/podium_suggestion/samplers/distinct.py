"""What random, quasi-random and model-based samplers share: no configuration twice."""

import numpy as np

from podium_contract.parameters import Assignment
from podium_suggestion.history import History
from podium_suggestion.samplers.base import Exhausted, Explaining, Proposal, Sampler, suggest
from podium_suggestion.samplers.combinations import all_configurations
from podium_suggestion.space import Space

_DRAWS = 32
"""Uniform draws before the untried configurations are looked through one by one."""


class Distinct(Explaining):
    """Proposes no configuration that has been tried, and ends when a finite space has none left.

    Where the sampler itself repeats one, a uniform draw from what is left takes its place. Only in a space of which a
    part is finite and the rest continuous may a configuration come twice, once that part is nearly used up.
    """

    def __init__(self, space: Space, sampler: Sampler) -> None:
        self._space = space
        self._sampler = sampler
        self._all = all_configurations(space)

    def suggest(self, history: History, number: int, rng: np.random.Generator) -> Proposal | Exhausted:
        if self._all is not None and len(history.tried) >= self._all.size:
            return Exhausted(f"all {self._all.size} configurations of the space have been tried")
        proposal = suggest(self._sampler, history, number, rng)
        if isinstance(proposal, Exhausted) or not self._is_tried(history, proposal.assignment):
            return proposal
        untried = self._untried(history, rng)
        return proposal if untried is None else Proposal(untried, "drawn at random, as its own choice had been tried")

    def _untried(self, history: History, rng: np.random.Generator) -> Assignment | None:
        for _ in range(_DRAWS):
            assignment = self._space.sample(rng)
            if not self._is_tried(history, assignment):
                return assignment
        if self._all is None:
            return None
        start = int(rng.integers(min(self._all.size, 2**62)))
        for index in range(start, start + self._all.size):
            point = self._all.point(index % self._all.size)
            if self._space.key(point) not in history.tried:
                return self._space.from_unit(point)
        return None

    def _is_tried(self, history: History, assignment: Assignment) -> bool:
        return self._space.key(self._space.to_unit(assignment)) in history.tried
