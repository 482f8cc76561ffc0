"""`podium run` and its trials may be killed at any moment; the same command goes on, and the result is the same."""

import json
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from builders.experiments import a_trial, an_experiment
from builders.workplace import LIMIT_SECONDS, Workplace, kill_outright, table_of
from podium_operator.cli.run import _resume_hint

MOMENTS = 10


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    place = Workplace(tmp_path)
    place.write()
    return place


def wait_until_gone(place: Workplace) -> None:
    """Wait for every process of the workplace to end; fails, naming them, when one stays."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while left := place.processes():
        assert time.monotonic() < deadline, f"orphans: {[process.cmdline() for process in left]}"
        time.sleep(0.05)


def test_kill_dash_nine_at_ten_moments_changes_nothing(tmp_path: Path) -> None:
    undisturbed = Workplace(tmp_path / "undisturbed")
    disturbed = Workplace(tmp_path / "disturbed")
    for place in (undisturbed, disturbed):
        place.folder.mkdir()
        place.write()
    began = time.monotonic()
    expected = undisturbed.document()
    duration = time.monotonic() - began
    moments = random.Random(11)
    for _ in range(MOMENTS):
        process = disturbed.start("--quiet")
        time.sleep(moments.uniform(0.3, max(1.0, duration / 3)))
        kill_outright(process)
        wait_until_gone(disturbed)
    document = disturbed.document()
    assert table_of(document) == table_of(expected)
    assert document["status"]["phase"] == "Complete"
    numbers = Counter(trial["number"] for trial in document["trials"])
    assert set(numbers) == set(range(1, 10))
    assert set(numbers.values()) == {1}
    wait_until_gone(disturbed)


@pytest.mark.parametrize(
    ("folder", "command"),
    [
        ("podium-results/demo", "podium run m.yaml goes"),
        ("podium-results/second", "podium run m.yaml --results podium-results/second goes"),
        ("my results", "podium run m.yaml --results 'my results' goes"),
    ],
)
def test_hint_how_to_resume_names_the_folder_unless_it_is_the_usual_one(folder: str, command: str) -> None:
    assert _resume_hint(Path("m.yaml"), Path(folder), an_experiment()).startswith(command)


def test_finished_trials_never_run_again(workplace: Workplace) -> None:
    workplace.document()
    logs = {log: log.stat().st_mtime_ns for log in workplace.results.glob("trials/*/run-*.log")}
    assert logs
    workplace.document()
    assert {log: log.stat().st_mtime_ns for log in workplace.results.glob("trials/*/run-*.log")} == logs


def test_trial_killed_outright_resumes_from_its_checkpoint(workplace: Workplace) -> None:
    expected = workplace.document()
    other = Workplace(workplace.folder / "killed")
    other.folder.mkdir()
    other.write()
    process = other.start("--output", "json", "--quiet")
    killed = 0
    while process.poll() is None:
        for trial in other.processes():
            if killed < 3 and any("bowl.py" in word for word in trial.cmdline()) and trial.ppid() != process.pid:
                trial.kill()
                killed += 1
        time.sleep(0.2)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert killed
    assert table_of(json.loads(out)) == table_of(expected)


def test_same_manifest_and_seed_give_the_same_trials_twice(workplace: Workplace) -> None:
    first = workplace.document()
    second = Workplace(workplace.folder / "again")
    second.folder.mkdir()
    second.write()
    assert table_of(second.document()) == table_of(first)


@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_interrupted_run_says_how_to_resume_and_does(tmp_path: Path, asked: signal.Signals) -> None:
    place = Workplace(tmp_path)
    place.write(parallelism=2)
    process = place.start()
    while not list(place.results.glob("trials/00002/*.log")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(asked)
    _, err = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 130, err
    assert "podium run" in err
    wait_until_gone(place)
    document = place.document()
    assert document["status"]["phase"] == "Complete"
    assert len(document["trials"]) == 9


def test_folder_of_another_manifest_is_refused_without_advice_to_run_it_again(workplace: Workplace) -> None:
    workplace.document()
    workplace.write(trial=a_trial("false"))
    refused = workplace.run("--quiet")
    assert refused.returncode == 3
    assert "another --results" in refused.stderr
    assert "Nothing is lost" not in refused.stderr
    failed = workplace.run("--quiet", "--results", "podium-results/anew")
    assert "trial 1 failed; what it printed is in podium-results/anew/trials/00001/run-1.log" in failed.stderr


def test_second_run_in_the_same_folder_is_refused(workplace: Workplace) -> None:
    first = workplace.start("--quiet")
    while not (workplace.results / "lock").exists() and first.poll() is None:
        time.sleep(0.02)
    second = workplace.run("--quiet")
    first.communicate(timeout=LIMIT_SECONDS)
    assert second.returncode == 3
    assert str(first.pid) in second.stderr
    assert "Traceback" not in second.stderr
