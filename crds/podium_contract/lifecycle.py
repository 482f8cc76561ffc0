"""A trial's life as one table: which event moves which phase where. Nothing else in Podium decides a phase.

A trial waits (Pending), trains (Running), rests at a rung or while the experiment is suspended (Paused), and ends in one of
four ways. A run is one process or pod of the trial; a trial has several when it is promoted, resumed or disrupted.
"""

from enum import StrEnum


class Phase(StrEnum):
    PENDING = "Pending"
    """Declared; its run does not train yet."""
    RUNNING = "Running"
    """Its run trains."""
    PAUSED = "Paused"
    """At rest with a checkpoint: at a rung, waiting for promotion, or in a suspended experiment."""
    SUCCEEDED = "Succeeded"
    """Trained as far as it could be."""
    FAILED = "Failed"
    """Cannot go on: the user's code, its image, or too many disruptions."""
    PRUNED = "Pruned"
    """Stopped by the scheduler, or never promoted: others did better."""
    KILLED = "Killed"
    """Stopped because the experiment ended."""


class Event(StrEnum):
    START = "Start"
    """A run of the trial was seen training."""
    PAUSE = "Pause"
    """The run ended with a checkpoint, and the trial may go on later."""
    DISRUPT = "Disrupt"
    """The run was lost through no fault of the trial's; another takes over from the last checkpoint."""
    FINISH = "Finish"
    """The run ended and there is nothing left to train."""
    FAIL = "Fail"
    PRUNE = "Prune"
    KILL = "Kill"


FINAL = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.PRUNED, Phase.KILLED})
"""Phases that no event leaves."""

# A run may start and end between two looks, so every ending is open to Pending as well.
_ENDINGS = {
    Event.FINISH: Phase.SUCCEEDED,
    Event.FAIL: Phase.FAILED,
    Event.PRUNE: Phase.PRUNED,
    Event.KILL: Phase.KILLED,
}
MOVES: dict[Phase, dict[Event, Phase]] = {
    Phase.PENDING: {
        Event.START: Phase.RUNNING,
        Event.PAUSE: Phase.PAUSED,
        Event.DISRUPT: Phase.PENDING,
        **_ENDINGS,
    },
    Phase.RUNNING: {
        Event.PAUSE: Phase.PAUSED,
        Event.DISRUPT: Phase.PENDING,
        **_ENDINGS,
    },
    Phase.PAUSED: {
        Event.START: Phase.RUNNING,
        Event.PAUSE: Phase.PAUSED,
        Event.DISRUPT: Phase.PENDING,
        **_ENDINGS,
    },
    Phase.SUCCEEDED: {},
    Phase.FAILED: {},
    Phase.PRUNED: {},
    Phase.KILLED: {},
}


class IllegalMoveError(ValueError):
    """An event that the phase does not allow: a defect of Podium's, never of the user's."""


def move(phase: Phase, event: Event) -> Phase:
    """Return the phase that `event` leads to; raises IllegalMoveError naming both when the table has no such move."""
    try:
        return MOVES[phase][event]
    except KeyError:
        raise IllegalMoveError(f"a {phase} trial does not {event.lower()}") from None


COUNTS_AGAINST_MAX_TRIALS = frozenset(Phase)
"""Every declared trial counts, however it ended: `maxTrials` bounds the configurations that were tried at all."""
COUNTS_AGAINST_MAX_FAILED_TRIALS = frozenset({Phase.FAILED})
"""Pruned and Killed trials did nothing wrong, and disruptions are retried before they become failures."""
