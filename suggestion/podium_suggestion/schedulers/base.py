"""What every scheduler is: budgets for new trials, a judgement at each report, and moves for free slots.

Schedulers are pure functions of the history (caches apart). They never wait: `next_move` with nothing to promote returns
None, and the engine gives the slot to a new trial.
"""

from dataclasses import dataclass
from typing import Protocol

from podium_contract.experiment import RungStatus
from podium_contract.parameters import Assignment
from podium_contract.trial import Parent
from podium_contract.wire import Promote, Stop
from podium_suggestion.history import History


@dataclass(frozen=True)
class Start:
    """How a new trial begins."""

    target: int | None
    """Steps to train at first; None: until its command ends."""
    bracket: int = 0


@dataclass(frozen=True)
class Clone:
    """A new trial that goes on from another one's checkpoint."""

    parent: Parent
    assignment: Assignment
    start: Start
    origin: str
    """How it came to be, in a sentence."""
    replaces: Stop | None = None
    """The verdict on the resting trial whose place it takes; None when the place was empty."""


class Scheduler(Protocol):
    """Decides how much each trial is given."""

    def start(self, history: History, number: int) -> Start:
        """Return the first budget of trial `number`, which is about to be added to `history`."""
        ...

    def judge(self, history: History, number: int, step: int) -> Stop | None:
        """Judge a training trial by its report at `step`. Asked once per reported step, in ascending order.

        Reports of the trial itself after `step` must not matter: they may or may not have arrived yet.
        """
        ...

    def next_move(self, history: History, more_trials: bool) -> Promote | Clone | None:
        """Return what a free slot should go to, or None. `more_trials`: whether new ones may still come, clones included."""
        ...

    def spare_move(self, history: History, missing: int) -> Promote | None:
        """Return who should go on out of turn in a slot that would be idle, or None.

        Asked where `next_move` has nothing and the search nothing left to try, though `missing` more trials were allowed.
        """
        ...

    def dismissals(self, history: History, more_trials: bool) -> tuple[Stop, ...]:
        """Return stops for the resting trials that can never be promoted any more."""
        ...

    def refusal(self, history: History) -> str | None:
        """Return why the search may not start another trial now, in a sentence; None where it may.

        Where nothing else is left to do, this is why the experiment ends.
        """
        ...

    def rungs(self, history: History) -> tuple[RungStatus, ...]:
        """Return the ladder's occupancy, lowest rung first; empty when there is no ladder."""
        ...


class AnyMayBegin:
    """What schedulers have in common that have a place for every trial."""

    def refusal(self, history: History) -> None:
        """Let any number begin."""


class AllInTurn:
    """What schedulers have in common under which nobody goes on out of turn."""

    def spare_move(self, history: History, missing: int) -> None:
        """Leave the slot idle."""


class NobodyRests(AnyMayBegin, AllInTurn):
    """What schedulers have in common under which a trial trains on until it ends or is stopped."""

    def next_move(self, history: History, more_trials: bool) -> None:
        """Promote nobody."""

    def dismissals(self, history: History, more_trials: bool) -> tuple[Stop, ...]:  # noqa: ARG002  (there is nobody)
        return ()
