"""Conditions and the reasons they carry: one vocabulary for the status, the events, the log, the metrics and the page."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from podium_contract.model import OpenModel


class Reason(StrEnum):
    """Why an experiment or a trial is as it is. A reason names a class of causes; the message tells the case."""

    # An experiment
    RUNNING = "Running"
    """Trials are being made and run."""
    SUSPENDED = "Suspended"
    """`suspend: true` paused every trial."""
    RESUMED = "Resumed"
    """`suspend: false` let them go on."""
    TARGET_REACHED = "TargetReached"
    """An objective with a target has reached it."""
    MAX_TRIALS_REACHED = "MaxTrialsReached"
    """As many trials as allowed were made, and none has anything left to do."""
    SEARCH_EXHAUSTED = "SearchExhausted"
    """The search has no point left that it has not tried."""
    MAX_FAILED_TRIALS_EXCEEDED = "MaxFailedTrialsExceeded"
    """More trials failed than `maxFailedTrials` allows."""
    NO_TRIAL_SUCCEEDED = "NoTrialSucceeded"
    """The experiment came to its end without one usable result."""
    INVALID_SPEC = "InvalidSpec"
    """The spec breaks a rule that the API server could not check; no trial was made."""

    # An experiment or a trial
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    """`activeDeadlineSeconds` have passed."""

    # A trial that goes on
    CREATED = "Created"
    STARTED = "Started"
    RUNG_REACHED = "RungReached"
    """It has trained as far as its rung and waits for promotion."""
    PROMOTED = "Promoted"
    DISRUPTED = "Disrupted"
    """Evicted, pre-empted, killed from outside or lost with its node: resumed from its last checkpoint."""

    # A trial that ended
    FINISHED = "Finished"
    """It trained as far as the scheduler lets it, or its command ended by itself."""
    STOPPED_BY_SCHEDULER = "StoppedByScheduler"
    NOT_PROMOTED = "NotPromoted"
    """It rested at a rung when the experiment ended."""
    EXPERIMENT_ENDED = "ExperimentEnded"
    EXIT_CODE = "ExitCode"
    """The command ended with an exit code other than 0."""
    CRASHED = "Crashed"
    """The command died of a signal that it has earned: segmentation fault, abort; on a cluster also of a SIGKILL that no
    disruption of its pod explains, as the kernel sends it for want of memory."""
    OUT_OF_MEMORY = "OutOfMemory"
    """Its container used more memory than its limit, or than its node had."""
    IMAGE_UNAVAILABLE = "ImageUnavailable"
    """The image cannot be pulled, or its name is invalid."""
    UNSCHEDULABLE = "Unschedulable"
    """No node could take the pod before the trial's deadline."""
    START_FAILED = "StartFailed"
    """The command cannot be started, or the API server refuses the pod."""
    METRICS_UNAVAILABLE = "MetricsUnavailable"
    """The command ended well but never reported the objective's metric."""
    MAX_RETRIES_EXCEEDED = "MaxRetriesExceeded"
    """It was disrupted more often than `maxRetries` allows."""
    DELETED = "Deleted"
    """Somebody deleted its Trial; what it reported is kept."""


class ConditionType(StrEnum):
    # Of an experiment
    PROGRESSING = "Progressing"
    SUSPENDED = "Suspended"
    COMPLETE = "Complete"
    FAILED = "Failed"
    # Of a trial
    RUNNING = "Running"
    ENDED = "Ended"


class Condition(OpenModel):
    """One observation about an object, as Kubernetes writes it (metav1.Condition)."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    """One word: the class of causes."""
    message: str = ""
    """A sentence for a person."""
    last_transition_time: datetime | None = None
    """When `status` last changed."""
    observed_generation: int | None = None


def set_condition(
    conditions: tuple[Condition, ...], new: Condition, now: datetime
) -> tuple[tuple[Condition, ...], bool]:
    """Return the conditions with `new` in the place of the one of its type, and whether anything changed.

    The same status keeps the time of its last transition; the same status, reason and message are no change.
    """
    old = find_condition(conditions, new.type)
    if old is None:
        return (*conditions, new.model_copy(update={"last_transition_time": now})), True
    if (old.status, old.reason, old.message) == (new.status, new.reason, new.message):
        return conditions, False
    since = old.last_transition_time if old.status == new.status else now
    replacement = new.model_copy(update={"last_transition_time": since})
    return tuple(replacement if condition.type == new.type else condition for condition in conditions), True


def find_condition(conditions: tuple[Condition, ...], type_: str) -> Condition | None:
    """Return the condition of a type, or None."""
    return next((condition for condition in conditions if condition.type == type_), None)


def is_true(conditions: tuple[Condition, ...], type_: str) -> bool:
    """Answer whether the condition of a type is there and holds."""
    found = find_condition(conditions, type_)
    return found is not None and found.status == "True"
