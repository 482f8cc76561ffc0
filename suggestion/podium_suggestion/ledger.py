"""One experiment's record in memory: the history that algorithms read, and what is derived from it or goes with it.

Every change goes through here, so that the sums are kept as trials change and an exchange knows what it has to store.
All of it can be rebuilt from a store's Snapshot.
"""

from dataclasses import dataclass

from podium_contract.conditions import Reason
from podium_contract.experiment import ExperimentSpec
from podium_contract.lifecycle import FINAL, Phase
from podium_contract.parameters import Assignment
from podium_contract.trial import Observation, Parent
from podium_contract.wire import Promote, Stop, TrialFacts, TrialRecord, Verdict
from podium_suggestion.history import History, TrialHistory
from podium_suggestion.schedulers.base import Start
from podium_suggestion.space import Space
from podium_suggestion.standings import Result, best_of, result_of
from podium_suggestion.store import GivenVerdict, Snapshot
from podium_suggestion.transfer.inheritance import Inheritance


@dataclass(frozen=True)
class Entries:
    """What has changed since the record was last stored."""

    trials: list[TrialHistory]
    acknowledged: frozenset[int]
    observations: list[tuple[int, Observation]]
    verdicts: list[GivenVerdict]
    started: list[int]
    """Trials made, by number."""

    @property
    def given(self) -> list[Verdict]:
        """Verdicts that are new, not merely acknowledged."""
        return [given.verdict for given in self.verdicts if not given.is_acknowledged]


class Ledger:
    """The record of one experiment."""

    def __init__(
        self, spec: ExperimentSpec, snapshot: Snapshot | None = None, inheritance: Inheritance | None = None
    ) -> None:
        self.spec = spec
        self.inheritance = inheritance or Inheritance()
        """What the experiment took from earlier ones when it began."""
        if snapshot is not None and snapshot.inheritance is not None:
            self.inheritance = Inheritance.model_validate_json(snapshot.inheritance)
        self.revision = snapshot.revision if snapshot else None
        self.history = History(Space(spec.parameters), spec.objectives, spec.constraints)
        self._acknowledged = set(snapshot.acknowledged) if snapshot else set()
        self._verdicts = {given.key: given for given in snapshot.verdicts} if snapshot else {}
        self._outstanding: dict[int, list[GivenVerdict]] = {}
        # Derived from the history, one trial at a time
        self._active: set[int] = set()
        self._steps: dict[int, int] = {}
        self._total_steps = 0
        self._results: dict[int, Result] = {}
        self._reaching: set[int] = set()
        self._best: list[Result] | None = None
        self._stale: set[int] = set()
        self._withdrawn: set[int] = set()
        """Trials that are not made, and shall not be."""
        # Not yet stored
        self._changed: set[int] = set()
        self._new_observations: dict[tuple[int, int], Observation] = {}
        self._new_verdicts: dict[tuple[int, str, int], GivenVerdict] = {}
        self._started: list[int] = []
        for given in self._verdicts.values():
            if not given.is_acknowledged:
                self._outstanding.setdefault(given.verdict.trial, []).append(given)
        for trial in snapshot.trials if snapshot else ():
            self.history.add(trial)
            self._stale.add(trial.number)

    # --- questions ---------------------------------------------------------------------------------------------

    def __contains__(self, number: int) -> bool:
        return number in self.history.trials

    @property
    def next_number(self) -> int:
        """One more than the highest number ever given, whatever was deleted since."""
        return self.history.rows + 1

    @property
    def active(self) -> set[int]:
        """Trials that take a slot: training, waiting to, or promoted and not yet resumed."""
        self._refresh()
        return self._active

    @property
    def made(self) -> set[int]:
        """Trials that facts have mentioned, and that have not ended."""
        trials = self.history.trials
        return {number for number in self._acknowledged if number in trials and trials[number].phase not in FINAL}

    @property
    def steps(self) -> int:
        """Steps trained by all trials, each counted once."""
        self._refresh()
        return self._total_steps

    @property
    def best(self) -> list[Result]:
        """The podium or the Pareto front."""
        self._refresh()
        if self._best is None:
            self._best = best_of(self._results.values(), len(self.spec.objectives))
        return self._best

    @property
    def is_target_reached(self) -> bool:
        self._refresh()
        return bool(self._reaching)

    @property
    def unacknowledged(self) -> list[TrialHistory]:
        """Trials to make: no facts have mentioned them yet. Lowest number first."""
        return [self.history.trials[number] for number in sorted(self.active - self._acknowledged)]

    @property
    def outstanding(self) -> list[Verdict]:
        """Verdicts that no facts have acknowledged, lowest trial first."""
        return [given.verdict for number in sorted(self._outstanding) for given in self._outstanding[number]]

    @property
    def founding_inheritance(self) -> str | None:
        """What is to be stored of the inheritance: all of it when the experiment is founded, nothing after that."""
        is_new = self.revision is None and self.inheritance != Inheritance()
        return self.inheritance.model_dump_json(by_alias=True) if is_new else None

    def stop_of(self, number: int) -> Stop | None:
        """Return the verdict that stopped a trial; None when none did."""
        step = self.history.trials[number].judged_step
        given = self._verdicts.get((number, "stop", step)) if step is not None else None
        return given.verdict if given is not None and isinstance(given.verdict, Stop) else None

    def record(self, number: int) -> TrialRecord:
        trial = self.history.trials[number]
        return TrialRecord(
            number=number,
            phase=trial.phase,
            reason=trial.reason,
            message=trial.message,
            parameters=trial.assignment,
            target=trial.target,
            bracket=trial.bracket,
            parent=trial.parent,
            origin=trial.origin,
            judged_step=trial.judged_step,
            observations=tuple(trial.observations[step] for step in sorted(trial.observations)),
        )

    # --- changes -----------------------------------------------------------------------------------------------

    def add(self, trial: TrialHistory) -> None:
        """Take in a trial whose number is the next."""
        self.history.add(trial)
        self._touch(trial.number)

    def assign(self, assignment: Assignment, start: Start, origin: str, parent: Parent | None = None) -> None:
        """Make a new trial, to be advised until facts mention it."""
        number = self.next_number
        self.add(TrialHistory(number, assignment, start.target, start.bracket, parent, origin))
        self._started.append(number)

    def restore(self, facts: TrialFacts) -> None:
        """Take in a trial that the store has lost, from what the operator knows of it."""
        self.add(
            TrialHistory(
                number=facts.number,
                assignment=facts.parameters,
                target=facts.target,
                bracket=facts.bracket,
                parent=facts.parent,
                origin=_storable(facts.origin),
            )
        )
        for observation in facts.observations:
            self.observe(facts.number, observation)

    def observe(self, number: int, observation: Observation) -> bool:
        """Take in a report; returns whether it is the first of its step."""
        is_new_step = observation.step not in self.history.trials[number].observations
        if not self.history.observe(number, observation):
            return False
        self._new_observations[number, observation.step] = observation
        self._stale.add(number)
        return is_new_step

    def acknowledge(self, facts: TrialFacts) -> None:
        """Take note that the operator knows a trial, and which verdicts on it were carried out."""
        if facts.number not in self._acknowledged:
            self._acknowledged.add(facts.number)
            self._touch(facts.number)
        still_outstanding = []
        for given in self._outstanding.pop(facts.number, ()):
            if _is_carried_out(given.verdict, facts):
                self._keep(GivenVerdict(given.verdict, is_acknowledged=True))
            else:
                still_outstanding.append(given)
        if still_outstanding:
            self._outstanding[facts.number] = still_outstanding

    def settle(self, number: int, phase: Phase, reason: str, message: str) -> None:
        """Take in how a trial stands. A trial that has ended stays as it ended."""
        trial, message = self.history.trials[number], _storable(message)
        if trial.phase in FINAL or (trial.phase, trial.reason, trial.message) == (phase, reason, message):
            return
        self.history.settle(number, phase, reason, message)
        self._touch(number)

    def retarget(self, number: int, target: int) -> None:
        """Take in that the operator trains a trial further than is known here: a promotion of a store that was lost."""
        known = self.history.trials[number].target
        if known is not None and target > known:
            self.history.retarget(number, target)
            self._touch(number)

    def stop(self, stop: Stop) -> None:
        """Give a verdict that ends a trial. One that does not train is at its end now; the operator will agree."""
        self.cut(stop.trial, stop.step, stop.reason)
        self._give(stop)

    def cut(self, number: int, step: int, reason: str) -> None:
        """Let nothing that a trial reports after `step` count."""
        self.history.stop(number, step, reason)
        self._touch(number)

    def prune(self, number: int) -> None:
        """End a trial that was stopped."""
        stop = self.stop_of(number)
        assert stop is not None
        self.settle(number, Phase.PRUNED, Reason.STOPPED_BY_SCHEDULER, stop.reason)

    def promote(self, promotion: Promote) -> None:
        """Give a verdict that lets a trial train further."""
        self.history.retarget(promotion.trial, promotion.target)
        self._touch(promotion.trial)
        self._give(promotion)

    def withdraw_unmade(self) -> None:
        """Expect nothing of trials that were not made before `maxTrials` was lowered below their numbers.

        They never will be, unless it is raised again, or facts tell that they were made after all.
        """
        waiting = (self.active - self._acknowledged) | self._withdrawn
        beyond = {number for number in waiting - self._acknowledged if number > self.spec.max_trials}
        for number in beyond ^ self._withdrawn:
            self.history.withdraw(number, withdrawn=number in beyond)
            self._stale.add(number)
        self._withdrawn = beyond

    def take_entries(self) -> Entries:
        """Return what is to be stored, and start a new page."""
        numbers, reported = sorted(self._changed), sorted(self._new_observations)
        entries = Entries(
            trials=[self.history.trials[number] for number in numbers],
            acknowledged=frozenset(self._changed & self._acknowledged),
            observations=[(number, self._new_observations[number, step]) for number, step in reported],
            verdicts=list(self._new_verdicts.values()),
            started=self._started,
        )
        self._changed, self._new_observations, self._new_verdicts, self._started = set(), {}, {}, []
        return entries

    def _give(self, verdict: Verdict) -> None:
        given = GivenVerdict(verdict)
        self._outstanding.setdefault(verdict.trial, []).append(given)
        self._keep(given)

    def _keep(self, given: GivenVerdict) -> None:
        self._verdicts[given.key] = self._new_verdicts[given.key] = given

    def _touch(self, number: int) -> None:
        self._changed.add(number)
        self._stale.add(number)

    # --- sums --------------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        """Bring the sums up to date with the trials that have changed."""
        for number in self._stale:
            trial = self.history.trials[number]
            if trial.is_at_rest:
                self._active.discard(number)
            else:
                self._active.add(number)
            steps = max(trial.step - (trial.parent.step if trial.parent else 0), 0)
            self._total_steps += steps - self._steps.get(number, 0)
            self._steps[number] = steps
            self._place(number, result_of(self.history, number))
        self._stale.clear()

    def _place(self, number: int, result: Result | None) -> None:
        if self._results.get(number) == result:
            return
        self._best = None
        if result is None:
            del self._results[number]
        else:
            self._results[number] = result
        if result is not None and result.reaches_targets:
            self._reaching.add(number)
        else:
            self._reaching.discard(number)


def _storable(text: str) -> str:
    """Return text as every database takes it: the last words of a crashed process may be no text at all."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")


def _is_carried_out(verdict: Verdict, facts: TrialFacts) -> bool:
    if facts.phase in FINAL:
        return True
    return isinstance(verdict, Promote) and facts.target is not None and facts.target >= verdict.target
