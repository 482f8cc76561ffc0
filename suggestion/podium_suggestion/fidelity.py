"""The highest rung that tells enough: what BOHB models (Falkner et al., "BOHB", ICML 2018, section 4).

Losses of a low rung may mislead. Once enough trials have come to a higher one, what the lower ones said is forgotten, also
of the trials that never rose: that they were dismissed below is no word on what they would have become.
"""

import numpy as np

from podium_contract.lifecycle import Phase
from podium_suggestion.history import History, IntArray


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
