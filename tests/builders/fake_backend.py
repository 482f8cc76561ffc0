"""A backend in memory, with a virtual clock: runs train one step a tick, and every action can be the last.

It stores what a cluster stores (Trials, statuses, runs) and forgets what an operator process forgets, so a new Loop
over the same backend is an operator restarted.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from podium_contract.conditions import Reason
from podium_contract.experiment import Experiment
from podium_contract.parameters import Assignment
from podium_contract.trial import Observation, Trial
from podium_operator.core.actions import (
    Action,
    Announce,
    CreateTrial,
    RemoveRun,
    StartRun,
    StopRun,
    WriteExperiment,
    WriteTrial,
)
from podium_operator.core.facts import End, EndKind, Run, RunState, World

Metrics = dict[str, float]
Objective = Callable[[Assignment, int], Metrics]
"""Metrics of a configuration at a step."""
Fate = Callable[[int, int, int], End | None]
"""How a run ends out of the ordinary: fate(trial number, attempt, step) is its end, or None to go on."""


class OperatorDied(Exception):  # noqa: N818  (an event, not an error)
    """The operator process was killed here."""


def no_fate(_number: int, _attempt: int, _step: int) -> End | None:
    return None


@dataclass
class FakeTraining:
    """The process behind a run: it has trained `step` steps and holds its reports."""

    attempt: int
    step: int
    target: int | None
    reports: list[Observation] = field(default_factory=list)


@dataclass
class FakeBackend:
    """Everything that survives the operator: objects, runs, checkpoints."""

    experiment: Experiment
    objective: Objective
    fate: Fate = no_fate
    steps_per_run: int = 5
    """Steps after which a command without a target ends by itself."""
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    trials: dict[int, Trial] = field(default_factory=dict)
    runs: dict[int, Run] = field(default_factory=dict)
    trainings: dict[int, FakeTraining] = field(default_factory=dict)
    checkpoints: dict[int, int] = field(default_factory=dict)
    """Step of each trial's checkpoint."""
    kept: dict[int, list[int]] = field(default_factory=dict)
    """Steps of the checkpoints that each trial still has, as the SDK keeps them: two, and that of the last rest before."""
    rests: dict[int, list[int]] = field(default_factory=dict)
    """Steps at which each trial has reached a target."""
    trained: list[tuple[int, int]] = field(default_factory=list)
    """(trial, step) in the order in which they were trained."""
    announcements: list[Announce] = field(default_factory=list)
    performed: list[Action] = field(default_factory=list)
    die_after: int | None = None
    """Raise OperatorDied once so many actions have been performed."""
    die_before: int | None = None
    _handed_out: dict[int, int] = field(default_factory=dict)
    _acknowledged: dict[tuple[int, int], int] = field(default_factory=dict)

    # --- the backend's protocol

    async def observe(self) -> World:
        world = World(self.experiment)
        for trial in self.trials.values():
            world.put_trial(trial)
        world.runs = dict(self.runs)
        for number, training in self.trainings.items():
            seen = self._acknowledged.get((number, training.attempt), 0)
            if training.reports[seen:]:
                world.reports[number] = tuple(training.reports[seen:])
            self._handed_out[number] = len(training.reports)
        return world

    async def perform(self, action: Action) -> None:
        if self.die_before is not None and len(self.performed) == self.die_before:
            self.die_before = None
            raise OperatorDied
        self.performed.append(action)
        self._do(action)
        if self.die_after is not None and len(self.performed) > self.die_after:
            self.die_after = None
            raise OperatorDied

    def acknowledge(self) -> None:
        for number, count in self._handed_out.items():
            if number in self.trainings:
                self._acknowledged[number, self.trainings[number].attempt] = count

    async def wait(self, seconds: float) -> None:
        self.tick(seconds)

    # --- the world's own course

    def tick(self, seconds: float = 1.0) -> None:
        """Let time pass: every run trains one step, or ends."""
        self.now += timedelta(seconds=seconds)
        for number in sorted(self.trainings):
            run = self.runs.get(number)
            if run is None or run.state is RunState.ENDED:
                continue
            if run.state is RunState.WAITING:
                self.runs[number] = replace(run, state=RunState.ACTIVE, started=self.now)
                continue
            self._train(number, run)

    def forget_acknowledgements(self) -> None:
        """What a restarted operator does not know: which reports it had passed on."""
        self._acknowledged.clear()

    def alive(self) -> list[int]:
        return [number for number, run in self.runs.items() if run.state is not RunState.ENDED]

    def _train(self, number: int, run: Run) -> None:
        training = self.trainings[number]
        if run.stopping is not None:
            self._end(number, EndKind.CHECKPOINTED, Reason.DISRUPTED, "checkpointed and stopped")
            return
        ending = self.fate(number, run.attempt, training.step)
        if ending is not None:
            self.runs[number] = replace(run, state=RunState.ENDED, end=replace(ending, at=self.now))
            return
        if training.step >= (training.target or self.steps_per_run):
            self._end(number, EndKind.DONE, Reason.FINISHED, "exit code 0")
            return
        training.step += 1
        self.trained.append((number, training.step))
        metrics = self.objective(self.trials[number].spec.parameters, training.step)
        if metrics:
            report = Observation(
                attempt=run.attempt, step=training.step, sequence=len(training.reports), metrics=metrics
            )
            training.reports.append(report)
        self._save(number, training.step, training.target)

    def _save(self, number: int, step: int, target: int | None) -> None:
        self.checkpoints[number] = step
        rests = self.rests.setdefault(number, [])
        kept = sorted({*self.kept.get(number, ()), step})
        self.kept[number] = sorted({*kept[-2:], *([rests[-1]] if rests and rests[-1] in kept else [])})
        if step == target:
            rests.append(step)

    def _end(self, number: int, kind: EndKind, reason: Reason, message: str) -> None:
        end = End(kind, reason, message, self.now)
        self.runs[number] = replace(self.runs[number], state=RunState.ENDED, end=end)

    def _do(self, action: Action) -> None:
        match action:
            case CreateTrial(trial):
                self.trials.setdefault(trial.spec.number, trial)
            case WriteTrial(number, status):
                self.trials[number] = self.trials[number].model_copy(update={"status": status})
            case StartRun(trial, attempt):
                self._start(trial, attempt)
            case StopRun(number, attempt, reason, _):
                run = self.runs.get(number)
                if run is not None and run.attempt == attempt and run.state is not RunState.ENDED:
                    self.runs[number] = replace(run, stopping=reason)
            case RemoveRun(number, attempt):
                if number in self.runs and self.runs[number].attempt == attempt:
                    del self.runs[number]
                    del self.trainings[number]
            case WriteExperiment(status):
                self.experiment = self.experiment.model_copy(update={"status": status})
            case Announce():
                self.announcements.append(action)

    def _start(self, trial: Trial, attempt: int) -> None:
        number = trial.spec.number
        current = self.runs.get(number)
        if current is not None and current.attempt >= attempt:
            return
        assert current is None or current.state is RunState.ENDED, "a trial has one run at a time"
        parent = trial.spec.parent
        if parent is not None and number not in self.checkpoints:
            assert parent.step in self.kept[parent.trial], "what a clone starts from is there"
            self.checkpoints[number] = parent.step
        self.runs[number] = Run(number, attempt, RunState.WAITING, created=self.now)
        self.trainings[number] = FakeTraining(attempt, self.checkpoints.get(number, 0), trial.target)
