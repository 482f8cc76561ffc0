"""The Helm chart, rendered: values in, Kubernetes objects out."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "podium"
RELEASE = "tuning"
NAMESPACE = "podium-system"
KUBERNETES = "1.33.0"
"""The version that is rendered for: a helm compiled from source otherwise assumes a very old one."""


def helm_binary() -> str | None:
    """The helm on the PATH, or the one that the test cluster compiled; None when there is none."""
    cache = Path(os.environ.get("PODIUM_CLUSTER_CACHE", "~/.cache/podium-cluster")).expanduser()
    return shutil.which("helm") or shutil.which("helm", path=cache / "bin")


def helm(*arguments: str, values: Mapping[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    """Run helm with values on its standard input; what it says is returned, its exit code not judged."""
    binary = helm_binary()
    assert binary is not None
    given = () if values is None else ("--values", "-")
    text = None if values is None else json.dumps(values)
    return subprocess.run([binary, *arguments, *given], input=text, capture_output=True, text=True, check=False)


class Rendered(list[dict[str, Any]]):
    """The objects of a rendered chart."""

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [item for item in self if item["kind"] == kind]

    def one(self, kind: str, ending: str = "") -> dict[str, Any]:
        """The only object of a kind whose name ends like this."""
        found = [item for item in self.of(kind) if item["metadata"]["name"].endswith(ending)]
        assert len(found) == 1, f"{kind} *{ending}: {[item['metadata']['name'] for item in found]}"
        return found[0]

    def pod(self, component: str) -> dict[str, Any]:
        """The pod's spec of a component's Deployment."""
        spec: dict[str, Any] = self.one("Deployment", f"-{component}")["spec"]["template"]["spec"]
        return spec

    def container(self, component: str) -> dict[str, Any]:
        (container,) = self.pod(component)["containers"]
        return dict(container)

    def environment(self, component: str) -> dict[str, Any]:
        """The container's variables: their value, or where they come from."""
        return {item["name"]: item.get("value", item.get("valueFrom")) for item in self.container(component)["env"]}


def render(values: Mapping[str, Any] | None = None, *options: str) -> Rendered:
    """Return the objects that the chart makes of values."""
    answer = template(values or {}, *options)
    assert answer.returncode == 0, answer.stderr
    return Rendered(item for item in yaml.safe_load_all(answer.stdout) if item)


def template(values: Mapping[str, Any], *options: str) -> subprocess.CompletedProcess[str]:
    release: Sequence[str] = (RELEASE, str(CHART), "--namespace", NAMESPACE, "--kube-version", KUBERNETES)
    return helm("template", *release, *options, values=values)
