"""Evolution: good trials have children. Two ways of it, both without state beside the history.

Regularised evolution (Real, Aggarwal, Huang and Le, "Regularized evolution for image classifier architecture search",
AAAI 2019): of some drawn members of the population the best has a child, which differs in one or some parameters. The
population is the latest trials, so that everyone dies of age, and a lucky evaluation does not rule for ever.

Differential evolution (Storn and Price, 1997, in the form "current to best"): every slot of the population is challenged
in turn by its champion plus weighted differences of members. Trial n challenges slot n modulo the population, and a slot's
champion is the best of its trials, which is all the selection there is.
"""

import numpy as np

from podium_contract.algorithms import EvolutionSettings
from podium_contract.parameters import Assignment
from podium_suggestion.history import History, IntArray
from podium_suggestion.ranking import ranking
from podium_suggestion.samplers.base import Sampler
from podium_suggestion.samplers.moves import completed, log_uniform, neighbours, reflected
from podium_suggestion.samplers.sobol import SobolSampler
from podium_suggestion.space import FloatArray, Space

_ALIVE = 20
_NARROWEST, _WIDEST = 0.01, 0.3
"""A child's step is drawn between these, evenly by orders of magnitude: no stage of the search needs another setting.

So is the number of parameters that change, between one and all (as Doerr et al., "Fast genetic algorithms", GECCO 2017)."""
_FEWEST_CHAMPIONS = 4
"""A challenger is made of so many."""
_MOST_PLACES = 500
"""Places of the ranking that must be right with several objectives."""


def make_evolution(space: Space, settings: EvolutionSettings, seed: int) -> Sampler:
    """Return the variant that the settings name."""
    if settings.variant == "regularised":
        return RegularisedEvolution(space, settings, seed)
    return DifferentialEvolution(space, settings, seed)


class RegularisedEvolution:
    """Proposes a child of the best of some of the latest trials that have ended."""

    def __init__(self, space: Space, settings: EvolutionSettings, seed: int) -> None:
        self._space = space
        self._settings = settings
        self._alive = settings.population or _ALIVE
        self._startup = SobolSampler(space, seed)

    def propose(self, history: History, number: int, rng: np.random.Generator) -> Assignment:
        members = self._members(history)
        if len(members) < min(self._settings.startup_trials, self._alive):
            return self._startup.propose(history, number, rng)
        drawn = rng.choice(len(members), min(self._settings.sample_size, len(members)), replace=False)
        parent = history.units[members[drawn.min()]]
        width = log_uniform(rng, _NARROWEST, _WIDEST)
        changes = log_uniform(rng, 1.0, np.isfinite(parent).sum())
        (child,) = neighbours(self._space, parent[None], rng, width, changes)
        return self._space.from_unit(child)

    def _members(self, history: History) -> IntArray:
        """Return the rows of the population, best first; who has failed is alive but has no children."""
        ended = np.flatnonzero(history.decided & history.configured)
        return ranking(history, among=ended[-self._alive :])


class DifferentialEvolution:
    """Proposes a challenger of one slot of the population."""

    def __init__(self, space: Space, settings: EvolutionSettings, seed: int) -> None:
        self._space = space
        self._settings = settings
        self._slots = settings.population or int(np.clip(space.dimension, 8, _ALIVE))
        self._startup = SobolSampler(space, seed)

    def propose(self, history: History, number: int, rng: np.random.Generator) -> Assignment:
        champions = self._champions(history)
        slot = number % self._slots
        if number <= max(self._slots, self._settings.startup_trials) or len(champions) < _FEWEST_CHAMPIONS:
            return self._startup.propose(history, number, rng)
        best = next(iter(champions.values()))
        parent = champions.get(slot, best)
        others = [row for row in champions.values() if row != parent]
        first, second = rng.choice(others, 2, replace=False)
        points = completed(history.units[[parent, best, first, second]], rng)
        return self._space.from_unit(self._challenger(points, rng))

    def _champions(self, history: History) -> dict[int, int]:
        """Return the row of each slot's best trial, by slot, the best slot first."""
        order = ranking(history, places=_MOST_PLACES)
        slots, places = np.unique((order + 1) % self._slots, return_index=True)
        by_place = np.argsort(places)
        return {int(slots[which]): int(order[places[which]]) for which in by_place}

    def _challenger(self, points: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Return a full point made of the parent, the best, and two others, shape (4, dimension).

        A choice takes the best's or the first one's value where the two that it is a difference of disagree.
        """
        parent, best, first, second = points
        weight = self._settings.differential_weight
        moved = reflected(parent + weight * (best - parent) + weight * (first - second))
        for position, column in enumerate(self._space.columns):
            if not column.is_ordered:
                cells = column.cell(points[:, position])
                source = best if cells[0] != cells[1] else first if cells[2] != cells[3] else parent
                moved[position] = source[position]
        takes = rng.random(len(parent)) < self._settings.crossover_rate
        takes[rng.integers(len(parent))] = True
        return np.where(takes, moved, parent)
