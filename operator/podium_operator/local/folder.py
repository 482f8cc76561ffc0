"""The results folder of one experiment: where everything is, and JSON documents that are written whole or not at all.

experiment.yaml             the manifest as it was run
podium.db                   the suggestion engine's store
lock                        held while a `podium run` works here
state/experiment.json       what a cluster keeps in etcd: the Experiment,
state/trials/00001.json     its Trials,
state/runs/00001.json       and the latest run of each trial
trials/00001/checkpoints/   what the trial saved
trials/00001/run-2.log      what its second run printed
"""

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from podium_operator.core.ports import BackendError


class ResultsFolder:
    """One experiment's folder on this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._lock_file: TextIO | None = None

    @property
    def experiment(self) -> Path:
        return self.root / "state" / "experiment.json"

    def trial(self, number: int) -> Path:
        return self.root / "state" / "trials" / f"{number:05d}.json"

    def run(self, number: int) -> Path:
        return self.root / "state" / "runs" / f"{number:05d}.json"

    def trial_folder(self, number: int) -> Path:
        return self.root / "trials" / f"{number:05d}"

    def checkpoints(self, number: int) -> Path:
        return self.trial_folder(number) / "checkpoints"

    def of_run(self, number: int, attempt: int, ending: str) -> Path:
        """Return a file of one run: its log, termination, port, orders or exit."""
        return self.trial_folder(number) / f"run-{attempt}.{ending}"

    def lock(self) -> None:
        """Take the folder for this process; raises BackendError when another one works in it, or it cannot be written."""
        try:
            for folder in (self.root, self.root / "state" / "trials", self.root / "state" / "runs"):
                folder.mkdir(parents=True, exist_ok=True)
            self._lock_file = (self.root / "lock").open("a+", encoding="utf-8")
        except OSError as fault:
            raise BackendError(_cannot("write to", self.root, fault)) from fault
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock_file.seek(0)
            holder = self._lock_file.read().strip() or "unknown"
            self._lock_file.close()
            message = (
                f"another podium run (process {holder}) works in {self.root}; wait for it, or give another --results"
            )
            raise BackendError(message) from None
        self._lock_file.truncate(0)
        self._lock_file.write(str(os.getpid()))
        self._lock_file.flush()

    def unlock(self) -> None:
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    def documents(self, kind: str) -> Iterator[dict[str, Any]]:
        """Yield every document of state/`kind`, in order of names."""
        for path in sorted((self.root / "state" / kind).glob("*.json")):
            yield read_document(path)


def read_document(path: Path) -> dict[str, Any]:
    """Return a JSON document; raises BackendError when it cannot be read or is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise BackendError(_cannot("read", path, fault)) from fault
    except ValueError as fault:
        raise BackendError(
            f"{path} is damaged ({fault}); restore it, or start afresh with another --results"
        ) from fault
    if not isinstance(document, dict):
        raise BackendError(f"{path} is damaged (not an object); restore it, or start afresh with another --results")
    return document


def write_document(path: Path, document: dict[str, Any]) -> None:
    """Write a JSON document whole: after a crash or a full disk there is the new one or the old one, never a part."""
    write_whole(path, json.dumps(document, separators=(",", ":"), allow_nan=False))


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all; raises BackendError when the disk refuses."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as fault:
        temporary.unlink(missing_ok=True) if fault.errno != errno.EROFS else None
        raise BackendError(_cannot("write", path, fault)) from fault


def _cannot(do: str, path: Path, fault: OSError) -> str:
    return f"cannot {do} {path}: {fault.strerror or fault}; free some space, or check the permissions"
