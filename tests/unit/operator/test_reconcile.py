"""The reconcile pass, one claim a test: given a world and advice, this is planned."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from builders.experiments import a_scheduler, a_trial, an_experiment
from podium_contract.conditions import Condition, Reason, find_condition, is_true
from podium_contract.experiment import Standing
from podium_contract.lifecycle import Phase
from podium_contract.trial import Observation
from podium_contract.wire import Advice, Assignment, Promote, Stop
from podium_operator.core.actions import (
    Announce,
    CreateTrial,
    Plan,
    RemoveRun,
    StartRun,
    StopRun,
    WriteExperiment,
    WriteTrial,
)
from podium_operator.core.facts import End, EndKind, Run, RunState, World
from podium_operator.core.outcome import with_trials_removed
from podium_operator.core.reconcile import _trial_of, describe, reconcile, take_in

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
BEST = (Standing(trial=1, metrics={"loss": 0.1}),)


def a_world(*trials: tuple[int, Phase, dict[str, Any]], **spec: Any) -> World:
    """A world of trials (number, phase, status fields) on a ladder of 1, 3, 9 epochs."""
    spec = {"scheduler": a_scheduler("asha", 1, 9), "parallelism": 2, "max_trials": 9, **spec}
    world = World(an_experiment(**spec))
    for number, phase, status in trials:
        trial = _trial_of(world.experiment.metadata, Assignment(number=number, parameters={"lr": 0.1}, target=1))
        trial = trial.model_copy(update={"status": trial.status.model_copy(update={"phase": phase, **status})})
        world.put_trial(trial)
    return world


def a_run(number: int, state: RunState = RunState.ACTIVE, attempt: int = 1, **fields: Any) -> Run:
    return Run(
        number, attempt, state, created=NOW - timedelta(seconds=60), started=NOW - timedelta(seconds=50), **fields
    )


def an_ended_run(
    number: int,
    kind: EndKind = EndKind.DONE,
    reason: Reason = Reason.FINISHED,
    attempt: int = 1,
    **fields: Any,
) -> Run:
    end = End(kind, reason, "exit code 0" if kind is EndKind.DONE else "it ended badly", NOW)
    return a_run(number, RunState.ENDED, attempt, end=end, **fields)


def a_report(step: int, loss: float = 0.5, attempt: int = 1) -> Observation:
    return Observation(attempt=attempt, step=step, metrics={"loss": loss})


def status_of(plan: Plan, number: int) -> Any:
    (status,) = [action.status for action in plan.actions if isinstance(action, WriteTrial) and action.number == number]
    return status


def of_kind(plan: Plan, kind: type) -> list[Any]:
    return [action for action in plan.actions if isinstance(action, kind)]


def experiment_status(plan: Plan) -> Any:
    (write,) = of_kind(plan, WriteExperiment)
    return write.status


# --- new trials and runs


def test_advised_trial_is_recorded_before_its_run_starts() -> None:
    plan = reconcile(a_world(), Advice(assignments=(Assignment(number=1, parameters={"lr": 0.1}, target=1),)), NOW)
    kinds = [type(action) for action in plan.actions]
    assert kinds.index(CreateTrial) < kinds.index(WriteTrial) < kinds.index(StartRun)
    assert status_of(plan, 1).attempt == 1


def test_trial_advised_again_is_not_made_twice() -> None:
    world = a_world((1, Phase.PENDING, {"attempt": 1}))
    plan = reconcile(world, Advice(assignments=(Assignment(number=1, parameters={"lr": 0.1}, target=1),)), NOW)
    assert not of_kind(plan, CreateTrial)


def test_run_that_was_recorded_but_never_started_is_started() -> None:
    plan = reconcile(a_world((1, Phase.PENDING, {"attempt": 1})), Advice(), NOW)
    assert [start.attempt for start in of_kind(plan, StartRun)] == [1]


def test_no_more_runs_than_parallelism_allows() -> None:
    world = a_world(*((number, Phase.PENDING, {}) for number in range(1, 6)))
    world.runs[1] = a_run(1, RunState.WAITING)
    plan = reconcile(world, Advice(), NOW)
    assert [start.trial.spec.number for start in of_kind(plan, StartRun)] == [2]


def test_lowered_parallelism_drains_and_stops_nothing() -> None:
    world = a_world(*((number, Phase.RUNNING, {"attempt": 1}) for number in (1, 2, 3)), parallelism=1)
    world.runs = {number: a_run(number) for number in (1, 2, 3)}
    plan = reconcile(world, Advice(), NOW)
    assert not of_kind(plan, StopRun)
    assert not of_kind(plan, StartRun)


def test_trial_is_running_once_its_run_is_seen_training() -> None:
    world = a_world((1, Phase.PENDING, {"attempt": 1}))
    world.runs[1] = a_run(1)
    status = status_of(reconcile(world, Advice(), NOW), 1)
    assert status.phase is Phase.RUNNING
    assert status.start_time == world.runs[1].started


# --- endings


@pytest.mark.parametrize(
    ("run", "phase", "reason"),
    [
        (an_ended_run(1), Phase.PAUSED, Reason.RUNG_REACHED),
        (an_ended_run(1, EndKind.FAILED, Reason.EXIT_CODE), Phase.FAILED, Reason.EXIT_CODE),
        (an_ended_run(1, EndKind.FAILED, Reason.OUT_OF_MEMORY), Phase.FAILED, Reason.OUT_OF_MEMORY),
        (an_ended_run(1, EndKind.DISRUPTED, Reason.DISRUPTED), Phase.PENDING, Reason.DISRUPTED),
        (an_ended_run(1, EndKind.CHECKPOINTED, Reason.DISRUPTED), Phase.PENDING, Reason.DISRUPTED),
        (an_ended_run(1, EndKind.CHECKPOINTED, Reason.SUSPENDED), Phase.PAUSED, Reason.SUSPENDED),
        (
            an_ended_run(1, EndKind.CHECKPOINTED, Reason.DISRUPTED, stopping=Reason.SUSPENDED),
            Phase.PAUSED,
            Reason.SUSPENDED,
        ),
        (
            an_ended_run(1, EndKind.DISRUPTED, Reason.DISRUPTED, stopping=Reason.DEADLINE_EXCEEDED),
            Phase.FAILED,
            Reason.DEADLINE_EXCEEDED,
        ),
        (
            an_ended_run(1, EndKind.CHECKPOINTED, Reason.DISRUPTED, stopping=Reason.EXPERIMENT_ENDED),
            Phase.KILLED,
            Reason.EXPERIMENT_ENDED,
        ),
    ],
    ids=lambda value: f"{value.end.kind}-{value.stopping}" if isinstance(value, Run) and value.end else str(value),
)
def test_end_of_a_run_decides_the_trials_phase(run: Run, phase: Phase, reason: Reason) -> None:
    world = a_world((1, Phase.RUNNING, {"attempt": 1}), suspend=True)
    world.runs[1] = run
    world.reports[1] = (a_report(1),)
    plan = reconcile(world, Advice(), NOW)
    status = status_of(plan, 1)
    assert (status.phase, status.reason) == (phase, reason)
    assert status.message
    assert status.ended_attempt == 1
    assert status.seconds == 50
    assert of_kind(plan, RemoveRun) == [RemoveRun(1, 1)]


def test_reaching_the_maximum_is_success() -> None:
    world = a_world((1, Phase.RUNNING, {"attempt": 1, "target": 9}))
    world.runs[1], world.reports[1] = an_ended_run(1), (a_report(9),)
    assert status_of(reconcile(world, Advice(), NOW), 1).phase is Phase.SUCCEEDED


def test_command_that_ends_before_its_target_has_finished_by_itself() -> None:
    world = a_world((1, Phase.RUNNING, {"attempt": 1, "target": 9}))
    world.runs[1], world.reports[1] = an_ended_run(1), (a_report(4),)
    status = status_of(reconcile(world, Advice(), NOW), 1)
    assert status.phase is Phase.SUCCEEDED
    assert "by itself at epoch 4" in status.message


def test_stop_verdict_outranks_a_normal_end() -> None:
    world = a_world((1, Phase.RUNNING, {"attempt": 1}))
    world.runs[1], world.reports[1] = an_ended_run(1), (a_report(1),)
    status = status_of(reconcile(world, Advice(verdicts=(Stop(trial=1, step=1, reason="worse"),)), NOW), 1)
    assert (status.phase, status.message) == (Phase.PRUNED, "worse")


def test_disruptions_beyond_the_allowed_retries_are_a_failure() -> None:
    world = a_world((1, Phase.RUNNING, {"attempt": 4, "ended_attempt": 3, "retries": 3}))
    world.runs[1] = an_ended_run(1, EndKind.DISRUPTED, Reason.DISRUPTED, attempt=4)
    status = status_of(reconcile(world, Advice(), NOW), 1)
    assert (status.phase, status.reason) == (Phase.FAILED, Reason.MAX_RETRIES_EXCEEDED)


def test_training_run_that_vanished_is_a_disruption() -> None:
    plan = reconcile(a_world((1, Phase.RUNNING, {"attempt": 1})), Advice(), NOW)
    status = status_of(plan, 1)
    assert (status.reason, status.retries) == (Reason.DISRUPTED, 1)
    assert [start.attempt for start in of_kind(plan, StartRun)] == [2]


def test_missing_metric_is_waited_for_and_then_a_failure() -> None:
    world = a_world((1, Phase.RUNNING, {"attempt": 1}))
    world.runs[1] = an_ended_run(1)
    assert not of_kind(reconcile(world, Advice(), NOW), WriteTrial)
    later = reconcile(world, Advice(), NOW + timedelta(seconds=10))
    assert status_of(later, 1).reason == Reason.METRICS_UNAVAILABLE


def test_end_is_accounted_for_once() -> None:
    world = a_world((1, Phase.PAUSED, {"attempt": 1, "ended_attempt": 1, "step": 1, "seconds": 50.0}))
    world.runs[1] = an_ended_run(1)
    plan = reconcile(world, Advice(), NOW)
    assert not of_kind(plan, WriteTrial)
    assert of_kind(plan, RemoveRun) == [RemoveRun(1, 1)]


# --- verdicts


def test_stopped_trial_is_told_to_stop_once() -> None:
    world = a_world((1, Phase.RUNNING, {"attempt": 1}))
    world.runs[1] = a_run(1)
    advice = Advice(verdicts=(Stop(trial=1, step=1, reason="worse"),))
    assert [order.reason for order in of_kind(reconcile(world, advice, NOW), StopRun)] == [Reason.STOPPED_BY_SCHEDULER]
    world.runs[1] = replace(world.runs[1], stopping=Reason.STOPPED_BY_SCHEDULER)
    assert not of_kind(reconcile(world, advice, NOW), StopRun)


def test_promoted_trial_resumes_with_its_new_target() -> None:
    world = a_world((1, Phase.PAUSED, {"attempt": 1, "ended_attempt": 1, "step": 1}))
    plan = reconcile(world, Advice(verdicts=(Promote(trial=1, target=3, reason="best of 3"),)), NOW)
    (start,) = of_kind(plan, StartRun)
    assert (start.attempt, start.trial.target) == (2, 3)
    assert status_of(plan, 1).message == "best of 3"


def test_trial_may_be_promoted_in_the_pass_that_sees_it_rest() -> None:
    world = a_world((1, Phase.RUNNING, {"attempt": 1}))
    world.runs[1], world.reports[1] = an_ended_run(1), (a_report(1),)
    plan = reconcile(world, Advice(verdicts=(Promote(trial=1, target=3, reason="best of 3"),)), NOW)
    assert status_of(plan, 1).attempt == 2
    kinds = [type(action) for action in plan.actions]
    assert kinds.index(RemoveRun) < kinds.index(StartRun)


def test_resting_trial_that_is_stopped_is_pruned_at_once() -> None:
    world = a_world((1, Phase.PAUSED, {"attempt": 1, "ended_attempt": 1, "step": 1}))
    plan = reconcile(world, Advice(verdicts=(Stop(trial=1, step=1, reason="worse"),)), NOW)
    assert status_of(plan, 1).phase is Phase.PRUNED


def test_without_advice_no_end_is_ruled_and_no_run_forgotten() -> None:
    world = a_world((1, Phase.RUNNING, {"attempt": 1}))
    world.runs[1], world.reports[1] = an_ended_run(1), (a_report(1),)
    assert reconcile(world, None, NOW).actions == ()


# --- the spec


def test_suspension_stops_runs_and_starts_none() -> None:
    world = a_world((1, Phase.RUNNING, {"attempt": 1}), (2, Phase.PENDING, {}), suspend=True)
    world.runs[1] = a_run(1)
    plan = reconcile(world, Advice(), NOW)
    assert [order.reason for order in of_kind(plan, StopRun)] == [Reason.SUSPENDED]
    assert not of_kind(plan, StartRun)
    assert not is_true(experiment_status(plan).conditions, "Suspended")


def test_suspended_holds_once_nothing_runs_and_resuming_starts_what_paused() -> None:
    paused = (1, Phase.PAUSED, {"attempt": 1, "ended_attempt": 1, "step": 0})
    suspended = experiment_status(reconcile(a_world(paused, suspend=True), Advice(), NOW))
    assert suspended.phase == "Suspended"
    world = a_world(paused)
    world.experiment = world.experiment.model_copy(update={"status": suspended})
    plan = reconcile(world, Advice(), NOW)
    assert [start.attempt for start in of_kind(plan, StartRun)] == [2]
    assert experiment_status(plan).phase == "Progressing"


def test_run_beyond_its_deadline_is_told_to_stop() -> None:
    trial = a_trial(activeDeadlineSeconds=30)
    world = a_world((1, Phase.RUNNING, {"attempt": 1}), trial=trial)
    world.runs[1] = a_run(1)
    assert [order.reason for order in of_kind(reconcile(world, Advice(), NOW), StopRun)] == [Reason.DEADLINE_EXCEEDED]


# --- the end


def test_reached_target_stops_everything_before_the_experiment_is_complete() -> None:
    world = a_world((1, Phase.SUCCEEDED, {}), (2, Phase.RUNNING, {"attempt": 1}), (3, Phase.PENDING, {}))
    world.runs[2] = a_run(2)
    plan = reconcile(world, Advice(best=BEST, target_reached=True), NOW)
    assert [order.number for order in of_kind(plan, StopRun)] == [2]
    assert status_of(plan, 3).phase is Phase.KILLED
    status = experiment_status(plan)
    assert find_condition(status.conditions, "Progressing").reason == Reason.TARGET_REACHED  # type: ignore[union-attr]
    assert not is_true(status.conditions, "Complete")
    assert not plan.is_finished


def test_ending_is_carried_through_after_a_restart() -> None:
    progressing = Condition(
        type="Progressing", status="False", reason="TargetReached", message="done", last_transition_time=NOW
    )
    world = a_world((1, Phase.SUCCEEDED, {}))
    status = world.experiment.status.model_copy(update={"conditions": (progressing,)})
    world.experiment = world.experiment.model_copy(update={"status": status})
    assert describe(take_in(world, NOW), "r1", complete=True).slots == 0
    plan = reconcile(world, Advice(best=BEST), NOW)
    assert plan.is_finished
    assert experiment_status(plan).phase == "Complete"


def test_resting_trials_are_pruned_when_nothing_is_left_to_do() -> None:
    world = a_world(
        (1, Phase.SUCCEEDED, {}), (2, Phase.PAUSED, {"attempt": 1, "ended_attempt": 1, "step": 1}), max_trials=2
    )
    plan = reconcile(world, Advice(best=BEST, idle=True), NOW)
    assert (status_of(plan, 2).phase, status_of(plan, 2).reason) == (Phase.PRUNED, Reason.NOT_PROMOTED)
    assert experiment_status(plan).phase == "Complete"
    assert experiment_status(plan).trials.pruned == 1


def test_too_many_failures_fail_the_experiment() -> None:
    world = a_world(*((number, Phase.FAILED, {}) for number in (1, 2)), max_failed_trials=1)
    status = experiment_status(reconcile(world, Advice(), NOW))
    assert status.phase == "Failed"
    assert find_condition(status.conditions, "Failed").reason == Reason.MAX_FAILED_TRIALS_EXCEEDED  # type: ignore[union-attr]


def test_no_usable_result_is_a_failure() -> None:
    world = a_world((1, Phase.FAILED, {}), max_trials=1)
    status = experiment_status(reconcile(world, Advice(idle=True), NOW))
    assert find_condition(status.conditions, "Failed").reason == Reason.NO_TRIAL_SUCCEEDED  # type: ignore[union-attr]


def test_an_experiment_that_cannot_begin_fails_with_what_is_missing() -> None:
    advice = Advice(refused="spec.search.warmStart.experiments: got old, which is not there", idle=True)
    status = experiment_status(reconcile(a_world(), advice, NOW))
    failed = find_condition(status.conditions, "Failed")
    assert failed is not None
    assert (failed.status, failed.reason, failed.message) == ("True", Reason.INVALID_SPEC, advice.refused)
    assert status.phase == "Failed"


def test_raised_limit_takes_back_the_end() -> None:
    world = a_world((1, Phase.SUCCEEDED, {}), max_trials=1)
    status = experiment_status(reconcile(world, Advice(best=BEST, idle=True), NOW))
    assert status.phase == "Complete"
    world = a_world((1, Phase.SUCCEEDED, {}), max_trials=2)
    world.experiment = world.experiment.model_copy(update={"status": status})
    advice = Advice(best=BEST, assignments=(Assignment(number=2, parameters={"lr": 0.1}, target=1),))
    plan = reconcile(world, advice, NOW)
    assert experiment_status(plan).phase == "Progressing"
    assert experiment_status(plan).completion_time is None
    assert [start.trial.spec.number for start in of_kind(plan, StartRun)] == [2]


def test_experiments_deadline_completes_it_when_there_is_a_result() -> None:
    world = a_world((1, Phase.SUCCEEDED, {}), active_deadline_seconds=60)
    old = world.experiment.status.model_copy(update={"start_time": NOW - timedelta(seconds=61)})
    world.experiment = world.experiment.model_copy(update={"status": old})
    status = experiment_status(reconcile(world, Advice(best=BEST), NOW))
    assert find_condition(status.conditions, "Complete").reason == Reason.DEADLINE_EXCEEDED  # type: ignore[union-attr]


def test_run_of_an_ended_trial_is_told_to_stop_and_then_forgotten() -> None:
    world = a_world((1, Phase.KILLED, {"attempt": 1}))
    world.runs[1] = a_run(1)
    assert [order.number for order in of_kind(reconcile(world, Advice(), NOW), StopRun)] == [1]
    world.runs[1] = an_ended_run(1, EndKind.CHECKPOINTED, Reason.DISRUPTED)
    assert of_kind(reconcile(world, Advice(), NOW), RemoveRun) == [RemoveRun(1, 1)]


def test_pass_that_finds_nothing_new_plans_nothing() -> None:
    world = a_world((1, Phase.RUNNING, {"attempt": 1}))
    world.runs[1] = a_run(1)
    first = reconcile(world, Advice(), NOW)
    world.experiment = world.experiment.model_copy(update={"status": experiment_status(first)})
    assert reconcile(world, Advice(), NOW + timedelta(seconds=1)).actions == ()


# --- waiting, and trials that somebody deletes


def test_fault_that_keeps_a_run_waiting_is_shown_and_announced_once() -> None:
    waiting = Run(1, 1, RunState.WAITING, NOW, waiting_reason=Reason.UNSCHEDULABLE, waiting="no node takes its pod")
    world = a_world((1, Phase.PENDING, {"attempt": 1}))
    world.runs = {1: waiting}
    plan = reconcile(world, Advice(), NOW)
    status = status_of(plan, 1)
    assert (status.phase, status.reason, status.message) == (Phase.PENDING, "Unschedulable", "no node takes its pod")
    assert [(told.number, told.warning) for told in of_kind(plan, Announce) if told.number] == [(1, True)]
    world.put_trial(world.trials[1].model_copy(update={"status": status}))
    world.runs = {1: replace(waiting, waiting="no node takes its pod: 0/2 nodes")}
    later = reconcile(world, Advice(), NOW)
    assert status_of(later, 1).message == "no node takes its pod: 0/2 nodes"
    assert [told for told in of_kind(later, Announce) if told.number] == []


def test_deleted_trial_no_longer_counts() -> None:
    world = a_world((1, Phase.SUCCEEDED, {"seconds": 5.0}), (2, Phase.RUNNING, {"attempt": 1}))
    world.forget_trial(2)
    world.forget_trial(2)
    assert (world.tally.total, world.attention, world.forgotten) == (1, [], 1)


def test_verdicts_on_a_deleted_trial_are_left_alone() -> None:
    stop = Stop(trial=1, reason="worse than most", step=1)
    promote = Promote(trial=2, target=9, reason="among the best third")
    assert of_kind(reconcile(a_world(), Advice(verdicts=(stop, promote)), NOW), WriteTrial) == []


# --- trials that were removed when the experiment had been over for its time to live


def an_ended_world(*trials: tuple[int, Phase, dict[str, Any]], **spec: Any) -> World:
    """A world whose experiment ended because there were no trials left to make."""
    world = a_world(*trials, **{"max_trials": len(trials), **spec})
    idle = Advice(idle=True, best=BEST, steps=7)
    world.experiment = world.experiment.model_copy(update={"status": experiment_status(reconcile(world, idle, NOW))})
    assert world.experiment.status.phase == "Complete"
    return world


def removed(world: World) -> World:
    """The world after its Trials were counted as removed."""
    world.experiment = world.experiment.model_copy(update={"status": with_trials_removed(world)})
    world.leave_out_removed()
    return world


def with_limit(world: World, max_trials: int) -> World:
    spec = world.experiment.spec.model_copy(update={"max_trials": max_trials})
    world.experiment = world.experiment.model_copy(update={"spec": spec})
    return world


TWO = ((1, Phase.SUCCEEDED, {"seconds": 5.0, "gpu_seconds": 10.0}), (2, Phase.FAILED, {"seconds": 1.0}))


def test_status_stays_when_the_trials_are_removed() -> None:
    world = an_ended_world(*TWO)
    before = world.experiment.status
    removed(world)
    assert (world.trials, world.forgotten) == ({}, 0)
    assert world.experiment.status.model_copy(update={"removed": None}) == before
    assert reconcile(world, Advice(idle=True, best=BEST, steps=7), NOW).actions == ()


def test_status_stays_even_when_the_store_is_lost_after_the_trials_were_removed() -> None:
    world = removed(an_ended_world(*TWO))
    assert reconcile(world, Advice(), NOW).actions == ()


def test_removed_trials_count_against_the_limits_when_the_experiment_goes_on() -> None:
    world = with_limit(removed(an_ended_world(*TWO)), 3)
    assignments = tuple(Assignment(number=number, parameters={"lr": 0.1}, target=1) for number in (1, 2, 3, 4))
    plan = reconcile(world, Advice(assignments=assignments, best=BEST, steps=7), NOW)
    assert [action.trial.spec.number for action in of_kind(plan, CreateTrial)] == [3], "no number is used again"
    status = experiment_status(plan)
    assert (status.phase, status.trials.total, status.trials.failed) == ("Progressing", 3, 1)
    assert (status.cost.trial_seconds, status.cost.gpu_seconds) == (6.0, 10.0)


def test_removed_failures_count_against_max_failed_trials() -> None:
    world = with_limit(removed(an_ended_world(*TWO, max_failed_trials=1)), 3)
    world.put_trial(a_world((3, Phase.FAILED, {})).trials[3])
    plan = reconcile(world, Advice(best=BEST), NOW)
    condition = find_condition(experiment_status(plan).conditions, "Progressing")
    assert condition is not None
    assert condition.reason == "MaxFailedTrialsExceeded"


def test_trials_removed_twice_add_up() -> None:
    world = with_limit(removed(an_ended_world(*TWO)), 3)
    world.put_trial(a_world((3, Phase.PRUNED, {"seconds": 2.0})).trials[3])
    again = with_trials_removed(world).removed
    assert again is not None
    assert (again.up_to, again.trials.total, again.trials.pruned, again.trial_seconds) == (3, 3, 1, 8.0)


def test_advisor_hears_of_the_last_number_that_was_given() -> None:
    world = with_limit(removed(an_ended_world(*TWO)), 3)
    told = describe(take_in(world, NOW), "r", complete=True).facts
    assert [(facts.number, facts.phase) for facts in told] == [(2, Phase.KILLED)]
    assert describe(take_in(world, NOW), "r", complete=False).facts == ()
