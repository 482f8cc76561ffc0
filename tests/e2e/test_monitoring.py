"""A real Prometheus scrapes operator, service and trial pods: every panel's query and every alert gets its data."""

import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from builders.dashboards import alerts, filled_in, panel_queries, variable_queries
from builders.experiments import a_float, a_manifest, a_scheduler, a_search
from builders.prometheus import Prometheus, prometheus
from builders.release import EXPERIMENTS, NAME, TAG, Release, installed, kubectl, registry, until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("KUBECONFIG" not in os.environ, reason="KUBECONFIG names no cluster"),
]
VARIABLES = {"namespace": "podium-.*", "experiment": "curves", "metric": ".+", "__rate_interval": "10s"}
TRAINING = """
import time, podium_trial
with podium_trial.start() as trial:
    for step in trial.steps():
        time.sleep(0.5)
        trial.report(step, loss=trial.parameters["lr"] + 1 / step)
"""
SITUATIONS = {
    "PodiumTrialsFail": "an experiment whose trials all fail",
    "PodiumTrialsWait": "an experiment whose pods fit nowhere",
    "PodiumOperatorDown": "an operator scaled to nothing",
    "PodiumSuggestionDown": "a suggestion service scaled to nothing",
}
"""The alerts whose situation the test brings about; promtool replays those of all of them (tests/unit/helm)."""


@dataclass(frozen=True)
class Watched:
    """A release that has done something, and the Prometheus that watched it from `start` to `end`."""

    release: Release
    server: Prometheus
    start: float
    end: float

    def lines(self, expression: str) -> list[dict[str, Any]]:
        """The lines of an expression that have a number at some time of the run."""
        text = filled_in(expression, {**VARIABLES, "namespace": self.release.namespace})
        found = self.server.range(text, self.start, self.end)
        return [line for line in found if any(not math.isnan(float(value)) for _, value in line["values"])]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    offer_gpus(4)
    with installed(tmp_path_factory.mktemp("store")) as release:
        start = time.time()
        with prometheus(tmp_path_factory.mktemp("prometheus"), [release.namespace]) as server:
            for experiment in (curves(), failing(), stuck()):
                release.kubectl("create", "-f", "-", given=experiment)
            for name, condition in (("curves", "Complete"), ("failing", "Failed")):
                release.kubectl("wait", f"--for=condition={condition}", f"{EXPERIMENTS}/{name}", "--timeout=240s")
            until("the end is scraped", lambda: _is_complete(server))
            yield Watched(release, server, start, time.time())


def curves() -> dict[str, Any]:
    """Trials on GPUs that report, rest at rungs and are promoted."""
    return a_manifest(
        "curves",
        parameters=[a_float()],
        search=a_search("tpe", seed=1),
        scheduler=a_scheduler("asha", 2, 18, reductionFactor=3),
        max_trials=9,
        parallelism=3,
        trial=a_trial("python", "-c", TRAINING, resources={"limits": {"nvidia.com/gpu": 1}}),
    )


def failing() -> dict[str, Any]:
    return a_manifest("failing", max_trials=10, parallelism=2, trial=a_trial("python", "-c", "raise SystemExit(3)"))


def stuck() -> dict[str, Any]:
    trial = a_trial("python", "-c", TRAINING)
    trial["template"]["spec"]["nodeSelector"] = {"podium.dev/no-such": "node"}
    return a_manifest("stuck", max_trials=1, trial=trial)


def a_trial(*command: str, **container: Any) -> dict[str, Any]:
    image = {"image": f"{registry()}/podium-trial:{TAG}".lstrip("/"), "imagePullPolicy": "IfNotPresent"}
    containers = [{"name": "train", "command": list(command), **image, **container}]
    return {"template": {"spec": {"containers": containers}}}


def offer_gpus(count: int) -> None:
    """Let the scheduler count GPUs where no node has one: scheduling is real, the devices are not."""
    nodes = json.loads(kubectl("get", "nodes", "--selector=type!=kwok", "--output=json"))["items"]
    if any("nvidia.com/gpu" in node["status"]["allocatable"] for node in nodes):
        return
    patch = [
        {"op": "add", "path": f"/status/{part}/nvidia.com~1gpu", "value": str(count)}
        for part in ("capacity", "allocatable")
    ]
    name = nodes[0]["metadata"]["name"]
    kubectl("patch", "node", name, "--subresource=status", "--type=json", f"--patch={json.dumps(patch)}")


def _is_complete(server: Prometheus) -> bool:
    ended = server.instant(
        'sum(podium_experiment_trials{experiment="curves", phase=~"Succeeded|Pruned|Failed|Killed"})'
    )
    return bool(ended) and float(ended[0]["value"][1]) == 9


def test_every_kind_of_pod_is_scraped(watched: Watched) -> None:
    for job in ("podium-operator", "podium-suggestion", "podium-trial"):
        assert watched.lines(f'up{{job="{job}"}} == 1'), job


@pytest.mark.parametrize("place", panel_queries())
def test_every_panel_shows_something(watched: Watched, place: str) -> None:
    assert watched.lines(panel_queries()[place])


@pytest.mark.parametrize("place", variable_queries())
def test_every_variable_has_a_choice(watched: Watched, place: str) -> None:
    selector, label = variable_queries()[place]
    assert watched.server.label_values(
        label, filled_in(selector, {**VARIABLES, "namespace": watched.release.namespace})
    )


def test_a_learning_curve_rises_to_the_last_rung(watched: Watched) -> None:
    lines = watched.lines('podium_trial_step{experiment="$experiment", namespace="$namespace"}')
    highest = max(lines, key=lambda line: float(line["values"][-1][1]))
    steps = [float(value) for _, value in highest["values"]]
    assert steps == sorted(steps)
    assert steps[0] < steps[-1] <= 18
    assert steps[-1] > 6  # the rung before the last


def test_series_of_a_deleted_experiment_go(watched: Watched) -> None:
    watched.release.kubectl("delete", EXPERIMENTS, "failing", "--wait")
    name = '{experiment="failing"}'
    until("the series are gone", lambda: not watched.server.instant(f"podium_experiment_trials{name}"))


@pytest.mark.parametrize("name", alerts())
def test_every_alert_is_evaluated(watched: Watched, name: str) -> None:
    loaded = watched.server.rules()[name]
    assert loaded["health"] in {"ok", "unknown"}, loaded.get("lastError")
    watched.server.instant(alerts()[name]["expr"])


@pytest.mark.parametrize("name", ["PodiumTrialsFail", "PodiumTrialsWait"])
def test_alerts_about_experiments_see_them(watched: Watched, name: str) -> None:
    assert watched.lines(alerts()[name]["expr"]), SITUATIONS[name]


@pytest.mark.parametrize(
    ("component", "name"), [("suggestion", "PodiumSuggestionDown"), ("operator", "PodiumOperatorDown")]
)
def test_alerts_about_podium_see_it_go(watched: Watched, component: str, name: str) -> None:
    """Last, since nothing works afterwards."""
    deployment = f"deployment/{NAME}-{component}"
    expression = alerts()[name]["expr"]
    assert watched.server.instant(expression) == []
    watched.release.kubectl("scale", deployment, "--replicas=0")
    try:
        until(SITUATIONS[name], lambda: watched.server.instant(expression))
    finally:
        watched.release.kubectl("scale", deployment, "--replicas=1")
        watched.release.kubectl("rollout", "status", deployment, "--timeout=60s")
