"""A trial as a real process: killed at any moment, asked to stop, out of disk, too quick to be watched."""

import os
import pickle
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from builders.trial_run import TrialRuns, last_metrics
from podium_contract import runtime
from podium_contract.runtime import ExitCode
from podium_trial.data import bundled_dataset

TRAINER = ("-m", "podium_trial.train")


@pytest.fixture
def runs(tmp_path: Path) -> TrialRuns:
    return TrialRuns(tmp_path / "trial")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "podium-test", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_killed_outright_at_random_moments_it_ends_with_the_same_weights_and_every_step_reported(
    tmp_path: Path,
) -> None:
    target = 40
    undisturbed, disturbed = TrialRuns(tmp_path / "undisturbed"), TrialRuns(tmp_path / "disturbed")
    assert undisturbed.run(target).returncode == 0
    moments = random.Random(3)
    for _ in range(6):
        process = disturbed.start(target, LEARNER_STEP_SECONDS="0.02")
        time.sleep(moments.uniform(0.2, 0.9))  # anywhere: while it imports, trains, reports or saves
        process.kill()
        process.communicate()
    assert disturbed.run(target).returncode == 0
    assert disturbed.state == undisturbed.state
    assert disturbed.reported_steps == set(range(1, target + 1))
    assert last_metrics(disturbed) == last_metrics(undisturbed)


def test_asked_to_stop_it_saves_and_leaves_with_the_agreed_code_and_goes_on_later(
    runs: TrialRuns, tmp_path: Path
) -> None:
    process = runs.start(30, LEARNER_STEP_SECONDS="0.05")
    runs.wait_for_step(3, process)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    assert runs.finish(process).returncode == ExitCode.CHECKPOINTED
    stopped_at = max(runs.reported_steps)
    assert 3 <= stopped_at < 30
    assert runs.run(30).returncode == 0
    assert {report.attempt for report in runs.reports if report.step <= stopped_at} == {1}, "no step is trained twice"
    undisturbed = TrialRuns(tmp_path / "undisturbed")
    undisturbed.run(30)
    assert runs.state == undisturbed.state


def test_reports_are_seen_while_it_trains(runs: TrialRuns) -> None:
    process = runs.start(None, LEARNER_STEP_SECONDS="0.05")
    runs.wait_for_step(2, process)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    runs.finish(process)


def test_trial_too_quick_to_be_watched_loses_no_report(runs: TrialRuns) -> None:
    target = 5000
    ended = runs.finish(runs.start(target), every=0.5)
    assert ended.returncode == 0, ended.stderr
    assert runs.reported_steps == set(range(1, target + 1))


def test_worker_that_it_forks_dies_when_asked(runs: TrialRuns) -> None:
    assert "worker ended with -15" in runs.run(1, LEARNER_WORKER="1").stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_full_disk_fails_with_a_sentence_and_keeps_the_earlier_checkpoint(small_disk: Path) -> None:
    runs = TrialRuns(small_disk / "trial")
    weights = {"LEARNER_WEIGHTS": "10000"}  # some 90 KB a checkpoint
    assert runs.run(2, **weights).returncode == 0
    before = runs.state
    usage = os.statvfs(small_disk)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(usage.f_bavail * usage.f_frsize - 40_000))
    full = runs.run(4, **weights)
    assert full.returncode == 1
    assert "No space left on device; free some space" in full.stderr
    assert runs.state == before
    assert not list(runs.checkpoints.glob(".*")), "no half-written file takes up room"
    ballast.unlink()
    assert runs.run(4, **weights).returncode == 0
    assert runs.reported_steps == {1, 2, 3, 4}


@pytest.mark.parametrize("model", ["mlp", "boosting"])
def test_trainer_promoted_twice_equals_one_that_trained_through(tmp_path: Path, model: str) -> None:
    command = (*TRAINER, "--dataset", "breast-cancer", "--model", model)
    parameters = {runtime.ENV_PARAMETERS: '{"lr": 0.05}'}
    whole, promoted = TrialRuns(tmp_path / "whole", command), TrialRuns(tmp_path / "promoted", command)
    assert whole.run(6, **parameters).returncode == 0
    for target in (1, 3, 6):
        ended = promoted.run(target, **parameters)
        assert ended.returncode == 0, ended.stderr
    assert last_metrics(promoted) == last_metrics(whole)
    assert promoted.reported_steps == set(range(1, 7))
    for runs in (whole, promoted):
        assert {"val_accuracy", "val_loss", "train_loss", "size"} == last_metrics(runs).keys()
    rows = bundled_dataset("breast-cancer").test.features
    outputs = [pickle.loads(runs.state).outputs(rows) for runs in (whole, promoted)]
    np.testing.assert_array_equal(outputs[0], outputs[1])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--csv", "no-such.csv", "--target", "y"], "--csv must be a readable file, got no-such.csv"),
        (["--csv", "no-such.csv"], "--csv needs --target"),
        (["--lr", "fast"], "lr must be a number, got 'fast'"),
        (["--dropout=1.5"], "dropout must be between 0 and"),
    ],
)
def test_trainer_that_cannot_begin_says_why_in_its_log_and_as_its_last_word(
    runs: TrialRuns, arguments: list[str], words: str
) -> None:
    runs.command = (*TRAINER, *arguments)
    ended = runs.run(1)
    assert ended.returncode == 1
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
    assert words in runs.termination


def test_trainer_explains_itself(runs: TrialRuns) -> None:
    runs.command = (*TRAINER, "--help")
    told = runs.run(None)
    assert told.returncode == 0
    for word in ("--dataset", "--csv", "--target", "mlp", "boosting", "weight_decay", "min_leaf"):
        assert word in told.stdout
