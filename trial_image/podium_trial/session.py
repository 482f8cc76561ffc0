"""One run of a trial, from start to exit code: parameters in; reports, checkpoints and a termination message out."""

import operator
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self, SupportsIndex

from podium_contract.reports import TERMINATION_MESSAGE_LIMIT
from podium_contract.runtime import ExitCode
from podium_trial.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from podium_trial.endpoint import Endpoint
from podium_trial.journal import Journal, checked_metrics
from podium_trial.settings import Settings, settings_from

COLLECTION_SECONDS = 10.0
"""How long a run that ends waits for a last scrape, when its termination message cannot hold what was not collected."""


def start(settings: Settings | None = None) -> "Trial":
    """Return this run's trial, for use in a `with` statement. Settings come from the environment unless given."""
    return Trial(settings or settings_from(os.environ))


class Trial:
    """One run of a trial.

    In a `with` statement it ends the process as Podium expects: 0 when the target is reached or the block is done, 75 when
    it was asked to stop before that, 1 with the traceback when the block raises.
    """

    def __init__(self, settings: Settings) -> None:
        self.number = settings.number
        """The trial's number in its experiment; 0 without Podium."""
        self.attempt = settings.attempt
        self.seed = settings.seed
        """A seed of the trial's own, the same in each of its runs."""
        self.target = settings.target
        """Train up to this step; None: as long as the script wants."""
        self.parameters: Mapping[str, Any] = dict(settings.parameters or {})
        """The configuration, types kept; inactive parameters are absent."""
        self._settings = settings
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._saved_step = 0
        self._restored = False
        labels = {"experiment": settings.experiment, "trial": settings.trial} if settings.is_managed else {}
        self._journal = Journal(settings.attempt, labels)
        self._endpoint: Endpoint | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_sigterm)
        if self._settings.metrics_port is not None:
            self._endpoint = Endpoint(
                self._journal.page,
                self._settings.metrics_host,
                self._settings.metrics_port,
                self._settings.metrics_port_file,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        """Leave the final reports behind, then end as agreed; an exception goes on its way."""
        if self._endpoint is not None and error is None:
            self._journal.wait_until_collected(0.0 if self.stopping else COLLECTION_SECONDS)
        self._write_termination_message(error)
        if self._endpoint is not None:
            self._endpoint.close()
        if kind is None and self.stopping and not self._has_reached_target():
            sys.exit(ExitCode.CHECKPOINTED)

    @property
    def stopping(self) -> bool:
        """Whether the run was asked to stop (SIGTERM): save a checkpoint and leave. `steps()` heeds it by itself."""
        return self._stop.is_set()

    def restore(self) -> Any:
        """Return what was last saved (by this trial, else by the parent it is a clone of), or None at the very start.

        A clone begins where its parent's checkpoint was made.
        """
        self._restored = True
        checkpoint = self._last_checkpoint()
        if checkpoint is None:
            return None
        self._saved_step = checkpoint.step
        return pickle.loads(checkpoint.payload)  # noqa: S301  (written by this very program, in a folder of its own)

    def steps(self, until: int | None = None) -> Iterator[int]:
        """Yield the steps that are left: after the restored one, up to the target (or `until`, if that is less).

        Ends early, after a step that was saved, once the run was asked to stop.
        """
        if not self._restored:
            self.restore()
        limits = [limit for limit in (self.target, until) if limit is not None]
        last = min(limits) if limits else None
        step = self._saved_step
        while last is None or step < last:
            if self.stopping:
                return
            step += 1
            yield step

    def report(self, step: SupportsIndex, metrics: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        """Report metrics of a step, by name or as a mapping. A later report of the same step replaces what it repeats.

        NaN and infinity are allowed: Podium keeps them and ranks them last. Raises TypeError for anything but numbers.
        """
        number = _whole_step(step)
        checked = checked_metrics({**(metrics or {}), **named})
        observation = self._journal.add(number, checked, time.monotonic() - self._began)
        if not self._settings.is_managed:
            values = "  ".join(f"{name}={value:g}" for name, value in observation.metrics.items())
            print(f"{self._settings.resource} {number}: {values}", flush=True)  # noqa: T201  (nobody else tells)

    def save(self, step: SupportsIndex, state: Any) -> None:
        """Store a checkpoint of `state` (anything that pickles) as of `step`, together with the reports made so far.

        Report a step before saving it: a step that is saved is not trained again. Raises CheckpointError when the disk
        refuses; the earlier checkpoint is then intact.
        """
        payload = pickle.dumps(state, protocol=pickle.HIGHEST_PROTOCOL)
        number = _whole_step(step)
        write_checkpoint(self._settings.checkpoints, number, payload, self._journal.up_to(number))
        self._saved_step = number

    def _last_checkpoint(self) -> Checkpoint | None:
        own = read_checkpoint(self._settings.checkpoints)
        if own is not None:
            self._journal.resume(own.reports)
            return own
        if self._settings.parent_checkpoints is not None:
            return read_checkpoint(self._settings.parent_checkpoints)
        return None

    def _has_reached_target(self) -> bool:
        return self.target is not None and self._saved_step >= self.target

    def _on_sigterm(self, _number: int, _frame: FrameType | None) -> None:
        self._stop.set()

    def _write_termination_message(self, error: BaseException | None) -> None:
        if self._settings.termination_log is None:
            return
        message = self._journal.final_message()
        if error is not None and not isinstance(error, SystemExit):
            line = f"error: {type(error).__name__}: {error}".splitlines()[0][:500]
            if len(message.encode()) + len(line.encode()) + 1 <= TERMINATION_MESSAGE_LIMIT:
                message = f"{message}\n{line}" if message else line
        with suppress(OSError):  # a full disk must not hide how the training ended
            self._settings.termination_log.write_text(message, encoding="utf-8")


def _whole_step(step: SupportsIndex) -> int:
    """Return a step as an int (numpy's whole numbers are welcome); raises TypeError or ValueError for any other."""
    try:
        number = operator.index(step)
    except TypeError:
        raise TypeError(f"a step must be a whole number, got {step!r}; count epochs, trees or batches") from None
    if number < 0:
        raise ValueError(f"a step must not be negative, got {number}; count from 1")
    return number
