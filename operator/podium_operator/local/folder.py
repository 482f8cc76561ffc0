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
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO, TypeVar

from podium_operator.core.ports import BackendError

_Record = TypeVar("_Record")


class ResultsFolder:
    """One experiment's folder on this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._lock_file: TextIO | None = None

    @property
    def manifest(self) -> Path:
        return self.root / "experiment.yaml"

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
            lock_file = (self.root / "lock").open("a+", encoding="utf-8")
        except OSError as fault:
            raise disk_fault("write to", self.root, fault) from fault
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock_file.truncate(0)
            lock_file.write(str(os.getpid()))
            lock_file.flush()
        except BlockingIOError:
            lock_file.seek(0)
            holder = lock_file.read().strip() or "unknown"
            lock_file.close()
            raise BackendError(
                f"another podium run (process {holder}) works in {self.root}; wait for it, or give another --results"
            ) from None
        except OSError as fault:
            _close_in_any_case(lock_file)
            raise disk_fault("lock", self.root, fault) from fault
        self._lock_file = lock_file

    def unlock(self) -> None:
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    def documents(self, kind: str) -> Iterator[dict[str, Any]]:
        """Yield every document of state/`kind`, in order of names."""
        for path in self._paths(kind):
            yield read_document(path)

    def records(self, kind: str, parse: Callable[[dict[str, Any]], _Record]) -> Iterator[_Record]:
        """Yield every record of state/`kind`; raises BackendError naming the file that is none."""
        for path in self._paths(kind):
            yield read_record(path, parse)

    def _paths(self, kind: str) -> list[Path]:
        return sorted((self.root / "state" / kind).glob("[0-9]*.json"))


def read_document(path: Path) -> dict[str, Any]:
    """Return a JSON document; raises BackendError when it cannot be read or is none."""
    return read_record(path, lambda document: document)


def read_record(path: Path, parse: Callable[[dict[str, Any]], _Record]) -> _Record:
    """Return what a JSON document describes; raises BackendError when it cannot be read or describes nothing."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            raise ValueError("not an object")  # noqa: TRY004, TRY301  (every damage is told in one way)
        return parse(document)
    except OSError as fault:
        raise disk_fault("read", path, fault) from fault
    except (ValueError, KeyError, TypeError, RecursionError) as fault:
        why = str(fault).partition("\n")[0] if isinstance(fault, ValueError) else repr(fault)
        raise BackendError(f"{path} is damaged ({why}); restore it, or start afresh with another --results") from fault


def write_document(path: Path, document: dict[str, Any]) -> None:
    """Write a JSON document whole: after a crash or a full disk there is the new one or the old one, never a part."""
    write_whole(path, json.dumps(document, separators=(",", ":"), allow_nan=False))


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all, and for good; raises BackendError when the disk refuses."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as fault:
        with suppress(OSError):  # what refused the file may refuse this too
            temporary.unlink(missing_ok=True)
        raise disk_fault("write", path, fault) from fault


def disk_fault(do: str, path: Path, fault: OSError) -> BackendError:
    """Return the error for a file that the disk refuses: what was to be done, why it failed, and the remedy."""
    match fault.errno:
        case errno.EEXIST | errno.ENOTDIR | errno.EISDIR:
            remedy = "it must be a folder's; give another --results"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            remedy = "check the permissions"
        case _:
            remedy = "free some space, or check the permissions"
    return BackendError(f"cannot {do} {path}: {fault.strerror or fault}; {remedy}")


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _close_in_any_case(file: TextIO) -> None:
    with suppress(OSError):  # it holds text that a full disk has refused
        file.close()
