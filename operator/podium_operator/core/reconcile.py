"""The reconcile pass: facts and advice in, plan out.

    draft   = take_in(world, ...)      what the facts mean for each trial
    request = describe(draft, ...)     what the advisor must know
    plan    = reconcile(world, advice, now)

A pass is a pure function of what exists, so it may be repeated at any moment: after a crash the next pass sees what was
done and plans the rest. The plan writes records before it causes effects; every effect is named (trial, attempt), and
doing it twice is doing it once.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from podium_contract.conditions import Condition, ConditionType, Reason, set_condition
from podium_contract.experiment import ExperimentSpec, Metadata
from podium_contract.lifecycle import FINAL, Event, Phase, move
from podium_contract.names import LABEL_EXPERIMENT, LABEL_TRIAL, trial_name
from podium_contract.trial import Trial, TrialSpec, TrialStatus
from podium_contract.wire import Advice, AdviceRequest, Assignment, Promote, Stop, TrialFacts, Verdict
from podium_operator.core.actions import (
    Action,
    Announce,
    CreateTrial,
    Plan,
    RemoveRun,
    StartRun,
    StopRun,
    WriteExperiment,
    WriteTrial,
)
from podium_operator.core.endings import Ruling, has_run_too_long, progress, ruling_of, ruling_on_lost_run
from podium_operator.core.facts import Run, RunState, World
from podium_operator.core.observations import with_reports
from podium_operator.core.outcome import (
    Outcome,
    announcements_of,
    has_ended,
    new_outcome,
    next_status,
    outcome_of,
)


@dataclass
class Draft:
    """The trials as they will be after this pass: built up question by question, then turned into a plan."""

    world: World
    now: datetime
    changed: dict[int, Trial] = field(default_factory=dict)
    announcements: list[Announce] = field(default_factory=list)

    @property
    def spec(self) -> ExperimentSpec:
        return self.world.experiment.spec

    def trial(self, number: int) -> Trial:
        return self.changed.get(number) or self.world.trials[number]

    def open_trials(self) -> Iterable[Trial]:
        """Every trial that has not ended, resting ones included, lowest number first."""
        numbers = sorted(self.world.trials.keys() | self.changed.keys())
        return (trial for number in numbers if (trial := self.trial(number)).status.phase not in FINAL)

    def write(self, trial: Trial, **changes: object) -> None:
        """Change a trial's status; a change to what it is already is none."""
        status = trial.status.model_copy(update=changes)
        if status != trial.status:
            self.changed[trial.spec.number] = trial.model_copy(update={"status": status})

    def apply(self, number: int, ruling: Ruling, **changes: object) -> None:
        """Move a trial along the phase table, with its reason, conditions and an announcement."""
        trial = self.trial(number)
        phase = move(trial.status.phase, ruling.event)
        self.write(
            trial,
            phase=phase,
            reason=ruling.reason,
            message=ruling.message,
            conditions=_trial_conditions(trial.status, phase, ruling, self.now),
            **({"end_time": self.now} if phase in FINAL else {}),
            **changes,
        )
        warning = ruling.event in (Event.FAIL, Event.DISRUPT)
        self.announcements.append(Announce(ruling.reason, ruling.message, number, warning))


# --- facts ----------------------------------------------------------------------------------------------------


def take_in(world: World, now: datetime, advice: Advice | None = None) -> Draft:
    """Return what the facts mean for each trial, given the stops that the advisor has ruled."""
    draft = Draft(world, now)
    stops = _stops(advice)
    milestones = {rung.budget for rung in advice.rungs} if advice else set()
    for number in world.attention:
        if number not in world.trials:
            continue  # a run whose Trial was deleted: garbage collection takes it
        _take_in_reports(draft, number, milestones)
        _take_in_run(draft, number, stops.get(number))
    return draft


def describe(draft: Draft, request_id: str, *, complete: bool, ruled: Collection[int] = ()) -> AdviceRequest:
    """Return what the advisor must know: every trial when `complete`, else those that need attention.

    `ruled` are trials that the last advice gave verdicts on: how they stand now shows that the verdicts were carried out.
    """
    world, experiment = draft.world, draft.world.experiment
    numbers = sorted(world.trials.keys() if complete else {*world.attention, *ruled} & world.trials.keys())
    facts = [_facts_of(draft.trial(number), world, complete=complete) for number in numbers]
    if complete and world.removed_up_to:
        facts.append(_facts_of_removed(world.removed_up_to))
    accepts_work = not experiment.spec.suspend and outcome_of(experiment) is None
    return AdviceRequest(
        experiment=experiment.metadata.key,
        request_id=request_id,
        spec=experiment.spec,
        slots=experiment.spec.parallelism if accepts_work else 0,
        facts=tuple(facts),
        complete=complete,
    )


def _take_in_reports(draft: Draft, number: int, milestones: set[int]) -> None:
    trial, reports = draft.trial(number), draft.world.reports.get(number, ())
    if reports and trial.status.phase not in FINAL:
        status = with_reports(trial.status, reports, draft.spec, milestones)
        if status is not trial.status:
            draft.changed[number] = trial.model_copy(update={"status": status})


def _take_in_run(draft: Draft, number: int, stop: Stop | None) -> None:
    trial, run = draft.trial(number), draft.world.runs.get(number)
    status = trial.status
    if status.phase in FINAL or status.ended_attempt >= status.attempt:
        return
    if run is None or run.attempt < status.attempt:
        if status.phase is Phase.RUNNING:
            _account_for_end(draft, trial, run=None, ruling=ruling_on_lost_run(draft.spec, trial, draft.now))
        return
    if run.state is RunState.ACTIVE and status.phase is not Phase.RUNNING:
        began = {} if status.start_time else {"start_time": run.started or draft.now}
        resource, target = draft.spec.scheduler.resource, trial.target
        course = f"{resource} {trial.step} to {target}" if target else "until it ends"
        draft.apply(number, Ruling(Event.START, Reason.STARTED, f"run {run.attempt} trains, {course}"), **began)
    if run.state is RunState.WAITING and run.waiting_reason is not None:
        _tell_what_it_waits_for(draft, trial, run.waiting_reason, run.waiting)
    if run.state is RunState.ENDED:
        ruling = ruling_of(draft.spec, trial, run, stop, draft.now)
        if ruling is not None:
            _account_for_end(draft, trial, run, ruling)


def _tell_what_it_waits_for(draft: Draft, trial: Trial, reason: Reason, message: str) -> None:
    """Show a fault that time may mend; the trial's deadline says for how long it may."""
    if trial.status.reason != reason:
        draft.announcements.append(Announce(reason, message, trial.spec.number, warning=True))
    waits = Condition(type=ConditionType.RUNNING, status="False", reason=reason, message=message)
    conditions, _ = set_condition(trial.status.conditions, waits, draft.now)
    draft.write(trial, reason=reason, message=message, conditions=conditions)


def _account_for_end(draft: Draft, trial: Trial, run: Run | None, ruling: Ruling) -> None:
    status = trial.status
    seconds = 0.0
    if run is not None and run.end is not None and run.started is not None:
        seconds = max((run.end.at - run.started).total_seconds(), 0.0)
    draft.apply(
        trial.spec.number,
        ruling,
        ended_attempt=status.attempt,
        retries=status.retries + (ruling.event is Event.DISRUPT),
        seconds=status.seconds + seconds,
        gpu_seconds=status.gpu_seconds + seconds * (run.gpus if run else 0),
    )


def _facts_of(trial: Trial, world: World, *, complete: bool) -> TrialFacts:
    number, status = trial.spec.number, trial.status
    # A complete description may have to restore a lost store, so it brings what the Trial remembers of its curve.
    remembered = status.observations if complete else ()
    return TrialFacts(
        number=number,
        phase=status.phase,
        attempt=status.attempt,
        reason=status.reason,
        message=status.message,
        observations=(*remembered, *world.reports.get(number, ())),
        parameters=trial.spec.parameters,
        target=trial.target,
        bracket=trial.spec.bracket,
        parent=trial.spec.parent,
        origin=trial.spec.origin,
    )


def _facts_of_removed(number: int) -> TrialFacts:
    """Tell of the last trial whose Trial was removed: should the store be lost, no number is given a second time."""
    return TrialFacts(
        number=number,
        phase=Phase.KILLED,
        attempt=0,
        reason=Reason.DELETED,
        message="its Trial was removed",
        parameters={},
    )


# --- plan -----------------------------------------------------------------------------------------------------


def reconcile(world: World, advice: Advice | None, now: datetime) -> Plan:
    """Return everything to do now.

    Without advice (the advisor does not answer) runs are stopped where the spec demands it, and nothing else is
    decided: ends stay unaccounted, so that no report is lost and no verdict missed.
    """
    if advice is None:
        orders = _orders_to_stop(Draft(world, now), {}, outcome_of(world.experiment))
        return Plan(tuple(orders))
    draft, stops = take_in(world, now, advice), _stops(advice)
    _prune_resting(draft, stops)
    outcome = outcome_of(world.experiment) or new_outcome(world, draft.changed, advice, now)
    creations: list[CreateTrial] = []
    starts: list[StartRun] = []
    if outcome is not None:
        _close(draft, outcome)
    else:
        creations = _new_trials(draft, advice.assignments)
        _promote(draft, advice.verdicts)
        starts = [] if draft.spec.suspend else _due_runs(draft)
    status = next_status(world, draft.changed, advice, outcome, now)
    actions: list[Action] = [
        *creations,
        *(WriteTrial(number, draft.changed[number].status) for number in sorted(draft.changed)),
        *([WriteExperiment(status)] if status != world.experiment.status else []),
        *_orders_to_stop(draft, stops, outcome),
        *_removals(draft),
        *starts,
        *draft.announcements,
        *announcements_of(world.experiment.status, status),
    ]
    return Plan(tuple(actions), is_finished=has_ended(status) and not world.runs)


def _prune_resting(draft: Draft, stops: Mapping[int, Stop]) -> None:
    """Carry out stops of trials without a run; those with one are told to stop, and ruled on when it has ended."""
    for number, stop in stops.items():
        if number not in draft.world.trials:
            continue  # its Trial was deleted
        trial = draft.trial(number)
        if trial.status.phase not in FINAL and not _has_run_due_or_alive(trial):
            draft.apply(number, Ruling(Event.PRUNE, Reason.STOPPED_BY_SCHEDULER, stop.reason))


def _new_trials(draft: Draft, assignments: Iterable[Assignment]) -> list[CreateTrial]:
    experiment = draft.world.experiment
    creations = []
    for assignment in assignments:
        number = assignment.number
        if number in draft.world.trials or not draft.world.removed_up_to < number <= experiment.spec.max_trials:
            continue  # advised again before our facts arrived, or the limit was lowered meanwhile
        trial = _trial_of(experiment.metadata, assignment)
        draft.changed[assignment.number] = trial
        draft.announcements.append(Announce(Reason.CREATED, assignment.origin, assignment.number))
        creations.append(CreateTrial(trial))
    return creations


def _trial_of(experiment: Metadata, assignment: Assignment) -> Trial:
    return Trial(
        metadata=Metadata(
            name=trial_name(experiment.name, assignment.number),
            namespace=experiment.namespace,
            labels={LABEL_EXPERIMENT: experiment.name, LABEL_TRIAL: str(assignment.number)},
        ),
        spec=TrialSpec(
            experiment=experiment.name,
            number=assignment.number,
            parameters=assignment.parameters,
            target=assignment.target,
            bracket=assignment.bracket,
            parent=assignment.parent,
            origin=assignment.origin,
        ),
    )


def _promote(draft: Draft, verdicts: Iterable[Verdict]) -> None:
    for verdict in verdicts:
        if not isinstance(verdict, Promote) or verdict.trial not in draft.world.trials:
            continue  # a stop, or of a Trial that was deleted
        trial = draft.trial(verdict.trial)
        if trial.status.phase in FINAL or (trial.target is not None and trial.target >= verdict.target):
            continue  # carried out already: our facts and the advice crossed
        draft.write(trial, target=verdict.target, reason=Reason.PROMOTED, message=verdict.reason)
        draft.announcements.append(Announce(Reason.PROMOTED, verdict.reason, verdict.trial))


def _due_runs(draft: Draft) -> list[StartRun]:
    """Start what waits for a run, lowest number first, within the parallelism."""
    alive = sum(1 for run in draft.world.runs.values() if _is_alive(run))
    free = draft.spec.parallelism - alive
    starts: list[StartRun] = []
    for number in sorted({*draft.world.attention, *draft.changed}):
        if len(starts) >= free:
            break
        if number not in draft.world.trials and number not in draft.changed:
            continue  # a run whose Trial was deleted
        trial = draft.trial(number)
        if not _waits_for_run(trial, draft.world.runs.get(number)):
            continue
        draft.write(trial, attempt=trial.status.ended_attempt + 1)
        trial = draft.trial(number)
        starts.append(StartRun(trial, trial.status.attempt))
    return starts


def _waits_for_run(trial: Trial, run: Run | None) -> bool:
    status = trial.status
    wants_run = status.phase is Phase.PENDING or (status.phase is Phase.PAUSED and not trial.has_reached_target)
    was_started = run is not None and run.attempt > status.ended_attempt
    return wants_run and not was_started


def _close(draft: Draft, outcome: Outcome) -> None:
    """End what rests or waits; what still runs is told to stop, and ends in a later pass."""
    for trial in list(draft.open_trials()):
        number = trial.spec.number
        run = draft.world.runs.get(number)
        if run is not None and run.attempt > trial.status.ended_attempt:
            continue
        if trial.status.phase is Phase.PAUSED and trial.has_reached_target:
            message = f"rested at {progress(draft.spec, trial)} when the experiment ended: {outcome.message}"
            draft.apply(number, Ruling(Event.PRUNE, Reason.NOT_PROMOTED, message))
        elif trial.status.phase is not Phase.RUNNING:
            draft.apply(number, Ruling(Event.KILL, Reason.EXPERIMENT_ENDED, outcome.message))


def _orders_to_stop(draft: Draft, stops: Mapping[int, Stop], outcome: Outcome | None) -> list[StopRun]:
    orders = []
    for number, run in sorted(draft.world.runs.items()):
        if _is_alive(run) and run.stopping is None:
            order = _order_to_stop(draft, number, run, stops.get(number), outcome)
            if order is not None:
                orders.append(StopRun(number, run.attempt, *order))
    return orders


def _order_to_stop(
    draft: Draft, number: int, run: Run, stop: Stop | None, outcome: Outcome | None
) -> tuple[Reason, str] | None:
    """Return why a run must stop, the strongest reason first; None to let it go on."""
    if number not in draft.world.trials or draft.trial(number).status.phase in FINAL:
        return Reason.EXPERIMENT_ENDED, "its trial has ended"
    if stop is not None:
        return Reason.STOPPED_BY_SCHEDULER, stop.reason
    if outcome is not None:
        return Reason.EXPERIMENT_ENDED, outcome.message
    if draft.spec.suspend:
        return Reason.SUSPENDED, "the experiment is suspended"
    if has_run_too_long(draft.spec, run, draft.now):
        return Reason.DEADLINE_EXCEEDED, "the run has exceeded its deadline"
    return None


def _removals(draft: Draft) -> list[RemoveRun]:
    """Forget ended runs whose end is accounted for."""
    removals = []
    for number, run in sorted(draft.world.runs.items()):
        accounted = number not in draft.world.trials or run.attempt <= draft.trial(number).status.ended_attempt
        final = number in draft.world.trials and draft.trial(number).status.phase in FINAL
        if run.state is RunState.ENDED and (accounted or final):
            removals.append(RemoveRun(number, run.attempt))
    return removals


def _stops(advice: Advice | None) -> dict[int, Stop]:
    verdicts = advice.verdicts if advice else ()
    return {verdict.trial: verdict for verdict in verdicts if isinstance(verdict, Stop)}


def _has_run_due_or_alive(trial: Trial) -> bool:
    return trial.status.attempt > trial.status.ended_attempt


def _is_alive(run: Run) -> bool:
    return run.state is not RunState.ENDED


def _trial_conditions(status: TrialStatus, phase: Phase, ruling: Ruling, now: datetime) -> tuple[Condition, ...]:
    runs = Condition(
        type=ConditionType.RUNNING,
        status="True" if phase is Phase.RUNNING else "False",
        reason=ruling.reason,
        message=ruling.message,
    )
    conditions, _ = set_condition(status.conditions, runs, now)
    if phase in FINAL:
        ended = Condition(type=ConditionType.ENDED, status="True", reason=ruling.reason, message=ruling.message)
        conditions, _ = set_condition(conditions, ended, now)
    return conditions
