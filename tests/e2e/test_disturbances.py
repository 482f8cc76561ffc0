"""Whatever dies, freezes or is deleted at whatever moment: the experiment completes, and nothing is lost or doubled."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from builders.operator_at_work import (
    EXPERIMENTS,
    OWN_CLUSTER,
    TRIALS,
    Podium,
    at_work,
    is_own_cluster,
    own_cluster,
    until,
)

pytestmark = pytest.mark.e2e

FULL = {"algorithm": "none", "resource": "epoch", "max": 12}
needs_own_cluster = pytest.mark.skipif(not is_own_cluster(), reason="only the project's own cluster may suffer")


def pid_of(component: str) -> int:
    return int((OWN_CLUSTER / "pid" / component).read_text())


@contextmanager
def frozen(component: str) -> Iterator[None]:
    os.kill(pid_of(component), signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid_of(component), signal.SIGCONT)


def test_operator_that_dies_every_few_seconds_still_gets_there(podium: Podium) -> None:
    podium.apply(step_seconds="0.3")
    for pause in (0.7, 1.3, 2.1, 0.4, 1.9, 3.1, 0.9, 2.7):
        time.sleep(pause)
        podium.operator.kill()
        podium.operator.start()
    podium.wait_for("Complete")
    podium.assert_whole(9)


def test_service_that_is_away_stops_no_trial(podium: Podium) -> None:
    podium.apply(scheduler=FULL, max_trials=2, step_seconds="0.4")
    until(lambda: len(podium.running()) == 2, "two pods")
    podium.suggestion.kill()
    until(lambda: all(pod["status"]["phase"] == "Succeeded" for pod in podium.pods()), "the pods to end by themselves")
    assert podium.phase() == "Progressing"
    podium.suggestion.start()
    podium.wait_for("Complete")
    podium.assert_whole(2)


def test_evicted_pod_is_a_disruption_and_its_trial_resumes(podium: Podium) -> None:
    podium.apply(scheduler=FULL, max_trials=1, step_seconds="0.4")
    (pod,) = until(podium.running, "the pod")
    until(lambda: podium.trial()["step"] >= 2, "step 2")
    name = pod["metadata"]["name"]
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": podium.namespace},
    }
    podium.kubectl(
        "create", "--raw", f"/api/v1/namespaces/{podium.namespace}/pods/{name}/eviction", "-f", "-", given=eviction
    )
    podium.wait_for("Complete")
    assert (podium.trial()["retries"], podium.trial()["step"]) == (1, 12)
    podium.assert_whole(1)


def test_deleted_pods_are_replaced_until_the_retries_are_used_up(podium: Podium) -> None:
    podium.apply(scheduler=FULL, max_trials=1, step_seconds="5", trial={"maxRetries": 1})
    for attempt in (1, 2):
        until(
            lambda n=attempt: [p for p in podium.running() if p["metadata"]["name"].endswith(f"-{n}")],  # type: ignore[misc]  # mypy sees no type of a lambda's default
            f"attempt {attempt}",
        )
        podium.kubectl("delete", "pod", f"bowl-00001-{attempt}", "--wait=false")
    podium.wait_for("Failed")
    assert podium.trial()["reason"] == "MaxRetriesExceeded"


def test_deleted_trial_is_forgotten_and_its_number_not_used_again(podium: Podium) -> None:
    podium.apply(scheduler=FULL, max_trials=3, parallelism=1, step_seconds="0.3")
    until(podium.running, "the first pod")
    podium.kubectl("delete", TRIALS, "bowl-00001")
    podium.wait_for("Complete")
    assert [trial["spec"]["number"] for trial in podium.trials()] == [2, 3]
    until(lambda: not podium.pods(), "the pods to go")


def test_experiment_made_anew_under_its_name_starts_afresh(podium: Podium) -> None:
    podium.apply(scheduler=FULL, max_trials=1, step_seconds="0.2")
    until(lambda: podium.trial()["step"] >= 3, "step 3")
    podium.kubectl("delete", EXPERIMENTS, "bowl", "--wait=false")
    podium.apply(scheduler=FULL, max_trials=1, step_seconds="0.2")
    podium.wait_for("Complete")
    podium.assert_whole(1)
    assert (podium.trial()["attempt"], podium.trial()["retries"]) == (1, 0)
    assert len(list((podium.folder / "checkpoints").glob("bowl-*"))) == 2, "each had a folder of its own"


def test_of_two_replicas_one_acts_and_the_other_takes_over(crds: None, tmp_path: Path) -> None:  # noqa: ARG001  (a fixture for its effect)
    lease = {"PODIUM_LEASE_NAMESPACE": "default", "PODIUM_LEASE_NAME": f"lease-{os.getpid()}"}
    with at_work(tmp_path, environment={**lease, "PODIUM_IDENTITY": "first"}) as podium:
        first = podium.operator
        until(lambda: "Activity" in first.log.read_text(), "the first to act")
        second = type(first)(
            first.command,
            {**first.environment, "PODIUM_IDENTITY": "second", "PODIUM_PORT": "0"},
            tmp_path / "second.log",
        )
        second.start()
        podium.apply(step_seconds="0.3")
        until(podium.running, "a pod")
        assert second.log.read_text() == "", "it waits"
        first.kill()
        podium.wait_for("Complete")
        podium.assert_whole(9)
        assert second.kill(signal.SIGTERM) == 0, "it leaves in peace"


@pytest.mark.alone
@needs_own_cluster
def test_api_server_that_dies_comes_back_to_the_same_experiment(podium: Podium) -> None:
    podium.apply(step_seconds="0.3")
    until(podium.running, "a pod")
    os.kill(pid_of("kube-apiserver"), signal.SIGKILL)
    time.sleep(2)
    own_cluster("up")
    podium.wait_for("Complete")
    podium.assert_whole(9)


@pytest.mark.alone
@needs_own_cluster
def test_api_server_that_hangs_is_waited_for(podium: Podium) -> None:
    podium.apply(step_seconds="0.3")
    until(podium.running, "a pod")
    with frozen("kube-apiserver"):
        time.sleep(20)
    podium.wait_for("Complete")
    podium.assert_whole(9)


@pytest.mark.alone
@needs_own_cluster
def test_frozen_kubelet_delays_and_loses_nothing(podium: Podium) -> None:
    podium.apply(step_seconds="0.3")
    until(podium.running, "a pod")
    with frozen("kubelet"):
        time.sleep(8)
    podium.wait_for("Complete")
    podium.assert_whole(9)
