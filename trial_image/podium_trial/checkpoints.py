"""Checkpoints that survive `kill -9` at any instruction, and that carry the reports made so far.

A checkpoint is one file, `step-00000009.checkpoint`: the digest of a header, the header (JSON: step, length and digest of
the payload, the reports), then the user's bytes. It is written beside its final name, flushed to the disk and renamed, so
a reader sees all of it or none. The last two are kept: one that is torn all the same (a lying disk) is noticed by its
digest and passed over.
"""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from podium_contract.reports import parse_report_line, report_line
from podium_contract.observation import Observation

_NAME = re.compile(r"^step-(\d{8,})\.checkpoint$")
_FORMAT = 1
_KEPT = 2


class CheckpointError(OSError):
    """A checkpoint could not be written; the earlier ones are intact."""


@dataclass(frozen=True)
class Checkpoint:
    """What a run left behind for the next one."""

    step: int
    payload: bytes
    reports: tuple[Observation, ...]
    """Every recent report up to and including the step."""


def write_checkpoint(folder: Path, step: int, payload: bytes, reports: Sequence[Observation]) -> None:
    """Store a checkpoint, and drop all but the two latest. Raises CheckpointError when the disk refuses."""
    header = {
        "format": _FORMAT,
        "step": step,
        "length": len(payload),
        "digest": hashlib.sha256(payload).hexdigest(),
        "reports": [report_line(report) for report in reports],
    }
    body = json.dumps(header, separators=(",", ":")).encode()
    target = folder / f"step-{step:08d}.checkpoint"
    temporary = folder / f".{target.name}.{os.getpid()}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(hashlib.sha256(body).hexdigest().encode() + b"\n" + body + b"\n" + payload)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        _sync_folder(folder)
    except OSError as fault:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(
            fault.errno,
            f"the checkpoint of step {step} cannot be written to {folder}: {fault.strerror}; free some space",
        ) from fault
    for old in _files(folder)[_KEPT:]:
        old.unlink(missing_ok=True)


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the latest intact checkpoint, or None."""
    for file in _files(folder):
        checkpoint = _read(file)
        if checkpoint is not None:
            return checkpoint
    return None


def _read(file: Path) -> Checkpoint | None:
    try:
        digest, body, payload = file.read_bytes().split(b"\n", 2)
    except (OSError, ValueError):
        return None
    if hashlib.sha256(body).hexdigest().encode() != digest:
        return None
    header = json.loads(body)
    if len(payload) != header["length"] or hashlib.sha256(payload).hexdigest() != header["digest"]:
        return None
    reports = tuple(parse_report_line(line) for line in header["reports"])
    return Checkpoint(header["step"], payload, reports)


def _files(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, latest first."""
    if not folder.is_dir():
        return []
    found = [(int(match[1]), file) for file in folder.iterdir() if (match := _NAME.match(file.name))]
    return [file for _, file in sorted(found, reverse=True)]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
