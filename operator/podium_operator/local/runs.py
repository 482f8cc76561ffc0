"""One local run: its words and environment, what is kept of it on disk, and what its exit record means."""

import codecs
import errno
import os
import sys
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from signal import Signals
from typing import Any

from podium_contract import runtime
from podium_contract.conditions import Reason
from podium_contract.experiment import Experiment
from podium_contract.reports import last_words_in
from podium_contract.runtime import ExitCode
from podium_contract.template import expand, substitute, trial_container
from podium_contract.trial import Trial
from podium_operator.core.facts import End, EndKind, Run, RunState
from podium_operator.core.treaty import parameters_of, treaty_variables
from podium_operator.local.folder import ResultsFolder

_FAULT_OF_THE_CODE = frozenset(
    Signals[f"SIG{name}"]
    for name in ("SEGV", "ABRT", "BUS", "FPE", "ILL", "SYS", "TRAP", "PIPE", "ALRM", "XCPU", "XFSZ")
)
"""Signals that a program earns by what it does; the others come from somebody else."""
_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
"""How libraries are told to compute with so many threads; they take every core of the machine unless told otherwise."""
_LOG_TAIL_BYTES = 8192
_DISK_FULL = os.strerror(errno.ENOSPC)


@dataclass(frozen=True)
class RunRecord:
    """What is kept of a run on disk, so that a later `podium run` knows it again."""

    run: Run
    mark: str
    """Carried in the environment of every process of the run."""
    first_step: int = 0
    """The step it goes on from: where counting begins when its metrics do not tell their steps."""

    def to_json(self) -> dict[str, Any]:
        run = self.run
        return {
            "number": run.number,
            "attempt": run.attempt,
            "created": run.created.isoformat(),
            "stopping": run.stopping,
            "mark": self.mark,
            "firstStep": self.first_step,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "RunRecord":
        created = datetime.fromisoformat(data["created"])
        stopping = Reason(data["stopping"]) if data["stopping"] else None
        run = Run(data["number"], data["attempt"], RunState.ACTIVE, created, started=created, stopping=stopping)
        return cls(run, data["mark"], data.get("firstStep", 0))

    def with_run(self, **changes: Any) -> "RunRecord":
        return replace(self, run=replace(self.run, **changes))


def new_record(number: int, attempt: int, now: datetime, first_step: int = 0) -> RunRecord:
    """Return the record of a run that starts now."""
    return RunRecord(Run(number, attempt, RunState.ACTIVE, created=now, started=now), uuid.uuid4().hex, first_step)


def command_of(experiment: Experiment, trial: Trial, variables: Mapping[str, str]) -> list[str]:
    """Return the words that the trial's container would execute.

    As on a cluster, `$(NAME)` stands for a variable of the container, `--epochs $(PODIUM_TARGET_STEP)`, and `$$` for one
    dollar. All else, and every parameter's value, arrives exactly as written.
    """
    container = _substituted(experiment, trial)
    return [expand(word, variables) for word in (*(container.get("command") or ()), *(container.get("args") or ()))]


def variables_of(experiment: Experiment, trial: Trial, record: RunRecord, folder: ResultsFolder) -> dict[str, str]:
    """Return the variables that the run's container would have: the template's own, then the treaty's.

    One without a value (valueFrom) is left to this machine's environment.
    """
    container = _substituted(experiment, trial)
    variables: dict[str, str] = {}
    for variable in container.get("env") or ():
        if "valueFrom" not in variable:
            variables[variable["name"]] = expand(variable.get("value") or "", variables)
    return variables | _own_variables(experiment, trial, record, folder)


def environment_of(experiment: Experiment, variables: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a run: this machine's, the container's variables over it, this Python first on the path.

    Trials that run side by side compute with one thread each, unless somebody has said otherwise: more would only
    fight over the cores. What a program prints is not held back, so that its log can be followed.
    """
    inherited = {name: value for name, value in own.items() if name not in _TREATY}
    threads = {} if experiment.spec.parallelism == 1 else dict.fromkeys(_THREADS, "1")
    threads = {} if any(name in inherited or name in variables for name in _THREADS) else threads
    environment = {"PYTHONUNBUFFERED": "1", **threads, **inherited, **variables}
    path = environment.get("PATH") or os.defpath
    return {**environment, "PATH": os.pathsep.join([str(Path(sys.executable).parent), path])}


_TREATY = frozenset(value for name, value in vars(runtime).items() if name.startswith("ENV_"))
"""Variables that only a run itself may have: a podium that runs in a trial of another podium must not pass them on."""


def _own_variables(experiment: Experiment, trial: Trial, record: RunRecord, folder: ResultsFolder) -> dict[str, str]:
    number, attempt = record.run.number, record.run.attempt
    variables = {
        **treaty_variables(experiment, trial, attempt),
        runtime.ENV_CHECKPOINTS: str(folder.checkpoints(number)),
        runtime.ENV_METRICS_HOST: "127.0.0.1",
        runtime.ENV_METRICS_PORT: "0",
        runtime.ENV_METRICS_PORT_FILE: str(folder.of_run(number, attempt, "port")),
        runtime.ENV_TERMINATION_LOG: str(folder.of_run(number, attempt, "termination")),
        runtime.ENV_RUN_MARK: record.mark,
    }
    if trial.spec.parent is not None:
        variables[runtime.ENV_PARENT_CHECKPOINTS] = str(folder.checkpoints(trial.spec.parent.trial))
    return variables


def _substituted(experiment: Experiment, trial: Trial) -> dict[str, Any]:
    return substitute(_container(experiment), parameters_of(experiment, trial))


def end_of(record: Mapping[str, Any] | None, log: Path, termination: str, now: datetime) -> End:
    """Return what an exit record says; None stands for a launcher that ended without writing one."""
    if record is None:
        return End(EndKind.DISRUPTED, Reason.DISRUPTED, "its processes were killed from outside", now)
    at = datetime.fromtimestamp(record["at"], UTC)
    code, number = record["code"], record["signal"]
    if record["fault"] is not None:
        return End(EndKind.FAILED, Reason.START_FAILED, f"the command cannot be started: {record['fault']}", at)
    if record["orphaned"]:
        kind = EndKind.DONE if code == ExitCode.DONE else EndKind.CHECKPOINTED
        return End(kind, Reason.SUSPENDED, "podium run itself was stopped", at)
    if code == ExitCode.DONE:
        return End(EndKind.DONE, Reason.FINISHED, "exit code 0", at)
    if code == ExitCode.CHECKPOINTED:
        return End(EndKind.CHECKPOINTED, Reason.DISRUPTED, "it was asked to stop from outside", at)
    if code is not None:
        words = f"exit code {code}{_last_words(log, termination)}"
        if _DISK_FULL in words:
            return End(EndKind.DISRUPTED, Reason.DISRUPTED, words, at)  # not the fault of the configuration
        return End(EndKind.FAILED, Reason.EXIT_CODE, words, at)
    if number in _FAULT_OF_THE_CODE:
        words = f"killed by signal {number} ({Signals(number).name}){_last_words(log, termination)}"
        return End(EndKind.FAILED, Reason.CRASHED, words, at)
    # The kernel's, for want of memory, or somebody's: the signal does not tell. What neighbours took up may be free next
    # time, a checkpoint is there, and maxRetries ends it where the trial itself is too large.
    whose = "from outside (or by the kernel, for want of memory)" if number == Signals.SIGKILL else "from outside"
    return End(EndKind.DISRUPTED, Reason.DISRUPTED, f"killed by signal {number} {whose}", at)


def interrupted_end(last_sign_of_life: datetime) -> End:
    """Return the end of a run that an earlier `podium run` left behind without a trace of how it ended."""
    return End(EndKind.CHECKPOINTED, Reason.SUSPENDED, "podium run and its processes were stopped", last_sign_of_life)


def last_sign_of_life(record: RunRecord, folder: ResultsFolder) -> datetime:
    """Return when the run last wrote something: the time since then, podium's own absence, was no training."""
    run = record.run
    times = [run.created]
    for ending in ("log", "port", "termination"):
        with suppress(OSError):
            written = folder.of_run(run.number, run.attempt, ending).stat().st_mtime
            times.append(datetime.fromtimestamp(written, UTC))
    return max(times)


class LogTail:
    """What a log has gained since it was last read, as text; a character that is cut off waits for its rest."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def read_more(self, limit: int) -> str:
        """Return the next piece, of at most `limit` bytes; empty at the end of the file, or without one."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                data = file.read(limit)
        except OSError:
            return ""
        self._position += len(data)
        return self._decoder.decode(data)


def _container(experiment: Experiment) -> dict[str, Any]:
    return trial_container(experiment.spec.trial.template, experiment.spec.trial.container)


def _last_words(log: Path, termination: str) -> str:
    """Return the error that the run left behind: the SDK's line, else the log's last one."""
    words = (last_words_in(termination) or last_words_in(_tail(log)))[:300]
    return f": {words}" if words else ""


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(file.tell() - _LOG_TAIL_BYTES, 0))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
