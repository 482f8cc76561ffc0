"""A run as a pod: what is created, and what each state of a pod means. Pods as the API server describes them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from builders.experiments import a_trial, an_experiment
from podium_contract import runtime
from podium_contract.conditions import Reason
from podium_contract.experiment import Experiment
from podium_contract.trial import Parent, Trial
from podium_contract.wire import Assignment
from podium_operator.core.facts import EndKind, RunState
from podium_operator.core.reconcile import _trial_of
from podium_operator.kube.pods import ANNOTATION_STOP, claim_of, pod_of, run_of, stop_patch, termination_message_of

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
THEN = "2026-01-01T11:59:00Z"


def a_trial_of(experiment: Experiment, **assignment: Any) -> Trial:
    wanted = {"number": 7, "parameters": {"lr": 0.1}, "target": 3, **assignment}
    trial = _trial_of(experiment.metadata, Assignment(**wanted))
    return trial.model_copy(update={"metadata": trial.metadata.model_copy(update={"uid": "trial-uid"})})


def a_pod(status: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "demo-00007-2",
            "creationTimestamp": THEN,
            "labels": {"podium.dev/trial": "7", "podium.dev/attempt": "2"},
            **metadata,
        },
        "spec": {"containers": [{"name": "train", "resources": {"limits": {"nvidia.com/gpu": "2"}}}]},
        "status": status,
    }


def with_container(state: dict[str, Any], **status: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "sidecar", "state": {}}, {"name": "train", "state": state}], **status}


def ended(code: int, reason: str = "Error", message: str = "", **status: Any) -> dict[str, Any]:
    terminated = {"exitCode": code, "reason": reason, "message": message, "startedAt": THEN, "finishedAt": THEN}
    return with_container({"terminated": terminated}, **status)


DISRUPTED: dict[str, Any] = {
    "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]
}

ENDS = {
    "success": (ended(0, "Completed"), EndKind.DONE, Reason.FINISHED, "exit code 0"),
    "an exit code with words": (
        ended(3, message='{"a":1}\nerror: ValueError: bad lr'),
        EndKind.FAILED,
        Reason.EXIT_CODE,
        "exit code 3: ValueError: bad lr",
    ),
    "out of memory": (ended(137, "OOMKilled"), EndKind.FAILED, Reason.OUT_OF_MEMORY, "memory"),
    "asked to stop from outside": (ended(75), EndKind.CHECKPOINTED, Reason.DISRUPTED, "asked to stop"),
    "killed from outside": (ended(137), EndKind.DISRUPTED, Reason.DISRUPTED, "signal 9"),
    "evicted": (ended(1, **DISRUPTED), EndKind.DISRUPTED, Reason.DISRUPTED, "EvictionByEvictionAPI"),
    "segmentation fault": (ended(139), EndKind.FAILED, Reason.CRASHED, "SIGSEGV"),
    "no such command": (
        ended(128, "StartError", "exec: no-such: not found"),
        EndKind.FAILED,
        Reason.START_FAILED,
        "no-such: not found",
    ),
    "evicted before it started": (
        {"phase": "Failed", "reason": "Evicted", "message": "low on memory"},
        EndKind.DISRUPTED,
        Reason.DISRUPTED,
        "low on memory",
    ),
}


@pytest.mark.parametrize("case", ENDS.values(), ids=ENDS.keys())
def test_end_of_a_pod_has_its_kind_reason_and_words(case: tuple[dict[str, Any], EndKind, Reason, str]) -> None:
    status, kind, reason, words = case
    run = run_of(a_pod(status), "train", NOW)
    assert run.state is RunState.ENDED
    assert run.end is not None
    assert (run.end.kind, run.end.reason) == (kind, reason)
    assert words in run.end.message


WAITS = {
    "image": (
        with_container({"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}),
        Reason.IMAGE_UNAVAILABLE,
        "not found",
    ),
    "no node": (
        {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes: insufficient gpu"}]},
        Reason.UNSCHEDULABLE,
        "insufficient gpu",
    ),
    "configuration": (
        with_container({"waiting": {"reason": "CreateContainerConfigError", "message": "secret not found"}}),
        Reason.START_FAILED,
        "secret not found",
    ),
    "nothing wrong": (with_container({"waiting": {"reason": "ContainerCreating"}}), None, "ContainerCreating"),
}


@pytest.mark.parametrize("case", WAITS.values(), ids=WAITS.keys())
def test_waiting_pod_says_what_it_waits_for(case: tuple[dict[str, Any], Reason | None, str]) -> None:
    status, reason, words = case
    run = run_of(a_pod(status), "train", NOW)
    assert run.state is RunState.WAITING
    assert run.waiting_reason is reason
    assert words in run.waiting


def test_running_pod_is_active_and_counts_its_gpus() -> None:
    run = run_of(a_pod(with_container({"running": {"startedAt": THEN}})), "train", NOW)
    assert (run.number, run.attempt, run.state, run.gpus) == (7, 2, RunState.ACTIVE, 2)
    assert run.started == datetime(2026, 1, 1, 11, 59, tzinfo=UTC)


def test_order_to_stop_is_remembered_on_the_pod() -> None:
    annotations = stop_patch(Reason.SUSPENDED)["metadata"]["annotations"]
    running = with_container({"running": {"startedAt": THEN}})
    assert run_of(a_pod(running, annotations=annotations), "train", NOW).stopping is Reason.SUSPENDED
    waiting = run_of(a_pod({}, annotations={ANNOTATION_STOP: "DeadlineExceeded"}), "train", NOW)
    assert waiting.state is RunState.ENDED


def test_run_stopped_before_it_started_still_says_what_it_waited_for() -> None:
    status, reason, _ = WAITS["image"]
    run = run_of(a_pod(status, annotations={ANNOTATION_STOP: "DeadlineExceeded"}), "train", NOW)
    assert run.state is RunState.ENDED
    assert run.waiting_reason is reason


def test_pod_keeps_the_template_and_adds_what_is_documented() -> None:
    template: dict[str, Any] = {
        "metadata": {"labels": {"kueue.x-k8s.io/queue-name": "gpus"}, "annotations": {"note": "mine"}},
        "spec": {
            "nodeSelector": {"gpu": "h100"},
            "tolerations": [{"operator": "Exists"}],
            "containers": [
                {"name": "train", "image": "x", "command": ["run", "--lr=${lr}"], "env": [{"name": "A", "value": "b"}]},
                {"name": "sidecar", "image": "y"},
            ],
        },
    }
    experiment = an_experiment(trial={"template": template})
    pod = pod_of(experiment, a_trial_of(experiment), 2)
    spec, (train, sidecar) = pod["spec"], pod["spec"]["containers"]
    assert pod["metadata"]["name"] == "demo-00007-2"
    assert pod["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert pod["metadata"]["ownerReferences"][0]["uid"] == "trial-uid"
    assert (spec["nodeSelector"], spec["restartPolicy"]) == ({"gpu": "h100"}, "Never")
    assert train["command"] == ["run", "--lr=0.1"]
    assert sidecar == {"name": "sidecar", "image": "y"}
    variables = {variable["name"]: variable["value"] for variable in train["env"]}
    assert variables["A"] == "b"
    assert variables[runtime.ENV_TARGET] == "3"
    assert variables[runtime.ENV_PARAMETERS] == '{"lr": 0.1}'
    assert template["spec"]["containers"][0]["command"] == ["run", "--lr=${lr}"], "the manifest itself is untouched"


def test_pod_satisfies_the_restricted_standard_without_a_token() -> None:
    experiment = an_experiment()
    spec = pod_of(experiment, a_trial_of(experiment), 1)["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    security = spec["containers"][0]["securityContext"]
    assert security == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def test_users_own_security_context_wins() -> None:
    template = {"spec": {"securityContext": {"runAsNonRoot": False}, "containers": [{"name": "t", "command": ["x"]}]}}
    experiment = an_experiment(trial={"template": template})
    assert pod_of(experiment, a_trial_of(experiment), 1)["spec"]["securityContext"]["runAsNonRoot"] is False


def test_checkpoints_have_a_folder_per_trial_on_the_claim() -> None:
    experiment = an_experiment(trial=a_trial(checkpoints={"persistentVolumeClaim": {"storage": "1Gi"}}))
    claim = claim_of(experiment)
    assert claim is not None
    assert claim["spec"]["resources"]["requests"]["storage"] == "1Gi"
    pod = pod_of(experiment, a_trial_of(experiment, parent=Parent(trial=3, step=9)), 1)
    assert pod["spec"]["volumes"][-1]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    own, parent = pod["spec"]["containers"][0]["volumeMounts"]
    assert (own["subPath"], parent["subPath"], parent["readOnly"]) == ("trials/00007", "trials/00003", True)


def test_claim_of_ones_own_is_used_and_none_is_made() -> None:
    experiment = an_experiment(trial=a_trial(checkpoints={"persistentVolumeClaim": {"claimName": "mine"}}))
    assert claim_of(experiment) is None
    pod = pod_of(experiment, a_trial_of(experiment), 1)
    assert pod["spec"]["volumes"][-1]["persistentVolumeClaim"]["claimName"] == "mine"


def test_last_words_are_those_of_the_training_container() -> None:
    assert termination_message_of(a_pod(ended(0, message="bye")), "train") == "bye"
    assert termination_message_of(a_pod({}), "train") == ""
