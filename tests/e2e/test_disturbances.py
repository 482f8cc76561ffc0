"""Whatever dies, freezes or is deleted at whatever moment: the experiment completes, and nothing is lost or doubled."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from builders.operator_at_work import (
    OWN_CLUSTER,
    Json,
    Podium,
    at_work,
    is_own_cluster,
    own_cluster,
    until,
)
from builders.release import EXPERIMENTS, TRIALS

pytestmark = pytest.mark.e2e

FULL = {"algorithm": "none", "resource": "epoch", "max": 12}
needs_own_cluster = pytest.mark.skipif(not is_own_cluster(), reason="only the project's own cluster may suffer")


def pid_of(component: str) -> int:
    return int((OWN_CLUSTER / "pid" / component).read_text())


def kill(component: str) -> None:
    process = psutil.Process(pid_of(component))
    process.kill()
    process.wait()


@contextmanager
def frozen(component: str) -> Iterator[None]:
    os.kill(pid_of(component), signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid_of(component), signal.SIGCONT)


def evict(podium: Podium, pod: Json) -> None:
    metadata = {"name": pod["metadata"]["name"], "namespace": podium.namespace}
    path = f"/api/v1/namespaces/{podium.namespace}/pods/{metadata['name']}/eviction"
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    podium.kubectl("create", "--raw", path, "-f", "-", given=eviction)


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
    evict(podium, pod)
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
    kill("kube-apiserver")
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


@pytest.mark.alone
@needs_own_cluster
@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_happens_at_random_moments_nothing_is_lost(podium: Podium, seed: int) -> None:
    chance = random.Random(seed)
    podium.apply(step_seconds="0.4", max_trials=12, trial={"maxRetries": 20})
    until(podium.running, "a pod")
    disturbances = chance.sample(DISTURBANCES, len(DISTURBANCES))
    print("disturbed by", *(disturb.__name__ for disturb in disturbances))
    for disturb in disturbances:
        time.sleep(chance.uniform(0.2, 2.5))
        disturb(podium, chance)
    podium.wait_for("Complete")
    podium.assert_whole(12)
    folders = {path.name for path in (podium.folder / "checkpoints").glob("*/trials/*")}
    assert folders == {f"{number:05d}" for number in range(1, 13)}


def kill_the_operator(podium: Podium, _chance: random.Random) -> None:
    podium.operator.kill()
    podium.operator.start()


def kill_the_service(podium: Podium, _chance: random.Random) -> None:
    podium.suggestion.kill()
    podium.suggestion.start()


def kill_both(podium: Podium, chance: random.Random) -> None:
    podium.operator.kill()
    kill_the_service(podium, chance)
    podium.operator.start()


def delete_a_pod(podium: Podium, chance: random.Random) -> None:
    for pod in _one_of(podium, chance):
        podium.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false", "--ignore-not-found")


def evict_a_pod(podium: Podium, chance: random.Random) -> None:
    for pod in _one_of(podium, chance):
        with suppress(AssertionError):  # it ended meanwhile
            evict(podium, pod)


def freeze_the_kubelet(_podium: Podium, chance: random.Random) -> None:
    with frozen("kubelet"):
        time.sleep(chance.uniform(1, 4))


def kill_the_api_server(_podium: Podium, _chance: random.Random) -> None:
    kill("kube-apiserver")
    own_cluster("up")


DISTURBANCES: tuple[Callable[[Podium, random.Random], None], ...] = (
    kill_the_operator,
    kill_the_service,
    kill_both,
    delete_a_pod,
    evict_a_pod,
    freeze_the_kubelet,
    kill_the_api_server,
)


def _one_of(podium: Podium, chance: random.Random) -> list[Json]:
    running = podium.running()
    return [chance.choice(running)] if running else []
