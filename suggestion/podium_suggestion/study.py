"""Ask and tell: drive any search and scheduler from a notebook, a script or a benchmark, without any runner.

    study = Study.create(
        parameters=[{"name": "lr", "type": "float", "min": 1e-5, "max": 0.1, "scale": "log"}],
        objectives=[{"metric": "loss", "goal": "minimize"}],
        scheduler={"algorithm": "asha", "max": 27},
        max_trials=50,
    )
    while (work := study.ask()) is not None:
        for step in range(work.from_step + 1, work.target + 1):
            if study.tell(work.number, step, {"loss": train(work.parameters, step)}).next is not Next.CONTINUE:
                break

It is the engine that `podium run` and the service use; the study merely plays the operator's part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self
from uuid import uuid4

from podium_contract.conditions import Reason
from podium_contract.experiment import ExperimentSpec, Standing
from podium_contract.lifecycle import FINAL, Phase
from podium_contract.names import experiment_key
from podium_contract.parameters import Assignment as Parameters
from podium_contract.trial import Observation, Parent
from podium_contract.wire import Advice, AdviceRequest, Assignment, Promote, Stop, TrialFacts, TrialRecord
from podium_suggestion.engine import Engine, UnknownExperimentError
from podium_suggestion.store import Store, open_store


@dataclass(frozen=True)
class Work:
    """A trial to train now."""

    number: int
    parameters: Parameters
    from_step: int
    """Steps that it has trained already: go on from its checkpoint of this step, or from its parent's; 0 at the start."""
    target: int | None
    """Train up to this step; None: until done, then `finish`."""
    parent: Parent | None = None
    """Start from this trial's checkpoint of this step while it has none of its own."""


class Next(StrEnum):
    """What becomes of a trial after a report."""

    CONTINUE = "Continue"
    """Train on."""
    PAUSE = "Pause"
    """It has reached its budget: keep its checkpoint. `ask` hands it out again if it is promoted."""
    STOP = "Stop"
    """The scheduler has given it up."""
    FINISH = "Finish"
    """There is nothing left to train: it was trained in full, or reached the target."""
    FAIL = "Fail"
    """It has failed."""


@dataclass(frozen=True)
class Ruling:
    """The answer to a report."""

    next: Next
    reason: str = ""
    """Why, in a sentence; empty while it goes on."""


@dataclass
class _Part:
    """A trial as the study, in the operator's place, knows it."""

    phase: Phase
    target: int | None
    attempt: int
    step: int
    message: str = ""
    has_reported: bool = False


_BY_THE_CALLER = {
    "checkpoints": {"persistentVolumeClaim": {"claimName": "study"}},
    "template": {"spec": {"containers": [{"name": "study"}]}},
}
"""How a study's trials are run is nobody's business here, but a manifest says it."""


class Study:
    """An experiment that somebody else runs. With a store it goes on where it was, in another process too."""

    def __init__(self, spec: ExperimentSpec, store: Store | None = None, name: str = "study") -> None:
        self.spec = spec
        self._engine = Engine(store or open_store())
        self._key = experiment_key("study", name, "0")
        self._parts: dict[int, _Part] = {}
        self._news: dict[int, TrialFacts] = {}
        self._is_known = False
        self._restore()
        self._advice = self._exchange(uuid4().hex, slots=0)

    @classmethod
    def create(
        cls,
        parameters: Sequence[Any],
        objectives: Sequence[Any],
        *,
        max_trials: int,
        search: Mapping[str, Any] | str = "auto",
        scheduler: Mapping[str, Any] | str = "none",
        constraints: Sequence[Any] = (),
        seed: int | None = None,
        store: Store | None = None,
        name: str = "study",
    ) -> Self:
        """Make a study from pieces of a manifest, as plain data or contract models; `search` may be a name alone."""
        searching = {"algorithm": search} if isinstance(search, str) else dict(search)
        spec = ExperimentSpec.model_validate(
            {
                "parameters": list(parameters),
                "objectives": list(objectives),
                "constraints": list(constraints),
                "search": searching if seed is None else {**searching, "seed": seed},
                "scheduler": {"algorithm": scheduler} if isinstance(scheduler, str) else dict(scheduler),
                "maxTrials": max_trials,
                "trial": _BY_THE_CALLER,
            }
        )
        return cls(spec, store, name)

    # --- ask and tell ------------------------------------------------------------------------------------------

    def ask(self, request_id: str | None = None) -> Work | None:
        """Return a trial to train, besides those handed out already; None when there is none now.

        None is final when `is_finished`; else trials that are still out decide what comes next. The same request id
        gets the same trial, so that an answer lost in a crash is not lost.
        """
        request_id = request_id or uuid4().hex
        advice = self._exchange(request_id, slots=len(self._out) + 1)
        for assignment in advice.assignments:
            return self._hand_out_new(assignment)
        for verdict in advice.verdicts:
            if isinstance(verdict, Promote):
                work = self._hand_out_promoted(verdict)
                # A trial that had overshot its budget may be at the next one already.
                return work if work.from_step < verdict.target else self.ask(f"{request_id}+")
        return None

    def tell(self, number: int, step: int, metrics: Mapping[str, float] | float, attempt: int = 1) -> Ruling:
        """Report the metrics of a trial after `step` steps. Telling one again changes nothing.

        A bare number is the value of the (first) objective's metric.
        """
        part = self._part(number)
        named = {self.spec.objectives[0].metric: metrics} if isinstance(metrics, int | float) else dict(metrics)
        observation = Observation(attempt=attempt, step=step, sequence=step, metrics=named)
        part.attempt, part.step, part.has_reported = max(part.attempt, attempt), max(part.step, step), True
        if part.phase is Phase.RUNNING and part.target is not None and step >= part.target:
            part.phase = self._phase_at_target(part)
        advice = self._exchange(uuid4().hex, slots=0, facts=self._facts(number, (observation,)))
        return self._ruling(number, advice)

    def finish(self, number: int) -> None:
        """Say that a trial has ended well by itself. Without one report it counts as failed."""
        part = self._part(number)
        if part.phase in FINAL:
            return
        if part.has_reported:
            self._settle(number, Phase.SUCCEEDED, Reason.FINISHED, "")
        else:
            self._settle(number, Phase.FAILED, Reason.METRICS_UNAVAILABLE, "it ended without a report")

    def fail(self, number: int, reason: str) -> None:
        """Say that a trial cannot go on."""
        if self._part(number).phase not in FINAL:
            self._settle(number, Phase.FAILED, Reason.CRASHED, reason)

    # --- answers -----------------------------------------------------------------------------------------------

    @property
    def is_finished(self) -> bool:
        """Whether no trial will be handed out any more: the target is reached, or nothing is left to do."""
        return self._advice.idle or self._advice.target_reached

    @property
    def advice(self) -> Advice:
        """The latest advice: rungs, steps, and why the search is exhausted, or its warm start refused."""
        return self._advice

    @property
    def unfinished(self) -> list[Work]:
        """Trials handed out and neither finished, stopped nor at their budget: what another process was training."""
        records = {record.number: record for record in self.records()}
        return [self._work(records[number]) for number in self._out]

    def best(self) -> tuple[Standing, ...]:
        """Return the podium, best first, or the Pareto front."""
        return self._advice.best

    def records(self) -> list[TrialRecord]:
        """Return every trial with its history, lowest number first."""
        if self._news:
            self._exchange(uuid4().hex, slots=0)
        return self._engine.records(self._key)

    # --- the operator's part -----------------------------------------------------------------------------------

    @property
    def _out(self) -> list[int]:
        return sorted(number for number, part in self._parts.items() if part.phase in (Phase.PENDING, Phase.RUNNING))

    def _part(self, number: int) -> _Part:
        part = self._parts.get(number)
        if part is None:
            raise ValueError(f"a trial is known once `ask` has returned it, got {number}; ask first")
        return part

    def _restore(self) -> None:
        try:
            records = self._engine.records(self._key)
        except UnknownExperimentError:
            return
        self._is_known = True
        for record in records:
            last = record.observations[-1] if record.observations else None
            if record.phase is Phase.PENDING:
                continue  # made, but never handed out: `ask` gets it again
            self._parts[record.number] = _Part(
                record.phase,
                record.target,
                last.attempt if last else 1,
                last.step if last else (record.parent.step if record.parent else 0),
                record.message,
                has_reported=last is not None,
            )

    def _hand_out_new(self, assignment: Assignment) -> Work:
        number = assignment.number
        if number not in self._parts:
            inherited = 0 if assignment.parent is None else assignment.parent.step
            self._parts[number] = _Part(Phase.RUNNING, assignment.target, attempt=1, step=inherited)
            self._exchange(uuid4().hex, slots=0, facts=self._facts(number))
        return Work(number, assignment.parameters, self._parts[number].step, assignment.target, assignment.parent)

    def _hand_out_promoted(self, promotion: Promote) -> Work:
        number, part = promotion.trial, self._parts[promotion.trial]
        if part.phase is Phase.PAUSED:
            part.target = promotion.target
            part.phase = Phase.RUNNING if part.step < promotion.target else self._phase_at_target(part)
            self._exchange(uuid4().hex, slots=0, facts=self._facts(number))
        (record,) = self._engine.records(self._key, after=number - 1, limit=1)
        return replace(self._work(record), target=promotion.target)

    def _work(self, record: TrialRecord) -> Work:
        part = self._parts[record.number]
        return Work(record.number, record.parameters, part.step, part.target, record.parent)

    def _settle(self, number: int, phase: Phase, reason: str, message: str) -> None:
        part = self._parts[number]
        part.phase, part.message = phase, message
        facts = self._facts(number).model_copy(update={"reason": reason, "message": message})
        self._exchange(uuid4().hex, slots=0, facts=facts)

    def _ruling(self, number: int, advice: Advice) -> Ruling:
        part = self._parts[number]
        if part.phase is Phase.RUNNING and advice.target_reached:
            self._settle(number, Phase.SUCCEEDED, Reason.TARGET_REACHED, "the experiment's target is reached")
        match part.phase:
            case Phase.PRUNED:
                return Ruling(Next.STOP, part.message)
            case Phase.PAUSED:
                return Ruling(Next.PAUSE, f"trained to {self.spec.scheduler.resource} {part.step}")
            case Phase.SUCCEEDED:
                return Ruling(Next.FINISH, part.message or f"trained to {self.spec.scheduler.resource} {part.step}")
            case Phase.FAILED | Phase.KILLED:
                return Ruling(Next.FAIL, part.message)
        return Ruling(Next.CONTINUE)

    def _phase_at_target(self, part: _Part) -> Phase:
        return Phase.SUCCEEDED if part.target == self.spec.scheduler.max else Phase.PAUSED

    def _facts(self, number: int, observations: tuple[Observation, ...] = ()) -> TrialFacts:
        part = self._parts[number]
        return TrialFacts(
            number=number, phase=part.phase, attempt=part.attempt, target=part.target, observations=observations
        )

    def _exchange(self, request_id: str, slots: int, facts: TrialFacts | None = None) -> Advice:
        told = [*self._news.values()] if facts is None else [*self._news.values(), facts]
        request = AdviceRequest(
            experiment=self._key,
            request_id=request_id,
            spec=self.spec,
            slots=slots,
            facts=tuple(told),
            complete=not self._is_known,
        )
        self._advice = advice = self._engine.advise(request)
        self._is_known = True
        self._news = {}
        for verdict in advice.verdicts:
            part = self._parts.get(verdict.trial)
            if isinstance(verdict, Stop) and part is not None and part.phase is not Phase.PRUNED:
                part.phase, part.message = Phase.PRUNED, verdict.reason
                self._news[verdict.trial] = self._facts(verdict.trial)
        return advice
