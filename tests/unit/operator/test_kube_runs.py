"""What each state of a pod means. Pods as the API server describes them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from podium_contract.conditions import Reason
from podium_operator.core.facts import EndKind, RunState
from podium_operator.kube.pods import stop_patch
from podium_operator.kube.runs import ANNOTATION_STOP, run_of, termination_message_of

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
THEN = "2026-01-01T11:59:00Z"


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


def with_condition(type_: str, status: str, reason: str, message: str = "") -> dict[str, Any]:
    return {"conditions": [{"type": type_, "status": status, "reason": reason, "message": message}]}


DISRUPTED = with_condition("DisruptionTarget", "True", "EvictionByEvictionAPI")

ENDS = {
    "success": (ended(0, "Completed"), EndKind.DONE, Reason.FINISHED, "exit code 0"),
    "an exit code with words": (
        ended(3, message='# PODIUM\n{"a":1}\nerror: ValueError: bad lr'),
        EndKind.FAILED,
        Reason.EXIT_CODE,
        "exit code 3: ValueError: bad lr",
    ),
    "an exit code with the log's last lines": (
        ended(1, message="error: retrying\nTraceback:\nMemoryError: no room\n{}\n"),
        EndKind.FAILED,
        Reason.EXIT_CODE,
        "exit code 1: MemoryError: no room",
    ),
    "out of memory": (ended(137, "OOMKilled"), EndKind.FAILED, Reason.OUT_OF_MEMORY, "memory"),
    "asked to stop from outside": (ended(75), EndKind.CHECKPOINTED, Reason.DISRUPTED, "asked to stop"),
    "a child process out of memory": (
        ended(1, "OOMKilled", "worker died"),
        EndKind.FAILED,
        Reason.OUT_OF_MEMORY,
        "memory than there was for it: worker died",
    ),
    "killed, and its pod left alone": (
        ended(137, message="step 7"),
        EndKind.FAILED,
        Reason.CRASHED,
        "signal 9, most likely for want of memory: step 7",
    ),
    "killed while evicted": (ended(137, **DISRUPTED), EndKind.DISRUPTED, Reason.DISRUPTED, "EvictionByEvictionAPI"),
    "killed by an eviction of the kubelet's": (
        ended(137, phase="Failed") | {"reason": "Evicted"},
        EndKind.DISRUPTED,
        Reason.DISRUPTED,
        "Evicted",
    ),
    "asked to stop by signal": (ended(143), EndKind.DISRUPTED, Reason.DISRUPTED, "signal 15"),
    "lost with its node": (
        ended(137, "ContainerStatusUnknown", "The container could not be located"),
        EndKind.DISRUPTED,
        Reason.DISRUPTED,
        "lost with its node",
    ),
    "there no more after its node's restart": (ended(255, "Unknown"), EndKind.DISRUPTED, Reason.DISRUPTED, "lost"),
    "checkpointed though a worker was out of memory": (
        ended(75, "OOMKilled"),
        EndKind.CHECKPOINTED,
        Reason.DISRUPTED,
        "asked to stop",
    ),
    "evicted": (ended(1, **DISRUPTED), EndKind.DISRUPTED, Reason.DISRUPTED, "EvictionByEvictionAPI"),
    "segmentation fault": (ended(139), EndKind.FAILED, Reason.CRASHED, "SIGSEGV"),
    "no such command": (
        ended(128, "StartError", "exec: no-such: not found"),
        EndKind.FAILED,
        Reason.START_FAILED,
        "no-such: not found",
    ),
    "pre-empted": (
        ended(143, **with_condition("DisruptionTarget", "True", "PreemptionByScheduler")),
        EndKind.DISRUPTED,
        Reason.DISRUPTED,
        "PreemptionByScheduler",
    ),
    "node shut down": (
        ended(137, reason="Error") | {"reason": "NodeShutdown"},
        EndKind.DISRUPTED,
        Reason.DISRUPTED,
        "",
    ),
    "checkpointed while evicted": (ended(75, **DISRUPTED), EndKind.CHECKPOINTED, Reason.DISRUPTED, "asked to stop"),
    "the template's own deadline": (
        ended(143) | {"phase": "Failed", "reason": "DeadlineExceeded"},
        EndKind.FAILED,
        Reason.DEADLINE_EXCEEDED,
        "the template's own",
    ),
    "an init container": (
        {
            "phase": "Failed",
            "initContainerStatuses": [
                {"name": "fetch", "state": {"terminated": {"exitCode": 2, "message": "no such data"}}}
            ],
        },
        EndKind.FAILED,
        Reason.START_FAILED,
        "'fetch' ended with exit code 2: no such data",
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
        with_condition("PodScheduled", "False", "Unschedulable", "0/1 nodes: insufficient gpu"),
        Reason.UNSCHEDULABLE,
        "insufficient gpu",
    ),
    "configuration": (
        with_container({"waiting": {"reason": "CreateContainerConfigError", "message": "secret not found"}}),
        Reason.START_FAILED,
        "secret not found",
    ),
    "a queue": (with_condition("PodScheduled", "False", "SchedulingGated", "waiting for quota"), None, ""),
    "image of an init container": (
        {"initContainerStatuses": [{"name": "fetch", "state": {"waiting": {"reason": "ErrImagePull"}}}]},
        Reason.IMAGE_UNAVAILABLE,
        "'fetch'",
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


@pytest.mark.parametrize(("amount", "gpus"), [("2", 2), (3, 3), ("4k", 4000), ("", 0), ("many", 0)])
def test_gpus_are_counted_however_the_api_server_writes_them(amount: object, gpus: int) -> None:
    pod = a_pod({})
    pod["spec"]["containers"][0]["resources"]["limits"] = {"nvidia.com/gpu": amount, "cpu": "100m"}
    assert run_of(pod, "train", NOW).gpus == gpus


def test_order_to_stop_is_remembered_on_the_pod() -> None:
    annotations = stop_patch(Reason.SUSPENDED)["metadata"]["annotations"]
    running = with_container({"running": {"startedAt": THEN}})
    assert run_of(a_pod(running, annotations=annotations), "train", NOW).stopping is Reason.SUSPENDED
    waiting = run_of(a_pod({}, annotations={ANNOTATION_STOP: "DeadlineExceeded"}), "train", NOW)
    assert waiting.state is RunState.ENDED, "it has no node, so no kubelet will end it"


def test_run_that_is_being_started_ends_when_its_kubelet_says_so() -> None:
    pod = a_pod(
        with_container({"waiting": {"reason": "ContainerCreating"}}), annotations={ANNOTATION_STOP: "Suspended"}
    )
    pod["spec"]["nodeName"] = "node-1"
    assert run_of(pod, "train", NOW).state is RunState.WAITING
    pod["status"] = {"phase": "Failed", "reason": "DeadlineExceeded"}
    run = run_of(pod, "train", NOW)
    assert run.end is not None
    assert run.end.kind is EndKind.DISRUPTED


def test_run_stopped_before_it_started_still_says_what_it_waited_for() -> None:
    status, reason, _ = WAITS["image"]
    run = run_of(a_pod(status, annotations={ANNOTATION_STOP: "DeadlineExceeded"}), "train", NOW)
    assert run.state is RunState.ENDED
    assert run.waiting_reason is reason


@pytest.mark.parametrize("reason", ["OutOfcpu", "OutOfnvidia.com/gpu", "NodeAffinity", "UnexpectedAdmissionError"])
def test_pod_that_its_node_turned_away_is_a_disruption(reason: str) -> None:
    run = run_of(a_pod({"phase": "Failed", "reason": reason, "message": "Pod was rejected"}), "train", NOW)
    assert run.end is not None
    assert run.end.kind is EndKind.DISRUPTED


def test_pod_deleted_mid_run_is_a_disruption() -> None:
    run = run_of(a_pod(with_container({"running": {"startedAt": THEN}})), "train", NOW, is_gone=True)
    assert run.end is not None
    assert (run.end.kind, run.end.message) == (EndKind.DISRUPTED, "its pod was deleted")


def test_pod_deleted_after_its_end_keeps_its_end() -> None:
    run = run_of(a_pod(ended(0)), "train", NOW, is_gone=True)
    assert run.end is not None
    assert run.end.kind is EndKind.DONE


@pytest.mark.parametrize(("seconds", "state"), [(59, RunState.ACTIVE), (60, RunState.ENDED)])
def test_pod_that_should_long_be_gone_is_on_a_lost_node(seconds: int, state: RunState) -> None:
    pod = a_pod(with_container({"running": {"startedAt": THEN}}), deletionTimestamp=THEN)
    then = datetime.fromisoformat(THEN)
    assert run_of(pod, "train", then + timedelta(seconds=seconds)).state is state


def test_last_words_are_those_of_the_training_container() -> None:
    assert termination_message_of(a_pod(ended(0, message="bye")), "train") == "bye"
    assert termination_message_of(a_pod({}), "train") == ""


def test_run_killed_at_the_end_of_its_grace_is_a_disruption_whoever_ended_it() -> None:
    stopped = a_pod(ended(137), annotations={ANNOTATION_STOP: "Suspended"})
    deleted = a_pod(ended(137), deletionTimestamp=THEN)
    for pod in (stopped, deleted):
        end = run_of(pod, "train", NOW).end
        assert end is not None
        assert end.kind is EndKind.DISRUPTED
