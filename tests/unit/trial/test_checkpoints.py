"""A checkpoint is there whole or not at all, whatever happens while it is written."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from podium_contract.trial import Observation
from podium_trial.checkpoints import (
    Checkpoint,
    CheckpointError,
    adopt,
    latest_checkpoint,
    new_files_folder,
    resume_point,
    write_checkpoint,
)


def a_report(step: int) -> Observation:
    return Observation(attempt=1, step=step, sequence=step, metrics={"loss": 1.0 / step})


def latest(folder: Path) -> Checkpoint:
    checkpoint = latest_checkpoint(folder)
    assert checkpoint is not None
    return checkpoint


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_files(folder: Path, step: int, attempt: int = 1, **files: str) -> None:
    """Write a checkpoint of files, each in a folder of its own."""
    into = new_files_folder(folder, step, attempt)
    for name, text in files.items():
        (into / name).mkdir()
        (into / name / "data").write_text(text, encoding="utf-8")
    write_checkpoint(folder, step, b"", [], into, attempt=attempt)


def test_nothing_saved_is_none(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path / "nowhere") is None


def test_checkpoint_carries_its_payload_and_reports(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 3, b"weights\nwith lines", [a_report(2), a_report(3)])
    checkpoint = latest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert (checkpoint.step, checkpoint.payload) == (3, b"weights\nwith lines")
    assert [report.step for report in checkpoint.reports] == [2, 3]


def test_latest_two_are_kept(tmp_path: Path) -> None:
    for step in range(1, 6):
        write_checkpoint(tmp_path, step, b"x", [])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["step-00000004.checkpoint", "step-00000005.checkpoint"]


@pytest.mark.parametrize("kept", [0, 1, 40, 80, -3, -1])
def test_torn_checkpoint_gives_way_to_the_one_before(tmp_path: Path, kept: int) -> None:
    write_checkpoint(tmp_path, 1, b"first", [])
    write_checkpoint(tmp_path, 2, b"second", [])
    newest = tmp_path / "step-00000002.checkpoint"
    newest.write_bytes(newest.read_bytes()[:kept])
    checkpoint = latest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint.payload == b"first"


def test_flipped_byte_is_noticed(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 1, b"first", [])
    write_checkpoint(tmp_path, 2, b"second", [])
    newest = tmp_path / "step-00000002.checkpoint"
    newest.write_bytes(newest.read_bytes()[:-1] + b"X")
    checkpoint = latest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint.step == 1


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_failed_write_leaves_the_old_checkpoint_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    write_checkpoint(tmp_path, 1, b"first", [])

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os if call == "fsync" else Path, call, refuse)
    with pytest.raises(CheckpointError, match=r"step 2 cannot be written .*: No space left on device; free some space"):
        write_checkpoint(tmp_path, 2, b"second", [])
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir()] == ["step-00000001.checkpoint"]
    checkpoint = latest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint.payload == b"first"


def test_checkpoint_of_a_later_step_is_superseded(tmp_path: Path) -> None:
    for step in (5, 9, 6):
        write_checkpoint(tmp_path, step, b"x", [])
    assert names_in(tmp_path) == ["step-00000005.checkpoint", "step-00000006.checkpoint"]


def test_what_killed_runs_left_behind_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".step-00000001.checkpoint.4711.part").write_bytes(b"half")
    (new_files_folder(tmp_path, 1) / "half").write_bytes(b"x")
    write_checkpoint(tmp_path, 2, b"x", [])
    assert names_in(tmp_path) == ["step-00000002.checkpoint"]


@pytest.mark.parametrize("name", [".step-00000001.checkpoint.2-4711.part", "files-00000001.2-3f2a91c0"])
def test_a_run_clears_away_what_its_own_or_earlier_attempts_left_and_nothing_of_later_ones(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).mkdir()
    write_checkpoint(tmp_path, 2, b"x", [], attempt=1)
    assert name in names_in(tmp_path)
    (tmp_path / name).rmdir()
    (tmp_path / name).touch()
    write_checkpoint(tmp_path, 3, b"x", [], attempt=2)
    assert name not in names_in(tmp_path)


def test_a_run_given_up_that_trains_on_takes_nothing_from_the_one_in_its_place(tmp_path: Path) -> None:
    write_files(tmp_path, 5, attempt=1, weights="five")
    for step in (39, 40):
        write_files(tmp_path, step, attempt=2, weights=f"weights of {step}")
    unfinished = new_files_folder(tmp_path, 41, attempt=2)
    write_files(tmp_path, 6, attempt=1, weights="six")
    assert latest(tmp_path).step == 40
    write_checkpoint(tmp_path, 41, b"", [], unfinished, attempt=2)
    found = latest(tmp_path)
    assert (found.step, found.files) == (41, unfinished)
    assert names_in(tmp_path)[-2:] == ["step-00000040.checkpoint", "step-00000041.checkpoint"], "the rest went"


def test_a_folder_that_may_not_be_written_is_told_without_advice_on_space(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").touch()
    with pytest.raises(CheckpointError, match=r"step 1 cannot be written to .*: File exists$"):
        write_checkpoint(tmp_path / "checkpoints", 1, b"x", [])


def test_checkpoint_of_files_is_there_whole(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        write_files(tmp_path, step, weights=f"weights of {step}", optimizer="moments")
    files = latest(tmp_path).files
    assert files is not None
    assert (files / "weights" / "data").read_text() == "weights of 3"
    assert len(list(tmp_path.glob("files-*"))) == 2, "those of the two latest checkpoints"


@pytest.mark.parametrize("harm", ["torn", "lost", "more"])
def test_checkpoint_whose_files_are_not_as_they_were_gives_way(tmp_path: Path, harm: str) -> None:
    write_files(tmp_path, 1, weights="first")
    write_files(tmp_path, 2, weights="second")
    (file,) = tmp_path.glob("files-00000002.*/weights/data")
    match harm:
        case "torn":
            file.write_text("sec")
        case "lost":
            file.unlink()
        case "more":
            file.with_name("more").touch()
    assert latest(tmp_path).step == 1


def test_step_saved_before_it_is_reported_is_trained_again(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 4, b"four", [a_report(3)])
    write_checkpoint(tmp_path, 5, b"five", [a_report(3), a_report(4)])
    checkpoint = resume_point(tmp_path)
    assert checkpoint is not None
    assert (checkpoint.step, checkpoint.payload) == (4, b"four")
    assert [report.step for report in checkpoint.reports] == [3, 4]


@pytest.mark.parametrize("reported", [[], [1, 2], [4]], ids=str)
def test_script_that_reports_now_and_then_resumes_from_its_latest_checkpoint(
    tmp_path: Path, reported: list[int]
) -> None:
    reports = [a_report(step) for step in reported]
    write_checkpoint(tmp_path, 3, b"three", reports)
    write_checkpoint(tmp_path, 4, b"four", reports)
    checkpoint = resume_point(tmp_path)
    assert checkpoint is not None
    assert checkpoint.payload == b"four"


def test_adopted_checkpoint_is_ones_own_and_holds_no_report_of_its_owners(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "parent", 4, b"weights", [a_report(4)])
    adopted = adopt(tmp_path / "parent", tmp_path / "clone")
    assert adopted == Checkpoint(4, b"weights")
    write_checkpoint(tmp_path / "parent", 9, b"more", [])
    assert latest(tmp_path / "clone").payload == b"weights"


def test_files_that_their_owner_drops_meanwhile_are_taken_from_the_next_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path / "parent", 1, weights="first")
    copyfile = shutil.copyfile

    def copy_after_two_more_checkpoints(source: Path, target: Path) -> None:
        monkeypatch.undo()
        write_files(tmp_path / "parent", 2, weights="second")
        write_files(tmp_path / "parent", 3, weights="third")
        copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", copy_after_two_more_checkpoints)
    adopted = adopt(tmp_path / "parent", tmp_path / "clone")
    assert adopted is not None
    assert adopted.files is not None
    assert (adopted.files / "weights" / "data").read_text() == "third"
    assert len(list((tmp_path / "clone").iterdir())) == 2, "the checkpoint and its files"


def test_nothing_to_adopt_is_none(tmp_path: Path) -> None:
    assert adopt(tmp_path / "parent", tmp_path / "clone") is None


# --- clones and rests -------------------------------------------------------------------------------------------


def test_the_checkpoint_of_a_rest_is_kept_until_the_trial_has_gone_past_the_next(tmp_path: Path) -> None:
    def train_to(target: int, first: int) -> list[int]:
        for step in range(first, target + 1):
            write_checkpoint(tmp_path, step, b"x", [], is_rest=step == target)
        return sorted(int(name[5:13]) for name in names_in(tmp_path))

    assert train_to(4, first=1) == [3, 4]
    write_checkpoint(tmp_path, 5, b"x", [])
    write_checkpoint(tmp_path, 6, b"x", [])
    write_checkpoint(tmp_path, 7, b"x", [])
    assert names_in(tmp_path) == [f"step-0000000{step}.checkpoint" for step in (4, 6, 7)]
    assert train_to(8, first=8) == [4, 7, 8]
    write_checkpoint(tmp_path, 9, b"x", [])
    write_checkpoint(tmp_path, 10, b"x", [])
    assert names_in(tmp_path) == [f"step-{step:08d}.checkpoint" for step in (8, 9, 10)]


def test_the_files_of_a_rest_are_kept_with_it(tmp_path: Path) -> None:
    files = new_files_folder(tmp_path, 2)
    (files / "weights").write_text("of step 2")
    write_checkpoint(tmp_path, 2, b"", [], files, is_rest=True)
    for step in (3, 4, 5):
        write_files(tmp_path, step, weights=f"of step {step}")
    adopted = adopt(tmp_path, tmp_path / "clone", step=2)
    assert adopted is not None
    assert adopted.files is not None
    assert (adopted.files / "weights").read_text() == "of step 2"


def test_a_clone_starts_from_the_very_step_though_its_parent_has_gone_on(tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    write_checkpoint(parent, 4, b"weights of 4", [a_report(4)], is_rest=True)
    for step in (5, 6, 7):
        write_checkpoint(parent, step, b"later", [a_report(step)])
    adopted = adopt(parent, tmp_path / "clone", step=4)
    assert adopted == Checkpoint(4, b"weights of 4")
    assert latest(tmp_path / "clone").payload == b"weights of 4"


def test_a_clone_of_one_that_saves_rarely_starts_from_the_last_checkpoint_before(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "parent", 3, b"three", [])
    write_checkpoint(tmp_path / "parent", 9, b"nine", [])
    adopted = adopt(tmp_path / "parent", tmp_path / "clone", step=5)
    assert adopted == Checkpoint(3, b"three")


def test_a_clone_never_starts_from_a_later_checkpoint(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "parent", 9, b"nine", [])
    with pytest.raises(CheckpointError, match="a checkpoint of step 5 or before, got 9 as the earliest"):
        adopt(tmp_path / "parent", tmp_path / "clone", step=5)


def test_a_clone_killed_while_it_adopts_adopts_again(tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    write_checkpoint(parent, 4, b"weights", [], is_rest=True)
    clone = tmp_path / "clone"
    clone.mkdir()
    (clone / ".step-00000004.checkpoint.123.part").write_bytes(b"half")
    assert adopt(parent, clone, step=4) == Checkpoint(4, b"weights")
    assert names_in(clone) == ["step-00000004.checkpoint"]
