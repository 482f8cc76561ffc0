"""Asynchronous successive halving, the form that stops (Li et al., 2020; the default of Ray Tune and Syne Tune).

Every trial sets out for the top. When it comes past a rung it is ranked, once, among those that have come past before it:
outside the best ceil(n / eta) of the n, itself included, it is stopped; else it trains on in the same run, without a pause.
So nothing is resumed and nothing waits, at the price that the first to arrive are let through on little evidence: until
eta trials have come as far, nobody is stopped.

A trial without a finite loss ranks last, one that breaks a constraint after all that do not, and one that failed no longer
counts. A trial that reports rarely is judged at its first report past the rung, by its last value within the rung's budget.
"""

import numpy as np

from podium_contract.experiment import RungStatus
from podium_contract.lifecycle import Phase
from podium_contract.wire import Stop
from podium_suggestion.history import History
from podium_suggestion.schedulers.base import NobodyRests, Start
from podium_suggestion.schedulers.wording import Wording
from podium_suggestion.space import FloatArray


class StoppingAsha(NobodyRests):
    """Stops whoever is outside the best share of a rung when it gets there."""

    def __init__(self, budgets: tuple[int, ...], eta: int, wording: Wording) -> None:
        self._eta = eta
        self._budgets = budgets
        self._wording = wording

    def start(self, history: History, number: int) -> Start:  # noqa: ARG002  (the same for every trial)
        return Start(self._budgets[-1])

    def judge(self, history: History, number: int, step: int) -> Stop | None:
        before = next((earlier for earlier in history.trials[number].steps_down(step) if earlier < step), 0)
        passed = [budget for budget in self._budgets[:-1] if before < budget <= step]
        stops = (self._judge_at(history, number, budget, step) for budget in passed)
        return next((stop for stop in stops if stop is not None), None)

    def rungs(self, history: History) -> tuple[RungStatus, ...]:
        is_stopped = history.in_phase(Phase.PRUNED)
        statuses = []
        for below, budget, above in zip((0, *self._budgets), self._budgets, (*self._budgets[1:], None), strict=False):
            reached = history.step >= budget
            went_on = np.zeros_like(reached) if above is None else reached & (~is_stopped | (history.step >= above))
            statuses.append(
                RungStatus(
                    budget=budget,
                    running=int(np.count_nonzero(history.pending & ~reached & (history.step >= below))),
                    reached=int(np.count_nonzero(reached)),
                    promoted=int(np.count_nonzero(went_on)),
                )
            )
        return tuple(statuses)

    def _judge_at(self, history: History, number: int, budget: int, step: int) -> Stop | None:
        """Judge a trial at a rung that it has come past with its report at `step`."""
        losses = history.at(budget)
        counted = ~np.isnan(losses)
        counted[number - 1] = True
        trials = int(np.count_nonzero(counted))
        if trials < self._eta:
            return None
        loss = float(losses[number - 1])
        places = -(-trials // self._eta)
        if np.isfinite(loss) and self._better_than(history, number, step, losses) < places:
            return None
        return Stop(trial=number, step=step, reason=self._wording.is_outside(loss, budget, self._eta, trials))

    def _better_than(self, history: History, number: int, step: int, losses: FloatArray) -> int:
        """Return how many of the trials with known losses, shape (rows,), rank before one; ties go by number."""
        latest = history.latest(number, step)
        own = sum(bound.violation(latest.get(bound.metric, np.nan)) for bound in history.constraints)
        violations, loss = history.violations, losses[number - 1]
        is_feasible_alike = violations == own
        is_earlier = np.arange(1, history.rows + 1) < number
        better = (violations < own) | (is_feasible_alike & ((losses < loss) | ((losses == loss) & is_earlier)))
        better[number - 1] = False
        return int(np.count_nonzero(better & np.isfinite(losses)))
