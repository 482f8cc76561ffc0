"""One local run: how it is started, what its exit record means, and where its metrics are read."""

import json
import os
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from signal import Signals
from typing import Any

from podium_contract import runtime
from podium_contract.conditions import Reason
from podium_contract.experiment import Experiment
from podium_contract.names import trial_name
from podium_contract.runtime import ExitCode
from podium_contract.template import substitute, trial_container
from podium_contract.trial import Trial
from podium_operator.core.facts import End, EndKind, Run, RunState
from podium_operator.core.seeds import trial_seed
from podium_operator.local.folder import ResultsFolder

DEFAULT_GRACE_SECONDS = 30
"""What Kubernetes gives a pod between SIGTERM and SIGKILL, unless its template says otherwise."""

_FAULT_OF_THE_CODE = frozenset(
    {Signals.SIGSEGV, Signals.SIGABRT, Signals.SIGBUS, Signals.SIGFPE, Signals.SIGILL, Signals.SIGSYS}
)
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_LOG_TAIL_BYTES = 8192


@dataclass(frozen=True)
class RunRecord:
    """What is kept of a run on disk, so that a later `podium run` knows it again."""

    run: Run
    mark: str
    """Carried in the environment of every process of the run."""

    def to_json(self) -> dict[str, Any]:
        run = self.run
        return {
            "number": run.number,
            "attempt": run.attempt,
            "created": run.created.isoformat(),
            "stopping": run.stopping,
            "mark": self.mark,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "RunRecord":
        created = datetime.fromisoformat(data["created"])
        stopping = Reason(data["stopping"]) if data["stopping"] else None
        run = Run(data["number"], data["attempt"], RunState.ACTIVE, created, started=created, stopping=stopping)
        return cls(run, data["mark"])

    def with_run(self, **changes: Any) -> "RunRecord":
        return replace(self, run=replace(self.run, **changes))


def new_record(number: int, attempt: int, now: datetime) -> RunRecord:
    """Return the record of a run that starts now."""
    return RunRecord(Run(number, attempt, RunState.ACTIVE, created=now, started=now), mark=uuid.uuid4().hex)


def command_of(experiment: Experiment, trial: Trial) -> list[str]:
    """Return the words that the trial's container would execute."""
    container = substitute(_container(experiment), trial.spec.parameters)
    return [*(container.get("command") or ()), *(container.get("args") or ())]


def environment_of(
    experiment: Experiment, trial: Trial, record: RunRecord, folder: ResultsFolder, own: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment of a run: this process's own, the container's, and the treaty's variables."""
    number, attempt = record.run.number, record.run.attempt
    container = substitute(_container(experiment), trial.spec.parameters)
    given = {variable["name"]: variable.get("value", "") for variable in container.get("env") or ()}
    interpreter = str(Path(sys.executable).parent)
    environment = {
        **{name: "1" for name in _ONE_THREAD if name not in own},
        **own,
        "PATH": os.pathsep.join([interpreter, own.get("PATH", os.defpath)]),
        **given,
        runtime.ENV_EXPERIMENT: experiment.metadata.name,
        runtime.ENV_TRIAL: trial_name(experiment.metadata.name, number),
        runtime.ENV_NUMBER: str(number),
        runtime.ENV_ATTEMPT: str(attempt),
        runtime.ENV_PARAMETERS: json.dumps(trial.spec.parameters),
        runtime.ENV_RESOURCE: experiment.spec.scheduler.resource,
        runtime.ENV_CHECKPOINTS: str(folder.checkpoints(number)),
        runtime.ENV_METRICS_HOST: "127.0.0.1",
        runtime.ENV_METRICS_PORT: "0",
        runtime.ENV_METRICS_PORT_FILE: str(folder.of_run(number, attempt, "port")),
        runtime.ENV_TERMINATION_LOG: str(folder.of_run(number, attempt, "termination")),
        runtime.ENV_SEED: str(trial_seed(experiment.spec.search.seed, number)),
        runtime.ENV_RUN_MARK: record.mark,
    }
    if trial.target is not None:
        environment[runtime.ENV_TARGET] = str(trial.target)
    if trial.spec.parent is not None:
        environment[runtime.ENV_PARENT_CHECKPOINTS] = str(folder.checkpoints(trial.spec.parent.trial))
    return environment


def grace_seconds(experiment: Experiment) -> float:
    """Return the time between SIGTERM and SIGKILL."""
    pod = experiment.spec.trial.template["spec"]
    return float(pod.get("terminationGracePeriodSeconds") or DEFAULT_GRACE_SECONDS)


def end_of(record: Mapping[str, Any] | None, log: Path, termination: str, now: datetime) -> End:
    """Return what an exit record says; None stands for a launcher that ended without writing one."""
    if record is None:
        return End(EndKind.DISRUPTED, Reason.DISRUPTED, "its processes were killed from outside", now)
    at = datetime.fromtimestamp(record["at"], UTC)
    code, number = record["code"], record["signal"]
    if record["fault"] is not None:
        return End(EndKind.FAILED, Reason.START_FAILED, f"the command cannot be started: {record['fault']}", at)
    if code == ExitCode.DONE:
        return End(EndKind.DONE, Reason.FINISHED, "exit code 0", at)
    if record["orphaned"]:
        return End(EndKind.CHECKPOINTED, Reason.SUSPENDED, "podium run itself was stopped", at)
    if code == ExitCode.CHECKPOINTED:
        return End(EndKind.CHECKPOINTED, Reason.DISRUPTED, "it was asked to stop from outside", at)
    if code is not None:
        return End(EndKind.FAILED, Reason.EXIT_CODE, f"exit code {code}{_last_words(log, termination)}", at)
    if number in _FAULT_OF_THE_CODE:
        words = f"killed by signal {number} ({Signals(number).name}){_last_words(log, termination)}"
        return End(EndKind.FAILED, Reason.CRASHED, words, at)
    return End(EndKind.DISRUPTED, Reason.DISRUPTED, f"killed by signal {number} from outside", at)


def interrupted_end(now: datetime) -> End:
    """Return the end of a run that an earlier `podium run` left behind without a trace of how it ended."""
    return End(EndKind.CHECKPOINTED, Reason.SUSPENDED, "podium run and its processes were stopped", now)


def _container(experiment: Experiment) -> dict[str, Any]:
    return trial_container(experiment.spec.trial.template, experiment.spec.trial.container)


def _last_words(log: Path, termination: str) -> str:
    """Return the error that the run left behind: the SDK's line, else the log's last one."""
    errors = [line.removeprefix("error: ") for line in termination.splitlines() if line.startswith("error: ")]
    lines = errors or [line.strip() for line in _tail(log).splitlines() if line.strip()]
    return f": {lines[-1][:300]}" if lines else ""


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(file.tell() - _LOG_TAIL_BYTES, 0))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
