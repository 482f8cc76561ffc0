"""What a local run is given, and what its end is taken for."""

import errno
import json
import os
import signal
import sys
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from builders.local_runs import a_local_experiment, a_trial_of
from podium_contract import runtime
from podium_contract.conditions import Reason
from podium_contract.experiment import Experiment
from podium_contract.manifest import ManifestError
from podium_contract.trial import Trial
from podium_operator.core.facts import End, EndKind
from podium_operator.local.folder import ResultsFolder
from podium_operator.local.limits import grace_seconds, notices_of, refuse_what_cannot_be_done
from podium_operator.local.runs import (
    LogTail,
    RunRecord,
    command_of,
    end_of,
    environment_of,
    interrupted_end,
    last_sign_of_life,
    new_record,
    variables_of,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HERE = ResultsFolder(Path("/results"))


def variables(experiment: Experiment, trial: Trial) -> dict[str, str]:
    return variables_of(experiment, trial, new_record(trial.spec.number, 1, NOW), HERE)


def environment(experiment: Experiment, own: dict[str, str] | None = None) -> dict[str, str]:
    return environment_of(experiment, variables(experiment, a_trial_of(experiment)), own or {})


def words(*command: str, **spec: Any) -> list[str]:
    experiment = a_local_experiment(*command, **spec)
    trial = a_trial_of(experiment)
    return command_of(experiment, trial, variables(experiment, trial))


# --- words


def test_command_and_args_follow_each_other() -> None:
    assert words("train", container={"args": ["--lr", "${lr}"]}) == ["train", "--lr", "0.001"]


@pytest.mark.parametrize("word", ["a b", "*", "$HOME", "`x`", '"', "$(date)", "$", "$(", "a;b", "", "\\n"])
def test_words_arrive_as_written_without_a_shell(word: str) -> None:
    assert words("train", word) == ["train", word]


def test_variables_of_the_container_are_named_as_on_a_cluster() -> None:
    env = [
        {"name": "DATA", "value": "/data"},
        {"name": "TRAIN", "value": "$(DATA)/train"},
        {"name": "A", "value": "$(B)"},
    ]
    given = words("x", "$(TRAIN)", "$(PODIUM_TRIAL)", "$(UNKNOWN)", "$$(DATA)", "$$", "$(A)", container={"env": env})
    assert given == ["x", "/data/train", "local-00001", "$(UNKNOWN)", "$(DATA)", "$", "$(B)"]


@pytest.mark.parametrize("value", ["$(PODIUM_TRIAL)", "$$(PODIUM_TRIAL)", "$$", "${lr}", ["$(PODIUM_TRIAL)"]])
def test_value_of_a_parameter_arrives_as_it_is(value: Any) -> None:
    experiment = a_local_experiment("train", "${lr}", container={"env": [{"name": "LR", "value": "${lr}"}]})
    trial = a_trial_of(experiment)
    trial = trial.model_copy(update={"spec": trial.spec.model_copy(update={"parameters": {"lr": value}})})
    given, text = variables(experiment, trial), value if isinstance(value, str) else json.dumps(value)
    assert command_of(experiment, trial, given) == ["train", text]
    assert json.loads(given[runtime.ENV_PARAMETERS]) == {"lr": value}
    assert given["LR"] == text


# --- environment


def test_treaty_is_kept() -> None:
    experiment = a_local_experiment(search={"algorithm": "random", "seed": 7})
    given = variables(experiment, a_trial_of(experiment, 3, target=9))
    assert given[runtime.ENV_EXPERIMENT] == "local"
    assert given[runtime.ENV_TRIAL] == "local-00003"
    assert given[runtime.ENV_NUMBER] == "3"
    assert given[runtime.ENV_ATTEMPT] == "1"
    assert json.loads(given[runtime.ENV_PARAMETERS]) == {"lr": 0.003}
    assert given[runtime.ENV_TARGET] == "9"
    assert given[runtime.ENV_CHECKPOINTS] == "/results/trials/00003/checkpoints"
    assert given[runtime.ENV_METRICS_HOST] == "127.0.0.1"
    assert given[runtime.ENV_METRICS_PORT] == "0"
    assert runtime.ENV_PARENT_CHECKPOINTS not in given


def test_seed_depends_on_the_experiments_seed_and_the_trials_number_alone() -> None:
    def seed(experiment_seed: int, number: int) -> str:
        experiment = a_local_experiment(search={"algorithm": "random", "seed": experiment_seed})
        return variables(experiment, a_trial_of(experiment, number))[runtime.ENV_SEED]

    assert len({seed(1, 1), seed(1, 2), seed(2, 1)}) == 3
    assert seed(1, 1) == seed(1, 1)


def test_clone_is_shown_its_parents_checkpoints() -> None:
    experiment = a_local_experiment()
    given = variables(experiment, a_trial_of(experiment, 3, parent=2))
    assert given[runtime.ENV_PARENT_CHECKPOINTS] == "/results/trials/00002/checkpoints"
    assert given[runtime.ENV_PARENT_STEP] == "1"


def test_every_run_has_a_mark_of_its_own() -> None:
    assert new_record(1, 1, NOW).mark != new_record(1, 1, NOW).mark


def test_python_is_the_one_that_runs_podium() -> None:
    folder = str(Path(sys.executable).parent)
    assert environment(a_local_experiment(), {"PATH": "/bin"})["PATH"] == f"{folder}{os.pathsep}/bin"
    container = {"env": [{"name": "PATH", "value": "/opt/bin"}]}
    given = environment(a_local_experiment(container=container), {"PATH": "/bin"})
    assert given["PATH"] == f"{folder}{os.pathsep}/opt/bin"


def test_container_wins_over_this_machine_and_the_treaty_over_both() -> None:
    container = {"env": [{"name": "MODE", "value": "full"}, {"name": runtime.ENV_NUMBER, "value": "99"}]}
    given = environment(a_local_experiment(container=container), {"MODE": "quick", "HOME": "/me"})
    assert (given["MODE"], given["HOME"], given[runtime.ENV_NUMBER]) == ("full", "/me", "1")


def test_variable_that_a_cluster_would_look_up_is_this_machines() -> None:
    container = {"env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}
    assert environment(a_local_experiment(container=container), {"TOKEN": "mine"})["TOKEN"] == "mine"


def test_podium_within_a_trial_passes_nothing_of_that_trial_on() -> None:
    given = environment(a_local_experiment(), {runtime.ENV_TARGET: "81", runtime.ENV_PARENT_CHECKPOINTS: "/other"})
    assert runtime.ENV_TARGET not in given
    assert runtime.ENV_PARENT_CHECKPOINTS not in given


def test_trials_side_by_side_compute_with_one_thread_each() -> None:
    together = a_local_experiment(parallelism=2)
    assert environment(together)["OMP_NUM_THREADS"] == "1"
    assert "OMP_NUM_THREADS" not in environment(a_local_experiment(parallelism=1))


@pytest.mark.parametrize("where", ["shell", "template"])
def test_threads_that_the_user_has_set_are_left_as_they_are(where: str) -> None:
    env = [{"name": "OMP_NUM_THREADS", "value": "4"}]
    experiment = a_local_experiment(parallelism=2, container={"env": env} if where == "template" else {})
    given = environment(experiment, {"OMP_NUM_THREADS": "4"} if where == "shell" else {})
    assert given["OMP_NUM_THREADS"] == "4"
    assert "OPENBLAS_NUM_THREADS" not in given, "it would overrule the user's 4"


# --- what a laptop cannot do


@pytest.mark.parametrize(
    ("spec", "path", "remedy"),
    [
        ({"container": {"command": []}}, "containers[0].command", "write command"),
        (
            {"container": {"envFrom": [{"secretRef": {"name": "s"}}]}},
            "containers[0].envFrom",
            "list the variables in env",
        ),
        (
            {"container": {"env": [{"name": "A", "value": "1"}, {"name": "TOKEN", "valueFrom": {}}]}},
            "containers[0].env[1].valueFrom",
            "export TOKEN in your shell",
        ),
        ({"grace": -1}, "terminationGracePeriodSeconds", "0 or more, got -1"),
        ({"grace": "soon"}, "terminationGracePeriodSeconds", "got 'soon'"),
    ],
    ids=["no command", "envFrom", "valueFrom", "negative grace", "grace in words"],
)
def test_template_that_no_laptop_can_run_is_refused(spec: dict[str, Any], path: str, remedy: str) -> None:
    with pytest.raises(ManifestError) as refusal:
        refuse_what_cannot_be_done(a_local_experiment(**spec).spec, {})
    (fault,) = refusal.value.faults
    assert fault.path == f"spec.trial.template.spec.{path}"
    assert remedy in fault.message


@pytest.mark.parametrize(("parallelism", "is_refused"), [(1, False), (2, True)])
def test_trials_of_one_machine_that_would_be_read_from_one_port_are_refused(parallelism: int, is_refused: bool) -> None:
    metrics = {"source": "prometheus", "port": 9105, "series": {"loss": "loss"}}
    spec = a_local_experiment(metrics=metrics, parallelism=parallelism).spec
    refused = pytest.raises(ManifestError, match=r"spec\.parallelism: .* got 2; set it to 1")
    with refused if is_refused else nullcontext():
        refuse_what_cannot_be_done(spec, {})


def test_what_is_left_out_is_said() -> None:
    pod = {"initContainers": [{"name": "i"}], "volumes": [{"name": "v"}]}
    experiment = a_local_experiment(pod=pod, container={"workingDir": "/app"})
    experiment.spec.trial.template["spec"]["containers"].append({"name": "proxy"})
    notices = notices_of(experiment.spec.trial)
    assert [notice.split(":")[0] for notice in notices] == ["initContainers", "volumes", "workingDir", "containers"]
    assert "proxy" in notices[-1]
    assert notices_of(a_local_experiment().spec.trial) == ()


@pytest.mark.parametrize(("written", "seconds"), [(None, 30.0), (0, 0.0), (5, 5.0)])
def test_grace_period_is_the_templates_or_kubernetes_own(written: int | None, seconds: float) -> None:
    assert grace_seconds(a_local_experiment(grace=written).spec.trial) == seconds


# --- ends


def end_with(tmp_path: Path, termination: str = "", log: bytes = b"", **record: Any) -> End:
    (tmp_path / "log").write_bytes(log)
    defaults = {"code": None, "signal": None, "fault": None, "orphaned": False, "at": NOW.timestamp()}
    return end_of({**defaults, **record}, tmp_path / "log", termination, NOW + timedelta(hours=1))


@pytest.mark.parametrize(
    ("record", "kind", "reason", "message"),
    [
        ({"code": 0}, EndKind.DONE, Reason.FINISHED, "exit code 0"),
        ({"code": 0, "orphaned": True}, EndKind.DONE, Reason.SUSPENDED, "podium run itself was stopped"),
        ({"code": 75}, EndKind.CHECKPOINTED, Reason.DISRUPTED, "it was asked to stop from outside"),
        ({"code": 3}, EndKind.FAILED, Reason.EXIT_CODE, "exit code 3: last words"),
        ({"code": 3, "orphaned": True}, EndKind.CHECKPOINTED, Reason.SUSPENDED, "podium run itself was stopped"),
        ({"signal": 9, "orphaned": True}, EndKind.CHECKPOINTED, Reason.SUSPENDED, "podium run itself was stopped"),
        (
            {"signal": 9},
            EndKind.DISRUPTED,
            Reason.DISRUPTED,
            "killed by signal 9 from outside (or by the kernel, for want of memory)",
        ),
        ({"code": 137}, EndKind.FAILED, Reason.EXIT_CODE, "exit code 137: last words"),
        (
            {"fault": "x: No such file"},
            EndKind.FAILED,
            Reason.START_FAILED,
            "the command cannot be started: x: No such file",
        ),
    ],
    ids=[
        "0",
        "0 without podium",
        "75",
        "3",
        "3 without podium",
        "9 without podium",
        "9",
        "a child's 9",
        "cannot start",
    ],
)
def test_end_is_what_the_exit_record_says(
    tmp_path: Path, record: dict[str, Any], kind: EndKind, reason: Reason, message: str
) -> None:
    end = end_with(tmp_path, log=b"first\nlast words\n\n", **record)
    assert (end.kind, end.reason, end.message, end.at) == (kind, reason, message, NOW)


@pytest.mark.parametrize("name", ["SEGV", "ABRT", "BUS", "FPE", "ILL", "SYS", "PIPE", "XCPU", "XFSZ"])
def test_signal_that_a_program_earns_is_its_own_failure(tmp_path: Path, name: str) -> None:
    end = end_with(tmp_path, signal=signal.Signals[f"SIG{name}"])
    assert (end.kind, end.reason) == (EndKind.FAILED, Reason.CRASHED)
    assert f"SIG{name}" in end.message


@pytest.mark.parametrize("name", ["KILL", "TERM", "HUP", "INT", "QUIT", "USR1"])
def test_signal_that_somebody_sent_is_a_disruption(tmp_path: Path, name: str) -> None:
    assert end_with(tmp_path, signal=signal.Signals[f"SIG{name}"]).kind is EndKind.DISRUPTED


def test_error_that_the_sdk_tells_is_preferred_to_the_logs_last_line(tmp_path: Path) -> None:
    end = end_with(tmp_path, code=1, termination="# PODIUM\nerror: ValueError: bad", log=b"unrelated\n")
    assert end.message == "exit code 1: ValueError: bad"


def test_exit_code_stands_alone_when_nothing_was_said(tmp_path: Path) -> None:
    assert end_with(tmp_path, code=1).message == "exit code 1"


def test_last_words_are_short_and_readable_whatever_was_printed(tmp_path: Path) -> None:
    end = end_with(tmp_path, code=1, log=b"x" * 100_000 + b"\xff\n")
    assert len(end.message) < 400


def test_full_disk_is_not_the_configurations_fault(tmp_path: Path) -> None:
    words = f"OSError: [Errno 28] {os.strerror(errno.ENOSPC)}: 'model.bin'\n".encode()
    assert end_with(tmp_path, code=1, log=words).kind is EndKind.DISRUPTED


def test_run_without_a_trace_was_stopped_with_podium_and_costs_no_retry() -> None:
    end = interrupted_end(NOW)
    assert (end.kind, end.reason, end.at) == (EndKind.CHECKPOINTED, Reason.SUSPENDED, NOW)


def test_time_without_podium_is_no_training(tmp_path: Path) -> None:
    folder, record = ResultsFolder(tmp_path), new_record(1, 2, NOW)
    assert last_sign_of_life(record, folder) == NOW
    log = folder.of_run(1, 2, "log")
    log.parent.mkdir(parents=True)
    log.touch()
    spoken = NOW + timedelta(seconds=30)
    os.utime(log, (spoken.timestamp(), spoken.timestamp()))
    assert last_sign_of_life(record, folder) == spoken


def test_record_is_known_again() -> None:
    record = new_record(7, 2, NOW, first_step=5).with_run(stopping=Reason.SUSPENDED)
    assert RunRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


# --- log


def test_log_is_read_on_from_where_it_was_left(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = LogTail(path)
    assert tail.read_more(100) == ""
    path.write_text("one\n", encoding="utf-8")
    assert tail.read_more(100) == "one\n"
    with path.open("a", encoding="utf-8") as file:
        file.write("two\n")
    assert [tail.read_more(3), tail.read_more(3), tail.read_more(3)] == ["two", "\n", ""]


def test_character_that_is_cut_off_waits_for_its_rest(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes("é".encode())
    tail = LogTail(path)
    assert [tail.read_more(1), tail.read_more(1)] == ["", "é"]
