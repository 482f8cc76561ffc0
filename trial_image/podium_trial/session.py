"""One run of a trial, from start to exit code: parameters in; reports, checkpoints and a termination message out."""

import errno
import operator
import os
import pickle
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self, SupportsIndex

from podium_contract.model import MAX_COUNT
from podium_contract.runtime import ExitCode
from podium_trial.checkpoints import (
    Checkpoint,
    CheckpointError,
    adopt,
    new_files_folder,
    resume_point,
    write_checkpoint,
)
from podium_trial.endpoint import Endpoint
from podium_trial.journal import Journal, checked_metrics, printable
from podium_trial.settings import Settings, settings_from

COLLECTION_SECONDS = 10.0
"""How long a run that ends waits for a last scrape, when its termination message cannot hold what was not collected."""
_ERROR_LENGTH = 500

SignalHandler = Callable[[int, FrameType | None], Any] | int | None


def start(settings: Settings | None = None) -> "Trial":
    """Return this run's trial, for use in a `with` statement. Settings come from the environment unless given.

    One process of a trial calls it: of several workers, the one that reports.
    """
    return Trial(settings or settings_from(os.environ))


class Trial:
    """One run of a trial.

    In a `with` statement it ends the process as Podium expects: 0 when the target is reached or the block is done, 75 when
    it was asked to stop before that, 1 with the traceback when the block raises.
    """

    def __init__(self, settings: Settings) -> None:
        self.name = settings.trial
        """The trial's name; empty without Podium."""
        self.number = settings.number
        """The trial's number in its experiment; 0 without Podium."""
        self.attempt = settings.attempt
        """1 for the trial's first run, 2 for the next ..."""
        self.seed = settings.seed
        """A seed of the trial's own, the same in each of its runs."""
        self.target = settings.target
        """Train up to this step; None: as long as the script wants."""
        self.resource = settings.resource
        """What a step is called: epoch, tree ..."""
        self.parameters: Mapping[str, Any] = dict(settings.parameters or {})
        """The configuration, types kept; inactive parameters are absent."""
        self._settings = settings
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._process = os.getpid()
        self._previous_handler: SignalHandler = signal.SIG_DFL
        self._saved_step = 0
        self._trained_step = 0
        self._has_resumed = False
        labels = {"experiment": settings.experiment, "trial": settings.trial} if settings.is_managed else {}
        self._journal = Journal(settings.attempt, labels, is_collected=settings.metrics_port is not None)
        self._endpoint: Endpoint | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous_handler = signal.signal(signal.SIGTERM, self._on_sigterm)
        if self._settings.metrics_port is not None:
            self._endpoint = Endpoint(
                self._journal.page,
                self._journal.collected,
                self._settings.metrics_host,
                self._settings.metrics_port,
                self._settings.metrics_port_file,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        """Leave the final reports behind, then end as agreed; an exception goes on its way."""
        if self._is_forked:
            return  # a worker that leaves the block ends nothing but itself
        is_hurried = self.stopping or isinstance(error, KeyboardInterrupt)
        message = "" if self._settings.termination_log is None else self._journal.final_message(_what_went_wrong(error))
        if self._endpoint is not None and not is_hurried:  # what a stopped run cannot hand over is in its checkpoint
            self._journal.wait_until_collected(COLLECTION_SECONDS, message)
        self._write_termination_message(message)
        if self._endpoint is not None:
            self._endpoint.close()
        if threading.current_thread() is threading.main_thread():
            # Whoever asked to stop has been heard: asking again must not spoil the exit code.
            after = signal.SIG_IGN if self.stopping else self._previous_handler or signal.SIG_DFL
            signal.signal(signal.SIGTERM, after)
        if kind is not None:
            return
        self._tell_unsaved_steps()
        if self.stopping and not self._has_reached_target():
            sys.exit(ExitCode.CHECKPOINTED)

    @property
    def stopping(self) -> bool:
        """Whether the run was asked to stop (SIGTERM): save a checkpoint and leave. `steps()` heeds it by itself."""
        return self._stop.is_set()

    def restore(self) -> Any:
        """Return what was last saved (by this trial, else by the parent it is a clone of), or None at the very start.

        That is the object given to `save`, or the folder filled in a `checkpoint` block (to read, not to change). A clone
        begins at the step at which its parent was when it was cloned. Call it once, before the first step: `steps` goes on
        from there. Raises CheckpointError when a clone's parent has saved nothing to start from.
        """
        checkpoint = self._resume_point()
        if checkpoint is None:
            return None
        self._saved_step = self._trained_step = checkpoint.step
        if not self._settings.is_managed:
            place = f"the folder {self._settings.checkpoints}; remove it to start anew"
            print(f"podium: goes on after {self.resource} {checkpoint.step}, from {place}")  # noqa: T201  (nobody else tells)
        if checkpoint.files is not None:
            return checkpoint.files
        return pickle.loads(checkpoint.payload)  # noqa: S301  (written by this very program, in a folder of its own)

    def steps(self, until: int | None = None) -> Iterator[int]:
        """Yield the steps that are left: after the restored one, up to the target (or `until`, if that is less).

        A script that never calls `restore` begins at step 1. Ends early, after the current step, once the run was asked
        to stop.
        """
        limits = [limit for limit in (self.target, until) if limit is not None]
        last = min(limits) if limits else None
        step = self._saved_step
        while (last is None or step < last) and not self.stopping:
            step += 1
            yield step
            self._trained_step = step

    def report(self, step: SupportsIndex, metrics: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        """Report metrics of a step, by name or as a mapping. A later report of the same step replaces what it repeats.

        NaN and infinity are allowed: Podium keeps them and ranks them last. Raises TypeError for anything but numbers.
        """
        self._check_process()
        number = _whole_step(step)
        checked = checked_metrics({**(metrics or {}), **named})
        observation = self._journal.add(number, checked, time.monotonic() - self._began)
        if not self._settings.is_managed:
            values = "  ".join(f"{name}={value:g}" for name, value in observation.metrics.items())
            print(f"{self.resource} {number}: {values}", flush=True)  # noqa: T201  (nobody else tells)

    def save(self, step: SupportsIndex, state: Any) -> None:
        """Store a checkpoint of `state` (anything that pickles) as of `step`, together with the reports made so far.

        Report a step before saving it: a step that is saved is not trained again. Raises CheckpointError when the disk
        refuses; the earlier checkpoint is then intact.
        """
        self._commit(_whole_step(step), pickle.dumps(state, protocol=pickle.HIGHEST_PROTOCOL))

    @contextmanager
    def checkpoint(self, step: SupportsIndex) -> Iterator[Path]:
        """Give an empty folder to fill with the files of a checkpoint; it is stored, as by `save`, when the block ends.

        For frameworks that write files themselves. A block that raises stores nothing.
        """
        number = _whole_step(step)
        files = new_files_folder(self._settings.checkpoints, number, self.attempt)
        try:
            yield files
            self._commit(number, b"", files)
        except BaseException:
            shutil.rmtree(files, ignore_errors=True)
            raise

    def is_save_due(self, step: SupportsIndex, every: int = 1) -> bool:
        """Answer whether to save after `step`, to save rarely and still lose nothing at a rung or when asked to stop.

        True at every `every`-th step, at the target, and once the run was asked to stop.
        """
        return _whole_step(step) % every == 0 or step == self.target or self.stopping

    @property
    def _is_forked(self) -> bool:
        """Whether this is a copy of the process that started the trial, made by `os.fork`."""
        return os.getpid() != self._process

    def _check_process(self) -> None:
        if self._is_forked:
            raise RuntimeError(
                "one process of a trial reports and saves, the one that called start(), got a fork of it; "
                "hand the values to that process"
            )

    def _commit(self, step: int, payload: bytes, files: Path | None = None) -> None:
        self._check_process()
        is_rest = self.target is not None and step >= self.target
        reports = self._journal.up_to(step)
        write_checkpoint(
            self._settings.checkpoints, step, payload, reports, files, is_rest=is_rest, attempt=self.attempt
        )
        self._saved_step = step

    def _resume_point(self) -> Checkpoint | None:
        own = resume_point(self._settings.checkpoints)
        if own is not None:
            if not self._has_resumed:
                self._has_resumed = True
                self._journal.resume(own.reports)
            return own
        if self._settings.parent_checkpoints is not None:
            return self._adopted(self._settings.parent_checkpoints)
        return None

    def _adopted(self, owner: Path) -> Checkpoint:
        checkpoint = adopt(owner, self._settings.checkpoints, self._settings.parent_step, self.attempt)
        if checkpoint is None:
            raise CheckpointError(
                errno.ENOENT,
                f"a clone starts from its parent's checkpoint, got none in {owner}; "
                "let the script save, at its target at least, and on a cluster give the experiment trial.checkpoints",
            )
        return checkpoint

    def _has_reached_target(self) -> bool:
        return self.target is not None and max(self._saved_step, self._journal.last_step) >= self.target

    def _on_sigterm(self, number: int, _frame: FrameType | None) -> None:
        if not self._is_forked:
            self._stop.set()
            return
        signal.signal(number, signal.SIG_DFL)  # a forked worker inherits the handler, but nobody there heeds the flag
        os.kill(os.getpid(), number)

    def _tell_unsaved_steps(self) -> None:
        """Warn of work that a promotion would have to repeat: it resumes from the last checkpoint."""
        if self.target is not None and self._trained_step > self._saved_step:
            saved = f"the last of them saved is {self._saved_step}" if self._saved_step else "none of them was saved"
            print(  # noqa: T201  (for whoever reads the trial's log)
                f"podium: trained to {self.resource} {self._trained_step}, but {saved}; going on later repeats the rest",
                file=sys.stderr,
            )

    def _write_termination_message(self, message: str) -> None:
        if self._settings.termination_log is None:
            return
        with suppress(OSError):  # a full disk must not hide how the training ended
            self._settings.termination_log.write_text(message, encoding="utf-8")


def _what_went_wrong(error: BaseException | None) -> str:
    """Return the first line of an error, for the termination message; empty when nothing went wrong."""
    if isinstance(error, SystemExit):
        text = error.code if isinstance(error.code, str) else ""  # sys.exit("what is wrong")
    else:
        text = "" if error is None else f"{type(error).__name__}: {error}"
    lines = printable(text).strip().splitlines()
    return lines[0][:_ERROR_LENGTH] if lines else ""


def _whole_step(step: SupportsIndex) -> int:
    """Return a step as an int (numpy's whole numbers are welcome); raises TypeError or ValueError for any other."""
    try:
        number = operator.index(step)
    except TypeError:
        raise TypeError(f"a step must be a whole number, got {step!r}; count epochs, trees or batches") from None
    if not 0 <= number <= MAX_COUNT:
        raise ValueError(f"a step must lie between 0 and 2**53, got {number}; count from 1")
    return number
