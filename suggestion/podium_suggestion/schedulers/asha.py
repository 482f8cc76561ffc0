"""Asynchronous successive halving, the form that promotes (Li et al., 2020, "A System for Massively Parallel
Hyperparameter Tuning", algorithm 2).

Whenever a slot is free, the highest rung whose best 1/eta has a member that still rests there sends it on; if there is
none, a new trial starts at the lowest rung. Nothing waits for anybody, so stragglers and failures cost only themselves.

Where the paper is silent:

- The n of a rung, of which the best floor(n / eta) go on, counts every trial that has reached it, later failures
  included. A trial that failed, or ended without going on, gives its place to the next best.
- A trial without a finite loss at the rung is never promoted; one that breaks a constraint ranks after all that do not.
- When no trial can come any more and nothing trains, the leader is trained in full (`finishBest`), unless a fully trained
  trial was better than the leader when both had trained as long: then training on is known not to pay. So at most one
  trial per rung is finished this way.
- When the search has tried all there is, and others still train, a free slot goes to the resting trial that is next in turn:
  the one nearest to its rung's best 1/eta. There are at most as many of these promotions as trials that were allowed and
  cannot come any more, so that an experiment of a finite space spends no more than its `maxTrials` provides for.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from podium_contract.algorithms import AshaScheduler
from podium_contract.experiment import RungStatus
from podium_contract.wire import Promote, Stop
from podium_suggestion.history import History
from podium_suggestion.rungs import rung_budgets
from podium_suggestion.schedulers.base import AnyMayBegin, Scheduler, Start
from podium_suggestion.schedulers.ladder import RungView, rung_statuses, view_rung
from podium_suggestion.schedulers.stopping import StoppingAsha
from podium_suggestion.schedulers.wording import Wording


class Asha(AnyMayBegin):
    """Promotes whenever a rung's best share has a new member."""

    def __init__(
        self,
        budgets: tuple[int, ...],
        eta: int,
        wording: Wording,
        *,
        finishes_best: bool,
        bracket_of: Callable[[History], int] = lambda _history: 0,
    ) -> None:
        """`bracket_of` chooses the bracket of the next trial; bracket k climbs all but the lowest k rungs."""
        self._eta = eta
        self._finishes_best = finishes_best
        self._budgets = budgets
        self._wording = wording
        self._bracket_of = bracket_of

    def start(self, history: History, number: int) -> Start:  # noqa: ARG002  (numbers are given in order)
        bracket = self._bracket_of(history)
        return Start(self._budgets[bracket], bracket)

    def judge(self, history: History, number: int, step: int) -> Stop | None:  # noqa: ARG002  (rungs decide)
        return None

    def next_move(self, history: History, more_trials: bool) -> Promote | None:
        # Higher rungs first, so that a promotion is not starved by new trials.
        for budget, target in reversed(list(pairwise(self._budgets))):
            for rung in self._by_bracket(history, view_rung(history, budget)):
                promotion = self._promotion(rung, target)
                if promotion is not None:
                    return promotion
        if self._finishes_best and not more_trials and not history.pending.any():
            return self._finish(history)
        return None

    def spare_move(self, history: History, missing: int) -> Promote | None:
        if not history.pending.any() or self._out_of_turn(history) >= missing:
            return None
        waiting = [
            (self._place(rung), rung, target)
            for budget, target in reversed(list(pairwise(self._budgets)))
            for rung in self._by_bracket(history, view_rung(history, budget))
            if rung.ranked(rung.resting).size
        ]
        if not waiting:
            return None
        _, rung, target = min(waiting, key=lambda each: each[0])  # of equals the higher rung
        row = int(rung.ranked(rung.resting)[0])
        reason = (
            f"{self._wording.at(float(rung.loss[row]), rung.budget)} is next, and nothing else is left for a free slot"
        )
        return Promote(trial=row + 1, target=target, reason=reason)

    def dismissals(self, history: History, more_trials: bool) -> tuple[Stop, ...]:
        """Nobody is dismissed while anything may still change: a rung's best share grows with every arrival."""
        if more_trials or history.pending.any() or self.next_move(history, more_trials) is not None:
            return ()
        return tuple(
            self._dismissal(history, rung, int(row))
            for budget in self._budgets[:-1]
            for rung in self._by_bracket(history, view_rung(history, budget))
            for row in np.flatnonzero(rung.resting)
        )

    def rungs(self, history: History) -> tuple[RungStatus, ...]:
        return rung_statuses(history, self._budgets)

    def _by_bracket(self, history: History, rung: RungView) -> Iterator[RungView]:
        """Yield the rung as each bracket sees it of which somebody rests there."""
        for bracket in np.unique(history.bracket[rung.resting]):
            yield rung.among(np.asarray(history.bracket == bracket))

    def _place(self, rung: RungView) -> float:
        """Return which share of a rung is as good as the best that rests there, at most 1."""
        ranked = rung.ranked(rung.is_able)
        first = int(np.flatnonzero(rung.resting[ranked])[0])
        return (first + 1) / int(np.count_nonzero(rung.reached))

    def _out_of_turn(self, history: History) -> int:
        """Return how many promotions there are beyond what the rungs' best shares have come to."""
        brackets = np.unique(history.bracket[history.known])
        rungs = [view_rung(history, budget) for budget in self._budgets[:-1]]
        members = [rung.among(np.asarray(history.bracket == bracket)) for rung in rungs for bracket in brackets]
        beyond = (np.count_nonzero(each.promoted) - np.count_nonzero(each.reached) // self._eta for each in members)
        return sum(max(int(more), 0) for more in beyond)

    def _promotion(self, rung: RungView, target: int) -> Promote | None:
        reached = int(np.count_nonzero(rung.reached))
        best = rung.ranked(rung.is_able)[: reached // self._eta]
        waiting = best[rung.resting[best]]
        if not waiting.size:
            return None
        row = int(waiting[0])
        reason = self._wording.is_inside(float(rung.loss[row]), rung.budget, self._eta, reached)
        return Promote(trial=row + 1, target=target, reason=reason)

    def _finish(self, history: History) -> Promote | None:
        """Return the promotion of the leader to the top, when it rests below and training on may pay."""
        losses = history.loss[:, 0]
        standing = np.flatnonzero(np.isfinite(losses) & (history.violations == 0))
        if not standing.size:
            return None
        leader = int(standing[np.lexsort((-history.step[standing], losses[standing]))[0]])
        budget, top = int(history.target[leader]), self._budgets[-1]
        if budget not in self._budgets[:-1]:
            return None
        rung, is_finished = view_rung(history, budget), history.step >= top
        if not rung.resting[leader] or np.any(rung.loss[is_finished] < rung.loss[leader]):
            return None
        reason = f"{self._wording.at(float(rung.loss[leader]), budget)} leads, and nothing else is left to train"
        return Promote(trial=leader + 1, target=top, reason=reason)

    def _dismissal(self, history: History, rung: RungView, row: int) -> Stop:
        reached = int(np.count_nonzero(rung.reached))
        reason = self._wording.is_outside(float(rung.loss[row]), rung.budget, self._eta, reached)
        return Stop(trial=row + 1, step=int(history.step[row]), reason=reason)


def make_asha(settings: AshaScheduler, wording: Wording) -> Scheduler:
    """Return ASHA in the form that the settings ask for."""
    wanted = settings.settings
    budgets = rung_budgets(settings.min, settings.max, wanted.reduction_factor)
    if wanted.variant == "stopping":
        return StoppingAsha(budgets, wanted.reduction_factor, wording)
    return Asha(budgets, wanted.reduction_factor, wording, finishes_best=wanted.finish_best)
