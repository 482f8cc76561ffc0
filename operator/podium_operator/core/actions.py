"""What to do: small frozen actions that a backend performs in order.

Each is idempotent: performing it twice changes nothing.
"""

from dataclasses import dataclass

from podium_contract.conditions import Reason
from podium_contract.experiment import ExperimentStatus
from podium_contract.trial import Trial, TrialStatus


@dataclass(frozen=True)
class CreateTrial:
    """Record a new trial; one of its name that exists already is left as it is."""

    trial: Trial


@dataclass(frozen=True)
class WriteTrial:
    """Write a trial's status."""

    number: int
    status: TrialStatus


@dataclass(frozen=True)
class StartRun:
    """Start run `attempt` of a trial; one that exists already is left as it is."""

    trial: Trial
    attempt: int


@dataclass(frozen=True)
class StopRun:
    """Ask a run to checkpoint and end (SIGTERM), and kill it after its grace period."""

    number: int
    attempt: int
    reason: Reason
    message: str


@dataclass(frozen=True)
class RemoveRun:
    """Forget an ended run: what it told is recorded."""

    number: int
    attempt: int


@dataclass(frozen=True)
class WriteExperiment:
    """Write the experiment's status."""

    status: ExperimentStatus


@dataclass(frozen=True)
class Announce:
    """Tell people of a change: an Event on the cluster, a line on the laptop."""

    reason: Reason
    message: str
    number: int | None = None
    """The trial it is about; None: the experiment."""
    warning: bool = False


Action = CreateTrial | WriteTrial | StartRun | StopRun | RemoveRun | WriteExperiment | Announce


@dataclass(frozen=True)
class Plan:
    """Everything to do in one pass, in order: records first, then effects."""

    actions: tuple[Action, ...]
    is_finished: bool = False
    """The experiment has ended and nothing of it runs."""
