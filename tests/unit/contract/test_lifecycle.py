"""The table of a trial's life, every phase with every event."""

import pytest

from podium_contract.lifecycle import FINAL, MOVES, Event, IllegalMoveError, Phase, move

ALLOWED = {
    (Phase.PENDING, Event.START): Phase.RUNNING,
    (Phase.PENDING, Event.PAUSE): Phase.PAUSED,
    (Phase.PENDING, Event.DISRUPT): Phase.PENDING,
    (Phase.RUNNING, Event.PAUSE): Phase.PAUSED,
    (Phase.RUNNING, Event.DISRUPT): Phase.PENDING,
    (Phase.PAUSED, Event.START): Phase.RUNNING,
    (Phase.PAUSED, Event.PAUSE): Phase.PAUSED,
    (Phase.PAUSED, Event.DISRUPT): Phase.PENDING,
    **{
        (phase, event): end
        for phase in (Phase.PENDING, Phase.RUNNING, Phase.PAUSED)
        for event, end in (
            (Event.FINISH, Phase.SUCCEEDED),
            (Event.FAIL, Phase.FAILED),
            (Event.PRUNE, Phase.PRUNED),
            (Event.KILL, Phase.KILLED),
        )
    },
}


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("event", Event)
def test_every_event_in_every_phase_moves_as_written_or_is_refused(phase: Phase, event: Event) -> None:
    if (phase, event) in ALLOWED:
        assert move(phase, event) is ALLOWED[phase, event]
        return
    with pytest.raises(IllegalMoveError, match=f"a {phase} trial does not {event.lower()}"):
        move(phase, event)


def test_nothing_leaves_a_final_phase_and_every_other_phase_can_end() -> None:
    assert {phase for phase, moves in MOVES.items() if not moves} == FINAL
    for phase in set(Phase) - FINAL:
        assert set(MOVES[phase].values()) >= FINAL
