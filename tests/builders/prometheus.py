"""A real Prometheus beside the cluster, with the scrape configuration that the documentation gives.

Debian's Prometheus has no Kubernetes service discovery, so the pods are written into a file with the labels that it would
have given them; every relabelling rule of the documented configuration is carried out for real.
"""

import contextlib
import json
import re
import socket
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from builders.chart import ROOT
from builders.dashboards import ALERTS
from builders.release import kubectl, until

_META = "__meta_kubernetes_"
_SECONDS = 1
"""Between scrapes, evaluations and looks at the pods."""


@dataclass(frozen=True)
class Prometheus:
    """What it knows, asked over its API."""

    url: str

    def instant(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """The samples of an expression at a time (now, unless given); a malformed one raises with Prometheus' words."""
        return self._ask("query", query=expression, **({} if at is None else {"time": at}))

    def range(self, expression: str, start: float, end: float, step: float = _SECONDS) -> list[dict[str, Any]]:
        """The lines of an expression over a span of time."""
        return self._ask("query_range", query=expression, start=start, end=end, step=step)

    def label_values(self, label: str, selector: str) -> list[str]:
        return self._get(f"label/{label}/values", **{"match[]": selector})  # type: ignore[no-any-return]  # strings

    def rules(self) -> dict[str, dict[str, Any]]:
        """The loaded rules by name, with their health and state."""
        return {rule["name"]: rule for group in self._get("rules")["groups"] for rule in group["rules"]}

    def targets(self) -> list[dict[str, Any]]:
        return self._get("targets", state="active")["activeTargets"]  # type: ignore[no-any-return]  # objects

    def _ask(self, path: str, **parameters: Any) -> list[dict[str, Any]]:
        return self._get(path, **parameters)["result"]  # type: ignore[no-any-return]  # objects

    def _get(self, path: str, **parameters: Any) -> Any:
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as fault:
            raise RuntimeError(f"{parameters}: {fault.read().decode()}") from fault


@contextlib.contextmanager
def prometheus(folder: Path, namespaces: Iterable[str]) -> Iterator[Prometheus]:
    """Run Prometheus over the pods of some namespaces, followed as they come and go."""
    targets = folder / "targets.json"
    over = threading.Event()
    follower = threading.Thread(target=_follow, args=(targets, tuple(namespaces), over))
    follower.start()
    try:
        with running(folder, documented_configuration(targets)) as server:
            yield server
    finally:
        over.set()
        follower.join()


@contextlib.contextmanager
def running(folder: Path, config: dict[str, Any]) -> Iterator[Prometheus]:
    """Run Prometheus on a configuration, at the pace of a test and with Podium's alert rules."""
    pace = {"scrape_interval": f"{_SECONDS}s", "evaluation_interval": f"{_SECONDS}s"}
    file = folder / "prometheus.yaml"
    file.write_text(json.dumps({**config, "global": pace, "rule_files": [str(ALERTS)]}), encoding="utf-8")
    address = f"127.0.0.1:{_free_port()}"
    command = [str(ROOT / "scripts" / "prometheus"), str(file), str(folder / "data"), address]
    with (folder / "prometheus.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        server = Prometheus(f"http://{address}")
        until("Prometheus", lambda: _is_ready(server), 120)
        yield server
    finally:
        process.terminate()
        process.wait(30)


def documented_configuration(targets: Path) -> dict[str, Any]:
    """docs/prometheus.yaml, with the pods from a file."""
    text = (ROOT / "docs" / "prometheus.yaml").read_text(encoding="utf-8")
    config: dict[str, Any] = yaml.safe_load(text)
    for job in config["scrape_configs"]:
        assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
        job["file_sd_configs"] = [{"files": [str(targets)], "refresh_interval": f"{_SECONDS}s"}]
    return config


def discovered(pod: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what Kubernetes service discovery makes of a pod: one target per declared port, or one without a port."""
    metadata, status = pod["metadata"], pod["status"]
    address = status.get("podIP", "")
    if not address:
        return
    labels = {
        f"{_META}namespace": metadata["namespace"],
        f"{_META}pod_name": metadata["name"],
        f"{_META}pod_ip": address,
        f"{_META}pod_phase": status["phase"],
    }
    for name, value in metadata.get("labels", {}).items():
        key = re.sub(r"[^a-zA-Z0-9_]", "_", name)
        labels |= {f"{_META}pod_label_{key}": value, f"{_META}pod_labelpresent_{key}": "true"}
    for container in pod["spec"]["containers"]:
        own = {**labels, f"{_META}pod_container_name": container["name"]}
        for port in container.get("ports", ()):
            port_labels = {f"{_META}pod_container_port_name": port.get("name", "")}
            yield {"targets": [f"{address}:{port['containerPort']}"], "labels": own | port_labels}
        if not container.get("ports"):
            yield {"targets": [address], "labels": own}


def _follow(targets: Path, namespaces: tuple[str, ...], over: threading.Event) -> None:
    while True:
        with contextlib.suppress(RuntimeError):  # the API server is away: the last targets stay
            groups = [group for namespace in namespaces for pod in _pods(namespace) for group in discovered(pod)]
            part = targets.with_suffix(".part")
            part.write_text(json.dumps(groups), encoding="utf-8")
            part.replace(targets)
        if over.wait(_SECONDS):
            return


def _pods(namespace: str) -> list[dict[str, Any]]:
    listed = json.loads(kubectl("get", "pods", "--namespace", namespace, "--output=json"))
    return listed["items"]  # type: ignore[no-any-return]  # objects


def _is_ready(server: Prometheus) -> bool:
    try:
        with urllib.request.urlopen(f"{server.url}/-/ready", timeout=30):
            return True
    except OSError:  # of which an answer that says no is one
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
