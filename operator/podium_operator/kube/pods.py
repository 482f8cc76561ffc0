"""A run as a pod: what is created for it. Pure; Kubernetes' JSON in and out.

A run is told to stop by `activeDeadlineSeconds: 1` and an annotation with the reason. The kubelet then terminates the
containers with their grace period, and unlike a deleted pod this one stays, with exit code and termination message, until
its end is recorded. A finalizer would do as well, and would hang when the operator is gone.
"""

from copy import deepcopy
from typing import Any

from podium_contract import runtime
from podium_contract.conditions import Reason
from podium_contract.experiment import Experiment, SdkMetrics
from podium_contract.names import (
    GROUP,
    LABEL_ATTEMPT,
    LABEL_EXPERIMENT,
    LABEL_EXPERIMENT_UID,
    LABEL_MANAGED_BY,
    LABEL_TRIAL,
    MANAGED_BY,
    checkpoint_folder,
    checkpoint_root,
    claim_name,
    run_name,
)
from podium_contract.template import literal, substitute, trial_container
from podium_contract.trial import Trial
from podium_operator.core.treaty import parameters_of, treaty_variables
from podium_operator.kube.runs import ANNOTATION_FIRST_STEP, ANNOTATION_STOP

Json = dict[str, Any]

CHECKPOINT_MOUNT = "/podium/checkpoints"
PARENT_MOUNT = "/podium/parent"
_VOLUME = "podium-checkpoints"
_POD_SECURITY: Json = {
    "runAsNonRoot": True,
    "fsGroup": 65532,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""What a namespace with restricted Pod Security asks of a pod, and a group that may write to its volumes."""
_CONTAINER_SECURITY: Json = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def pod_of(experiment: Experiment, trial: Trial, attempt: int) -> Json:
    """Return the pod of one run: the user's template, with what Podium adds and nothing else changed."""
    template = deepcopy(experiment.spec.trial.template)
    metadata, pod = template.get("metadata") or {}, template["spec"]
    trains = trial_container(template, experiment.spec.trial.container)["name"]
    pod["containers"] = [
        _secured(
            _training_container(container, experiment, trial, attempt) if container["name"] == trains else container
        )
        for container in pod["containers"]
    ]
    if pod.get("initContainers"):
        pod["initContainers"] = [_secured(container) for container in pod["initContainers"]]
    pod["restartPolicy"] = "Never"
    pod.setdefault("automountServiceAccountToken", False)
    pod.setdefault("enableServiceLinks", False)
    pod["securityContext"] = {**_POD_SECURITY, **(pod.get("securityContext") or {})}
    pod["volumes"] = [*(pod.get("volumes") or ()), _checkpoint_volume(experiment)]
    labels = {
        **(metadata.get("labels") or {}),
        **labels_of(experiment),
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
            "annotations": {**(metadata.get("annotations") or {}), ANNOTATION_FIRST_STEP: str(trial.step)},
            "ownerReferences": [owner_reference("Trial", trial.metadata.name, trial.metadata.uid)],
        },
        "spec": pod,
    }


def trial_body_of(experiment: Experiment, trial: Trial) -> Json:
    """Return the Trial to create: its status is written by itself."""
    return {
        **{key: value for key, value in trial.to_json().items() if key != "status"},
        "metadata": {
            "name": trial.metadata.name,
            "namespace": experiment.metadata.namespace,
            "labels": {**trial.metadata.labels, **labels_of(experiment)},
            "ownerReferences": [owner_reference("Experiment", experiment.metadata.name, experiment.metadata.uid)],
        },
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
            "labels": labels_of(experiment),
            "ownerReferences": [owner_reference("Experiment", metadata.name, metadata.uid)],
        },
        "spec": spec,
    }


def labels_of(experiment: Experiment) -> dict[str, str]:
    """Return the labels of everything that belongs to an experiment; the uid tells it from an earlier one of its name."""
    return {
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_EXPERIMENT: experiment.metadata.name,
        LABEL_EXPERIMENT_UID: experiment.metadata.uid,
    }


def is_owned_by(body: Json, uid: str) -> bool:
    """Answer whether an object belongs to an owner."""
    return any(reference.get("uid") == uid for reference in body["metadata"].get("ownerReferences") or ())


def owner_reference(kind: str, name: str, uid: str) -> Json:
    """Return the reference by which garbage collection frees what an Experiment or Trial leaves behind."""
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": kind, "name": name, "uid": uid, "controller": True}


def stop_patch(reason: Reason) -> Json:
    """Return the patch that tells a run to stop, and remembers why."""
    return {"metadata": {"annotations": {ANNOTATION_STOP: reason}}, "spec": {"activeDeadlineSeconds": 1}}


def _training_container(container: Json, experiment: Experiment, trial: Trial, attempt: int) -> Json:
    replaced = substitute(container, parameters_of(experiment, trial))
    treaty = _own_variables(experiment, trial, attempt)
    if "terminationMessagePath" in replaced:
        treaty[runtime.ENV_TERMINATION_LOG] = str(replaced["terminationMessagePath"])
    given = [variable for variable in replaced.get("env") or () if variable["name"] not in treaty]
    replaced["env"] = [*given, *({"name": name, "value": literal(value)} for name, value in treaty.items())]
    mounts = [*(replaced.get("volumeMounts") or ()), _mount(CHECKPOINT_MOUNT, experiment, trial.spec.number)]
    if trial.spec.parent is not None:
        mounts.append({**_mount(PARENT_MOUNT, experiment, trial.spec.parent.trial), "readOnly": True})
    replaced["volumeMounts"] = mounts
    # The SDK writes a message; of a command that does not, the log's last lines say why it failed.
    replaced.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")
    metrics = experiment.spec.trial.metrics
    if isinstance(metrics, SdkMetrics):
        ports = list(replaced.get("ports") or ())
        if all(port.get("containerPort") != metrics.port for port in ports):
            ports.append({"name": "podium-metrics", "containerPort": metrics.port})
        replaced["ports"] = ports
    return replaced


def _own_variables(experiment: Experiment, trial: Trial, attempt: int) -> dict[str, str]:
    metrics = experiment.spec.trial.metrics
    variables = {**treaty_variables(experiment, trial, attempt), runtime.ENV_CHECKPOINTS: CHECKPOINT_MOUNT}
    if isinstance(metrics, SdkMetrics):
        variables[runtime.ENV_METRICS_PORT] = str(metrics.port)
    if trial.spec.parent is not None:
        variables[runtime.ENV_PARENT_CHECKPOINTS] = PARENT_MOUNT
    return variables


def _checkpoint_volume(experiment: Experiment) -> Json:
    checkpoints = experiment.spec.trial.checkpoints
    if checkpoints is None:
        return {"name": _VOLUME, "emptyDir": {}}
    claim = checkpoints.persistent_volume_claim.claim_name or claim_name(experiment.metadata.name)
    return {"name": _VOLUME, "persistentVolumeClaim": {"claimName": claim}}


def _mount(path: str, experiment: Experiment, number: int) -> Json:
    checkpoints, folder = experiment.spec.trial.checkpoints, checkpoint_folder(number)
    if checkpoints is not None and checkpoints.persistent_volume_claim.claim_name is not None:
        # Other experiments use the claim too, an earlier one of this name among them.
        folder = f"{checkpoint_root(experiment.metadata.name, experiment.metadata.uid)}/{folder}"
    return {"name": _VOLUME, "mountPath": path, "subPath": folder}


def _secured(container: Json) -> Json:
    return {**container, "securityContext": {**_CONTAINER_SECURITY, **(container.get("securityContext") or {})}}
