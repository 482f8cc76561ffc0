"""What algorithms see: every trial of one experiment, with losses that are lower-is-better and never NaN.

The engine writes, algorithms only read. The writing methods are `add` (a new trial), `observe` (a report), `settle` (a
phase), `stop` (a scheduler's verdict) and `retarget` (a promotion); writing to a TrialHistory directly leaves the array
views behind. What algorithms read is a function of the facts written, not of the order in which they came, and every
write costs the same however many trials there are.

A loss is +inf where the reported value was NaN or infinite, where the metric was never reported, and for a failed
trial: it ranks worst and is never best. Reports after the step at which a verdict stopped a trial decide nothing.

Rows of the array views are trials in order of their numbers: row i is trial number i + 1. Views are read-only and show
the state of the moment; take them anew after a write.
"""

from bisect import bisect_right, insort
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from podium_contract.experiment import Constraint, Objective
from podium_contract.lifecycle import FINAL, Phase
from podium_contract.parameters import Assignment
from podium_contract.trial import Observation, Parent
from podium_suggestion.space import FloatArray, Space

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
Metrics = Mapping[str, float]
S = TypeVar("S", bound=np.generic)

_PHASES = tuple(Phase)
_PHASE_CODE = {phase: code for code, phase in enumerate(_PHASES)}
_UNKNOWN = -1
_MAX_BUDGETS = 64
"""Budgets whose losses are kept up to date at a time; the one not asked for the longest gives way."""


@dataclass
class TrialHistory:
    """One trial as the engine knows it."""

    number: int
    assignment: Assignment
    target: int | None = None
    bracket: int = 0
    parent: Parent | None = None
    origin: str = ""
    phase: Phase = Phase.PENDING
    reason: str = ""
    message: str = ""
    judged_step: int | None = None
    """Where a verdict stopped it; later reports decide nothing."""
    observations: dict[int, Observation] = field(default_factory=dict)
    """By step: of several reports the one of the latest attempt, then sequence."""
    is_withdrawn: bool = False
    """It was never made, and shall not be as things stand."""
    _reported: list[int] = field(init=False, repr=False, compare=False)
    """Steps of the observations, ascending."""
    _reported_by_metric: dict[str, list[int]] = field(init=False, repr=False, compare=False)
    """The same, of those with a metric."""

    def __post_init__(self) -> None:
        self._reported = sorted(self.observations)
        self._reported_by_metric = {}
        for step in self._reported:
            for metric in self.observations[step].metrics:
                self._reported_by_metric.setdefault(metric, []).append(step)

    @property
    def steps(self) -> list[int]:
        """Reported steps that count, ascending."""
        return self._reported[: self._end(self._reported)]

    @property
    def step(self) -> int:
        """The last step that counts; 0 before the first report."""
        return next(self.steps_down(), 0)

    @property
    def is_at_rest(self) -> bool:
        """Whether it uses no slot: ended, or paused at its target.

        A trial paused short of its target merely waits to resume.
        """
        if self.phase in FINAL or self.is_withdrawn:
            return True
        return self.phase is Phase.PAUSED and self.target is not None and self.step >= self.target

    @property
    def is_decided(self) -> bool:
        """Whether its value stands for now: at rest, or stopped by a verdict that its run has not obeyed yet."""
        return self.judged_step is not None or self.is_at_rest

    def steps_down(self, budget: int | None = None) -> Iterator[int]:
        """Iterate from the last to the first over the steps that count; with a budget, over those within it."""
        return (self._reported[position] for position in range(self._end(self._reported, budget) - 1, -1, -1))

    def last_with(self, metric: str, budget: int | None = None) -> int | None:
        """Return the last step that counts with a report of a metric; with a budget, the last within it."""
        steps = self._reported_by_metric.get(metric, [])
        end = self._end(steps, budget)
        return steps[end - 1] if end else None

    def steps_with(self, metric: str) -> list[int]:
        """Return the steps that count with a report of a metric, ascending."""
        steps = self._reported_by_metric.get(metric, [])
        return steps[: self._end(steps)]

    def _end(self, steps: list[int], budget: int | None = None) -> int:
        """Return how many of ascending steps count, within a budget if there is one."""
        limits = [limit for limit in (self.judged_step, budget) if limit is not None]
        return bisect_right(steps, min(limits)) if limits else len(steps)

    def record(self, observation: Observation) -> bool:
        """Keep a report unless a newer one of its step is known; returns whether it was kept."""
        known = self.observations.get(observation.step)
        if known is not None and (known.attempt, known.sequence) >= (observation.attempt, observation.sequence):
            return False
        if known is None:
            insort(self._reported, observation.step)
        before = known.metrics if known is not None else {}
        for metric in before.keys() - observation.metrics.keys():
            self._reported_by_metric[metric].remove(observation.step)
        for metric in observation.metrics.keys() - before.keys():
            insort(self._reported_by_metric.setdefault(metric, []), observation.step)
        self.observations[observation.step] = observation
        return True


class History:
    """Everything known of one experiment's trials."""

    def __init__(self, space: Space, objectives: Sequence[Objective], constraints: Sequence[Constraint] = ()) -> None:
        self.space = space
        self.objectives = tuple(objectives)
        self.constraints = tuple(constraints)
        self.trials: dict[int, TrialHistory] = {}
        self.tried: set[bytes] = set()
        """`space.key` of every configuration that a trial has had, however it fared."""
        self._log: list[int] = []
        """Number of the trial that changed, change by change."""
        self._table = _Table(space.dimension, len(self.objectives))

    def __len__(self) -> int:
        return len(self.trials)

    # --- what the engine writes --------------------------------------------------------------------------------

    def add(self, trial: TrialHistory) -> None:
        """Add a trial, with whatever was observed of it already; one whose number is known is left as it is."""
        if trial.number in self.trials:
            return
        self.trials[trial.number] = trial
        self._table.grow(trial.number)
        point = self.space.to_unit(trial.assignment)
        self._table.units[trial.number - 1] = point
        self._table.configured[trial.number - 1] = np.isfinite(point).any()
        if trial.assignment:  # nothing is left of one whose record was lost
            self.tried.add(self.space.key(point))
        self._refresh(trial)

    def observe(self, number: int, observation: Observation) -> bool:
        """Record a report; returns whether it changed anything (False for one already known or outdated)."""
        trial = self.trials[number]
        changed = trial.record(observation)
        if changed:
            self._refresh(trial)
        return changed

    def settle(self, number: int, phase: Phase, reason: str = "", message: str = "") -> bool:
        """Take in the phase that a trial is in, and why; returns whether anything changed.

        A trial that has ended stays so: word that it still runs is old. Another ending is taken in (a verdict may turn
        Succeeded into Pruned).
        """
        trial = self.trials[number]
        if trial.phase in FINAL and phase not in FINAL:
            return False
        if (trial.phase, trial.reason, trial.message) == (phase, reason, message):
            return False
        trial.phase, trial.reason, trial.message = phase, reason, message
        self._refresh(trial)
        return True

    def stop(self, number: int, step: int, reason: str) -> bool:
        """Take in a verdict that a trial is not worth more than `step`, and why; returns whether it is news.

        The phase stays as it is until `settle` tells that the run has obeyed. Of two verdicts the earlier step counts.
        """
        trial = self.trials[number]
        if trial.judged_step is not None and trial.judged_step <= step:
            return False
        trial.judged_step, trial.message = step, reason
        self._refresh(trial)
        return True

    def retarget(self, number: int, target: int) -> bool:
        """Take in a promotion: a trial is to train up to `target`; returns whether that is more than before."""
        trial = self.trials[number]
        if trial.target is not None and trial.target >= target:
            return False
        trial.target = target
        self._refresh(trial)
        return True

    def withdraw(self, number: int, *, withdrawn: bool) -> None:
        """Take in that a trial that was never made shall not be, or shall be after all."""
        trial = self.trials[number]
        trial.is_withdrawn = withdrawn
        self._refresh(trial)

    # --- what algorithms read: one trial -----------------------------------------------------------------------

    def losses(self, observation: Observation) -> FloatArray:
        """Return the objectives' losses of a report, shape (objectives,): lower is better, +inf for unusable values."""
        return np.array([_loss(objective, observation.metrics) for objective in self.objectives])

    def violation(self, observation: Observation) -> float:
        """Return by how much a report breaks the constraints in all: 0 when feasible, +inf when a metric is missing."""
        return _violation(self.constraints, observation.metrics)

    def curve(self, number: int) -> tuple[IntArray, FloatArray]:
        """Return a trial's steps that count, shape (k,), ascending, and the first objective's losses, shape (k,).

        Reports without the first objective's metric are not part of it: some metrics are computed only now and then.
        """
        trial = self.trials[number]
        first = self.objectives[0]
        steps = trial.steps_with(first.metric)
        losses = [_loss(first, trial.observations[step].metrics) for step in steps]
        return np.array(steps, dtype=np.int64), np.array(losses, dtype=np.float64)

    def latest(self, number: int, budget: int | None = None) -> dict[str, float]:
        """Return the latest counting value of each metric of the objectives and constraints that a trial reported.

        With a budget: as it was after that many steps.
        """
        trial = self.trials[number]
        values: dict[str, float] = {}
        for metric in [*(item.metric for item in self.objectives), *(bound.metric for bound in self.constraints)]:
            step = trial.last_with(metric, budget)
            if step is not None:
                values[metric] = trial.observations[step].metrics[metric]
        return values

    def loss_at(self, number: int, budget: int) -> float:
        """Return what `at` tells of one trial."""
        return self._loss_at(self.trials[number], budget)

    # --- what algorithms read: all trials at once --------------------------------------------------------------

    @property
    def revision(self) -> int:
        """Grows with every change: the same revision means the same history, so what was computed from it still holds."""
        return len(self._log)

    def changed_since(self, revision: int) -> set[int]:
        """Return the numbers of the trials that have changed since a revision: all that a cache has to look at again."""
        return set(self._log[revision:]) if revision else set(self.trials)

    @property
    def rows(self) -> int:
        """The highest number of a trial: how many rows the views have."""
        return self._table.rows

    @property
    def units(self) -> FloatArray:
        """Points in the unit cube, shape (rows, dimension); NaN where a parameter is inactive."""
        return _view(self._table.units, self.rows)

    @property
    def loss(self) -> FloatArray:
        """Losses of the latest values, shape (rows, objectives); +inf without a usable one."""
        return _view(self._table.loss, self.rows)

    @property
    def violations(self) -> FloatArray:
        """By how much the latest values break the constraints, shape (rows,): 0 when feasible, +inf without values."""
        return _view(self._table.violation, self.rows)

    @property
    def step(self) -> IntArray:
        """The last steps that count, shape (rows,); 0 before the first report."""
        return _view(self._table.step, self.rows)

    @property
    def target(self) -> IntArray:
        """Steps that the trials are to train, shape (rows,); 0 where there is no target."""
        return _view(self._table.target, self.rows)

    @property
    def bracket(self) -> IntArray:
        """Brackets of the trials, shape (rows,)."""
        return _view(self._table.bracket, self.rows)

    @property
    def known(self) -> BoolArray:
        """Whether there is a trial of the row's number, shape (rows,); it is then pending, usable or failed.

        One that was withdrawn is none.
        """
        return np.asarray(self._table.phase[: self.rows] != _UNKNOWN)

    @property
    def decided(self) -> BoolArray:
        """Which trials are at rest or were stopped by a verdict, shape (rows,)."""
        return _view(self._table.decided, self.rows)

    @property
    def configured(self) -> BoolArray:
        """Of which trials the configuration is known, shape (rows,): of one whose record was lost it is not."""
        return _view(self._table.configured, self.rows)

    @property
    def pending(self) -> BoolArray:
        """Which trials are on their way to their next rest, shape (rows,)."""
        return self.known & ~self.decided

    @property
    def usable(self) -> BoolArray:
        """Which trials are decided with a finite loss for every objective, shape (rows,)."""
        return _view(self._table.usable, self.rows)

    @property
    def failed(self) -> BoolArray:
        """Which trials are decided without a finite loss for every objective, shape (rows,): crashed or diverged."""
        return self.decided & ~self.usable

    def in_phase(self, *phases: Phase) -> BoolArray:
        """Answer which trials are in one of the phases, shape (rows,)."""
        codes = self._table.phase[: self.rows]
        return reduce(or_, (codes == _PHASE_CODE[phase] for phase in phases), np.zeros(self.rows, dtype=np.bool_))

    def at(self, budget: int) -> FloatArray:
        """Return the first objective's losses with `budget` steps spent, shape (rows,); NaN where that is not known.

        It is known of a trial that has reported the step `budget` or a later one, and of one that succeeded (it has
        nothing left to train, however few steps it needed); never of a failed one. The loss is that of the last report
        within the budget, or else of the first after it.
        """
        budgets = self._table.budgets
        if budget in budgets:
            budgets.move_to_end(budget)
        else:
            if len(budgets) >= _MAX_BUDGETS:
                budgets.popitem(last=False)
            budgets[budget] = np.full(self._table.capacity, np.nan)
            for trial in self.trials.values():
                budgets[budget][trial.number - 1] = self._loss_at(trial, budget)
        return _view(budgets[budget], self.rows)

    # --- how the views are kept ---------------------------------------------------------------------------------

    def _refresh(self, trial: TrialHistory) -> None:
        table, row = self._table, trial.number - 1
        latest = self.latest(trial.number)
        failed = trial.phase is Phase.FAILED
        table.loss[row] = [np.inf if failed else _loss(objective, latest) for objective in self.objectives]
        table.violation[row] = _violation(self.constraints, latest) if latest else np.inf
        table.step[row] = trial.step
        table.target[row] = trial.target or 0
        table.bracket[row] = trial.bracket
        table.phase[row] = _UNKNOWN if trial.is_withdrawn else _PHASE_CODE[trial.phase]
        table.decided[row] = trial.is_decided and not trial.is_withdrawn
        table.usable[row] = table.decided[row] and np.isfinite(table.loss[row]).all()
        for budget, losses in table.budgets.items():
            losses[row] = self._loss_at(trial, budget)
        self._log.append(trial.number)

    def _loss_at(self, trial: TrialHistory, budget: int) -> float:
        has_got_there = trial.step >= budget or trial.phase is Phase.SUCCEEDED
        if not has_got_there or trial.phase is Phase.FAILED:
            return float("nan")
        first = self.objectives[0]
        step = trial.last_with(first.metric, budget)
        if step is None:
            step = next(iter(trial.steps_with(first.metric)), None)
        return float("inf") if step is None else _loss(first, trial.observations[step].metrics)


class _Table:
    """Columns that grow: arrays with room for more rows than are used."""

    def __init__(self, dimension: int, objectives: int) -> None:
        self.rows = 0
        self.capacity = 0
        self.units = np.empty((0, dimension))
        self.loss = np.empty((0, objectives))
        self.violation = np.empty(0)
        self.step = np.empty(0, dtype=np.int64)
        self.target = np.empty(0, dtype=np.int64)
        self.bracket = np.empty(0, dtype=np.int64)
        self.phase = np.empty(0, dtype=np.int8)
        self.decided = np.empty(0, dtype=np.bool_)
        self.usable = np.empty(0, dtype=np.bool_)
        self.configured = np.empty(0, dtype=np.bool_)
        self.budgets: OrderedDict[int, FloatArray] = OrderedDict()
        """Losses by budget, the budget asked for the longest ago first."""

    def grow(self, rows: int) -> None:
        """Make room for rows up to `rows`; new ones stand for no trial."""
        self.rows = max(self.rows, rows)
        if self.rows <= self.capacity:
            return
        self.capacity = max(64, 2 * self.rows)
        self.units = self._extended(self.units, np.nan)
        self.loss = self._extended(self.loss, np.inf)
        self.violation = self._extended(self.violation, np.inf)
        self.step = self._extended(self.step, 0)
        self.target = self._extended(self.target, 0)
        self.bracket = self._extended(self.bracket, 0)
        self.phase = self._extended(self.phase, _UNKNOWN)
        self.decided = self._extended(self.decided, fill=False)
        self.usable = self._extended(self.usable, fill=False)
        self.configured = self._extended(self.configured, fill=False)
        for budget, losses in self.budgets.items():
            self.budgets[budget] = self._extended(losses, np.nan)

    def _extended(self, column: NDArray[S], fill: float) -> NDArray[S]:
        longer = np.full((self.capacity, *column.shape[1:]), fill, dtype=column.dtype)
        longer[: len(column)] = column
        return longer


def _view(column: NDArray[S], rows: int) -> NDArray[S]:
    view = column[:rows]
    view.flags.writeable = False
    return view


def _loss(objective: Objective, metrics: Metrics) -> float:
    loss = objective.loss(metrics.get(objective.metric, np.nan))
    return float(loss) if np.isfinite(loss) else float("inf")


def _violation(constraints: Sequence[Constraint], metrics: Metrics) -> float:
    return sum(constraint.violation(metrics.get(constraint.metric, np.nan)) for constraint in constraints)
