"""A checkpoint is there whole or not at all, whatever happens while it is written."""

import errno
import os
from pathlib import Path

import pytest

from podium_contract.trial import Observation
from podium_trial.checkpoints import CheckpointError, read_checkpoint, write_checkpoint


def a_report(step: int) -> Observation:
    return Observation(attempt=1, step=step, sequence=step, metrics={"loss": 1.0 / step})


def test_nothing_saved_is_none(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path / "nowhere") is None


def test_checkpoint_carries_its_payload_and_reports(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 3, b"weights\nwith lines", [a_report(2), a_report(3)])
    checkpoint = read_checkpoint(tmp_path)
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
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint.payload == b"first"


def test_flipped_byte_is_noticed(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 1, b"first", [])
    write_checkpoint(tmp_path, 2, b"second", [])
    newest = tmp_path / "step-00000002.checkpoint"
    newest.write_bytes(newest.read_bytes()[:-1] + b"X")
    checkpoint = read_checkpoint(tmp_path)
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
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint.payload == b"first"
