"""The CRDs as a real API server sees them: what they refuse, what they let change, what they show and explain."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from builders.api_server import ApiServer, serving_crds
from builders.experiments import (
    a_choice,
    a_float,
    a_manifest,
    a_scheduler,
    a_search,
    a_template,
    an_int,
    an_objective,
)
from builders.malformed import MALFORMED, Malformed
from builders.release import kubectl
from podium_contract.experiment import MUTABLE_FIELDS, ExperimentSpec
from podium_contract.wire import Assignment

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("KUBECONFIG" not in os.environ, reason="KUBECONFIG names no cluster"),
]

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
JUDGED = [case for case in MALFORMED if not case.is_local]
NOT_FINITE = [case for case in MALFORMED if case.is_local and "finite" in case.words]
"""JSON has no infinity, so these cannot even be sent."""
LEFT_TO_PODIUM = [
    case for case in MALFORMED if case.is_local and isinstance(case.manifest, dict) and case not in NOT_FINITE
]

CHANGES: dict[str, Any] = {
    "objectives": [an_objective("accuracy", "maximize")],
    "constraints": [{"metric": "latency", "max": 1}],
    "parameters": [a_float("lr", 1e-6, 1e-1)],
    "search": a_search("random", seed=8),
    "scheduler": a_scheduler("asha", 1, 27),
    "trial": {"template": a_template("python", "other.py")},
    "maxTrials": 20,
    "parallelism": 3,
    "maxFailedTrials": 2,
    "activeDeadlineSeconds": 60,
    "suspend": True,
    "podHistoryLimit": 3,
    "ttlSecondsAfterFinished": 60,
}
FIELDS = sorted(field.alias or name for name, field in ExperimentSpec.model_fields.items())
MUTABLE = {field.alias or name for name, field in ExperimentSpec.model_fields.items() if name in MUTABLE_FIELDS}
KEPT = "kept"
"""The one experiment that the server stores; all others are dry runs."""
TRIAL_SPEC = {"experiment": "demo", "number": 1, "parameters": {"lr": 0.1, "betas": [0.9, 0.99]}}


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    with serving_crds() as server:
        server.create(a_manifest(KEPT, search=a_search("random", seed=7)))
        server.create({"kind": "Trial", "metadata": {"name": "demo-00001"}, "spec": TRIAL_SPEC}, "trials")
        yield server


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_accepted(server: ApiServer, path: Path) -> None:
    assert server.refusal(yaml.safe_load(path.read_text(encoding="utf-8"))) is None


def test_everything_at_once_is_accepted(server: ApiServer) -> None:
    manifest = a_manifest(
        constraints=[{"metric": "latency", "max": 100}],
        parameters=[
            a_float(default=1e-3),
            a_float("dropout", 0.1, 0.3, "linear", step=0.2),
            a_float("share", 0.01, 0.99, "logit"),
            an_int("depth", 4, 12, step=2),
            an_int("width", 8, 512, scale="log", step=1),
            a_choice("optimizer", ["sgd", "adam", 3, True, [0.9, 0.99]], default="adam"),
            a_float("momentum", 0.0, 0.99, "linear", when={"optimizer": ["sgd"], "depth": {"min": 6}}),
        ],
        scheduler=a_scheduler("halving", bracketSize=9),
        trial={
            "template": a_template(resources={"limits": {"nvidia.com/gpu": 1}}, env=[{"name": "X", "valueFrom": {}}]),
            "checkpoints": {"persistentVolumeClaim": {"storage": "10Gi", "accessModes": ["ReadWriteMany"]}},
            "metrics": {"source": "prometheus", "port": 80, "series": {"loss": "l", "latency": "ms"}},
            "container": "train",
        },
    )
    assert server.refusal(manifest) is None


@pytest.mark.parametrize("case", JUDGED, ids=lambda case: case.rule.replace(" ", "-"))
def test_malformed_manifest_is_refused(server: ApiServer, case: Malformed) -> None:
    assert isinstance(case.manifest, dict)
    refusal = server.refusal(case.manifest)
    assert refusal is not None
    whole, _, field = case.path.rpartition(".")
    assert field.partition("[")[0].lower() in refusal.lower() or whole in refusal, refusal


@pytest.mark.parametrize("case", LEFT_TO_PODIUM, ids=lambda case: case.rule.replace(" ", "-"))
def test_rule_that_the_server_cannot_judge_is_marked_rightly(server: ApiServer, case: Malformed) -> None:
    """Were it refused here, it would belong to the cases above."""
    if case.path != "apiVersion":
        assert isinstance(case.manifest, dict)
        assert server.refusal(case.manifest) is None


@pytest.mark.parametrize("field", FIELDS)
def test_field_can_change_only_where_that_is_meant(server: ApiServer, field: str) -> None:
    refusal = server.edit_refusal(KEPT, {"spec": {field: CHANGES[field]}})
    if field in MUTABLE:
        assert refusal is None
        return
    assert refusal is not None
    assert f"{field} cannot change once an experiment exists; restore it" in refusal


def test_same_spec_in_another_order_is_no_change(server: ApiServer) -> None:
    spec = a_manifest(KEPT, search=a_search("random", seed=7))["spec"]
    assert server.edit_refusal(KEPT, {"spec": dict(reversed(spec.items()))}) is None


def test_spec_of_a_trial_never_changes(server: ApiServer) -> None:
    refusal = server.edit_refusal("demo-00001", {"spec": {"parameters": {"lr": 0.2}}}, "trials")
    assert refusal is not None
    assert "a trial's spec cannot change; create another experiment" in refusal


def test_values_of_parameters_keep_their_types(server: ApiServer) -> None:
    name = "typed"
    parameters = {"a": 1, "b": 1.5, "c": "1", "d": True, "e": [0.9, "x", False], "f": 10**15}
    assignment = Assignment.model_validate({"number": 2, "parameters": parameters})
    spec = {**TRIAL_SPEC, "number": assignment.number, "parameters": assignment.parameters}
    kept = server.create({"kind": "Trial", "metadata": {"name": name}, "spec": spec}, "trials")
    assert repr(kept["spec"]["parameters"]) == repr(parameters)


def test_people_see_how_an_experiment_stands(server: ApiServer) -> None:
    counts = {"total": 9, "running": 2, "succeeded": 3, "pruned": 4, "failed": 0}
    server.write_status(KEPT, {"phase": "Progressing", "bestValue": 0.25, "trials": counts})
    row = a_row(kubectl("get", f"experiments.{server.group}", KEPT))
    assert {**row, "AGE": ""} == {
        "NAME": KEPT,
        "PHASE": "Progressing",
        "BEST": "0.25",
        "RUNNING": "2",
        "SUCCEEDED": "3",
        "PRUNED": "4",
        "FAILED": "0",
        "AGE": "",
    }


def test_people_see_how_a_trial_stands(server: ApiServer) -> None:
    status = {"phase": "Paused", "step": 9, "target": 27, "value": "NaN", "reason": "RungReached"}
    server.write_status("demo-00001", status, "trials")
    row = a_row(kubectl("get", f"trials.{server.group}", "demo-00001"))
    assert (row["EXPERIMENT"], row["PHASE"], row["STEP"], row["VALUE"]) == ("demo", "Paused", "9", "NaN")
    wide = a_row(kubectl("get", f"trials.{server.group}", "demo-00001", "--output=wide"))
    assert (wide["TARGET"], wide["REASON"]) == ("27", "RungReached")


def test_parallelism_can_be_scaled(server: ApiServer) -> None:
    kubectl("scale", f"experiments.{server.group}/{KEPT}", "--replicas=5")
    assert kubectl("get", f"experiments.{server.group}", KEPT, "--output=jsonpath={.spec.parallelism}") == "5"


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("experiment.spec.parallelism", "How many trials train at a time"),
        ("experiment.spec.scheduler.algorithm", "Asynchronous successive halving"),
        ("experiment.spec.search.settings.candidates", "Points drawn from the model"),
        ("experiment.spec.trial.template.spec.containers.command", "stands for a parameter's value"),
        ("experiment.status.cost.gpuSeconds", "times the GPUs"),
        ("trial.spec.parent", "clone"),
    ],
)
def test_explain_tells_what_a_field_means(server: ApiServer, field: str, words: str) -> None:
    version = f"--api-version={server.group}/v1alpha1"
    plural, _, rest = field.partition(".")
    told = kubectl("explain", f"{plural}s.{rest}", version)
    assert words in re.sub(r"\s+", " ", told)


def a_row(printed: str) -> dict[str, str]:
    """One object as `kubectl get` prints it, by heading."""
    headings, row = printed.splitlines()
    return dict(zip(headings.split(), row.split(), strict=True))
