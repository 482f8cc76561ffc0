"""Median stopping (Golovin et al., 2017, "Google Vizier", section 3.2.2).

A trial is stopped at a step when its best value so far is worse than the median of the running averages, up to that step,
of the other trials that have come as far. Values are pairs (constraint violation, loss) in lexicographic order, so that a
trial that keeps the constraints is never worse than one that does not. Failed trials are no yardstick.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from podium_contract.algorithms import MedianScheduler
from podium_contract.experiment import RungStatus
from podium_contract.lifecycle import Phase
from podium_contract.wire import Stop
from podium_suggestion.history import History
from podium_suggestion.schedulers.base import NobodyRests, Start
from podium_suggestion.schedulers.wording import Wording
from podium_suggestion.space import FloatArray

Merit = tuple[float, float]
"""(violation, loss): smaller is better."""


class MedianStopping(NobodyRests):
    """Stops whoever falls behind the median."""

    def __init__(self, settings: MedianScheduler, wording: Wording) -> None:
        self._first, self._last = settings.min, settings.max
        self._interval = settings.settings.interval
        self._startup = settings.settings.startup_trials
        self._wording = wording
        self._curves = _Curves()

    def start(self, history: History, number: int) -> Start:  # noqa: ARG002  (the same for every trial)
        return Start(self._last)

    def judge(self, history: History, number: int, step: int) -> Stop | None:
        if not self._first <= step < self._last or not self._is_due(history, number, step):
            return None
        best = self._curves.best(history, number, step)
        others = self._curves.averages(history, step, apart_from=number)
        if best is None or len(others) < self._startup:
            return None
        median = _median(others)
        if best <= median:
            return None
        reason = (
            f"{self._wording.value(best[1])}, the best up to {self._wording.resource} {step}, is worse than the median "
            f"{self._describe(median, best)} of {len(others)} running averages"
        )
        return Stop(trial=number, step=step, reason=reason)

    def _is_due(self, history: History, number: int, step: int) -> bool:
        """Answer whether a report is the first at or past one of the steps at which trials are judged."""
        before = next(history.trials[number].steps_down(step - 1), 0)
        if before < self._first:
            return True
        return (step - self._first) // self._interval > (before - self._first) // self._interval

    def rungs(self, history: History) -> tuple[RungStatus, ...]:  # noqa: ARG002  (there is no ladder)
        return ()

    def _describe(self, median: Merit, best: Merit) -> str:
        if best[0] > median[0]:
            return (
                f"{self._wording.value(median[1])}, with {best[0]:.4g} of constraint violation against {median[0]:.4g},"
            )
        return self._wording.value(median[1])


@dataclass(frozen=True)
class _Curve:
    """A trial's reports, shape (k,) each, steps ascending: the best merit so far, and running averages."""

    steps: list[int]
    best: list[Merit]
    averages: list[Merit]

    def position(self, step: int) -> int:
        """Return the place of the last report up to `step`; -1 when there is none."""
        return bisect_right(self.steps, step) - 1


class _Column:
    """Running averages up to one step, of the trials that have come as far, close together in an array."""

    def __init__(self) -> None:
        self.revision = 0
        self._places: dict[int, int] = {}
        self._numbers: list[int] = []
        self._averages = np.empty((16, 2))

    def put(self, number: int, average: Merit | None) -> None:
        """Take in a trial's average; None: it has not come as far."""
        if average is None:
            self._drop(number)
            return
        place = self._places.setdefault(number, len(self._numbers))
        if place == len(self._numbers):
            self._numbers.append(number)
        if place == len(self._averages):
            self._averages = np.concatenate([self._averages, np.empty_like(self._averages)])
        self._averages[place] = average

    def apart_from(self, number: int) -> FloatArray:
        """Return everybody else's averages, shape (n, 2)."""
        averages = self._averages[: len(self._numbers)]
        place = self._places.get(number)
        return averages if place is None else np.delete(averages, place, axis=0)

    def _drop(self, number: int) -> None:
        place = self._places.pop(number, None)
        if place is None:
            return
        last = self._numbers.pop()
        if last != number:
            self._averages[place] = self._averages[len(self._numbers)]
            self._numbers[place], self._places[last] = last, place


class _Curves:
    """Curves and columns, computed again only for trials that have changed."""

    def __init__(self) -> None:
        self._revision = 0
        self._curves: dict[int, _Curve] = {}
        self._columns: dict[int, _Column] = {}

    def best(self, history: History, number: int, step: int) -> Merit | None:
        """Return a trial's best merit up to a step; None before its first report."""
        self._forget_changed(history)
        curve = self._curve(history, number)
        position = curve.position(step)
        return curve.best[position] if position >= 0 else None

    def averages(self, history: History, step: int, *, apart_from: int) -> FloatArray:
        """Return the running averages up to a step of all other trials that have come as far, shape (n, 2)."""
        self._forget_changed(history)
        column = self._columns.setdefault(step, _Column())
        for number in history.changed_since(column.revision):
            column.put(number, self._average(history, number, step))
        column.revision = history.revision
        return column.apart_from(apart_from)

    def _average(self, history: History, number: int, step: int) -> Merit | None:
        if history.trials[number].phase is Phase.FAILED:
            return None
        curve = self._curve(history, number)
        if bisect_left(curve.steps, step) == len(curve.steps):
            return None  # it has not come as far
        position = curve.position(step)
        return curve.averages[position] if position >= 0 else None

    def _curve(self, history: History, number: int) -> _Curve:
        if number not in self._curves:
            self._curves[number] = _curve_of(history, number)
        return self._curves[number]

    def _forget_changed(self, history: History) -> None:
        for number in history.changed_since(self._revision):
            self._curves.pop(number, None)
        self._revision = history.revision


def _curve_of(history: History, number: int) -> _Curve:
    steps, losses = history.curve(number)
    violations = np.array(list(_violations(history, number, steps.tolist())))
    counts = np.arange(1, len(steps) + 1)
    averages = zip((np.cumsum(violations) / counts).tolist(), (np.cumsum(losses) / counts).tolist(), strict=True)
    best: list[Merit] = []
    for merit in zip(violations.tolist(), losses.tolist(), strict=True):
        best.append(min(merit, best[-1]) if best else merit)
    return _Curve(steps.tolist(), best, list(averages))


def _violations(history: History, number: int, steps: list[int]) -> Iterable[float]:
    """Yield the violation at each step, by the latest value of each constraint's metric up to it."""
    values: dict[str, float] = {}
    trial, pending = history.trials[number], iter(history.trials[number].steps)
    for step in steps:
        for earlier in pending:
            values |= trial.observations[earlier].metrics
            if earlier == step:
                break
        yield sum(constraint.violation(values.get(constraint.metric, np.nan)) for constraint in history.constraints)


def _median(merits: FloatArray) -> Merit:
    """Return the median of merits in lexicographic order, shape (n, 2); of an even number the mean of the middle two."""
    order = np.lexsort((merits[:, 1], merits[:, 0]))
    middle = merits[order[[(len(order) - 1) // 2, len(order) // 2]]]
    violation, loss = middle.mean(axis=0).tolist()
    return violation, loss
