"""A full disk, or a folder that cannot be written: one clear sentence, and what was there stays as it was."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from builders.workplace import Workplace, table_of

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "podium-test", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


@needs_root
def test_full_disk_stops_with_a_sentence_and_the_run_goes_on_once_there_is_room(
    tmp_path: Path, small_disk: Path
) -> None:
    expected = Workplace(tmp_path / "elsewhere")
    expected.folder.mkdir()
    expected.write()
    place = Workplace(small_disk)
    place.write()
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(small_disk_free(small_disk) - 150 * 1024))
    full = place.run("--quiet")
    assert full.returncode == 3, full.stderr
    assert "Traceback" not in full.stderr
    assert "No space left on device" in full.stderr or "disk is full" in full.stderr
    assert "podium run" in full.stderr
    ballast.unlink()
    assert table_of(place.document()) == table_of(expected.document())


@needs_root
def test_read_only_results_stop_with_a_sentence_and_stay_readable(small_disk: Path) -> None:
    place = Workplace(small_disk)
    place.write(max_trials=2)
    before = table_of(place.document())
    place.write(max_trials=4)
    remount(small_disk, "ro")
    refused = place.run("--quiet")
    assert refused.returncode == 3
    assert "Read-only file system" in refused.stderr
    assert "Traceback" not in refused.stderr
    remount(small_disk, "rw")
    after = table_of(place.document())
    assert [row[0] for row in after] == [1, 2, 3, 4]
    assert [row[1] for row in after[:2]] == [row[1] for row in before]


def test_damaged_record_is_named(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    place.write(max_trials=1)
    place.document()
    record = place.results / "state" / "experiment.json"
    record.write_text("{", encoding="utf-8")
    refused = place.run("--quiet")
    assert refused.returncode == 3
    assert f"{record} is damaged" in refused.stderr


def small_disk_free(disk: Path) -> int:
    usage = os.statvfs(disk)
    return usage.f_bavail * usage.f_frsize
