"""Workers in virtual time: each trial takes its recorded seconds, and the tuner is asked whenever something has happened.

Hours of training on 64 workers pass in seconds. Events are reports, one per step; after each the tuner is told and orders
what comes next. What the tuner itself takes is measured, and costs no virtual time.
"""

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

import numpy as np

from bench.tasks.task import State, Task
from podium_contract.parameters import Assignment


@dataclass(frozen=True)
class Job:
    """Work for one worker: a new trial, or an old one that goes on from its checkpoint."""

    trial: int
    parameters: Assignment
    target: int | None = None
    """Train up to this step; None: in full."""
    parent: tuple[int, int] | None = None
    """A trial and a step: a new trial starts from that checkpoint."""


@dataclass(frozen=True)
class Report:
    """What a trial reported after a step."""

    trial: int
    step: int
    metrics: dict[str, float]
    seconds: float
    """That the trial has trained so far."""
    is_end: bool
    """The job's target is reached, and its worker free."""


@dataclass(frozen=True)
class Orders:
    """What the tuner wants done."""

    jobs: tuple[Job, ...] = ()
    """For workers that are free, or freed by `halts`."""
    halts: frozenset[int] = frozenset()
    """Trials that are to leave their workers: stopped, or paused."""


class Tuner(Protocol):
    """Anything that tunes: Podium's engine, or a peer in a process of its own."""

    def exchange(self, report: Report | None, free: int) -> Orders:
        """Take in a report and return orders; `free` workers are free before any halt. None: the beginning."""
        ...

    @property
    def seconds(self) -> float:
        """Processor seconds spent on decisions so far."""
        ...


@dataclass
class Run:
    """What a tuner came to on a task. Plain data, kept as JSON."""

    losses: list[list[float]] = field(default_factory=list)
    """Of each job that came to its end, in that order."""
    excess: list[float] = field(default_factory=list)
    """By how much each of these exceeds its bounds, at most 0 when none is."""
    incumbents: list[tuple[float, float, float]] = field(default_factory=list)
    """Each time a report was better than all before (one objective): virtual seconds, worker-seconds, loss."""
    trials: int = 0
    steps: int = 0
    busy: float = 0.0
    """Worker-seconds of training."""
    elapsed: float = 0.0
    """Virtual seconds from the start to the limit, or to the last report."""
    workers: int = 1
    decision_seconds: float = 0.0
    """Processor seconds that the tuner took."""
    wall: float = 0.0
    """Real seconds that the run took, by date not by processor."""

    @property
    def busy_share(self) -> float:
        """Which share of the workers' time was training."""
        return self.busy / (self.workers * self.elapsed) if self.elapsed else 0.0

    @property
    def decision_ms_per_trial(self) -> float:
        return 1e3 * self.decision_seconds / max(self.trials, 1)


@dataclass
class _Training:
    """A trial as its worker and its checkpoint know it."""

    parameters: Assignment
    step: int = 0
    target: int | None = None
    seconds: float = 0.0
    is_running: bool = False
    run: int = 0
    """Counts its jobs, so that an event of an earlier one is known as such."""
    began: float = 0.0
    """Virtual time at which the step under way began."""


class Simulation:
    """One run of one tuner on one task."""

    def __init__(self, task: Task, tuner: Tuner, workers: int = 1, limit: float = float("inf")) -> None:
        """`limit` is in virtual seconds; without one the run ends when the tuner wants nothing more."""
        self.run = Run(workers=workers)
        self._task, self._tuner, self._limit = task, tuner, limit
        self._trainings: dict[int, _Training] = {}
        self._states: dict[tuple[int, int], State] = {}
        self._events: list[tuple[float, int, int, int]] = []
        """Time, order of making, trial, its run."""
        self._order = count()
        self._free = workers
        self._now = 0.0
        self._best = float("inf")

    def play(self) -> Run:
        start = time.monotonic()
        self._heed(self._tuner.exchange(None, self._free))
        while self._events:
            at, _, trial, run = heapq.heappop(self._events)
            if not self._is_under_way(trial, run):
                continue
            if at > self._limit:
                break
            self._now = at
            training = self._trainings[trial]
            self._heed(self._tuner.exchange(self._report(trial, training), self._free))
            if self._is_under_way(trial, run):
                self._schedule(trial, training)
        self._close()
        self.run.wall = time.monotonic() - start
        return self.run

    def _is_under_way(self, trial: int, run: int) -> bool:
        training = self._trainings[trial]
        return training.is_running and training.run == run

    def _report(self, trial: int, training: _Training) -> Report:
        """Finish the step under way."""
        training.step += 1
        self.run.steps += 1
        spent = self._now - training.began
        training.seconds += spent
        self.run.busy += spent
        training.began = self._now
        done = self._task.advance(training.parameters, training.step, self._states.get((trial, training.step - 1), ()))
        self._states[trial, training.step] = done.state
        is_end = training.step >= (training.target or self._task.steps)
        if is_end:
            self._leave(training)
        losses, excess = self._task.losses(done.metrics), max(self._task.excesses(done.metrics), default=0.0)
        if is_end:
            self.run.losses.append(losses)
            self.run.excess.append(excess)
        if len(losses) == 1 and excess <= 0.0 and losses[0] < self._best:
            self._best = losses[0]
            self.run.incumbents.append((self._now, self._spent(), losses[0]))
        return Report(trial, training.step, done.metrics, training.seconds, is_end)

    def _spent(self) -> float:
        """Return the worker-seconds trained so far, steps under way included."""
        under_way = sum(self._now - training.began for training in self._trainings.values() if training.is_running)
        return self.run.busy + under_way

    def _heed(self, orders: Orders) -> None:
        for trial in orders.halts:
            training = self._trainings[trial]
            if training.is_running:
                self.run.busy += self._now - training.began
                self._leave(training)
        for job in orders.jobs:
            self._start(job)

    def _start(self, job: Job) -> None:
        assert self._free > 0, f"trial {job.trial} is to start, but all {self.run.workers} workers are busy"
        training = self._trainings.get(job.trial)
        if training is None:
            training = self._trainings[job.trial] = _Training(job.parameters)
            self.run.trials += 1
            if job.parent is not None:
                training.step = job.parent[1]
                self._states[job.trial, training.step] = self._states.get(job.parent, ())
        assert not training.is_running, f"trial {job.trial} is to start, but runs already"
        training.target, training.is_running = job.target, True
        training.run += 1
        self._free -= 1
        self._schedule(job.trial, training)

    def _schedule(self, trial: int, training: _Training) -> None:
        """Make the event of a training's next step."""
        state = self._states.get((trial, training.step), ())
        seconds = self._task.advance(training.parameters, training.step + 1, state).seconds
        training.began = self._now
        heapq.heappush(self._events, (self._now + seconds, next(self._order), trial, training.run))

    def _leave(self, training: _Training) -> None:
        training.is_running = False
        self._free += 1

    def _close(self) -> None:
        """Sum up: at the limit the steps under way are cut off, and count as work."""
        is_cut = any(training.is_running for training in self._trainings.values())
        if is_cut:
            self._now = self._limit
            self.run.busy = self._spent()
        self.run.elapsed = self._now
        self.run.decision_seconds = self._tuner.seconds


def best_after(run: Run, times: np.ndarray, *, by: Callable[[tuple[float, float, float]], float]) -> np.ndarray:
    """Return the best loss known at each of some times, shape (n,), infinite before the first; `by` reads an incumbent's."""
    if not run.incumbents:
        return np.full(len(times), np.inf)
    known = np.searchsorted([by(each) for each in run.incumbents], times, side="right")
    return np.concatenate([[np.inf], [loss for _, _, loss in run.incumbents]])[known]
