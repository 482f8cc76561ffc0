"""An operator and a suggestion service as processes of this machine, at work in a namespace of a real cluster."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from kubernetes import client, config

from builders.experiments import a_float, a_manifest, a_scheduler, a_search
from builders.release import EXPERIMENTS, TRIALS, has_default_storage_class
from podium_contract.names import GROUP, VERSION

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 180.0
IMAGE = os.environ.get("PODIUM_TRIAL_IMAGE", "localhost/podium-trial:0.1.0")
OWN_CLUSTER = Path(os.environ.get("PODIUM_CLUSTER_CACHE", "~/.cache/podium-cluster")).expanduser() / "state"
"""Where the project's own cluster keeps its state."""

Json = dict[str, Any]
Seen = TypeVar("Seen")

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
"""Trains on a bowl whose least loss is at x = 0.3."""


def kubectl(*words: str, given: Any = None) -> str:
    """Run kubectl, with an object, or a list of them, on its standard input; what it prints is returned."""
    if isinstance(given, list):
        given = {"apiVersion": "v1", "kind": "List", "items": given}
    text = None if given is None else json.dumps(given)
    done = subprocess.run(["kubectl", *words], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def _connection() -> Any:
    """A client that stays connected: a kubectl takes a tenth of a second of a processor, every time one looks."""
    return config.new_client_from_config()


def read(kind: str, namespace: str, name: str = "") -> Json:
    """An Experiment or Trial, or the list of all objects of a kind: these, or pods or events."""
    core, ours = client.CoreV1Api(_connection()), client.CustomObjectsApi(_connection())
    if kind in (EXPERIMENTS, TRIALS):
        place = (GROUP, VERSION, namespace, kind.partition(".")[0])
        found: Json = (
            ours.get_namespaced_custom_object(*place, name) if name else ours.list_namespaced_custom_object(*place)
        )
        return found
    listed = {"pods": core.list_namespaced_pod, "events": core.list_namespaced_event}[kind]
    return dict(json.loads(listed(namespace, _preload_content=False).data))


def is_own_cluster() -> bool:
    """Whether the cluster at hand is the project's own, whose processes a test may freeze and kill."""
    return os.environ.get("KUBECONFIG") == str(OWN_CLUSTER / "admin.kubeconfig")


def own_cluster(*words: str) -> None:
    """Tell the project's own cluster something, such as to come up."""
    done = subprocess.run([ROOT / "tests" / "cluster" / "cluster", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def until(question: Callable[[], Seen | None], what: str, seconds: float = LIMIT_SECONDS) -> Seen:
    """Ask until the answer is truthy, and return it; fails, naming what was waited for."""
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain for {what}"
        time.sleep(0.1)
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

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal, and return the exit code when the process has ended."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=30)

    def end(self) -> None:
        """Ask a process that runs to end, and wait for it."""
        if self.is_running:
            self.kill(signal.SIGTERM)

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None


@dataclass
class Podium:
    """An operator and a suggestion service, working in a namespace of their own."""

    namespace: str
    operator: Service
    suggestion: Service
    folder: Path

    # --- what a user does

    def apply(self, name: str = "bowl", *, namespace: str | None = None, **spec: Any) -> None:
        """Apply an experiment: ASHA over the bowl, unless told otherwise; `container` changes fields of its container."""
        container = {
            "name": "train",
            "image": IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": ["python", "-c", BOWL],
            "env": [{"name": "STEP_SECONDS", "value": spec.pop("step_seconds", "0.2")}],
            "resources": {"limits": {"nvidia.com/gpu": 1}},
            **spec.pop("container", {}),
        }
        trial = {
            "metrics": {"source": "sdk", "scrapeIntervalSeconds": 1},
            "checkpoints": {"persistentVolumeClaim": {"claimName": "checkpoints"}},
            "template": {"spec": {"terminationGracePeriodSeconds": 10, "containers": [container]}},
            **spec.pop("trial", {}),
        }
        defaults: Json = {
            "parameters": [a_float("x", 0.0, 1.0, "linear")],
            "search": a_search("random", seed=5),
            "scheduler": a_scheduler("asha", 1, 9),
            "max_trials": 9,
            "parallelism": 2,
            "pod_history_limit": 0,
        }
        manifest = a_manifest(name, **defaults | spec, trial=trial)
        kubectl("apply", "-n", namespace or self.namespace, "-f", "-", given=manifest)

    def patch(self, name: str = "bowl", **spec: Any) -> None:
        self.kubectl("patch", EXPERIMENTS, name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def kubectl(self, *words: str, given: Any = None) -> str:
        return kubectl("-n", self.namespace, *words, given=given)

    # --- what there is to see

    def get(self, kind: str, name: str = "", namespace: str | None = None) -> Json:
        return read(kind, namespace or self.namespace, name)

    def status(self, name: str = "bowl", namespace: str | None = None) -> Json:
        status: Json = self.get(EXPERIMENTS, name, namespace=namespace).get("status", {})
        return status

    def trials(self, namespace: str | None = None) -> list[Json]:
        return sorted(self.get(TRIALS, namespace=namespace)["items"], key=lambda trial: trial["spec"]["number"])

    def trial(self, number: int = 1) -> Json:
        """A trial's status; there may be none yet."""
        found = [trial.get("status", {}) for trial in self.trials() if trial["spec"]["number"] == number]
        return {"phase": "", "step": 0, "reason": "", "message": "", **(found[0] if found else {})}

    def pods(self) -> list[Json]:
        return list(self.get("pods")["items"])

    def running(self) -> list[Json]:
        return [pod for pod in self.pods() if pod["status"].get("phase") == "Running"]

    def events(self, reason: str) -> list[Json]:
        return [event for event in self.get("events")["items"] if event["reason"] == reason]

    def logs_until_complete(self) -> dict[str, str]:
        """What every pod prints from its start to its end, by its name: followed, as a pruned trial's pod soon goes."""
        followed: dict[str, Path] = {}
        with ExitStack() as followers:
            while self.phase() != "Complete":
                for pod in self.pods():
                    name = pod["metadata"]["name"]
                    if name not in followed and pod["status"]["phase"] != "Pending":
                        followed[name] = self.folder / f"{name}.log"
                        followers.enter_context(self._following(name, followed[name]))
                time.sleep(0.2)
        return {name: path.read_text(encoding="utf-8") for name, path in followed.items()}

    @contextmanager
    def _following(self, pod: str, path: Path) -> Iterator[None]:
        """Write a pod's log to a file as it grows; it is whole at the end, when the pod has ended."""
        with path.open("w", encoding="utf-8") as log:
            follower = subprocess.Popen(["kubectl", "logs", "--follow", pod, "-n", self.namespace], stdout=log)
            try:
                yield
                follower.wait(LIMIT_SECONDS)
            finally:
                follower.kill()
                follower.wait()

    def phase(self, name: str = "bowl") -> str:
        return str(self.status(name).get("phase", ""))

    def wait_for(self, phase: str, name: str = "bowl", seconds: float = LIMIT_SECONDS) -> Json:
        """Wait for an experiment's phase, and return its status."""

        def is_there() -> bool:
            now = self.phase(name)
            assert now == phase or now not in ("Complete", "Failed"), (
                f"{name} is {now}, not {phase}: {self.status(name)}"
            )
            return now == phase

        until(is_there, f"{name} to be {phase}", seconds)
        return self.status(name)

    def assert_whole(self, trials: int) -> None:
        """Every trial number once, every step of every trial reported once, no pod left."""
        found = self.trials()
        assert [trial["spec"]["number"] for trial in found] == list(range(1, trials + 1))
        for trial in found:
            steps = [observation["step"] for observation in trial["status"].get("observations", [])]
            assert steps == list(range(1, len(steps) + 1)), trial["metadata"]["name"]
            assert trial["status"]["phase"] in ("Succeeded", "Pruned")
        until(lambda: not self.pods(), "the last pod to go")


@contextmanager
def at_work(
    folder: Path, *, namespaces: int = 1, script: str | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Podium]:
    """Start both processes for new namespaces that enforce restricted Pod Security; everything is gone afterwards.

    `script` is Python to run in the place of the operator's main module.
    """
    with ExitStack() as cleaning:
        names = [cleaning.enter_context(a_namespace()) for _ in range(namespaces)]
        cleaning.callback(kubectl, "delete", "pv", "-l", f"podium-test={names[0]}", "--wait=false")
        kubectl("apply", "-f", "-", given=a_volume(names[0], "checkpoints", folder / "checkpoints"))
        podium = _podium_of(folder, names, script, environment or {})
        for service in (podium.suggestion, podium.operator):
            service.start()
            cleaning.callback(service.end)
        cleaning.callback(lambda: print(podium.operator.log.read_text()[-4000:]))  # shown when a test fails
        yield podium


@contextmanager
def a_namespace() -> Iterator[str]:
    """A namespace that enforces restricted Pod Security; it goes with all that is in it."""
    name = f"e2e-{secrets.token_hex(4)}"
    kubectl("create", "namespace", name)
    try:
        kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        yield name
    finally:
        kubectl("delete", "namespace", name, "--wait=false")


def _podium_of(folder: Path, namespaces: list[str], script: str | None, environment: Mapping[str, str]) -> Podium:
    (folder / "token").write_text("a-secret-of-the-test")
    shared, port = {"PODIUM_TOKEN_FILE": str(folder / "token")}, free_port()
    suggestion = Service(
        [sys.executable, "-m", "podium_suggestion"],
        {
            **shared,
            "PODIUM_HOST": "127.0.0.1",
            "PODIUM_PORT": str(port),
            "PODIUM_STORE_URL": f"sqlite:///{folder}/s.db",
        },
        folder / "suggestion.log",
    )
    operator = Service(
        [sys.executable, *(["-m", "podium_operator.kube"] if script is None else ["-c", script])],
        {
            **shared,
            "PODIUM_SUGGESTION_URL": f"http://127.0.0.1:{port}",
            "PODIUM_NAMESPACES": ",".join(namespaces),
            "PODIUM_PORT": str(free_port()),
            **environment,
        },
        folder / "operator.log",
    )
    return Podium(namespaces[0], operator, suggestion, folder)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def a_volume(namespace: str, claim: str, folder: Path) -> list[Json]:
    """A claim, and a volume in a folder of this machine behind it where the cluster provides none of itself."""
    size, mode = {"storage": "1Gi"}, "ReadWriteOnce"
    metadata = {"name": claim, "namespace": namespace}
    wanted: Json = {"accessModes": [mode], "resources": {"requests": size}}
    if has_default_storage_class():
        return [{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": wanted}]
    folder.mkdir()
    folder.chmod(0o777)
    name = f"{namespace}-{claim}"
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "labels": {"podium-test": namespace}},
        "spec": {
            "capacity": size,
            "accessModes": [mode],
            "storageClassName": "",
            "hostPath": {"path": str(folder)},
            "claimRef": {"namespace": namespace, "name": claim},
        },
    }
    bound = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata,
        "spec": {**wanted, "storageClassName": "", "volumeName": name},
    }
    return [volume, bound]
