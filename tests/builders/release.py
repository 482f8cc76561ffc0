"""A release of the chart on a real cluster, in a namespace of its own that enforces restricted Pod Security.

It runs the Experiments of that namespace only, so that several suites can share a cluster.
"""

import base64
import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from builders.chart import CHART, helm

NAME = "podium"
"""Of the release; its objects are podium-operator, podium-suggestion ..."""
GROUP = 65532
"""The user and group of the chart's pods, who own the volume made here."""
EXPERIMENTS, TRIALS = "experiments.podium.dev", "trials.podium.dev"
"""In full: other suites install kinds of the same names in groups of their own, meanwhile."""
TAG = os.environ.get("PODIUM_TEST_TAG", "0.1.0")
"""Of the images under test."""

Seen = TypeVar("Seen")


def kubectl(*arguments: str, given: Any = None) -> str:
    """Run kubectl, with an object on its standard input; what it prints is returned, a refusal raised in its words."""
    cache = Path(os.environ.get("PODIUM_CLUSTER_CACHE", "~/.cache/podium-cluster")).expanduser()
    binary = shutil.which("kubectl", path=cache / "bin") or shutil.which("kubectl")
    assert binary is not None, "kubectl is neither on the PATH nor built by the test cluster"
    text = None if given is None else json.dumps(given)
    answer = subprocess.run([binary, *arguments], input=text, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise RuntimeError(f"kubectl {' '.join(arguments)}: {answer.stderr.strip()}")
    return answer.stdout


def until(what: str, look: Callable[[], Seen | None], seconds: float = 60.0) -> Seen:
    """Look until there is something to see, and return it; fails with what was waited for."""
    end = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < end, f"{what}: not within {seconds:g} s"
        time.sleep(0.5)
    return seen


@dataclass(frozen=True)
class Release:
    """The chart, installed."""

    namespace: str
    values: Mapping[str, Any]

    def kubectl(self, *arguments: str, given: Any = None) -> str:
        return kubectl("--namespace", self.namespace, *arguments, given=given)

    def get(self, *arguments: str) -> dict[str, Any]:
        """The object, or the list of objects, that kubectl gets."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "--output=json"))
        return found

    def install(self, **values: Any) -> None:
        """Install or upgrade, and wait until every pod is ready; `values` replace top-level values of the release."""
        # The cluster's CRDs may have been made by another suite: this release takes them over, unchanged.
        options = ("--namespace", self.namespace, "--take-ownership", "--wait", "--timeout", "90s")
        answer = helm("upgrade", "--install", NAME, str(CHART), *options, values={**self.values, **values})
        assert answer.returncode == 0, f"{answer.stderr}\n{self.events()}"

    def uninstall(self) -> None:
        answer = helm("uninstall", NAME, "--namespace", self.namespace, "--wait")
        assert answer.returncode == 0, answer.stderr

    def events(self) -> str:
        """What went on in the namespace, and what the pods said last, for a failure's message."""
        logs = self.kubectl("logs", "--selector=app.kubernetes.io/part-of=podium", "--prefix", "--tail=20")
        return self.kubectl("get", "events,pods", "--output=wide") + logs

    def pods(self, component: str) -> list[dict[str, Any]]:
        """The component's pods that are not on their way out."""
        found = self.get("pods", f"--selector=app.kubernetes.io/component={component}")["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def token(self) -> str:
        secret = self.get("secret", f"{NAME}-token")
        return base64.b64decode(secret["data"]["token"]).decode()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """What the suggestion service answers the operator's pod, token shown: over the network that the operator uses."""
        script = _CALL.format(method=method, path=path, body=json.dumps(body))
        answer = self.kubectl("exec", f"deployment/{NAME}-operator", "--", "python", "-c", script)
        return json.loads(answer)

    def may(self, verb: str, resource: str, namespace: str | None = None) -> bool:
        """Whether the operator's ServiceAccount may do something (`get`, `pods/log`) in a namespace, by default its own."""
        plain, _, sub = resource.partition("/")  # kubectl takes what follows a slash for a name
        place = ("--namespace", namespace or self.namespace, f"--subresource={sub}")
        try:
            return kubectl("auth", "can-i", verb, plain, *place, *self._as_the_operator()).strip() == "yes"
        except RuntimeError:
            return False  # "no" is exit code 1

    def rights(self) -> str:
        """Everything that the operator's ServiceAccount may do in its namespace, as kubectl prints it."""
        return self.kubectl("auth", "can-i", "--list", *self._as_the_operator())

    def _as_the_operator(self) -> tuple[str, str]:
        return "--as", f"system:serviceaccount:{self.namespace}:{NAME}-operator"


_CALL = """
import os, pathlib, httpx
token = pathlib.Path(os.environ["PODIUM_TOKEN_FILE"]).read_text().strip()
url = os.environ["PODIUM_SUGGESTION_URL"] + "{path}"
headers = {{"authorization": "Bearer " + token, "content-type": "application/json"}}
client = httpx.Client(transport=httpx.HTTPTransport(retries=5), timeout=30)  # a Service forgets a dead pod with a delay
print(client.request("{method}", url, content={body!r}, headers=headers).raise_for_status().text)
"""


@contextmanager
def installed(folder: Path, database: str | None = None) -> Iterator[Release]:
    """Install the chart in a new namespace, for that namespace only; everything is gone afterwards but the CRDs.

    The store is a file in `folder`, or in a volume of the default storage class, or the PostgreSQL database of a URL.
    """
    namespace = f"podium-chart-{secrets.token_hex(3)}"
    make_namespace(namespace)
    store: dict[str, Any] = {}
    if database is not None:
        kubectl("create", "secret", "generic", "database", f"--from-literal=url={database}", "--namespace", namespace)
        store = {"kind": "postgresql", "postgresql": {"existingSecret": "database"}}
    elif not has_default_storage_class():
        make_volume(namespace, f"{NAME}-store", folder)
        store = {"sqlite": {"storageClassName": ""}}
    release = Release(
        namespace,
        {
            "image": {"registry": registry()},
            "watch": {"namespaces": [namespace]},
            "operator": {"image": {"tag": TAG}},
            "suggestion": {"image": {"tag": TAG}, "store": store},
        },
    )
    try:
        release.install()
        yield release
    finally:
        # Experiments first, while somebody is there who looks after them.
        release.kubectl("delete", EXPERIMENTS, "--all", "--timeout=60s")
        helm("uninstall", NAME, "--namespace", namespace, "--wait")
        kubectl("delete", "namespace", namespace, "--wait=false")
        kubectl("delete", "persistentvolume", f"{namespace}-{NAME}-store", "--ignore-not-found", "--wait=false")


def registry() -> str:
    """Where the images under test are: `localhost` on the project's own test cluster, nowhere in particular on kind."""
    given = os.environ.get("PODIUM_TEST_REGISTRY")
    if given is not None:
        return given
    return "localhost" if "podium-node" in kubectl("get", "nodes", "--output=name") else ""


def make_namespace(name: str) -> None:
    """Make a namespace that refuses every pod below the restricted standard."""
    labels = {
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/enforce-version": "latest",
    }
    kubectl(
        "create", "-f", "-", given={**_named("v1", "Namespace", name), "metadata": {"name": name, "labels": labels}}
    )


def has_default_storage_class() -> bool:
    """Whether claims are served without a class; the test cluster has no provisioner, kind has one."""
    classes = json.loads(kubectl("get", "storageclasses", "--output=json"))["items"]
    key = "storageclass.kubernetes.io/is-default-class"
    return any(item["metadata"].get("annotations", {}).get(key) == "true" for item in classes)


def node_address() -> str:
    """The address of a node: on the test cluster, this machine as pods see it."""
    nodes = json.loads(kubectl("get", "nodes", "--selector=type!=kwok", "--output=json"))["items"]
    addresses = nodes[0]["status"]["addresses"]
    return next(str(item["address"]) for item in addresses if item["type"] == "InternalIP")


def make_volume(namespace: str, claim: str, folder: Path) -> None:
    """Make a volume for one claim out of a folder of this machine, which must be the cluster's node."""
    os.chown(folder, GROUP, GROUP)
    spec = {
        "capacity": {"storage": "5Gi"},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "",
        "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": {"namespace": namespace, "name": claim},
        "hostPath": {"path": str(folder)},
    }
    kubectl("create", "-f", "-", given={**_named("v1", "PersistentVolume", f"{namespace}-{claim}"), "spec": spec})


def _named(version: str, kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}}
