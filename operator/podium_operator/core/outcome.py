"""How an experiment ends, and the status that says how it stands.

The decision to end is durable before it is carried out: `Progressing` turns False with the reason first, the runs that
are left are stopped, and only when every trial has ended does `Complete` or `Failed` turn True.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from podium_contract.conditions import Condition, ConditionType, Reason, find_condition, is_true, set_condition
from podium_contract.experiment import Cost, Experiment, ExperimentSpec, ExperimentStatus, RemovedTrials
from podium_contract.lifecycle import COUNTS_AGAINST_MAX_FAILED_TRIALS, COUNTS_AGAINST_MAX_TRIALS, Phase
from podium_contract.trial import Trial
from podium_contract.wire import Advice
from podium_operator.core.actions import Announce
from podium_operator.core.facts import Tally, World

_FAILURES = frozenset({Reason.MAX_FAILED_TRIALS_EXCEEDED, Reason.NO_TRIAL_SUCCEEDED, Reason.INVALID_SPEC})


@dataclass(frozen=True)
class Outcome:
    """Why an experiment ends."""

    reason: Reason
    message: str

    def is_success(self, advice: Advice) -> bool:
        """A limit reached is a success as long as there is something to show for it."""
        return self.reason not in _FAILURES and bool(advice.best)


def outcome_of(experiment: Experiment) -> Outcome | None:
    """Return the end that was decided in an earlier pass; None while the experiment goes on.

    Raising `maxTrials` above the number of trials takes back an end for lack of trials.
    """
    condition = find_condition(experiment.status.conditions, ConditionType.PROGRESSING)
    if condition is None or condition.status != "False" or condition.reason == Reason.SUSPENDED:
        return None
    ran_out = condition.reason in (Reason.MAX_TRIALS_REACHED, Reason.NO_TRIAL_SUCCEEDED)
    if ran_out and experiment.spec.max_trials > experiment.status.trials.total:
        return None
    return Outcome(Reason(condition.reason), condition.message)


def new_outcome(world: World, changed: Mapping[int, Trial], advice: Advice, now: datetime) -> Outcome | None:
    """Return the end that the facts call for now, the most specific reason first; None to go on."""
    spec, status = world.experiment.spec, world.experiment.status
    tally = world.tally_after(changed)
    failed, made = tally.count(COUNTS_AGAINST_MAX_FAILED_TRIALS), tally.count(COUNTS_AGAINST_MAX_TRIALS)
    if advice.refused is not None:
        return Outcome(Reason.INVALID_SPEC, advice.refused)
    if advice.target_reached:
        return Outcome(Reason.TARGET_REACHED, f"trial {advice.best[0].trial} reached {_targets(spec)}")
    if spec.max_failed_trials is not None and failed > spec.max_failed_trials:
        message = f"{failed} trials failed, maxFailedTrials allows {spec.max_failed_trials}"
        return Outcome(Reason.MAX_FAILED_TRIALS_EXCEEDED, message)
    if _is_overdue(spec, status, now):
        message = f"activeDeadlineSeconds: {spec.active_deadline_seconds} have passed"
        return Outcome(Reason.DEADLINE_EXCEEDED, message)
    if not advice.idle or spec.suspend or tally.count((Phase.PENDING, Phase.RUNNING)):
        return None
    if not advice.best:
        return Outcome(Reason.NO_TRIAL_SUCCEEDED, f"none of {made} trials gave a usable result")
    if advice.exhausted and made < spec.max_trials:
        return Outcome(Reason.SEARCH_EXHAUSTED, advice.exhausted)
    return Outcome(Reason.MAX_TRIALS_REACHED, f"all {made} trials are done")


def next_status(
    world: World, changed: Mapping[int, Trial], advice: Advice, outcome: Outcome | None, now: datetime
) -> ExperimentStatus:
    """Return the experiment's status after this pass."""
    experiment = world.experiment
    old, spec = experiment.status, experiment.spec
    if old.removed is not None and has_ended(old) and outcome_of(experiment) is not None:
        return old.model_copy(update={"observed_generation": experiment.metadata.generation})
    tally = world.tally_after(changed)
    counts = tally.as_status()
    is_quiet = not world.runs and not (counts.pending or counts.running or (outcome and counts.paused))
    conditions = _conditions(old, spec, advice, outcome, now, is_quiet=is_quiet)
    ended = _is_over(conditions)
    return ExperimentStatus(
        phase=_phase(conditions),
        conditions=conditions,
        trials=counts,
        best=advice.best,
        best_value=advice.best[0].metrics.get(spec.objectives[0].metric) if advice.best else None,
        rungs=advice.rungs,
        cost=_cost(spec, tally, advice),
        removed=old.removed,
        observed_generation=experiment.metadata.generation,
        start_time=old.start_time or now,
        completion_time=(old.completion_time or now) if ended else None,
    )


def has_ended(status: ExperimentStatus) -> bool:
    """Answer whether an experiment is over and everything of it accounted for."""
    return _is_over(status.conditions)


def is_expired(experiment: Experiment, now: datetime) -> bool:
    """Answer whether an experiment has been over for its time to live."""
    limit, ended = experiment.spec.ttl_seconds_after_finished, experiment.status.completion_time
    if limit is None or ended is None or not has_ended(experiment.status):
        return False
    return now - ended >= timedelta(seconds=limit)


def with_trials_removed(world: World) -> ExperimentStatus:
    """Return the status of an ended experiment that counts all its trials as removed.

    It is written before the first Trial goes: from then on they count by it, whether their objects are still there or not.
    """
    tally, status = world.tally, world.experiment.status
    removed = RemovedTrials(
        up_to=max(world.trials, default=world.removed_up_to),
        trials=tally.as_status(),
        trial_seconds=tally.seconds,
        gpu_seconds=tally.gpu_seconds,
    )
    return status.model_copy(update={"removed": removed})


def announcements_of(old: ExperimentStatus, new: ExperimentStatus) -> list[Announce]:
    """Return what to tell people about the conditions that changed."""
    announcements = []
    for condition in new.conditions:
        before = find_condition(old.conditions, condition.type)
        is_news = before is None or (before.status, before.reason) != (condition.status, condition.reason)
        if condition.status == "True" and is_news:
            warning = condition.type == ConditionType.FAILED
            announcements.append(Announce(Reason(condition.reason), condition.message, warning=warning))
    return announcements


def _conditions(
    old: ExperimentStatus,
    spec: ExperimentSpec,
    advice: Advice,
    outcome: Outcome | None,
    now: datetime,
    *,
    is_quiet: bool,
) -> tuple[Condition, ...]:
    conditions = old.conditions

    def put(type_: ConditionType, holds: bool, reason: Reason, message: str) -> None:
        nonlocal conditions
        if not holds and type_ is not ConditionType.PROGRESSING and find_condition(conditions, type_) is None:
            return  # a condition that never held need not be written down
        condition = Condition(type=type_, status="True" if holds else "False", reason=reason, message=message)
        conditions, _ = set_condition(conditions, condition, now)

    if outcome is not None:
        succeeded = outcome.is_success(advice)
        put(ConditionType.PROGRESSING, False, outcome.reason, outcome.message)
        put(ConditionType.COMPLETE, is_quiet and succeeded, outcome.reason, outcome.message)
        put(ConditionType.FAILED, is_quiet and not succeeded, outcome.reason, outcome.message)
        put(ConditionType.SUSPENDED, False, outcome.reason, outcome.message)
    elif spec.suspend:
        put(ConditionType.PROGRESSING, False, Reason.SUSPENDED, "the experiment is suspended")
        put(ConditionType.SUSPENDED, is_quiet, Reason.SUSPENDED, "every trial is paused")
    else:
        was_suspended = is_true(conditions, ConditionType.SUSPENDED)
        put(ConditionType.PROGRESSING, True, Reason.RUNNING, "trials are being made and run")
        for type_ in (ConditionType.SUSPENDED, ConditionType.COMPLETE, ConditionType.FAILED):
            put(type_, False, Reason.RESUMED if was_suspended else Reason.RUNNING, "trials are being made and run")
    return conditions


def _is_over(conditions: tuple[Condition, ...]) -> bool:
    return is_true(conditions, ConditionType.COMPLETE) or is_true(conditions, ConditionType.FAILED)


def _phase(conditions: tuple[Condition, ...]) -> str:
    for type_ in (ConditionType.COMPLETE, ConditionType.FAILED, ConditionType.SUSPENDED):
        if is_true(conditions, type_):
            return type_
    return ConditionType.PROGRESSING


def _cost(spec: ExperimentSpec, tally: Tally, advice: Advice) -> Cost:
    maximum = spec.scheduler.max
    return Cost(
        steps=advice.steps,
        full_steps=None if maximum is None else maximum * tally.total,
        trial_seconds=tally.seconds,
        gpu_seconds=tally.gpu_seconds,
    )


def _is_overdue(spec: ExperimentSpec, status: ExperimentStatus, now: datetime) -> bool:
    limit, start = spec.active_deadline_seconds, status.start_time
    return limit is not None and start is not None and now - start >= timedelta(seconds=limit)


def _targets(spec: ExperimentSpec) -> str:
    signs = {"maximize": ">=", "minimize": "<="}
    return " and ".join(f"{o.metric} {signs[o.goal]} {o.target:g}" for o in spec.objectives if o.target is not None)
