"""A ladder of rungs over the history's arrays: who has reached a rung, who rests at it, who went on, and in which order.

A trial has reached a rung when it has trained as many steps as the rung's budget; it rests there when it is paused with the
budget as its target, and has gone on when its target is larger. Trials are ranked by (constraint violation as last
reported, loss at the budget, number).
"""

from dataclasses import dataclass, replace

import numpy as np

from podium_contract.experiment import RungStatus
from podium_contract.lifecycle import FINAL, Phase
from podium_suggestion.history import BoolArray, History, IntArray
from podium_suggestion.space import FloatArray


@dataclass(frozen=True)
class RungView:
    """One rung as the history stands. Masks have one row per trial number."""

    budget: int
    reached: BoolArray
    """Trained as far as the rung, whatever became of the trial since."""
    resting: BoolArray
    """Waiting at the rung: these can be promoted."""
    promoted: BoolArray
    """Went on from the rung, whatever became of the trial since."""
    is_able: BoolArray
    """May hold a place among the best: went on or still can, and has not failed."""
    loss: FloatArray
    """At the budget; +inf where unusable, NaN where unknown."""
    violation: FloatArray

    def among(self, members: BoolArray) -> "RungView":
        """Return the rung as if nobody but the members took part."""
        return replace(
            self,
            reached=self.reached & members,
            resting=self.resting & members,
            promoted=self.promoted & members,
            is_able=self.is_able & members,
        )

    def ranked(self, mask: BoolArray) -> IntArray:
        """Return the rows of a mask that have a finite loss, best first; of equals the lower number first."""
        rows = np.flatnonzero(mask & np.isfinite(self.loss))
        # A stable sort, so that ties stay in order of numbers.
        return rows[np.lexsort((self.loss[rows], self.violation[rows]))]


def view_rung(history: History, budget: int) -> RungView:
    """Return how a rung stands."""
    is_paused, has_failed = history.in_phase(Phase.PAUSED), history.in_phase(Phase.FAILED)
    reached = history.step >= budget
    promoted = reached & (history.target > budget)
    has_ended = history.in_phase(*FINAL)
    return RungView(
        budget=budget,
        reached=reached,
        resting=reached & is_paused & (history.target == budget),
        promoted=promoted,
        is_able=reached & ~has_failed & (promoted | ~has_ended),
        loss=history.at(budget),
        violation=history.violations,
    )


def rung_statuses(history: History, budgets: tuple[int, ...]) -> tuple[RungStatus, ...]:
    """Return the ladder's occupancy, all brackets together."""
    on_the_way = history.pending
    statuses = []
    for budget in budgets:
        reached = history.step >= budget
        statuses.append(
            RungStatus(
                budget=budget,
                running=int(np.count_nonzero(on_the_way & (history.target == budget))),
                reached=int(np.count_nonzero(reached)),
                promoted=int(np.count_nonzero(reached & (history.target > budget))),
            )
        )
    return tuple(statuses)
