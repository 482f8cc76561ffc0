"""Which trials did better: one order, best first, over feasible and infeasible, half-trained and finished trials alike.

Feasible trials come first, the others by how far they break the constraints (Deb, "An efficient constraint handling
method for genetic algorithms", 2000). Within that one objective ranks by loss, several by non-dominated fronts and,
within a front, by crowding distance (Deb et al., "NSGA-II", 2002); what is worse than a stated reference in any of them
comes after what is not.

Trials that were trained for different budgets are never compared by losses of different budgets. BOHB (Falkner et al.,
2018) models the highest budget alone that has enough trials, and forgets the rest; ranking whatever trained longer
first would let a trial that was promoted early, out of few, stay ahead of all the good ones that came later. Here the
order is refined level by level, from the lowest budget up: the trials that reached a level keep the places they have
won together on the level below, and share them out anew by their losses at this level. So more training decides between
trials that have it, and a promotion as such is worth nothing. Levels are left out whose order has nothing to do with the one
that more training brings (see `fidelity.telling`), and with them the trials that came no further.
"""

import numpy as np

from podium_contract.lifecycle import Phase
from podium_suggestion.fidelity import telling
from podium_suggestion.history import History, IntArray
from podium_suggestion.pareto import crowding_distances, given_reference, non_dominated
from podium_suggestion.space import FloatArray

_MOST_LEVELS = 8
"""Budgets compared at; where trials stopped at more different steps (median stopping), the least of them and powers of
two are taken."""


def ranking(history: History, places: int | None = None, among: IntArray | None = None) -> IntArray:
    """Return the rows of the trials that can be ranked, best first, shape (k,); ties in order of numbers.

    With `places`, only so many of the first places are sure to be right, which spares work with several objectives.
    With `among`, only those rows are ranked, ascending ones, as if there were no others.
    Left out are failed trials, those without a finite loss, those still on their way to their first level, and those that
    have come to misleading levels only.
    """
    rows = np.arange(history.rows) if among is None else among
    if len(history.objectives) == 1:
        order = rows[_by_levels(history, rows)]
        return order[np.argsort(history.violations[order], kind="stable")]
    rows = rows[history.usable[rows]]
    is_feasible = history.violations[rows] == 0.0
    feasible, others = rows[is_feasible], rows[~is_feasible]
    is_worthwhile = (history.loss[feasible] <= given_reference(history.objectives)).all(axis=1)
    fronts = [
        part[_by_fronts(history.loss[part], places)] for part in (feasible[is_worthwhile], feasible[~is_worthwhile])
    ]
    return np.concatenate([*fronts, others[np.argsort(history.violations[others], kind="stable")]])


def levels(history: History) -> list[int]:
    """Return the budgets at which trials rest short of the end, ascending: a scheduler's rungs, as far as they matter.

    Where somebody has killed a trial is none of them.
    """
    short = history.usable & ~history.in_phase(Phase.SUCCEEDED, Phase.KILLED)
    steps = np.unique(history.step[short])
    if len(steps) <= _MOST_LEVELS:
        return [int(step) for step in steps]
    lowest, highest = int(steps[0]), int(steps[-1])
    return [lowest, *(2**power for power in range(lowest.bit_length(), highest.bit_length()))]


def _by_levels(history: History, rows: IntArray) -> IntArray:
    """Return the positions among `rows`, best first, of those that can be ranked, shape (k,)."""
    is_finished, failed = history.in_phase(Phase.SUCCEEDED)[rows], history.failed[rows]
    finals = np.where(is_finished, history.loss[rows, 0], np.nan)
    at_levels = [history.at(level)[rows] for level in levels(history)]
    order = np.empty(0, dtype=np.int64)
    for losses in telling([np.where(failed, np.nan, losses) for losses in (*at_levels, finals)]):
        contends = np.isfinite(losses)
        is_placed = np.zeros(len(rows), dtype=np.bool_)
        is_placed[order] = True
        order = np.concatenate([order, np.flatnonzero(contends & ~is_placed)])
        positions = np.flatnonzero(contends[order])
        contenders = order[positions]
        order[positions] = contenders[np.argsort(losses[contenders], kind="stable")]
    return order


def _by_fronts(losses: FloatArray, places: int | None) -> IntArray:
    """Return the order of finite losses, shape (n, objectives): by front, then the least crowded first, shape (n,)."""
    order: list[IntArray] = []
    left = np.lexsort(losses.T[::-1])
    to_place = len(left) if places is None else min(places, len(left))
    while to_place > 0:
        is_front = non_dominated(losses[left])
        front, left = left[is_front], left[~is_front]
        order.append(front[np.argsort(-crowding_distances(losses[front]), kind="stable")])
        to_place -= len(front)
    return np.concatenate([*order, left])
