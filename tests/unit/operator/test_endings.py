"""What the end of a run means: the order of the questions is the policy."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from builders.experiments import a_scheduler, an_experiment
from podium_contract.conditions import Reason
from podium_contract.lifecycle import Event
from podium_contract.wire import Assignment
from podium_operator.core.endings import ruling_of
from podium_operator.core.facts import End, EndKind, Run, RunState
from podium_operator.core.reconcile import _trial_of

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def event_of_exit_0(step: int, stopping: Reason | None, reason: Reason = Reason.FINISHED, **spec: Any) -> Event:
    """Return what it means that a command with the target 3 has ended with exit code 0 at a step."""
    experiment = an_experiment(**({"scheduler": a_scheduler("asha", 1, 9)} | spec))
    target = None if spec else 3
    trial = _trial_of(experiment.metadata, Assignment(number=1, parameters={"lr": 0.1}, target=target))
    status = trial.status.model_copy(update={"step": step, "metrics": {"loss": 0.5}})
    end = End(EndKind.DONE, reason, "exit code 0", NOW)
    run = Run(1, 1, RunState.ENDED, created=NOW - timedelta(minutes=1), end=end, stopping=stopping)
    ruling = ruling_of(experiment.spec, trial.model_copy(update={"status": status}), run, None, NOW)
    assert ruling is not None
    return ruling.event


@pytest.mark.parametrize(
    ("stopping", "event"),
    [
        (Reason.SUSPENDED, Event.PAUSE),
        (Reason.EXPERIMENT_ENDED, Event.KILL),
        (Reason.DEADLINE_EXCEEDED, Event.FAIL),
        (None, Event.FINISH),
    ],
)
def test_command_that_leaves_by_exit_code_0_when_told_to_stop_is_not_done(
    stopping: Reason | None, event: Event
) -> None:
    assert event_of_exit_0(2, stopping) is event


def test_command_that_leaves_by_exit_code_0_as_podium_goes_is_not_done() -> None:
    assert event_of_exit_0(2, None, Reason.SUSPENDED) is Event.PAUSE


def test_command_that_has_reached_its_target_is_done_whatever_it_was_told() -> None:
    for stopping in (Reason.SUSPENDED, Reason.DEADLINE_EXCEEDED):
        assert event_of_exit_0(3, stopping) is Event.PAUSE, "it rests at its rung"


def test_command_without_a_target_knows_itself_when_it_is_done() -> None:
    assert event_of_exit_0(2, Reason.SUSPENDED, scheduler=a_scheduler("none")) is Event.FINISH
