"""A run as a pod: what is created for it, and what a pod's status says about it. Pure; Kubernetes' JSON in and out.

A run is told to stop by `activeDeadlineSeconds: 1` and an annotation with the reason. The kubelet then terminates the
containers with their grace period, and unlike a deleted pod this one stays, with exit code and termination message, until
its end is recorded. A finalizer would do as well, and would hang when the operator is gone.
"""

import json
from collections.abc import Mapping
from copy import deepcopy
from datetime import datetime
from typing import Any

from podium_contract import runtime
from podium_contract.conditions import Reason
from podium_contract.experiment import Experiment, SdkMetrics
from podium_contract.names import (
    GROUP,
    LABEL_ATTEMPT,
    LABEL_EXPERIMENT,
    LABEL_MANAGED_BY,
    LABEL_TRIAL,
    MANAGED_BY,
    checkpoint_folder,
    claim_name,
    run_name,
)
from podium_contract.runtime import ExitCode
from podium_contract.template import substitute, trial_container
from podium_contract.trial import Trial
from podium_operator.core.facts import End, EndKind, Run, RunState
from podium_operator.core.seeds import trial_seed

Json = dict[str, Any]

ANNOTATION_STOP = f"{GROUP}/stop-reason"
CHECKPOINT_MOUNT = "/podium/checkpoints"
PARENT_MOUNT = "/podium/parent"
_VOLUME = "podium-checkpoints"
_GROUP_OF_FILES = 65532
_IMAGE_FAULTS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_START_FAULTS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_DISRUPTIONS = frozenset(
    {"Evicted", "Preempting", "NodeLost", "NodeShutdown", "Terminated", "UnexpectedAdmissionError"}
)
_SIGKILL_EXIT, _SIGTERM_EXIT = 137, 143
_FAULT_SIGNALS = {131: "SIGQUIT", 132: "SIGILL", 134: "SIGABRT", 135: "SIGBUS", 136: "SIGFPE", 139: "SIGSEGV"}


# --- what is created -------------------------------------------------------------------------------------------


def pod_of(experiment: Experiment, trial: Trial, attempt: int) -> Json:
    """Return the pod of one run: the user's template, with what Podium adds and nothing else changed."""
    template = deepcopy(experiment.spec.trial.template)
    metadata, pod = template.setdefault("metadata", {}), template["spec"]
    name = trial_container(template, experiment.spec.trial.container)["name"]
    pod["containers"] = [
        _training_container(container, experiment, trial, attempt) if container.get("name") == name else container
        for container in pod["containers"]
    ]
    pod["restartPolicy"] = "Never"
    pod.setdefault("automountServiceAccountToken", False)
    pod.setdefault("enableServiceLinks", False)
    security = pod.setdefault("securityContext", {})
    for field, value in (
        ("runAsNonRoot", True),
        ("fsGroup", _GROUP_OF_FILES),
        ("fsGroupChangePolicy", "OnRootMismatch"),
        ("seccompProfile", {"type": "RuntimeDefault"}),
    ):
        security.setdefault(field, value)
    pod.setdefault("volumes", []).append(_checkpoint_volume(experiment))
    labels = {
        **metadata.get("labels", {}),
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_EXPERIMENT: experiment.metadata.name,
        LABEL_TRIAL: str(trial.spec.number),
        LABEL_ATTEMPT: str(attempt),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **metadata,
            "name": run_name(experiment.metadata.name, trial.spec.number, attempt),
            "namespace": experiment.metadata.namespace,
            "labels": labels,
            "ownerReferences": [owner_reference("Trial", trial.metadata.name, trial.metadata.uid)],
        },
        "spec": pod,
    }


def claim_of(experiment: Experiment) -> Json | None:
    """Return the PersistentVolumeClaim to make for an experiment; None when it needs none or names its own."""
    checkpoints = experiment.spec.trial.checkpoints
    if checkpoints is None or checkpoints.persistent_volume_claim.storage is None:
        return None
    wanted, metadata = checkpoints.persistent_volume_claim, experiment.metadata
    spec: Json = {
        "accessModes": wanted.access_modes or ["ReadWriteOnce"],
        "resources": {"requests": {"storage": wanted.storage}},
    }
    if wanted.storage_class_name is not None:
        spec["storageClassName"] = wanted.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": claim_name(metadata.name),
            "namespace": metadata.namespace,
            "labels": {LABEL_MANAGED_BY: MANAGED_BY, LABEL_EXPERIMENT: metadata.name},
            "ownerReferences": [owner_reference("Experiment", metadata.name, metadata.uid)],
        },
        "spec": spec,
    }


def owner_reference(kind: str, name: str, uid: str) -> Json:
    """Return the reference by which garbage collection frees what an Experiment or Trial leaves behind."""
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": kind, "name": name, "uid": uid, "controller": True}


def stop_patch(reason: Reason) -> Json:
    """Return the patch that tells a run to stop, and remembers why."""
    return {"metadata": {"annotations": {ANNOTATION_STOP: reason}}, "spec": {"activeDeadlineSeconds": 1}}


def _training_container(container: Json, experiment: Experiment, trial: Trial, attempt: int) -> Json:
    replaced = substitute(container, trial.spec.parameters)
    treaty = _treaty_variables(experiment, trial, attempt)
    given = [variable for variable in replaced.get("env") or () if variable["name"] not in treaty]
    replaced["env"] = [*given, *({"name": name, "value": value} for name, value in treaty.items())]
    mounts = [*(replaced.get("volumeMounts") or ()), _mount(CHECKPOINT_MOUNT, trial.spec.number)]
    if trial.spec.parent is not None:
        mounts.append({**_mount(PARENT_MOUNT, trial.spec.parent.trial), "readOnly": True})
    replaced["volumeMounts"] = mounts
    security = dict(replaced.get("securityContext") or {})
    security.setdefault("allowPrivilegeEscalation", False)
    security.setdefault("capabilities", {"drop": ["ALL"]})
    replaced["securityContext"] = security
    metrics = experiment.spec.trial.metrics
    if isinstance(metrics, SdkMetrics):
        ports = list(replaced.get("ports") or ())
        if all(port.get("containerPort") != metrics.port for port in ports):
            ports.append({"name": "podium-metrics", "containerPort": metrics.port})
        replaced["ports"] = ports
    return replaced


def _treaty_variables(experiment: Experiment, trial: Trial, attempt: int) -> dict[str, str]:
    metrics = experiment.spec.trial.metrics
    variables = {
        runtime.ENV_EXPERIMENT: experiment.metadata.name,
        runtime.ENV_TRIAL: trial.metadata.name,
        runtime.ENV_NUMBER: str(trial.spec.number),
        runtime.ENV_ATTEMPT: str(attempt),
        runtime.ENV_PARAMETERS: json.dumps(trial.spec.parameters),
        runtime.ENV_RESOURCE: experiment.spec.scheduler.resource,
        runtime.ENV_CHECKPOINTS: CHECKPOINT_MOUNT,
        runtime.ENV_SEED: str(trial_seed(experiment.spec.search.seed, trial.spec.number)),
    }
    if isinstance(metrics, SdkMetrics):
        variables[runtime.ENV_METRICS_PORT] = str(metrics.port)
    if trial.target is not None:
        variables[runtime.ENV_TARGET] = str(trial.target)
    if trial.spec.parent is not None:
        variables[runtime.ENV_PARENT_CHECKPOINTS] = PARENT_MOUNT
    return variables


def _checkpoint_volume(experiment: Experiment) -> Json:
    checkpoints = experiment.spec.trial.checkpoints
    if checkpoints is None:
        return {"name": _VOLUME, "emptyDir": {}}
    claim = checkpoints.persistent_volume_claim.claim_name or claim_name(experiment.metadata.name)
    return {"name": _VOLUME, "persistentVolumeClaim": {"claimName": claim}}


def _mount(path: str, number: int) -> Json:
    return {"name": _VOLUME, "mountPath": path, "subPath": checkpoint_folder(number)}


# --- what a pod's status says ------------------------------------------------------------------------------------


def run_of(pod: Json, container: str, now: datetime) -> Run:
    """Return the run that a pod is, by the state of its training container."""
    metadata, status = pod["metadata"], pod.get("status", {})
    state = _container_state(status, container)
    stopping = metadata.get("annotations", {}).get(ANNOTATION_STOP)
    running, terminated = state.get("running"), state.get("terminated")
    end = _end_of(pod, terminated, stopping, now)
    begun = (running or terminated or {}).get("startedAt")
    # Also of a run that was stopped before it had started: what it waited for is why it failed.
    waiting_reason, waiting = (None, "") if begun else _what_it_waits_for(status, state)
    return Run(
        number=int(metadata["labels"][LABEL_TRIAL]),
        attempt=int(metadata["labels"][LABEL_ATTEMPT]),
        state=RunState.ENDED if end else RunState.ACTIVE if running else RunState.WAITING,
        created=_time(metadata["creationTimestamp"]),
        started=_time(begun) if begun else None,
        end=end,
        stopping=Reason(stopping) if stopping else None,
        waiting_reason=waiting_reason,
        waiting=waiting,
        gpus=_gpus(pod["spec"], container),
    )


def termination_message_of(pod: Json, container: str) -> str:
    """Return what the training container left as its last word."""
    terminated = _container_state(pod.get("status", {}), container).get("terminated") or {}
    return str(terminated.get("message") or "")


def _end_of(pod: Json, terminated: Json | None, stopping: str | None, now: datetime) -> End | None:
    status = pod.get("status", {})
    if terminated is not None:
        return _end_of_container(terminated, status)
    at = _time(pod["metadata"].get("deletionTimestamp")) if pod["metadata"].get("deletionTimestamp") else now
    if status.get("phase") == "Failed":
        reason, message = status.get("reason", ""), status.get("message", "")
        if stopping is not None or reason in _DISRUPTIONS or _is_disrupted(status):
            return End(EndKind.DISRUPTED, Reason.DISRUPTED, f"its pod was stopped: {reason} {message}".strip(), at)
        return End(EndKind.FAILED, Reason.START_FAILED, f"its pod failed: {reason} {message}".strip(), at)
    has_started = any("running" in s.get("state", {}) for s in status.get("containerStatuses", ()))
    if stopping is not None and not has_started:
        return End(EndKind.DISRUPTED, Reason.DISRUPTED, "it was told to stop before it had started", at)
    return None


def _end_of_container(terminated: Json, status: Json) -> End:
    code, at = int(terminated.get("exitCode", 0)), _time(terminated["finishedAt"])
    if code == ExitCode.DONE:
        return End(EndKind.DONE, Reason.FINISHED, "exit code 0", at)
    if terminated.get("reason") == "OOMKilled":
        return End(EndKind.FAILED, Reason.OUT_OF_MEMORY, "its container used more memory than its limit", at)
    if code == ExitCode.CHECKPOINTED:
        return End(EndKind.CHECKPOINTED, Reason.DISRUPTED, "it was asked to stop from outside", at)
    if _is_disrupted(status) or status.get("reason") in _DISRUPTIONS:
        return End(EndKind.DISRUPTED, Reason.DISRUPTED, f"its pod was taken away: {_why_disrupted(status)}", at)
    if code in (_SIGKILL_EXIT, _SIGTERM_EXIT):
        return End(EndKind.DISRUPTED, Reason.DISRUPTED, f"killed by signal {code - 128} from outside", at)
    if code in _FAULT_SIGNALS:
        return End(EndKind.FAILED, Reason.CRASHED, f"killed by signal {code - 128} ({_FAULT_SIGNALS[code]})", at)
    if terminated.get("reason") in ("ContainerCannotRun", "StartError"):
        return End(EndKind.FAILED, Reason.START_FAILED, f"the command cannot be started: {_first_line(terminated)}", at)
    return End(EndKind.FAILED, Reason.EXIT_CODE, f"exit code {code}{_last_words(terminated)}", at)


def _what_it_waits_for(status: Json, state: Json) -> tuple[Reason | None, str]:
    waiting = state.get("waiting") or {}
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _IMAGE_FAULTS:
        return Reason.IMAGE_UNAVAILABLE, f"its image cannot be pulled: {message or reason}"
    if reason in _START_FAULTS:
        return Reason.START_FAILED, f"its container cannot be created: {message or reason}"
    for condition in status.get("conditions", ()):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return Reason.UNSCHEDULABLE, f"no node takes its pod: {condition.get('message', '')}"
    return None, reason


def _container_state(status: Json, container: str) -> Json:
    for entry in status.get("containerStatuses", ()):
        if entry.get("name") == container:
            return dict(entry.get("state") or {})
    return {}


def _is_disrupted(status: Json) -> bool:
    conditions = status.get("conditions", ())
    return any(c.get("type") == "DisruptionTarget" and c.get("status") == "True" for c in conditions)


def _why_disrupted(status: Json) -> str:
    for condition in status.get("conditions", ()):
        if condition.get("type") == "DisruptionTarget":
            return str(condition.get("reason", "disruption"))
    return str(status.get("reason", "disruption"))


def _last_words(terminated: Mapping[str, Any]) -> str:
    errors = [line.removeprefix("error: ") for line in _lines(terminated) if line.startswith("error: ")]
    plain = [line for line in _lines(terminated) if not line.startswith("{")]
    words = errors or plain
    return f": {words[-1][:300]}" if words else ""


def _first_line(terminated: Mapping[str, Any]) -> str:
    lines = _lines(terminated)
    return lines[0][:300] if lines else str(terminated.get("reason", ""))


def _lines(terminated: Mapping[str, Any]) -> list[str]:
    return [line.strip() for line in str(terminated.get("message") or "").splitlines() if line.strip()]


def _gpus(spec: Json, container: str) -> int:
    for entry in spec.get("containers", ()):
        if entry.get("name") == container:
            limits = (entry.get("resources") or {}).get("limits") or {}
            return sum(int(amount) for name, amount in limits.items() if name.endswith("/gpu"))
    return 0


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
