"""The engine: one exchange after another, facts in, advice out, everything stored before it is said.

An exchange takes in the facts, judges every step reported for the first time, settles how each trial stands, fills free
slots with promotions or new trials, and sums up. What it decides depends on what was reported, not on how the reports
were spread over exchanges: steps are judged in their order, and after a stop at one step later ones count for nothing.
"""

import threading
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import assert_never

from podium_contract.conditions import Reason
from podium_contract.experiment import ExperimentSpec, immutable_change
from podium_contract.lifecycle import FINAL, Phase
from podium_contract.wire import Advice, AdviceRequest, Assignment, Promote, Stop, TrialFacts, TrialRecord, Verdict
from podium_suggestion.history import TrialHistory
from podium_suggestion.ledger import Entries, Ledger
from podium_suggestion.samplers import make_sampler
from podium_suggestion.samplers.base import Exhausted, Sampler, suggest, trial_rng
from podium_suggestion.schedulers import make_scheduler
from podium_suggestion.schedulers.base import Clone, Scheduler
from podium_suggestion.standings import reaches_targets, standings
from podium_suggestion.store import KEPT_ANSWERS, Changes, StaleRevisionError, Store
from podium_suggestion.threads import use_one_thread
from podium_suggestion.transfer.choosing import inherit
from podium_suggestion.transfer.inheritance import Inheritance

_OPEN_DESKS = 256
"""Experiments kept in memory; others are read from the store when they come back."""
_ATTEMPTS = 5
"""How often an exchange starts again because another process wrote first."""


class UnknownExperimentError(LookupError):
    """The store does not hold the experiment, or not all of its trials: send a request whose facts are complete."""


class ImmutableSpecError(ValueError):
    """The request's spec changes a field on which the meaning of earlier trials depends."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} cannot change while an experiment lives, got a new value; "
            "put the old one back, or make a new experiment"
        )
        self.path = path


class Engine:
    """Advises any number of experiments. Safe to share between threads: exchanges of one experiment take turns."""

    def __init__(
        self,
        store: Store,
        watch: Callable[[Entries], None] | None = None,
        others: Callable[[], AbstractContextManager[Iterable[Store]]] = lambda: nullcontext(()),
    ) -> None:
        """`watch` is told what each exchange changed, after it was stored.

        `others` gives stores beside this one in which experiments that are to be learnt from may be; they are only read.

        The process's linear algebra is in one thread from then on.
        """
        use_one_thread()
        self._store = store
        self._others = others
        self._watch = watch
        self._desks: OrderedDict[str, Desk] = OrderedDict()
        self._turns: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)
        self._taking_turns, self._changing_desks = threading.Lock(), threading.Lock()

    def advise(self, request: AdviceRequest) -> Advice:
        """Return what to do now; the same request id gets the same answer.

        Raises UnknownExperimentError, ImmutableSpecError, or StoreError; then nothing has been decided or stored.
        """
        key = request.experiment
        with self._turn(key):
            for attempt in range(1, _ATTEMPTS + 1):
                revision, answer = self._recall(request, may_trust_memory=attempt == 1)
                if answer is not None:
                    return Advice.model_validate_json(answer)
                try:
                    return self._exchange(request, revision)
                except StaleRevisionError:
                    if attempt == _ATTEMPTS:
                        raise
                except (UnknownExperimentError, ImmutableSpecError):
                    if attempt > 1:
                        raise  # else the store may know what memory does not
        raise AssertionError("unreachable")

    def records(self, experiment: str, after: int = 0, limit: int | None = None) -> list[TrialRecord]:
        """Return an experiment's trials with numbers above `after`, at most `limit`, lowest number first.

        Raises UnknownExperimentError.
        """
        with self._turn(experiment):
            desk = self._open(experiment, self._store.look_up(experiment)[0])
            if desk is None:
                raise UnknownExperimentError(f"no experiment {experiment} in the store")
            numbers = sorted(number for number in desk.ledger.history.trials if number > after)
            return [desk.ledger.record(number) for number in numbers[:limit]]

    def forget(self, experiment: str) -> bool:
        """Delete an experiment's record; returns whether there was one."""
        with self._turn(experiment):
            self._close(experiment)
            return self._store.delete(experiment)

    def _recall(self, request: AdviceRequest, *, may_trust_memory: bool) -> tuple[int | None, str | None]:
        """Return the revision that an experiment is at, and the answer that the request was given already, if any.

        Where memory can tell, the store is not asked. Should another process have written in between, the store refuses to
        save the exchange, which then starts again from there.
        """
        desk = self._desks.get(request.experiment)
        if may_trust_memory and desk is not None and request.request_id not in desk.answered:
            return desk.ledger.revision, None
        return self._store.look_up(request.experiment, request.request_id)

    def _exchange(self, request: AdviceRequest, revision: int | None) -> Advice:
        key = request.experiment
        desk = self._open(key, revision)
        if desk is None:
            if not request.complete:
                raise UnknownExperimentError(f"no experiment {key} in the store")
            desk = Desk(Ledger(request.spec, inheritance=self._inherit(request)))
        # Until it is stored, what the desk holds is a draft: whatever goes wrong, the next exchange reads the store.
        self._close(key)
        desk.take_spec(request.spec)
        advice = desk.exchange(request)
        entries = desk.ledger.take_entries()
        changes = Changes(
            spec=desk.ledger.spec,
            revision=desk.ledger.revision,
            request_id=request.request_id,
            answer=advice.model_dump_json(by_alias=True),
            trials=entries.trials,
            acknowledged=entries.acknowledged,
            observations=entries.observations,
            verdicts=entries.verdicts,
            inheritance=desk.ledger.founding_inheritance,
        )
        desk.ledger.revision = self._store.save(key, changes)
        desk.answered.append(request.request_id)
        self._keep(key, desk)
        if self._watch is not None:
            self._watch(entries)
        return advice

    def _inherit(self, request: AdviceRequest) -> Inheritance:
        """Return what a new experiment takes from earlier ones. If trials of it exist, its record was lost: it goes on."""
        if request.spec.search.warm_start is None:
            return Inheritance()
        with self._others() as others:
            stores = [self._store, *others]
            return inherit(request.experiment, request.spec, stores, must_be_there=not request.facts)

    def _open(self, key: str, revision: int | None) -> "Desk | None":
        """Return an experiment's desk, read from the store unless the one in memory is of the stored revision."""
        desk = self._desks.get(key)
        if desk is not None and desk.ledger.revision == revision:
            return desk
        self._close(key)
        snapshot = self._store.load(key)
        if snapshot is None:
            return None
        desk = Desk(Ledger(snapshot.spec, snapshot))
        self._keep(key, desk)
        return desk

    def _keep(self, key: str, desk: "Desk") -> None:
        """Keep a desk in memory; the one that was used the longest ago gives way."""
        with self._changing_desks:
            self._desks[key] = desk
            if len(self._desks) > _OPEN_DESKS:
                self._desks.popitem(last=False)

    def _close(self, key: str) -> None:
        with self._changing_desks:
            self._desks.pop(key, None)

    def _turn(self, key: str) -> threading.RLock:
        with self._taking_turns:
            return self._turns[key]


class Desk:
    """Where one experiment is decided: its record, its sampler and its scheduler."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.answered: deque[str] = deque(maxlen=KEPT_ANSWERS)
        """The latest requests answered from this desk."""
        self._sampler: Sampler
        self._scheduler: Scheduler
        self._exhausted: str | None = None
        self._choose_algorithms(ledger.spec)

    def take_spec(self, spec: ExperimentSpec) -> None:
        """Follow the spec where it may change; raises ImmutableSpecError where it may not."""
        if spec == self.ledger.spec:
            return
        path = immutable_change(self.ledger.spec, spec)
        if path is not None:
            raise ImmutableSpecError(path)
        self.ledger.spec = spec
        self._choose_algorithms(spec)

    def exchange(self, request: AdviceRequest) -> Advice:
        """Take in what is told, decide, and return what to do."""
        facts = sorted(request.facts, key=lambda told: told.number)
        self._register(facts, complete=request.complete)
        new_steps = self._take_in(facts)
        self._judge(new_steps)
        self._settle(facts, complete=request.complete)
        self.ledger.withdraw_unmade()
        if not self.ledger.is_target_reached:
            self._fill(request.slots)
        self._dismiss()
        return self._advice(facts)

    # --- facts -------------------------------------------------------------------------------------------------

    def _register(self, facts: Iterable[TrialFacts], *, complete: bool) -> None:
        """Restore trials that the store has lost. Only complete facts may: others do not tell what else is missing."""
        for told in facts:
            if told.number in self.ledger:
                continue
            if not complete:
                raise UnknownExperimentError(f"trial {told.number} is not in the store")
            self.ledger.restore(told)
            if told.phase in FINAL:
                self.ledger.settle(told.number, told.phase, told.reason, told.message)

    def _take_in(self, facts: Iterable[TrialFacts]) -> list[tuple[int, int]]:
        """Take in reports, targets and acknowledgements; returns (step, trial) of each step that is to be judged."""
        new_steps = []
        for told in facts:
            is_open = self.ledger.history.trials[told.number].phase not in FINAL
            reported = [told_now.step for told_now in told.observations if self.ledger.observe(told.number, told_now)]
            new_steps += [(step, told.number) for step in reported if is_open]
            if told.target is not None:
                self.ledger.retarget(told.number, told.target)
            self.ledger.acknowledge(told)
        return new_steps

    def _judge(self, new_steps: list[tuple[int, int]]) -> None:
        """Judge each new step once, lower steps first, unless a lower one has stopped the trial."""
        history = self.ledger.history
        for step, number in sorted(new_steps):
            trial = history.trials[number]
            if trial.judged_step is not None:
                continue
            if reaches_targets(history, history.latest(number, step)):
                self.ledger.cut(number, step, trial.message)
                continue
            stop = self._scheduler.judge(history, number, step)
            if stop is not None:
                self.ledger.stop(stop)

    def _settle(self, facts: Iterable[TrialFacts], *, complete: bool) -> None:
        for told in facts:
            if told.phase is not Phase.RUNNING and self.ledger.stop_of(told.number) is not None:
                # The operator prunes it in the very pass that receives the verdict, however its run ended.
                self.ledger.prune(told.number)
            else:
                self.ledger.settle(told.number, told.phase, told.reason, told.message)
        if complete:
            self._settle_deleted({told.number for told in facts})

    def _settle_deleted(self, existing: set[int]) -> None:
        """End the trials that somebody has deleted, resting ones too: they were there once, and are not any more."""
        for number in sorted(self.ledger.made - existing):
            self.ledger.settle(number, Phase.KILLED, Reason.DELETED, _DELETED)

    # --- decisions ---------------------------------------------------------------------------------------------

    @property
    def _may_add_trials(self) -> bool:
        has_room = self.ledger.next_number <= self.ledger.spec.max_trials
        return has_room and self._exhausted is None and self.ledger.inheritance.refused is None

    @property
    def _may_search(self) -> bool:
        return self._may_add_trials and self._scheduler.refusal(self.ledger.history) is None

    def _fill(self, slots: int) -> None:
        """Give free slots to promotions and clones first, then to new trials."""
        while len(self.ledger.active) < slots:
            move = self._scheduler.next_move(self.ledger.history, self._may_add_trials)
            match move:
                case Promote():
                    self.ledger.promote(move)
                case Clone():
                    self._clone(move)
                case None if self._may_search:
                    self._propose()
                case None:
                    spare = self._spare_move()
                    if spare is None:
                        break
                    self.ledger.promote(spare)
                case _:
                    assert_never(move)

    def _spare_move(self) -> Promote | None:
        """Return what goes on out of turn, where the search has been exhausted before it had made all its trials."""
        missing = self.ledger.spec.max_trials - self.ledger.next_number + 1
        return None if self._exhausted is None else self._scheduler.spare_move(self.ledger.history, missing)

    def _clone(self, clone: Clone) -> None:
        """Make a trial that goes on from another's checkpoint, and end the one whose place it takes."""
        if clone.replaces is not None:
            self.ledger.stop(clone.replaces)
            self.ledger.prune(clone.replaces.trial)
        self.ledger.assign(clone.assignment, clone.start, clone.origin, clone.parent)

    def _propose(self) -> None:
        """Make the next trial, or find out that the search has none left."""
        ledger, number = self.ledger, self.ledger.next_number
        search = ledger.spec.search
        proposal = suggest(self._sampler, ledger.history, number, trial_rng(search.seed, number))
        if isinstance(proposal, Exhausted):
            self._exhausted = proposal.reason
            return
        origin = f"proposed by {search.algorithm}" + (f": {proposal.origin}" if proposal.origin else "")
        ledger.assign(proposal.assignment, self._scheduler.start(ledger.history, number), origin)

    def _dismiss(self) -> None:
        """Stop resting trials that can never be promoted any more."""
        for stop in self._scheduler.dismissals(self.ledger.history, self._may_add_trials):
            self.ledger.stop(stop)
            self.ledger.prune(stop.trial)

    @property
    def _is_idle(self) -> bool:
        if self.ledger.active or self._may_search:
            return False
        return self._scheduler.next_move(self.ledger.history, self._may_add_trials) is None

    def _why_exhausted(self, *, is_idle: bool) -> str | None:
        """Return why no trial will ever come: the search has none left, or the scheduler has no place for it."""
        if self._exhausted is None and is_idle and self._may_add_trials:
            return self._scheduler.refusal(self.ledger.history)
        return self._exhausted

    def _choose_algorithms(self, spec: ExperimentSpec) -> None:
        self._sampler = make_sampler(spec, self.ledger.history.space, self.ledger.inheritance)
        self._scheduler = make_scheduler(spec)
        self._exhausted = None

    # --- the answer --------------------------------------------------------------------------------------------

    def _advice(self, facts: Iterable[TrialFacts]) -> Advice:
        ledger, is_idle = self.ledger, self._is_idle
        return Advice(
            assignments=tuple(map(_assignment_of, ledger.unacknowledged)),
            verdicts=(*ledger.outstanding, *self._unheeded_stops(facts)),
            exhausted=self._why_exhausted(is_idle=is_idle),
            refused=ledger.inheritance.refused,
            idle=is_idle,
            best=standings(ledger.history, ledger.spec, ledger.best),
            target_reached=ledger.is_target_reached,
            rungs=self._scheduler.rungs(ledger.history),
            steps=ledger.steps,
        )

    def _unheeded_stops(self, facts: Iterable[TrialFacts]) -> list[Verdict]:
        """Repeat stops of trials that facts report as ended otherwise: an answer that was lost before it was heeded."""
        outstanding = {verdict.trial for verdict in self.ledger.outstanding if isinstance(verdict, Stop)}
        ended_otherwise = (told.number for told in facts if told.phase in FINAL and told.phase is not Phase.PRUNED)
        stops = (self.ledger.stop_of(number) for number in ended_otherwise if number not in outstanding)
        return [stop for stop in stops if stop is not None]


_DELETED = "its Trial was deleted"


def _assignment_of(trial: TrialHistory) -> Assignment:
    return Assignment(
        number=trial.number,
        parameters=trial.assignment,
        target=trial.target,
        bracket=trial.bracket,
        parent=trial.parent,
        origin=trial.origin,
    )
