"""Checkpoints that survive `kill -9` at any instruction, and that carry the reports made so far.

A checkpoint is one file, `step-00000009.checkpoint`: the digest of a header, the header (JSON: step, length and digest of
the payload, the reports), then the user's bytes. It is written beside its final name, flushed to the disk and renamed, so
a reader sees all of it or none. The last two are kept: one that is torn all the same (a lying disk) is noticed by its
digest and passed over. Besides, the one with which the trial last reached a target is kept until it has gone past the
next: a clone made of it there starts from that very step, however long its own start takes.

A checkpoint of many files is a folder of its own, `files-00000009-3f2a91c0`, that the header names, with the size and the
digest of each file. The file of the header is written last: until then the folder belongs to nobody and is cleared away.

A run that was given up, as its node did not answer, may train on beside the one that took its place, in the same folder. So
names of what is not complete yet hold the attempt, and nobody clears away what a later attempt has written.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from podium_contract.observation import Observation
from podium_contract.reports import parse_report_line, report_line

_NAME = re.compile(r"^step-(\d{8,})\.checkpoint$")
_UNFINISHED = re.compile(r"^(?:\.step-\d+\.checkpoint|files-\d+)[.-](?:(?P<attempt>\d+)-)?\w+(?:\.part)?$")
"""Files that are being written, and folders that no header may name yet; earlier versions did not tell the attempt."""
_FORMAT = 1
_KEPT = 2
_MOST_LOOKS = 100
"""How often a folder is listed anew because what was listed went meanwhile: its owner still trains."""


class CheckpointError(OSError):
    """A checkpoint could not be written; the earlier ones are intact."""


@dataclass(frozen=True)
class Checkpoint:
    """What a run left behind for the next one."""

    step: int
    payload: bytes
    reports: tuple[Observation, ...] = ()
    """Every recent report up to and including the step."""
    files: Path | None = None
    """The folder of a checkpoint of many files."""
    inventory: Mapping[str, list[int | str]] = field(default_factory=dict)
    """Size and digest of each of them, by its path in the folder."""

    @property
    def last_report(self) -> int:
        """The largest step with a report; -1 without any."""
        return max((report.step for report in self.reports), default=-1)


def write_checkpoint(
    folder: Path,
    step: int,
    payload: bytes,
    reports: Sequence[Observation],
    files: Path | None = None,
    *,
    is_rest: bool = False,
    attempt: int = 1,
) -> None:
    """Store a checkpoint, and drop all but it, the latest one of an earlier step and the last earlier rest.

    `is_rest` says that the trial has reached its target with it: while it trains on, a clone may still start from there.
    `files` is a complete folder that `new_files_folder` made. `attempt` counts the trial's runs: what a later one has
    stored is left alone. Raises CheckpointError when the disk refuses.
    """
    target = folder / f"step-{step:08d}.checkpoint"
    temporary = folder / f".{target.name}.{attempt}-{os.getpid()}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        header: dict[str, Any] = {
            "format": _FORMAT,
            "step": step,
            "length": len(payload),
            "digest": hashlib.sha256(payload).hexdigest(),
            "reports": [report_line(report) for report in reports],
            "rest": is_rest,
            "attempt": attempt,
        }
        if files is not None:
            _sync_all(files)
            header |= {"folder": files.name, "files": _inventory(files)}
        body = json.dumps(header, separators=(",", ":")).encode()
        with temporary.open("wb") as file:
            file.write(hashlib.sha256(body).hexdigest().encode() + b"\n" + body + b"\n" + payload)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        _sync(folder)
    except OSError as fault:
        with suppress(OSError):  # on a read-only disk there is nothing to remove either
            temporary.unlink(missing_ok=True)
        raise _refused(f"the checkpoint of step {step} cannot be written to {folder}", fault) from fault
    with suppress(OSError):  # the checkpoint is safe; what cannot be removed now is removed after the next one
        _clear_away(folder, step, attempt)


def new_files_folder(folder: Path, step: int, attempt: int = 1) -> Path:
    """Make an empty folder for the files of a checkpoint; it is kept only if `write_checkpoint` takes it."""
    files = folder / f"files-{step:08d}.{attempt}-{os.urandom(4).hex()}"
    try:
        files.mkdir(parents=True)
    except OSError as fault:
        raise _refused(f"the checkpoint of step {step} cannot be written to {folder}", fault) from fault
    return files


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the latest intact checkpoint, or None. Another process may be writing newer ones."""
    return next(_intact(folder), None)


def resume_point(folder: Path) -> Checkpoint | None:
    """Return the checkpoint to go on from, or None: the latest that loses no report.

    A script that saves a step before it reports it may die between the two. The step is then trained again, from the
    checkpoint before, if the script has reported anything since that one (one that reports rarely repeats a little).
    """
    intact = _intact(folder)
    latest = next(intact, None)
    if latest is None or latest.last_report >= latest.step:
        return latest
    earlier = next(intact, None)
    if earlier is None or latest.last_report < earlier.step:
        return latest
    return replace(earlier, reports=latest.reports)


def adopt(owner: Path, folder: Path, step: int | None = None, attempt: int = 1) -> Checkpoint | None:
    """Store a checkpoint of another trial as one's own, without its reports; None when there is none at all.

    With a step: the checkpoint of that very step, or of the last one before it where the other saves rarely; raises
    CheckpointError when there are later ones only. Without: the latest. Its owner may still train, and drop the files
    while they are copied: then they are looked for again.
    """
    for _ in range(_MOST_LOOKS):
        intact = list(_intact(owner))
        if not intact:
            return None
        checkpoint = next((found for found in intact if step is None or found.step <= step), None)
        if checkpoint is None:
            raise CheckpointError(
                errno.ENOENT,
                f"a clone starts from a checkpoint of step {step} or before, got {intact[-1].step} as the earliest in "
                f"{owner}; save at the target, as `is_save_due` tells",
            )
        files = None
        if checkpoint.files is not None:
            files = new_files_folder(folder, checkpoint.step, attempt)
            if not _copy(checkpoint.inventory, checkpoint.files, files):
                shutil.rmtree(files)
                continue
        write_checkpoint(folder, checkpoint.step, checkpoint.payload, (), files, attempt=attempt)
        return replace(checkpoint, reports=(), files=files)
    raise CheckpointError(
        errno.EAGAIN, f"the checkpoints in {owner} change faster than they can be copied; save less often"
    )


# --- reading ----------------------------------------------------------------------------------------------------


def _intact(folder: Path) -> Iterator[Checkpoint]:
    """Yield the intact checkpoints of a folder, latest first; starts over when one goes between listing and reading."""
    seen: set[Path] = set()
    for _ in range(_MOST_LOOKS):
        try:
            for file in _checkpoints(folder):
                if file in seen:
                    continue
                checkpoint = _read(file)
                seen.add(file)
                if checkpoint is not None:
                    yield checkpoint
        except FileNotFoundError:
            continue
        return


def _read(file: Path) -> Checkpoint | None:
    """Return the checkpoint of a file, None when it is torn; raises FileNotFoundError when it is gone."""
    content = file.read_bytes()
    try:
        digest, body, payload = content.split(b"\n", 2)
        if hashlib.sha256(body).hexdigest().encode() != digest:
            return None
        header = json.loads(body)
        if len(payload) != header["length"] or hashlib.sha256(payload).hexdigest() != header["digest"]:
            return None
        reports = tuple(parse_report_line(line) for line in header["reports"])
    except (ValueError, KeyError):
        return None
    if "folder" not in header:
        return Checkpoint(header["step"], payload, reports)
    files = file.parent / header["folder"]
    if _inventory(files) != header["files"]:
        file.stat()  # gone as well when its owner dropped it meanwhile; then there is a newer one
        return None
    return Checkpoint(header["step"], payload, reports, files, header["files"])


def _checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoint files of a folder, latest first."""
    if not folder.is_dir():
        return []
    found = [(int(match[1]), file) for file in folder.iterdir() if (match := _NAME.match(file.name))]
    return [file for _, file in sorted(found, reverse=True)]


def _inventory(folder: Path) -> dict[str, list[int | str]]:
    """Return size and digest of each file in a folder, by its path there; files that go meanwhile are left out."""
    files: dict[str, list[int | str]] = {}
    for path in sorted(folder.rglob("*")):
        with suppress(FileNotFoundError, IsADirectoryError), path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            files[path.relative_to(folder).as_posix()] = [os.fstat(file.fileno()).st_size, digest]
    return files


def _copy(names: Iterable[str], source: Path, target: Path) -> bool:
    """Copy files; False when their owner dropped some meanwhile."""
    try:
        for name in names:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)
    except FileNotFoundError:
        return False
    except OSError as fault:
        raise _refused(f"a checkpoint cannot be copied to {target}", fault) from fault
    return True


# --- writing ----------------------------------------------------------------------------------------------------


def _clear_away(folder: Path, step: int, attempt: int) -> None:
    """Remove what the checkpoint of `step` makes superfluous: all but it and the one before, and what killed runs left.

    A checkpoint of a later step is superfluous as well: it was torn, or training went back behind it. What a later attempt
    has written is not.
    """
    headers = {file: _header_of(file) for file in _checkpoints(folder)}
    earlier = [file for file in headers if _step_of(file) <= step]
    kept = earlier[:_KEPT] + [file for file in earlier[1:] if headers[file].get("rest")][:1]
    for file in headers.keys() - kept:
        if headers[file].get("attempt", 0) <= attempt:
            file.unlink(missing_ok=True)
            del headers[file]
    named = [header.get("folder") for header in headers.values()]
    for leftover in [path for path in folder.iterdir() if path.name not in named]:
        match = _UNFINISHED.match(leftover.name)
        if match is None or int(match["attempt"] or 0) > attempt:
            continue
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _refused(what: str, fault: OSError) -> CheckpointError:
    """Return the error of a disk that has refused something."""
    remedy = "; free some space" if fault.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return CheckpointError(fault.errno, f"{what}: {fault.strerror}{remedy}")


def _header_of(file: Path) -> dict[str, Any]:
    """Return a checkpoint's header; empty when it cannot be read."""
    try:
        with file.open("rb") as opened:
            opened.readline()
            header = json.loads(opened.readline())
    except (OSError, ValueError):
        return {}
    return header if isinstance(header, dict) else {}


def _step_of(file: Path) -> int:
    match = _NAME.match(file.name)
    assert match is not None
    return int(match[1])


def _sync_all(folder: Path) -> None:
    """Flush a folder to the disk, with everything in it."""
    for path in folder.rglob("*"):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
