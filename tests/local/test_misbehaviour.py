"""Trials misbehave in every way we know; each ends in its own phase with a reason, and the experiment finishes."""

import time
from pathlib import Path
from typing import Any

import pytest

from builders.experiments import a_choice, a_search
from builders.workplace import SCRIPTS, Workplace

MANNERS = {
    "well": ("Succeeded", "Finished", "trained to"),
    "nan": ("Succeeded", "Finished", "trained to"),
    "infinity": ("Succeeded", "Finished", "trained to"),
    "silent": ("Failed", "MetricsUnavailable", "never reported 'loss'"),
    "other-metric": ("Failed", "MetricsUnavailable", "never reported 'loss'"),
    "twice-and-out-of-order": ("Succeeded", "Finished", "trained to"),
    "forks": ("Succeeded", "Finished", "trained to"),
    "crash": ("Failed", "ExitCode", "bad learning rate"),
    "exit": ("Failed", "ExitCode", "exit code 3"),
    "segfault": ("Failed", "Crashed", "signal 11"),
    "hang": ("Failed", "DeadlineExceeded", "activeDeadlineSeconds"),
    "deaf": ("Failed", "DeadlineExceeded", "activeDeadlineSeconds"),
}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Workplace]:
    """One experiment in which every manner occurs once."""
    place = Workplace(tmp_path_factory.mktemp("misbehaviour"))
    template = {
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "train", "command": ["python", str(SCRIPTS / "misbehave.py")]}],
        }
    }
    place.write(
        parameters=[a_choice("manner", list(MANNERS))],
        search=a_search("grid"),
        scheduler={"algorithm": "none", "resource": "epoch", "max": 2},
        max_trials=len(MANNERS),
        parallelism=4,
        trial={
            "activeDeadlineSeconds": 8,
            "metrics": {"source": "sdk", "gracePeriodSeconds": 0.5},
            "template": template,
        },
    )
    return place.document(), place


@pytest.mark.parametrize("manner", MANNERS)
def test_misbehaving_trial_ends_with_its_reason(manner: str, outcome: tuple[dict[str, Any], Workplace]) -> None:
    document, _ = outcome
    (trial,) = [trial for trial in document["trials"] if trial["parameters"]["manner"] == manner]
    phase, reason, words = MANNERS[manner]
    assert (trial["phase"], trial["reason"]) == (phase, reason), trial
    assert words in trial["message"]


def test_experiment_goes_on_to_its_end(outcome: tuple[dict[str, Any], Workplace]) -> None:
    document, _ = outcome
    assert document["status"]["phase"] == "Complete"
    assert len(document["trials"]) == len(MANNERS)


def test_unusable_values_are_kept_and_never_best(outcome: tuple[dict[str, Any], Workplace]) -> None:
    document, _ = outcome
    (trial,) = [trial for trial in document["trials"] if trial["parameters"]["manner"] == "nan"]
    assert [observation["metrics"]["loss"] for observation in trial["observations"]] == ["NaN", "NaN"]
    winners = {standing["parameters"]["manner"] for standing in document["status"]["best"]}
    assert winners == {"well", "twice-and-out-of-order", "forks"}


def test_later_report_of_a_step_counts(outcome: tuple[dict[str, Any], Workplace]) -> None:
    document, _ = outcome
    (trial,) = [t for t in document["trials"] if t["parameters"]["manner"] == "twice-and-out-of-order"]
    values = {observation["step"]: observation["metrics"]["loss"] for observation in trial["observations"]}
    assert values == {1: 1.0, 2: 1.0, 3: 2.0}


def test_no_process_stays(outcome: tuple[dict[str, Any], Workplace]) -> None:
    _, place = outcome
    deadline = time.monotonic() + 10
    while left := place.processes():
        assert time.monotonic() < deadline, [process.cmdline() for process in left]
        time.sleep(0.05)


def test_command_that_does_not_exist_is_a_failure_with_its_name(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    template = {"spec": {"containers": [{"name": "train", "command": ["no-such-command"]}]}}
    place.write(max_trials=2, trial={"template": template})
    document = place.document()
    assert document["status"]["phase"] == "Failed"
    assert {trial["reason"] for trial in document["trials"]} == {"StartFailed"}
    assert "no-such-command" in document["trials"][0]["message"]
