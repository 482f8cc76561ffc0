"""Cost-frugal search: small steps from a cheap start, so that dear configurations are tried only where steps lead to them.

Local search as in CFO (Wu, Wang and Huang, "Frugal optimization for cost-related hyperparameters", AAAI 2021): a step in a
random direction; when it leads nowhere, the opposite one; the incumbent moves to whatever is better; steps that keep leading
nowhere become shorter, and once they are too short the search starts anew. Blended with a global search as in BlendSearch
(Wang et al., ICLR 2021): some of the trials are a TPE's, kept, in the parameters that have a default, within a box around
all that has worked so far, so that they cost about what is known to be affordable, and the incumbent moves to the better of
them too.

Costs themselves are not modelled: the history knows none. What is cheap is told by the parameters' defaults, and that
is where the search begins.
"""

from dataclasses import dataclass

import numpy as np

from podium_contract.algorithms import FrugalSettings, TpeSettings
from podium_contract.parameters import Assignment
from podium_suggestion.history import BoolArray, History, IntArray
from podium_suggestion.ranking import ranking
from podium_suggestion.samplers.moves import completed, neighbours
from podium_suggestion.samplers.tpe import TpeSampler
from podium_suggestion.space import FloatArray, Space

_SHORTEST = 0.005
"""Length of steps, per parameter, below which the search starts anew."""
_GROWTH = 1.5
"""By how much steps grow after one that led to something better."""
_SUCCESS_RATE = 0.2
"""Share of successes at which the length of steps stays as it is (Rechenberg's one-fifth rule)."""
_LEAST_LEAP = 0.2
"""Chance that a choice changes with a step, at least."""
_MIRRORED = 4
"""How many of the latest steps that led nowhere are looked through for one whose opposite has not been tried."""
_MOST_PLACES = 1_000
"""Places of the ranking that must be right with several objectives."""


@dataclass(frozen=True)
class Search:
    """Where local search stands."""

    since: int
    """Row of the first trial since the search began anew."""
    incumbent: int | None
    """Row of the best trial since then."""
    step: float
    """Length of steps per parameter, as a share of its range."""


class FrugalSampler:
    """Proposes steps from the incumbent, and now and then a global search's idea within the affordable box."""

    def __init__(self, space: Space, settings: FrugalSettings, seed: int) -> None:
        self._space = space
        self._settings = settings
        self._global = TpeSampler(space, TpeSettings(), seed)
        self._start = _cheap_start(space)
        self._is_ordered = np.array([column.is_ordered for column in space.columns])

    def propose(self, history: History, number: int, rng: np.random.Generator) -> Assignment:
        is_global = self._are_global(np.arange(number))
        search = self._state(history)
        if is_global[-1] and number > 1:
            point = self._space.to_unit(self._global.propose(history, number, rng))
            return self._space.from_unit(self._affordable(history, completed(point, rng)))
        if search.incumbent is None:
            return self._space.from_unit(self._first(history, search, rng))
        opposite = self._opposite(history, search, is_global)
        if opposite is not None:
            return self._space.from_unit(opposite)
        return self._space.from_unit(self._stepped(history.units[search.incumbent], search.step, rng))

    def _state(self, history: History) -> Search:
        """Follow the trials in order of their numbers: what is better than the incumbent takes its place."""
        initial, shrink = self._settings.initial_step, _GROWTH ** (-_SUCCESS_RATE / (1.0 - _SUCCESS_RATE))
        place = np.full(history.rows, np.inf)
        order = ranking(history, places=_MOST_PLACES)
        place[order] = np.arange(len(order))
        is_global, since, incumbent, step = self._are_global(np.arange(history.rows)), 0, -1, initial
        for row in np.flatnonzero(history.decided):
            if place[row] < (place[incumbent] if incumbent >= 0 else np.inf):
                step = step if incumbent < 0 or is_global[row] else min(step * _GROWTH, initial)
                incumbent = int(row)
            elif not is_global[row] and incumbent >= 0:
                step *= shrink
            if step < _SHORTEST:
                since, incumbent, step = int(row) + 1, -1, initial
        return Search(since, incumbent if incumbent >= 0 else None, step)

    def _are_global(self, rows: IntArray) -> BoolArray:
        """Answer which trials are the global search's: evenly spaced ones, for the trial's row tells it."""
        share = self._settings.global_share
        return np.asarray(np.floor((rows + 1) * share) > np.floor(rows * share))

    def _first(self, history: History, search: Search, rng: np.random.Generator) -> FloatArray:
        """Return a full point to begin from: at first the cheap start, later one drawn from the affordable box."""
        if search.since == 0:
            start = np.where(np.isnan(self._start), rng.random(self._space.dimension), self._start)
            (encoded,) = self._space.encode(start[None])
            return start if self._space.key(encoded) not in history.tried else self._stepped(encoded, search.step, rng)
        return self._affordable(history, rng.random(self._space.dimension))

    def _stepped(self, point: FloatArray, step: float, rng: np.random.Generator) -> FloatArray:
        """Return a full point one step in a random direction from an encoded one, shape (dimension,)."""
        moves = self._is_ordered & ~np.isnan(point)
        if not moves.any():
            return self._neighbour(point, step, rng)
        direction = np.where(moves, rng.standard_normal(len(point)), 0.0)
        direction *= np.sqrt(moves.sum()) / np.linalg.norm(direction)
        moved = np.clip(completed(point, rng) + step * direction, 0.0, 1.0)
        leaps = ~self._is_ordered & (rng.random(len(point)) < max(step, _LEAST_LEAP))
        moved = np.where(leaps, rng.random(len(point)), moved)
        (encoded,) = self._space.encode(moved[None])
        if np.array_equal(encoded, point, equal_nan=True):
            return self._neighbour(point, step, rng)
        return moved

    def _neighbour(self, point: FloatArray, step: float, rng: np.random.Generator) -> FloatArray:
        """Return a full point that differs from an encoded one in a parameter or so, shape (dimension,)."""
        near = completed(neighbours(self._space, point[None], rng, step), rng)
        return np.asarray(near[0])

    def _opposite(self, history: History, search: Search, is_global: BoolArray) -> FloatArray | None:
        """Return the untried opposite of a late step from the incumbent that led nowhere; None where there is none."""
        assert search.incumbent is not None
        centre = history.units[search.incumbent]
        after = np.arange(search.incumbent + 1, history.rows)
        failures = after[history.decided[after] & ~is_global[after]][-_MIRRORED:]
        for row in failures[::-1]:
            mirrored = np.where(self._is_ordered, 2.0 * centre - history.units[row], centre)
            if np.array_equal(np.isnan(mirrored), np.isnan(centre)) and not (np.abs(mirrored - 0.5) > 0.5).any():
                (encoded,) = self._space.encode(np.where(np.isnan(mirrored), 0.5, mirrored)[None])
                if self._space.key(encoded) not in history.tried:
                    return np.asarray(encoded)
        return None

    def _affordable(self, history: History, point: FloatArray) -> FloatArray:
        """Return a full point moved into the box that holds the cheap start and whatever has not failed, with a margin.

        Parameters without a default are free: nothing tells that they cost anything.
        """
        known = np.vstack([self._start, history.units[history.usable]])
        is_known = ~np.isnan(known)
        low = np.where(is_known, known, np.inf).min(axis=0) - self._settings.initial_step
        high = np.where(is_known, known, -np.inf).max(axis=0) + self._settings.initial_step
        bounded = self._is_ordered & ~np.isnan(self._start)
        return np.where(bounded, np.clip(point, np.maximum(low, 0.0), np.minimum(high, 1.0)), point)


def _cheap_start(space: Space) -> FloatArray:
    """Return the coordinates of the defaults, shape (dimension,), NaN where a parameter has none."""
    start = np.full(space.dimension, np.nan)
    for position, column in enumerate(space.columns):
        if column.parameter.default is not None:
            (start[position],) = column.to_unit([column.parameter.default])
    return start
