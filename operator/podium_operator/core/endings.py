"""What the end of a run means for its trial: one event of the phase table, with a reason and a message.

The order of the questions matters and is the whole policy: a verdict or an order that was on its way when the run ended
wins over the way in which it ended, and a disruption is retried before it becomes a failure. A command that was told to stop
and says that it is done is believed where it has reached its target, or has none; others leave by exit code 0 as well.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from podium_contract.conditions import Reason
from podium_contract.experiment import ExperimentSpec
from podium_contract.lifecycle import Event
from podium_contract.trial import Trial
from podium_contract.wire import Stop
from podium_operator.core.facts import End, EndKind, Run


@dataclass(frozen=True)
class Ruling:
    """What becomes of a trial, and why."""

    event: Event
    reason: Reason
    message: str


def ruling_of(spec: ExperimentSpec, trial: Trial, run: Run, stop: Stop | None, now: datetime) -> Ruling | None:
    """Return what the end of `run` means; None while the trial's metrics may still arrive."""
    end = run.end
    assert end is not None
    if stop is not None:
        return Ruling(Event.PRUNE, Reason.STOPPED_BY_SCHEDULER, stop.reason)
    order = _after_order(spec, trial, run, end)
    if end.kind is EndKind.DONE and (order is None or trial.target is None or trial.has_reached_target):
        return _after_success(spec, trial, end, now)
    if order is not None:
        return order
    if end.kind is EndKind.FAILED:
        return Ruling(Event.FAIL, end.reason, end.message)
    return _after_disruption(spec, trial, end)


def _after_order(spec: ExperimentSpec, trial: Trial, run: Run, end: End) -> Ruling | None:
    """Return what it means that a run was told to stop; None when it was not."""
    match run.stopping:
        case Reason.EXPERIMENT_ENDED:
            message = f"the experiment ended when it was at {progress(spec, trial)}"
            return Ruling(Event.KILL, Reason.EXPERIMENT_ENDED, message)
        case Reason.DEADLINE_EXCEEDED:
            return _after_deadline(spec, run)
        case Reason.SUSPENDED:
            return Ruling(Event.PAUSE, Reason.SUSPENDED, f"suspended at {progress(spec, trial)}")
    if end.reason is Reason.SUSPENDED:
        return Ruling(Event.PAUSE, Reason.SUSPENDED, f"{end.message}; resumes from its last checkpoint")
    return None


def ruling_on_lost_run(spec: ExperimentSpec, trial: Trial, now: datetime) -> Ruling:
    """Return what it means that a training run is gone without a trace: its pod was deleted, or its node."""
    gone = End(EndKind.DISRUPTED, Reason.DISRUPTED, "its run disappeared", now)
    return _after_disruption(spec, trial, gone)


def has_run_too_long(spec: ExperimentSpec, run: Run, now: datetime) -> bool:
    """Answer whether a run has exceeded the trial's deadline (waiting for a node counts)."""
    limit = spec.trial.active_deadline_seconds
    return limit is not None and now - run.created >= timedelta(seconds=limit)


def _after_disruption(spec: ExperimentSpec, trial: Trial, end: End) -> Ruling:
    used, allowed = trial.status.retries, spec.trial.max_retries
    if used >= allowed:
        return Ruling(
            Event.FAIL,
            Reason.MAX_RETRIES_EXCEEDED,
            f"{end.message}; disrupted {used + 1} times, {allowed} retries allowed",
        )
    return Ruling(
        Event.DISRUPT, Reason.DISRUPTED, f"{end.message}; retry {used + 1} of {allowed} from the last checkpoint"
    )


def _after_success(spec: ExperimentSpec, trial: Trial, end: End, now: datetime) -> Ruling | None:
    status = trial.status
    metric = spec.objectives[0].metric
    if metric not in status.metrics:
        grace = timedelta(seconds=spec.trial.metrics.grace_period_seconds)
        if now - end.at < grace:
            return None
        return Ruling(
            Event.FAIL,
            Reason.METRICS_UNAVAILABLE,
            f"the command ended well but never reported '{metric}'{_though(status.metrics)}; "
            "report it, or check trial.metrics",
        )
    maximum = spec.scheduler.max
    if trial.has_reached_target and maximum is not None and status.step < maximum:
        return Ruling(Event.PAUSE, Reason.RUNG_REACHED, f"rests at {progress(spec, trial)}")
    if trial.target is not None and not trial.has_reached_target:
        message = f"its command ended by itself at {progress(spec, trial)}, before {trial.target}"
        return Ruling(Event.FINISH, Reason.FINISHED, message)
    return Ruling(Event.FINISH, Reason.FINISHED, f"trained to {progress(spec, trial)}")


def _though(metrics: Collection[str]) -> str:
    return f", though {', '.join(sorted(metrics)[:5])}" if metrics else ""


def _after_deadline(spec: ExperimentSpec, run: Run) -> Ruling:
    limit = spec.trial.active_deadline_seconds
    if run.started is None and run.waiting_reason is not None:
        return Ruling(Event.FAIL, run.waiting_reason, f"{run.waiting}; gave up after {limit} s")
    return Ruling(Event.FAIL, Reason.DEADLINE_EXCEEDED, f"one run took longer than activeDeadlineSeconds: {limit} s")


def progress(spec: ExperimentSpec, trial: Trial) -> str:
    """Return how far a trial is, in the scheduler's resource: "epoch 9"."""
    return f"{spec.scheduler.resource} {trial.step}"
