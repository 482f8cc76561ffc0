"""Hypergradients in the trial image with torch: exact there, and of use."""

import ast

import pytest
import yaml

from builders.hypergradient_trials import assert_hypergradients_beat_constants
from builders.operator_at_work import ROOT, Json, Podium

pytestmark = pytest.mark.e2e

TORCH_SECONDS = 600.0
"""How long the tests wait for trials that start torch: pods share few cores here, and each reads a gigabyte first."""


def test_every_claim_about_hypergradients_holds_in_the_image(podium: Podium) -> None:
    source = (ROOT / "tests" / "builders" / "hypergradient_claims.py").read_text(encoding="utf-8")
    podium.apply(
        "claims",
        objectives=[{"metric": "claims", "goal": "maximize"}],
        scheduler={"algorithm": "none", "max": 1},
        max_trials=1,
        container={"image": container_of(the_example())["image"], "command": ["python", "-c", source]},
    )
    status = podium.wait_for("Complete", "claims", TORCH_SECONDS)
    assert podium.trial()["phase"] == "Succeeded", podium.trial()["message"]
    assert status["best"][0]["metrics"]["claims"] == number_of_claims(source)


def test_example_beats_constants_in_pods(podium: Podium) -> None:
    """With one size of updates for both methods, and the script in the command: the image does not hold the examples."""
    manifest = the_example()
    script = (ROOT / "examples" / "hypergradients.py").read_text(encoding="utf-8")
    container_of(manifest)["command"] = ["python", "-c", script]
    (rate,) = [parameter for parameter in manifest["spec"]["parameters"] if parameter["name"] == "rate"]
    rate["values"] = [0.5]
    podium.kubectl("apply", "-f", "-", given=manifest)
    podium.wait_for("Complete", "hypergradients", TORCH_SECONDS)
    trials = podium.trials()
    assert [(trial["status"]["phase"], trial["status"]["step"]) for trial in trials] == [("Succeeded", 15)] * 3
    assert_hypergradients_beat_constants(
        [(trial["spec"]["parameters"], trial["status"]["observations"][-1]["metrics"]) for trial in trials]
    )


def the_example() -> Json:
    manifest: Json = yaml.safe_load((ROOT / "examples" / "hypergradients.yaml").read_text(encoding="utf-8"))
    return manifest


def container_of(manifest: Json) -> Json:
    (container,) = manifest["spec"]["trial"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def number_of_claims(source: str) -> int:
    """How many there are, read from the text: torch is in the image alone."""
    assigned = [node for node in ast.parse(source).body if isinstance(node, ast.AnnAssign)]
    (claims,) = [node.value for node in assigned if ast.unparse(node.target) == "CLAIMS"]
    assert isinstance(claims, ast.List)
    return len(claims.elts)
