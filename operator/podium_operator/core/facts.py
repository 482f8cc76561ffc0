"""What is: the experiment, its trials, and their runs, as a backend last saw them.

A run is one process (laptop) or pod (cluster) of a trial. The World is the backend's memory of one experiment; the core
reads it and never writes it. Trials at rest (ended, or waiting at a rung) are only counted, so that a pass costs what
changes, not what has piled up.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from podium_contract.conditions import Reason
from podium_contract.experiment import Experiment, RemovedTrials, TrialCounts
from podium_contract.lifecycle import FINAL, Phase
from podium_contract.trial import Observation, Trial


class RunState(StrEnum):
    WAITING = "Waiting"
    """Asked for, but not training yet: scheduling, pulling its image, starting."""
    ACTIVE = "Active"
    """Training."""
    ENDED = "Ended"


class EndKind(StrEnum):
    """How a run ended, in terms that both worlds share."""

    DONE = "Done"
    """Exit code 0."""
    CHECKPOINTED = "Checkpointed"
    """The agreed exit code after SIGTERM: it can go on later."""
    FAILED = "Failed"
    """The user's code, image or template is at fault; `reason` says how."""
    DISRUPTED = "Disrupted"
    """Evicted, pre-empted, killed from outside, lost: not the trial's fault."""


@dataclass(frozen=True)
class End:
    """The end of a run."""

    kind: EndKind
    reason: Reason
    """Why, for FAILED and DISRUPTED; FINISHED otherwise."""
    message: str
    """A sentence for a person: "exit code 3: ValueError: bad learning rate"."""
    at: datetime


@dataclass(frozen=True)
class Run:
    """One run of a trial. Only a trial's latest run matters."""

    number: int
    attempt: int
    state: RunState
    created: datetime
    started: datetime | None = None
    """When it began to train; None before."""
    end: End | None = None
    """Set exactly when ENDED."""
    stopping: Reason | None = None
    """Why it has been told to stop; None when it has not."""
    waiting_reason: Reason | None = None
    """What keeps a WAITING run from training, when it is known to be a fault."""
    waiting: str = ""
    """The same in words."""
    gpus: int = 0


@dataclass(frozen=True)
class Tally:
    """Sums over all trials of an experiment."""

    counts: Mapping[Phase, int]
    seconds: float
    gpu_seconds: float

    @property
    def total(self) -> int:
        return self.count(Phase)

    def count(self, phases: Iterable[Phase]) -> int:
        """Return how many trials are in one of the phases."""
        return sum(self.counts[phase] for phase in phases)

    @classmethod
    def of_removed(cls, removed: RemovedTrials | None) -> "Tally":
        """Return what is remembered of trials whose objects are gone."""
        if removed is None:
            return cls(dict.fromkeys(Phase, 0), 0.0, 0.0)
        counts = {phase: int(getattr(removed.trials, phase.lower())) for phase in Phase}
        return cls(counts, removed.trial_seconds, removed.gpu_seconds)

    def __add__(self, other: "Tally") -> "Tally":
        counts = {phase: self.counts[phase] + other.counts[phase] for phase in Phase}
        return Tally(counts, self.seconds + other.seconds, self.gpu_seconds + other.gpu_seconds)

    def as_status(self) -> TrialCounts:
        return TrialCounts(total=self.total, **{phase.lower(): count for phase, count in self.counts.items()})


@dataclass
class World:
    """What a backend knows of one experiment. Backends write it by `put_trial` and `forget_trial`; everybody else reads."""

    experiment: Experiment
    trials: dict[int, Trial] = field(default_factory=dict)
    runs: dict[int, Run] = field(default_factory=dict)
    """The latest run of each trial, by trial number."""
    reports: dict[int, tuple[Observation, ...]] = field(default_factory=dict)
    """Reports that arrived since the last completed pass, by trial number."""
    forgotten: int = 0
    """How many trials were deleted under way; the advisor hears of it when it is shown all that are left."""
    _counts: dict[Phase, int] = field(default_factory=lambda: dict.fromkeys(Phase, 0))
    _seconds: float = 0.0
    _gpu_seconds: float = 0.0
    _attention: set[int] = field(default_factory=set)

    def put_trial(self, trial: Trial) -> None:
        """Take in a trial, new or changed, keeping the sums."""
        number = trial.spec.number
        self._account(self.trials.get(number), -1)
        self._account(trial, +1)
        self.trials[number] = trial
        if needs_attention(trial):
            self._attention.add(number)
        else:
            self._attention.discard(number)

    def forget_trial(self, number: int) -> None:
        """Leave out a trial that somebody has deleted."""
        if number in self.trials:
            self._take_out(number)
            self.forgotten += 1

    def leave_out_removed(self) -> list[Trial]:
        """Leave out, and return, the trials that the experiment's status counts as removed."""
        return [self._take_out(number) for number in sorted(self.trials) if number <= self.removed_up_to]

    @property
    def removed_up_to(self) -> int:
        """The number up to which Trials were removed after the experiment's end; 0: none was."""
        removed = self.experiment.status.removed
        return removed.up_to if removed is not None else 0

    @property
    def attention(self) -> list[int]:
        """Numbers of the trials that are not at rest or have a run or reports, ascending."""
        return sorted(self._attention | self.runs.keys() | self.reports.keys())

    @property
    def tally(self) -> Tally:
        return self.tally_after({})

    def tally_after(self, changed: Mapping[int, Trial]) -> Tally:
        """Return the sums as they will be once the changed trials are written."""
        counts = dict(self._counts)
        old = [self.trials[number].status for number in changed if number in self.trials]
        new = [trial.status for trial in changed.values()]
        for status in old:
            counts[status.phase] -= 1
        for status in new:
            counts[status.phase] += 1
        return Tally.of_removed(self.experiment.status.removed) + Tally(
            counts,
            seconds=self._seconds + sum(s.seconds for s in new) - sum(s.seconds for s in old),
            gpu_seconds=self._gpu_seconds + sum(s.gpu_seconds for s in new) - sum(s.gpu_seconds for s in old),
        )

    def _take_out(self, number: int) -> Trial:
        trial = self.trials.pop(number)
        self._account(trial, -1)
        self._attention.discard(number)
        return trial

    def _account(self, trial: Trial | None, sign: int) -> None:
        if trial is None:
            return
        self._counts[trial.status.phase] += sign
        self._seconds += sign * trial.status.seconds
        self._gpu_seconds += sign * trial.status.gpu_seconds


def needs_attention(trial: Trial) -> bool:
    """Answer whether a trial may need something: it is neither ended nor at rest at a rung."""
    status = trial.status
    if status.phase in FINAL:
        return False
    at_rung = status.phase is Phase.PAUSED and trial.has_reached_target
    return not at_rung or status.attempt > status.ended_attempt
