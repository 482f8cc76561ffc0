"""An operator without processes: trains trials in memory, tells an engine, heeds its advice, and can crash anywhere.

What survives a crash is what survives one of the real operator: the trials with their phases and targets, their
checkpoints, and their reports. How far trials train between two exchanges is the caller's choice, so that one objective can
be told in any number of ways.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, repeat
from typing import Any

from podium_contract.experiment import ExperimentSpec
from podium_contract.lifecycle import FINAL, Phase
from podium_contract.trial import Observation, Parent
from podium_contract.wire import Advice, AdviceRequest, Promote, Stop, TrialFacts, TrialRecord, Verdict
from podium_suggestion.engine import Engine

Parameters = dict[str, Any]
Objective = Callable[[Parameters, int], dict[str, float] | None]
"""Metrics of a configuration after so many steps; None: it crashes there."""
Learning = Callable[[Parameters, Any, int], Any]
"""Weights after a step, of the configuration and the weights before it (None at the start)."""
KEY = "default/demo/uid"


@dataclass
class SimulatedTrial:
    """A trial as the operator records it, and how far its run is."""

    parameters: Parameters
    target: int | None
    bracket: int
    origin: str
    parent: Parent | None = None
    phase: Phase = Phase.PENDING
    reason: str = ""
    message: str = ""
    step: int = 0
    reports: list[Observation] = field(default_factory=list)
    checkpoints: dict[int, Any] = field(default_factory=dict)
    """What it has saved, by step: the last two, and the one at which it last rested before them."""
    rests: list[int] = field(default_factory=list)
    weights: Any = None
    """What a stateful objective has made of it."""
    acknowledged: int = 0
    """How many of the reports were told in an exchange whose advice was heeded."""


class SimulatedOperator:
    """Drives one experiment through an engine."""

    def __init__(
        self,
        engine: Engine,
        spec: ExperimentSpec,
        objective: Objective,
        strides: Iterator[int] | None = None,
        natural_end: int = 5,
        learn: Learning | None = None,
    ) -> None:
        """`strides` gives how many steps each running trial trains before the next exchange.

        With `learn` trials have weights, which clones take over, and the objective is asked about those.
        """
        self.learn = learn
        self.engine = engine
        self.spec = spec
        self.objective = objective
        self.strides = strides or repeat(1)
        self.natural_end = natural_end
        self.trials: dict[int, SimulatedTrial] = {}
        self.log: list[str] = []
        """Every trial made and every verdict heeded, in order."""
        self.advice = Advice()
        self.hanging: set[int] = set()
        """Trials whose runs make no progress."""
        self.is_new = True
        self._told: dict[int, TrialFacts] = {}
        self._to_mention: set[int] = set()
        self._ids = (f"request-{number}" for number in count())

    # --- the loop ----------------------------------------------------------------------------------------------

    def run(self, exchanges: int = 20_000) -> None:
        """Go on until the engine is idle or the target is reached."""
        for _ in range(exchanges):
            self.train()
            self.exchange()
            if self.advice.idle or self.advice.target_reached:
                return
        raise AssertionError(f"not done after {exchanges} exchanges: {self.advice}")

    def train(self) -> None:
        """Let every running trial train a stride, reach its target, end or crash."""
        stride = next(self.strides)
        for number, trial in self.trials.items():
            if trial.phase in (Phase.PENDING, Phase.RUNNING):
                trial.phase = Phase.RUNNING
                self._train(trial, 0 if number in self.hanging else stride)

    def exchange(self, *, lose_answer: bool = False) -> Advice:
        """Tell what is new and heed the advice; a lost answer is one that the operator crashed before reading."""
        request = self.request()
        advice = self.engine.advise(request)
        if lose_answer:
            self.crash()
            return advice
        for told in request.facts:
            self._told[told.number] = told.model_copy(update={"observations": ()})
            self.trials[told.number].acknowledged = len(self.trials[told.number].reports)
        self.is_new = False
        self.heed(advice)
        return advice

    def crash(self) -> None:
        """Forget what an operator process forgets."""
        self.is_new = True
        self._told, self._to_mention = {}, set()

    def request(self, slots: int | None = None) -> AdviceRequest:
        return AdviceRequest(
            experiment=KEY,
            request_id=next(self._ids),
            spec=self.spec,
            slots=self.spec.parallelism if slots is None else slots,
            facts=tuple(self._facts()),
            complete=self.is_new,
        )

    def heed(self, advice: Advice) -> None:
        self.advice = advice
        for verdict in advice.verdicts:
            self._heed_verdict(verdict)
        for assignment in advice.assignments:
            if assignment.number not in self.trials:
                self.trials[assignment.number] = SimulatedTrial(
                    assignment.parameters, assignment.target, assignment.bracket, assignment.origin, assignment.parent
                )
                of = f" from {assignment.parent.trial}@{assignment.parent.step}" if assignment.parent else ""
                self.log.append(f"start {assignment.number}{of} {assignment.parameters} to {assignment.target}")
        self._to_mention = {verdict.trial for verdict in advice.verdicts}

    def records(self) -> list[TrialRecord]:
        return self.engine.records(KEY)

    @property
    def trained_steps(self) -> int:
        return sum(t.step - (t.parent.step if t.parent else 0) for t in self.trials.values() if t.step)

    # --- parts -------------------------------------------------------------------------------------------------

    def _train(self, trial: SimulatedTrial, stride: int) -> None:
        if trial.parent is not None and stride and not trial.checkpoints:
            trial.step = trial.parent.step
            trial.weights = self.trials[trial.parent.trial].checkpoints[trial.step]  # a KeyError: it was not kept
        end = self.natural_end if trial.target is None else trial.target
        for step in range(trial.step + 1, min(trial.step + stride, end) + 1):
            metrics = self._metrics(trial, step)
            if metrics is None:
                trial.phase, trial.reason, trial.message = Phase.FAILED, "ExitCode", f"crashed at step {step}"
                return
            trial.step = step
            trial.reports.append(Observation(attempt=1, step=step, sequence=step, metrics=metrics))
            self._save(trial)
        if trial.step >= end:
            maximum = self.spec.scheduler.max
            rests = trial.target is not None and maximum is not None and trial.target < maximum
            trial.phase = Phase.PAUSED if rests else Phase.SUCCEEDED
            trial.reason = "RungReached" if rests else "Finished"
            trial.message = f"trained to step {trial.step}"

    def _metrics(self, trial: SimulatedTrial, step: int) -> dict[str, float] | None:
        if self.learn is not None:
            trial.weights = self.learn(trial.parameters, trial.weights, step)
        return self.objective(trial.parameters if self.learn is None else {"weights": trial.weights}, step)

    def _save(self, trial: SimulatedTrial) -> None:
        """Keep checkpoints as the SDK does."""
        trial.checkpoints[trial.step] = trial.weights
        last = sorted(trial.checkpoints)[-2:]
        rest = max((step for step in trial.rests if step < trial.step), default=None)
        trial.checkpoints = {s: kept for s, kept in trial.checkpoints.items() if s in last or s == rest}
        if trial.step == trial.target:
            trial.rests.append(trial.step)

    def _heed_verdict(self, verdict: Verdict) -> None:
        trial = self.trials[verdict.trial]
        if isinstance(verdict, Stop) and trial.phase is not Phase.PRUNED:
            trial.phase, trial.reason, trial.message = Phase.PRUNED, "StoppedByScheduler", verdict.reason
            self.log.append(f"stop {verdict.trial} at {verdict.step}: {verdict.reason}")
        if isinstance(verdict, Promote) and trial.phase not in FINAL and (trial.target or 0) < verdict.target:
            trial.target, trial.phase = verdict.target, Phase.PENDING
            self.log.append(f"promote {verdict.trial} to {verdict.target}: {verdict.reason}")

    def _facts(self) -> Iterator[TrialFacts]:
        for number, trial in sorted(self.trials.items()):
            facts = TrialFacts(
                number=number,
                phase=trial.phase,
                attempt=1,
                reason=trial.reason,
                message=trial.message,
                observations=tuple(trial.reports if self.is_new else trial.reports[trial.acknowledged :]),
                parameters=trial.parameters,
                target=trial.target,
                bracket=trial.bracket,
                origin=trial.origin,
                parent=trial.parent,
            )
            is_news = self._told.get(number) != facts.model_copy(update={"observations": ()})
            if self.is_new or is_news or facts.observations or number in self._to_mention:
                yield facts


def essence(record: TrialRecord) -> dict[str, Any]:
    """What a record says however its reports were spread over exchanges: reports after a verdict may not have come."""
    document = record.to_json()
    last = record.judged_step
    document["observations"] = [
        observation.to_json() for observation in record.observations if last is None or observation.step <= last
    ]
    return document
