"""Podium in the simulator: its real engine, in this process, with an SQLite store in memory.

What the simulator reports is told in one exchange, as the operator would, and what the engine advises is heeded at once.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

# Imported by the first forest of a process otherwise: peers have imported all of theirs before they are asked.
import sklearn.tree  # noqa: F401

from bench.simulator import Job, Orders, Report
from bench.tasks.task import Task
from podium_contract.experiment import ExperimentSpec
from podium_contract.lifecycle import FINAL, Phase
from podium_contract.trial import Observation
from podium_contract.wire import Advice, AdviceRequest, Assignment, Promote, Stop, TrialFacts
from podium_suggestion.engine import Engine
from podium_suggestion.store import open_store

_KEY = "bench/run/0"
_EVERY_STEP = {"persistentVolumeClaim": {"storage": "1Gi"}}
"""The simulator keeps the state after every step, as trials on a volume would: clones of a population need it."""


@dataclass
class _Trial:
    """A trial as the engine is told of it."""

    assignment: Assignment
    target: int | None
    phase: Phase = Phase.RUNNING
    attempt: int = 1


class PodiumTuner:
    """Drives the engine as an operator does: facts in, advice out, every verdict acknowledged."""

    def __init__(
        self, task: Task, search: Mapping[str, Any], scheduler: Mapping[str, Any], workers: int, max_trials: int
    ) -> None:
        """`search` and `scheduler` are what a manifest holds."""
        self.spec = experiment_of(task, search, scheduler, workers, max_trials)
        self.seconds = 0.0
        self._engine = Engine(open_store())
        self._workers = workers
        self._trials: dict[int, _Trial] = {}
        self._news: dict[int, TrialFacts] = {}
        self._ids = count()

    def exchange(self, report: Report | None, free: int) -> Orders:  # noqa: ARG002  (the engine counts for itself)
        start = time.process_time()
        if report is not None:
            self._take_in(report)
        jobs: list[Job] = []
        halts: set[int] = set()
        while True:
            advice = self._advise()
            stopped = self._stop(advice)
            halts |= stopped
            jobs += self._start(advice)
            if not stopped:
                break  # else there is a slot more to fill
        self.seconds += time.process_time() - start
        return Orders(tuple(jobs), frozenset(halts))

    def _advise(self) -> Advice:
        facts, self._news = tuple(self._news.values()), {}
        return self._engine.advise(
            AdviceRequest(
                experiment=_KEY,
                request_id=str(number := next(self._ids)),
                spec=self.spec,
                slots=self._workers,
                facts=facts,
                complete=number == 0,
            )
        )

    def _take_in(self, report: Report) -> None:
        trial = self._trials[report.trial]
        if report.is_end and trial.phase is Phase.RUNNING:
            is_done = trial.target is None or trial.target == self.spec.scheduler.max
            trial.phase = Phase.SUCCEEDED if is_done else Phase.PAUSED
        observation = Observation(attempt=trial.attempt, step=report.step, sequence=report.step, metrics=report.metrics)
        self._tell(report.trial, (observation,))

    def _stop(self, advice: Advice) -> set[int]:
        """Heed the stops; returns the trials that are told to be so for the first time."""
        stopped = set()
        for verdict in advice.verdicts:
            if isinstance(verdict, Stop) and self._trials[verdict.trial].phase is not Phase.PRUNED:
                self._trials[verdict.trial].phase = Phase.PRUNED
                self._tell(verdict.trial)
                stopped.add(verdict.trial)
        return stopped

    def _start(self, advice: Advice) -> list[Job]:
        jobs = []
        for assignment in advice.assignments:
            if assignment.number not in self._trials:
                self._trials[assignment.number] = _Trial(assignment, assignment.target)
                self._tell(assignment.number)
                parent = assignment.parent
                source = None if parent is None else (parent.trial, parent.step)
                jobs.append(Job(assignment.number, dict(assignment.parameters), assignment.target, source))
        for verdict in advice.verdicts:
            trial = self._trials[verdict.trial]
            if isinstance(verdict, Promote) and trial.phase not in FINAL and (trial.target or 0) < verdict.target:
                trial.target, trial.phase = verdict.target, Phase.RUNNING
                trial.attempt += 1
                self._tell(verdict.trial)
                jobs.append(Job(verdict.trial, dict(trial.assignment.parameters), verdict.target))
        return jobs

    def _tell(self, number: int, observations: tuple[Observation, ...] = ()) -> None:
        trial = self._trials[number]
        earlier = self._news[number].observations if number in self._news else ()
        self._news[number] = TrialFacts(
            number=number,
            phase=trial.phase,
            attempt=trial.attempt,
            target=trial.target,
            observations=(*earlier, *observations),
        )


def experiment_of(
    task: Task,
    search: Mapping[str, Any],
    scheduler: Mapping[str, Any] | None = None,
    workers: int = 1,
    max_trials: int | None = None,
) -> ExperimentSpec:
    """Return the experiment that a task is for Podium."""
    return ExperimentSpec.model_validate(
        {
            "objectives": list(task.objectives),
            "constraints": list(task.constraints),
            "parameters": task.parameters,
            "search": dict(search),
            "scheduler": dict(scheduler or {"algorithm": "none"}),
            "maxTrials": max_trials or task.budget,
            "parallelism": workers,
            "trial": {"checkpoints": _EVERY_STEP, "template": {"spec": {"containers": [{"name": "bench"}]}}},
        }
    )
