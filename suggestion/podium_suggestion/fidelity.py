"""What low rungs are worth: losses after little training may tell what more training will bring, or mislead.

Two answers. BOHB forgets what lower rungs said once enough trials have come to a higher one, also of the trials that
never rose: that they were dismissed below is no word on what they would have become (Falkner et al., "BOHB", ICML 2018,
section 4). The other measures it: the trials that have come to a high rung have passed the low ones, and show whether
these would have put them into the same order. So rungs that tell are learned from, with all their trials, and those that
mislead are not.
"""

from collections.abc import Sequence

import numpy as np

from podium_contract.lifecycle import Phase
from podium_suggestion.history import History, IntArray
from podium_suggestion.space import FloatArray

_ENOUGH = 10
"""Trials at a level from which it can be told by them whether lower ones mislead."""
_LEAST_AGREEMENT = 0.5
"""Rank correlation below which a level misleads more than it tells."""


def telling(levels: Sequence[FloatArray]) -> list[FloatArray]:
    """Return the levels that are worth ranking trials by, of those given, lowest budget first.

    A level is the trials' losses with so much training, shape (n,), not finite where unknown. The highest with enough trials
    and those above it stay; a lower one does when it orders the trials of the former much as the former itself.
    """
    counts = [int(np.isfinite(losses).sum()) for losses in levels]
    reference = next((place for place in reversed(range(len(levels))) if counts[place] >= _ENOUGH), 0)
    return [
        losses
        for place, losses in enumerate(levels)
        if place >= reference or agreement(losses, levels[reference]) >= _LEAST_AGREEMENT
    ]


def agreement(lower: FloatArray, higher: FloatArray) -> float:
    """Return Spearman's rank correlation of the trials whose losses at two levels are known, shape (n,) each.

    Trials that are all alike at a level contradict nothing: then it is 1.
    """
    both = np.isfinite(lower) & np.isfinite(higher)
    below, above = lower[both], higher[both]
    if not len(below) or np.ptp(below) == 0.0 or np.ptp(above) == 0.0:
        return 1.0
    return float(np.corrcoef(_ranks(below), _ranks(above))[0, 1])


def _ranks(losses: FloatArray) -> FloatArray:
    """Return places from 1 on, shape (n,); equal losses share the mean of theirs."""
    _, group, sizes = np.unique(losses, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(sizes) - (sizes - 1) / 2)[group])


def ranking_at_highest(history: History, enough: int) -> IntArray:
    """Return the rows of the trials that have reached the highest rung with at least `enough` of them, best first.

    Rungs are the steps at which trials rest or have finished. Where none has enough, the order is that of the lowest.
    Trials rank by constraint violation, then by loss at the rung; ties in order of numbers.
    """
    order = np.empty(0, dtype=np.int64)
    for budget in _rungs(history):
        losses = history.at(budget)
        rows = np.flatnonzero(np.isfinite(losses) & (history.step >= budget) & ~history.in_phase(Phase.FAILED))
        order = rows[np.lexsort((losses[rows], history.violations[rows]))]
        if len(order) >= enough:
            break
    return order


def _rungs(history: History) -> list[int]:
    """Return the steps at which trials rest or ended, the highest first."""
    return [int(step) for step in np.unique(history.step[history.usable])[::-1]]
