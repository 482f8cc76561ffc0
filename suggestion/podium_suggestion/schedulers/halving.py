"""Successive halving in brackets (Jamieson and Talwalkar, 2016).

A bracket of trials starts together at the lowest rung. When every trial of a rung has reached it or ended, they are ranked;
the best 1/eta, at least one, go on to the next rung, and the others are stopped. A trial that failed counts as the worst,
so failures do not hold a rung up; while a bracket waits for stragglers new trials start the next bracket, so that no slot
idles. When no more trials can come, the bracket that they would have filled goes on with those that it has.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count, pairwise

import numpy as np

from podium_contract.algorithms import HalvingScheduler
from podium_contract.experiment import RungStatus
from podium_contract.lifecycle import FINAL, Phase
from podium_contract.wire import Promote, Stop
from podium_suggestion.history import BoolArray, History
from podium_suggestion.rungs import full_bracket_size, rung_budgets, survivors
from podium_suggestion.schedulers.base import AllInTurn, AnyMayBegin, Start
from podium_suggestion.schedulers.ladder import RungView, rung_statuses, view_rung
from podium_suggestion.schedulers.wording import Wording


@dataclass(frozen=True)
class Opening:
    """How a bracket begins."""

    size: int
    """Trials that begin in it."""
    budget: int
    """The rung at which they do."""


@dataclass(frozen=True)
class _Ranking:
    """A rung of a bracket that everybody has reached or dropped out of."""

    rung: RungView
    trials: int
    going_on: list[int]
    """Rows that rest there and are to be promoted, best first."""
    dismissed: list[int]
    """Rows that rest there and are not."""


class Halving(AnyMayBegin, AllInTurn):
    """Ranks full rungs, promotes the best share and stops the rest."""

    def __init__(
        self, budgets: tuple[int, ...], eta: int, wording: Wording, opening_of: Callable[[int], Opening]
    ) -> None:
        """`opening_of` says how bracket 0, 1 ... begins; one of size 0 is passed over."""
        self._eta = eta
        self._budgets = budgets
        self._wording = wording
        self._opening_of = opening_of

    def start(self, history: History, number: int) -> Start:  # noqa: ARG002  (numbers are given in order)
        bracket = self._open_bracket(history)
        return Start(self._opening_of(bracket).budget, bracket)

    def judge(self, history: History, number: int, step: int) -> Stop | None:  # noqa: ARG002  (rungs decide)
        return None

    def next_move(self, history: History, more_trials: bool) -> Promote | None:
        for ranking, target in self._rankings(history, more_trials):
            if ranking.going_on:
                row = ranking.going_on[0]
                return Promote(trial=row + 1, target=target, reason=self._why_going_on(ranking, row))
        return None

    def dismissals(self, history: History, more_trials: bool) -> tuple[Stop, ...]:
        return tuple(
            self._dismissal(history, ranking, row)
            for ranking, _ in self._rankings(history, more_trials)
            for row in ranking.dismissed
        )

    def rungs(self, history: History) -> tuple[RungStatus, ...]:
        return rung_statuses(history, self._budgets)

    def _open_bracket(self, history: History) -> int:
        """Return the bracket that the next trial joins: the latest one, unless it is full or was ranked already."""
        if not history.rows:
            return self._first_from(0)
        latest = int(history.bracket.max())
        members, opening = _members(history, latest), self._opening_of(latest)
        was_ranked = members & ((history.target > opening.budget) | history.in_phase(Phase.PRUNED))
        is_open = np.count_nonzero(members) < opening.size and not was_ranked.any()
        return latest if is_open else self._first_from(latest + 1)

    def _first_from(self, bracket: int) -> int:
        """Return the first bracket from `bracket` on that anybody begins in."""
        return next(later for later in count(bracket) if self._opening_of(later).size)

    def _rankings(self, history: History, more_trials: bool) -> list[tuple[_Ranking, int]]:
        """Return every rung that is decided and has trials resting, with the budget above it; higher rungs first."""
        rankings = []
        for budget, target in reversed(list(pairwise(self._budgets))):
            rung = view_rung(history, budget)
            for bracket in np.unique(history.bracket[rung.resting]):
                members = _members(history, int(bracket))
                if self._is_full(members, int(bracket), history, more_trials) and self._is_settled(
                    history, rung, members
                ):
                    rankings.append((self._rank(history, rung, members), target))
        return rankings

    def _is_full(self, members: BoolArray, bracket: int, history: History, more_trials: bool) -> bool:
        """Answer whether no trial will join a bracket any more."""
        size = int(np.count_nonzero(members))
        return not more_trials or size >= self._opening_of(bracket).size or bracket < self._open_bracket(history)

    def _is_settled(self, history: History, rung: RungView, members: BoolArray) -> bool:
        """Answer whether each member has reached the rung or ended, and none can still rise to it."""
        has_ended = history.in_phase(*FINAL)
        is_here = has_ended | rung.promoted | rung.resting
        return bool(np.all(is_here[members]))

    def _rank(self, history: History, rung: RungView, members: BoolArray) -> _Ranking:
        """Rank those who were given the rung's budget; places of those who went on before are taken."""
        competing = members & (history.target >= rung.budget)
        trials = int(np.count_nonzero(competing))
        places = survivors(trials, self._eta) - int(np.count_nonzero(members & rung.promoted))
        going_on = rung.ranked(members & rung.resting)[: max(places, 0)]
        dismissed = np.setdiff1d(np.flatnonzero(members & rung.resting), going_on)
        return _Ranking(rung, trials, going_on.tolist(), dismissed.tolist())

    def _dismissal(self, history: History, ranking: _Ranking, row: int) -> Stop:
        return Stop(trial=row + 1, step=int(history.step[row]), reason=self._why_dismissed(ranking, row))

    def _why_going_on(self, ranking: _Ranking, row: int) -> str:
        loss, budget = float(ranking.rung.loss[row]), ranking.rung.budget
        if ranking.trials < self._eta:
            return f"{self._wording.at(loss, budget)} is the best of {ranking.trials}"
        return self._wording.is_inside(loss, budget, self._eta, ranking.trials)

    def _why_dismissed(self, ranking: _Ranking, row: int) -> str:
        loss, budget = float(ranking.rung.loss[row]), ranking.rung.budget
        if ranking.trials < self._eta:
            return f"{self._wording.at(loss, budget)} is not the best of {ranking.trials}"
        return self._wording.is_outside(loss, budget, self._eta, ranking.trials)


def make_halving(settings: HalvingScheduler, wording: Wording, max_trials: int) -> Halving:
    """Return successive halving: every bracket begins at the lowest rung, with as many trials as the last."""
    eta = settings.settings.reduction_factor
    budgets = rung_budgets(settings.min, settings.max, eta)
    size = settings.settings.bracket_size or min(full_bracket_size(budgets, eta), max_trials)
    return Halving(budgets, eta, wording, lambda _bracket: Opening(size, budgets[0]))


def _members(history: History, bracket: int) -> BoolArray:
    return np.asarray(history.known & (history.bracket == bracket))
