"""The operator on a real API server, scheduler, kubelet and containers; it and the service run on this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from builders.experiments import a_float, a_manifest, a_scheduler, a_search

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 180
IMAGE = os.environ.get("PODIUM_TRIAL_IMAGE", "localhost/podium-trial:0.1.0")

pytestmark = pytest.mark.e2e

BOWL = """
import os, time, podium_trial
with podium_trial.start() as trial:
    state = trial.restore()
    print("resumed after step", state or 0, flush=True)
    for step in trial.steps():
        time.sleep(float(os.environ.get("STEP_SECONDS", "0.2")))
        trial.report(step, loss=(trial.parameters["x"] - 0.3) ** 2 + 1.0 / step)
        trial.save(step, step)
"""


def kubectl(*words: str, stdin: str | None = None) -> str:
    done = subprocess.run(["kubectl", *words], input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def until(question: Callable[[], Any], what: str) -> Any:
    """Ask until the answer is truthy; fails, naming what was waited for."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not (answer := question()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.2)
    return answer


@dataclass
class Service:
    """A process of ours that tests may kill and start again."""

    command: list[str]
    environment: dict[str, str]
    log: Path
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env={**os.environ, **self.environment}, stdout=log, stderr=log
            )

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait()


@dataclass
class Podium:
    """An operator and a suggestion service on this machine, working in a namespace of the cluster."""

    namespace: str
    operator: Service
    suggestion: Service

    def apply(self, name: str = "bowl", **spec: Any) -> None:
        container = {
            "name": "train",
            "image": IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": ["python", "-c", BOWL],
            "env": [{"name": "STEP_SECONDS", "value": spec.pop("step_seconds", "0.2")}],
            "resources": {"limits": {"nvidia.com/gpu": 1}},
        }
        defaults: dict[str, Any] = {
            "parameters": [a_float("x", 0.0, 1.0, "linear")],
            "search": a_search("random", seed=5),
            "scheduler": a_scheduler("asha", 1, 9),
            "max_trials": 9,
            "parallelism": 2,
            "trial": {
                "metrics": {"source": "sdk", "scrapeIntervalSeconds": 1},
                "checkpoints": {"persistentVolumeClaim": {"claimName": "checkpoints"}},
                "template": {"spec": {"terminationGracePeriodSeconds": 10, "containers": [container]}},
            },
        }
        kubectl("apply", "-n", self.namespace, "-f", "-", stdin=yaml.safe_dump(a_manifest(name, **defaults | spec)))

    def patch(self, name: str, **spec: Any) -> None:
        body = json.dumps({"spec": spec})
        kubectl("patch", "experiment", name, "-n", self.namespace, "--type=merge", "-p", body)

    def experiment(self, name: str = "bowl") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(kubectl("get", "experiment", name, "-n", self.namespace, "-o", "json"))
        return found

    def trials(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(kubectl("get", "trials", "-n", self.namespace, "-o", "json"))["items"]
        return sorted(items, key=lambda trial: trial["spec"]["number"])

    def pods(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(kubectl("get", "pods", "-n", self.namespace, "-o", "json"))["items"]
        return items

    def phase(self, name: str = "bowl") -> str:
        return str(self.experiment(name).get("status", {}).get("phase", ""))

    def wait_for(self, phase: str, name: str = "bowl") -> dict[str, Any]:
        until(lambda: self.phase(name) == phase, f"{name} to be {phase}")
        return self.experiment(name)

    def running(self) -> list[dict[str, Any]]:
        return [pod for pod in self.pods() if pod["status"].get("phase") == "Running"]


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> None:
    kubectl(
        "apply",
        "--server-side",
        "--force-conflicts",
        *(f"-f={path}" for path in sorted((ROOT / "crds").glob("*.yaml"))),
    )


@pytest.fixture
def podium(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Podium]:
    namespace = f"e2e-{abs(hash(request.node.name)) % 10**8}"
    kubectl("create", "namespace", namespace)
    kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    volume = tmp_path / "checkpoints"
    volume.mkdir(mode=0o777)
    volume.chmod(0o777)
    kubectl("apply", "-f", "-", stdin=a_volume(namespace, volume))
    (tmp_path / "token").write_text("a-secret-of-the-test")
    shared = {"PODIUM_TOKEN_FILE": str(tmp_path / "token")}
    port = 21000 + abs(hash(namespace)) % 5000
    suggestion = Service(
        [sys.executable, "-m", "podium_suggestion"],
        {
            **shared,
            "PODIUM_HOST": "127.0.0.1",
            "PODIUM_PORT": str(port),
            "PODIUM_STORE_URL": f"sqlite:///{tmp_path}/s.db",
        },
        tmp_path / "suggestion.log",
    )
    operator = Service(
        [sys.executable, "-m", "podium_operator.kube"],
        {
            **shared,
            "PODIUM_SUGGESTION_URL": f"http://127.0.0.1:{port}",
            "PODIUM_NAMESPACES": namespace,
            "PODIUM_PORT": str(port + 1),
        },
        tmp_path / "operator.log",
    )
    suggestion.start()
    operator.start()
    yield Podium(namespace, operator, suggestion)
    for service in (operator, suggestion):
        service.kill(signal.SIGTERM)
    print((tmp_path / "operator.log").read_text()[-4000:])  # shown when a test fails
    kubectl("delete", "namespace", namespace, "--wait=false")
    kubectl("delete", "pv", namespace, "--wait=false")


def a_volume(namespace: str, folder: Path) -> str:
    size = {"storage": "1Gi"}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": namespace},
        "spec": {
            "capacity": size,
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "hostPath": {"path": str(folder)},
            "claimRef": {"namespace": namespace, "name": "checkpoints"},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "checkpoints", "namespace": namespace},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "resources": {"requests": size},
            "volumeName": namespace,
        },
    }
    return yaml.safe_dump_all([volume, claim])


def assert_whole(podium: Podium, trials: int) -> None:
    """Every trial number once, every step of every trial reported once, no pod left."""
    found = podium.trials()
    assert [trial["spec"]["number"] for trial in found] == list(range(1, trials + 1))
    for trial in found:
        steps = [observation["step"] for observation in trial["status"].get("observations", [])]
        assert steps == list(range(1, len(steps) + 1))
        assert trial["status"]["phase"] in ("Succeeded", "Pruned")
    until(lambda: not podium.pods(), "the last pod to go")


def test_asha_promotes_trials_that_resume_at_the_very_step_and_prunes_the_rest(podium: Podium) -> None:
    podium.apply()
    first = until(podium.trials, "the first trial")[0]
    logs = {}
    while podium.phase() != "Complete":
        for pod in podium.pods():
            name = pod["metadata"]["name"]
            log = subprocess.run(
                ["kubectl", "logs", name, "-n", podium.namespace], capture_output=True, text=True, check=False
            )
            if log.stdout:
                logs[name] = log.stdout
        time.sleep(0.2)
    status = podium.experiment()["status"]
    assert_whole(podium, 9)
    best = next(trial for trial in podium.trials() if trial["spec"]["number"] == status["best"][0]["trial"])
    assert best["status"]["step"] == 9
    last = logs[f"{best['metadata']['name']}-{best['status']['attempt']}"]
    assert "resumed after step 3" in last
    assert status["cost"]["gpuSeconds"] > 0
    assert first["metadata"]["ownerReferences"][0]["kind"] == "Experiment"


def test_quick_start_runs_unchanged_and_its_trials_are_those_of_the_laptop(podium: Podium, tmp_path: Path) -> None:
    manifest = yaml.safe_load((ROOT / "examples" / "quickstart.yaml").read_text())
    manifest["spec"] |= {"maxTrials": 6, "parallelism": 1}
    (tmp_path / "checkpoints-of-quickstart").mkdir(mode=0o777)
    (tmp_path / "checkpoints-of-quickstart").chmod(0o777)
    volume, _ = yaml.safe_load_all(a_volume(podium.namespace, tmp_path / "checkpoints-of-quickstart"))
    volume["metadata"]["name"] = f"{podium.namespace}-made"
    volume["spec"] |= {"accessModes": ["ReadWriteOnce"]}
    volume["spec"]["claimRef"]["name"] = "quickstart-checkpoints"
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(volume))
    kubectl("apply", "-n", podium.namespace, "-f", "-", stdin=yaml.safe_dump(manifest))
    (tmp_path / "quickstart.yaml").write_text(yaml.safe_dump(manifest))
    laptop = json.loads(
        subprocess.run(
            [sys.executable, "-m", "podium_operator", "run", "quickstart.yaml", "--output", "json", "--quiet"],
            cwd=tmp_path,
            capture_output=True,
            check=True,
        ).stdout
    )
    podium.wait_for("Complete", "quickstart")
    kubectl("delete", "pv", volume["metadata"]["name"], "--wait=false")
    on_laptop = [(t["number"], t["parameters"], t["phase"], t["observations"][-1]["step"]) for t in laptop["trials"]]
    on_cluster = [
        (t["spec"]["number"], t["spec"]["parameters"], t["status"]["phase"], t["status"]["step"])
        for t in podium.trials()
    ]
    assert on_cluster == on_laptop


def test_kill_dash_nine_of_operator_and_service_loses_nothing(podium: Podium) -> None:
    podium.apply(step_seconds="0.4")
    for round_ in range(5):
        time.sleep(2.0)
        victims = [podium.operator, podium.suggestion, podium.operator]
        victims[round_ % 3].kill()
        victims[round_ % 3].start()
    podium.wait_for("Complete")
    assert_whole(podium, 9)


def test_deleted_pod_is_a_disruption_and_its_trial_resumes(podium: Podium) -> None:
    podium.apply(scheduler={"algorithm": "none", "resource": "epoch", "max": 12}, max_trials=1, step_seconds="0.5")
    (pod,) = until(podium.running, "the pod")
    until(lambda: podium.trials()[0]["status"].get("step", 0) >= 3, "step 3")
    kubectl("delete", "pod", pod["metadata"]["name"], "-n", podium.namespace, "--wait=false")
    podium.wait_for("Complete")
    (trial,) = podium.trials()
    assert (trial["status"]["retries"], trial["status"]["attempt"], trial["status"]["step"]) == (1, 2, 12)
    assert_whole(podium, 1)


def test_suspension_frees_every_pod_and_resumption_goes_on(podium: Podium) -> None:
    podium.apply(scheduler={"algorithm": "none", "resource": "epoch", "max": 20}, max_trials=2, step_seconds="0.4")
    until(lambda: len(podium.running()) == 2, "two pods")
    podium.patch("bowl", suspend=True)
    podium.wait_for("Suspended")
    assert not podium.running()
    assert {trial["status"]["phase"] for trial in podium.trials()} == {"Paused"}
    podium.patch("bowl", suspend=False)
    podium.wait_for("Complete")
    assert_whole(podium, 2)
    assert all(trial["status"]["retries"] == 0 for trial in podium.trials())


def test_deletion_frees_everything(podium: Podium) -> None:
    podium.apply(step_seconds="2")
    until(podium.running, "a pod")
    kubectl("delete", "experiment", "bowl", "-n", podium.namespace)
    until(lambda: not podium.trials() and not podium.pods(), "trials and pods to go")


def test_raised_limit_goes_on(podium: Podium) -> None:
    podium.apply(max_trials=2)
    podium.wait_for("Complete")
    podium.patch("bowl", maxTrials=4)
    until(lambda: podium.phase() == "Complete" and len(podium.trials()) == 4, "four trials")
    assert_whole(podium, 4)


def test_image_that_cannot_be_pulled_fails_its_trial_within_the_deadline(podium: Podium) -> None:
    container = {"name": "train", "image": "localhost/no-such-image:1", "command": ["true"]}
    trial = {"activeDeadlineSeconds": 10, "template": {"spec": {"containers": [container]}}}
    podium.apply(max_trials=1, trial=trial)
    podium.wait_for("Failed")
    (found,) = podium.trials()
    assert found["status"]["reason"] == "ImageUnavailable"
    assert "no-such-image" in found["status"]["message"]


def test_template_that_admission_refuses_fails_its_trial_with_the_servers_words(podium: Podium) -> None:
    container = {"name": "train", "image": IMAGE, "command": ["true"], "securityContext": {"privileged": True}}
    podium.apply(max_trials=1, trial={"template": {"spec": {"containers": [container]}}})
    podium.wait_for("Failed")
    (found,) = podium.trials()
    assert found["status"]["reason"] == "StartFailed"
    assert "privileged" in found["status"]["message"]


def test_spec_that_only_podium_can_judge_fails_before_any_trial(podium: Podium) -> None:
    podium.apply(parameters=[a_float("x", 0.0, 1.0, "linear", when={"nobody": [1]})])
    experiment = podium.wait_for("Failed")
    (condition,) = experiment["status"]["conditions"]
    assert condition["reason"] == "InvalidSpec"
    assert "spec.parameters[0].when.nobody: when names a parameter of this experiment, got 'nobody'" in condition["message"]
    assert podium.trials() == []
