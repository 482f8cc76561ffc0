"""A thousand trials in one experiment, on fake nodes (KWOK)."""

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from builders.operator_at_work import Podium, a_namespace, at_work, is_own_cluster, kubectl, own_cluster
from builders.release import EXPERIMENTS
from podium_operator.kube.api import KubernetesApi

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

RECORDING = """
import asyncio, json, os
from podium_operator.kube.__main__ import run
from podium_operator.kube.api import KubernetesApi
from podium_operator.kube.settings import settings_from
class Recording(KubernetesApi):
    async def _ask(self, verb, path, body=None, query=None, content_type="application/json"):
        if verb != "GET":
            print(json.dumps([verb, path, body, content_type]), file=record)
        return await super()._ask(verb, path, body, query, content_type)
with open(os.environ["RECORD"], "w", buffering=1 << 16) as record:
    asyncio.run(run(settings_from(os.environ), Recording()))
"""
"""An operator that writes down what it asks of the API server to change."""

ON_FAKE_NODES = {
    "nodeSelector": {"type": "kwok"},
    "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
}


@pytest.fixture(scope="module")
def fake_nodes() -> None:
    """Nodes whose pods run and end without containers."""
    if is_own_cluster():
        own_cluster("fake-nodes", "1")
    elif not kubectl("get", "nodes", "-l", "type=kwok", "-o", "name"):
        pytest.skip("this cluster has no fake nodes; start KWOK with tests/cluster/kwok/stages.yaml")


@pytest.fixture
def recorded(crds: None, tmp_path: Path) -> Iterator[tuple[Podium, Path]]:  # noqa: ARG001  (a fixture for its effect)
    """An operator that records its writes, and where to."""
    record = tmp_path / "writes.jsonl"
    with at_work(tmp_path, script=RECORDING, environment={"RECORD": str(record)}) as podium:
        yield podium, record


def test_status_and_effort_do_not_grow_with_the_number_of_trials(
    fake_nodes: None,  # noqa: ARG001  (a fixture for its effect)
    recorded: tuple[Podium, Path],
) -> None:
    podium, record = recorded
    run_on_fake_nodes(podium, "warm-up", 20)
    few = run_on_fake_nodes(podium, "few", 100)
    many = run_on_fake_nodes(podium, "many", 1000)
    podium.operator.kill(signal.SIGTERM)
    writes = [json.loads(line) for line in record.read_text().splitlines()]
    writes = [write for write in writes if "many" in json.dumps(write)]
    repeated = writes[: len(writes) // 3]  # those of the first trials are like the others
    raw = 1000 / 3 / asyncio.run(seconds_to_repeat(podium, repeated))
    kinds = Counter(f"{verb} {path.split('/namespaces/')[1].split('/')[1]}" for verb, path, *_ in writes)
    print(f"status: {few['bytes']} bytes at 100 trials, {many['bytes']} at 1000")
    print(f"the operator's CPU: {few['cpu'] / 100:.1f} ms a trial at 100 trials, {many['cpu'] / 1000:.1f} ms at 1000")
    print(f"trials a second: {100 / few['seconds']:.1f} and {1000 / many['seconds']:.1f}; {raw:.1f} by a raw client")
    print(f"writes for 1000 trials: {dict(kinds)}")
    assert many["bytes"] == pytest.approx(few["bytes"], rel=0.05)
    assert many["cpu"] / 1000 < 1.5 * few["cpu"] / 100
    assert kinds["POST trials"] == kinds["POST pods"] == kinds["DELETE pods"] == 1000


def run_on_fake_nodes(podium: Podium, name: str, trials: int) -> dict[str, float]:
    """Run an experiment to its end; its duration, the operator's CPU time in milliseconds, and the status' size."""
    assert podium.operator.process is not None
    operator = psutil.Process(podium.operator.process.pid)
    before, began = operator.cpu_times(), time.monotonic()
    podium.apply(
        name,
        objectives=[{"metric": "score", "goal": "maximize"}],
        scheduler={"algorithm": "none", "resource": "epoch", "max": 5},
        max_trials=trials,
        parallelism=50,
        trial={
            "metrics": {"source": "sdk", "scrapeIntervalSeconds": 60},
            "checkpoints": None,
            "template": {
                "spec": {**ON_FAKE_NODES, "containers": [{"name": "train", "image": "none:1", "command": ["train"]}]}
            },
        },
    )
    status = podium.wait_for("Complete", name, 600)
    seconds, after = time.monotonic() - began, operator.cpu_times()
    assert status["trials"]["succeeded"] == trials
    assert status["best"][0]["trial"] == trials
    cpu = 1000 * (after.user + after.system - before.user - before.system)
    return {"seconds": seconds, "cpu": cpu, "bytes": len(json.dumps(status))}


async def seconds_to_repeat(podium: Podium, writes: list[tuple[str, str, Any, str]]) -> float:
    """Make the same writes once more, one after the other, in a namespace that no operator looks after."""
    manifest = podium.get(EXPERIMENTS, "many")
    for field in ("status", "metadata"):
        manifest.pop(field)
    with a_namespace() as elsewhere:
        kubectl("apply", "-n", elsewhere, "-f", "-", given={**manifest, "metadata": {"name": "many"}})
        moved = [
            (verb, path.replace(podium.namespace, elsewhere), unowned(body, podium.namespace, elsewhere), kind)
            for verb, path, body, kind in writes
        ]
        async with KubernetesApi() as api:
            began = time.monotonic()
            for verb, path, body, kind in moved:
                await api._ask(verb, path, body, None, kind)
            return time.monotonic() - began


def unowned(body: Any, namespace: str, elsewhere: str) -> Any:
    """An object's copy for another namespace, without what ties it to the first one's objects."""
    if body is None:
        return None
    copy = json.loads(json.dumps(body).replace(namespace, elsewhere))
    for field in ("ownerReferences", "resourceVersion"):
        copy.get("metadata", {}).pop(field, None)
    return copy
