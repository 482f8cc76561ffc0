"""Every example runs to its end on this machine, as its comment says."""

import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from builders.hypergradient_trials import assert_hypergradients_beat_constants

ROOT = Path(__file__).parents[2]
NEEDS_TORCH = pytest.mark.skipif(
    find_spec("torch") is None, reason="needs torch (pip install 'podium[torch]'); `make e2e` runs it in pods"
)
MARKS = {"hypergradients.yaml": NEEDS_TORCH}
EXAMPLES = [
    pytest.param(path.name, marks=MARKS.get(path.name, ())) for path in sorted((ROOT / "examples").glob("*.yaml"))
]
SOURCES = {"warm_start.yaml": "gp.yaml"}
"""Examples that learn from another, which runs first."""


def run_example(name: str, results: Path) -> dict[str, Any]:
    done = start_example(name, results)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def start_example(name: str, results: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "podium_operator", "run", f"examples/{name}", "--quiet", "--output", "json"]
    environment = {**os.environ, "COLUMNS": "120"}
    return subprocess.run(
        [*command, "--results", str(results)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_runs_to_its_end(name: str, tmp_path: Path) -> None:
    if name in SOURCES:
        run_example(SOURCES[name], tmp_path / "earlier")
    document = run_example(name, tmp_path / "results")
    assert document["status"]["phase"] == "Complete"
    assert document["status"]["best"]
    assert not [trial for trial in document["trials"] if trial["phase"] == "Failed"]
    check = CHECKS.get(name)
    if check is not None:
        check(document)


def test_a_warm_start_without_its_source_fails_and_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "podium.db").write_text("no database\n" * 100, encoding="utf-8")
    done = start_example("warm_start.yaml", tmp_path / "results")
    assert f"the warm start passes over {tmp_path / 'broken' / 'podium.db'}" in done.stderr.replace("\n", "")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    (failed,) = [c for c in document["status"]["conditions"] if c["type"] == "Failed"]
    assert failed["reason"] == "InvalidSpec"
    assert "got gp, which is not there; run it first" in failed["message"]
    assert document["trials"] == []


def check_quickstart(document: dict[str, Any]) -> None:
    """The first trial is the defaults, and the winner is far better than they are at any budget."""
    first, best = document["trials"][0], document["status"]["best"][0]
    defaults = max(observation["metrics"]["val_r2"] for observation in first["observations"])
    assert best["metrics"]["val_r2"] > max(defaults, 0.34) + 0.05, "the defaults reach 0.34 when trained in full"
    assert document["status"]["cost"]["steps"] < 0.3 * document["status"]["cost"]["fullSteps"]


def check_grid(document: dict[str, Any]) -> None:
    assert len(document["trials"]) == 9
    (complete,) = [c for c in document["status"]["conditions"] if c["type"] == "Complete"]
    assert complete["reason"] == "SearchExhausted"


def check_sobol(document: dict[str, Any]) -> None:
    """One trial in each cell of a mesh of 4 by 4, and no value twice."""
    points = [(trial["parameters"]["lr"], trial["parameters"]["momentum"]) for trial in document["trials"]]
    cells = {(int(math.log10(lr) + 4), int(momentum / 0.2475)) for lr, momentum in points}
    assert len(cells) == len({lr for lr, _ in points}) == len({momentum for _, momentum in points}) == 16


def check_asha(document: dict[str, Any]) -> None:
    """Whoever came to the top succeeded, and nobody rested below it."""
    ends = {trial["phase"]: set[int]() for trial in document["trials"]}
    for trial in document["trials"]:
        ends[trial["phase"]].add(trial["observations"][-1]["step"])
        assert len({observation["attempt"] for observation in trial["observations"]}) == 1
    assert set(ends) == {"Pruned", "Succeeded"}
    assert ends["Succeeded"] == {18}


def check_halving(document: dict[str, Any]) -> None:
    steps = sorted(trial["observations"][-1]["step"] for trial in document["trials"])
    assert steps == [2] * 6 + [6] * 2 + [18]


def check_hyperband(document: dict[str, Any]) -> None:
    """17 trials are one whole round: nine from 2 trees, five from 6, three from 18."""
    steps = sorted(trial["observations"][-1]["step"] for trial in document["trials"])
    assert steps == [2] * 6 + [6] * (2 + 4) + [18] * (1 + 1 + 3)


def check_bohb(document: dict[str, Any]) -> None:
    """The brackets are Hyperband's, and once six trials have rested the configurations are TPE's."""
    check_hyperband(document)
    assert document["spec"]["search"]["algorithm"] == "tpe"


def check_pbt(document: dict[str, Any]) -> None:
    """Clones go on from their parents, and only what may change has changed."""
    trials = {trial["number"]: trial for trial in document["trials"]}
    clones = [trial for trial in trials.values() if trial["parent"]]
    assert clones
    for clone in clones:
        parent = trials[clone["parent"]["trial"]]
        assert clone["observations"][0]["step"] == clone["parent"]["step"] + 1
        assert clone["parameters"]["width"] == parent["parameters"]["width"]
        assert clone["parameters"]["lr"] != parent["parameters"]["lr"]
    places = document["spec"]["scheduler"]["settings"]["populationSize"]
    assert sum(trial["phase"] == "Succeeded" for trial in trials.values()) == places


def check_median(document: dict[str, Any]) -> None:
    assert {trial["phase"] for trial in document["trials"]} == {"Pruned", "Succeeded"}


def check_pareto(document: dict[str, Any]) -> None:
    front = [(s["metrics"]["val_accuracy"], s["metrics"]["size"]) for s in document["status"]["best"]]
    assert len(front) > 1
    for accuracy, size in front:
        assert not any(a >= accuracy and s <= size and (a, s) != (accuracy, size) for a, s in front)


def check_gp(document: dict[str, Any]) -> None:
    """Once it has a model, it does better than the Sobol sequence before: in the best trial and on the whole."""
    losses = [trial["observations"][-1]["metrics"]["val_loss"] for trial in document["trials"]]
    assert min(losses[6:]) < min(losses[:6])
    assert sorted(losses[6:])[4] < sorted(losses[:6])[3]


def check_hypergradients(document: dict[str, Any]) -> None:
    trials = document["trials"]
    assert len(trials) == 7, "three sizes of updates for each of the two methods, and the constants"
    assert_hypergradients_beat_constants([(t["parameters"], t["observations"][-1]["metrics"]) for t in trials])


def check_points(document: dict[str, Any]) -> None:
    first, second, third, *others = document["trials"]
    assert first["parameters"] == {"lr": 0.05, "batch": 16, "optimizer": "sgd", "momentum": 0.9}
    assert second["parameters"] == {"lr": 0.01, "batch": 32, "optimizer": "adam"}
    assert third["parameters"]["optimizer"] == "sgd"
    assert [trial["origin"] for trial in (first, second, third)] == [
        f"proposed by tpe: point {place} of the manifest" for place in (1, 2, 3)
    ]
    assert not any("manifest" in trial["origin"] for trial in others)


def check_warm_start(document: dict[str, Any]) -> None:
    """Three trials are winners of the earlier experiment, which had no dropout: that is the default."""
    first = document["trials"][:3]
    assert all(trial["origin"].endswith(" of gp") for trial in first)
    assert [trial["parameters"]["dropout"] for trial in first] == [0.0] * 3


def check_custom_script(document: dict[str, Any]) -> None:
    """The target ends it before every trial is made."""
    (complete,) = [c for c in document["status"]["conditions"] if c["type"] == "Complete"]
    assert complete["reason"] == "TargetReached"
    assert document["status"]["best"][0]["metrics"]["loss"] <= 0.2
    assert len(document["trials"]) < document["spec"]["maxTrials"]


def check_json_lines(document: dict[str, Any]) -> None:
    """Every line is a report of its own, and what is no number is no metric."""
    assert len(document["trials"]) == 8
    for trial in document["trials"]:
        u, v = trial["parameters"]["u"], trial["parameters"]["v"]
        losses = [(u - 1) ** 2 + (v + 1) ** 2 + 1 / epoch for epoch in (1, 2, 3)]
        reports = [(report["step"], report["metrics"]) for report in trial["observations"]]
        assert reports == [(epoch, {"loss": loss}) for epoch, loss in enumerate(losses, 1)]


def check_prometheus_metrics(document: dict[str, Any]) -> None:
    """The validation loss is read, by its label, up to the last step; a step that nobody scraped may be missing."""
    assert len(document["trials"]) == 5
    for trial in document["trials"]:
        steps = [report["step"] for report in trial["observations"]]
        assert steps == sorted(set(steps))
        assert steps[-1] == 5
        assert all(set(report["metrics"]) == {"loss"} for report in trial["observations"])


CHECKS = {
    "custom_script.yaml": check_custom_script,
    "json_lines.yaml": check_json_lines,
    "prometheus_metrics.yaml": check_prometheus_metrics,
    "points.yaml": check_points,
    "warm_start.yaml": check_warm_start,
    "quickstart.yaml": check_quickstart,
    "gp.yaml": check_gp,
    "grid.yaml": check_grid,
    "sobol.yaml": check_sobol,
    "asha.yaml": check_asha,
    "halving.yaml": check_halving,
    "hyperband.yaml": check_hyperband,
    "hypergradients.yaml": check_hypergradients,
    "bohb.yaml": check_bohb,
    "pbt.yaml": check_pbt,
    "pb2.yaml": check_pbt,
    "median.yaml": check_median,
    "pareto.yaml": check_pareto,
}
