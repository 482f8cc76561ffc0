"""Malformed manifests, one per rule: each gives one fault with the field's path, the rule, the value and the remedy."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from builders.experiments import (
    a_choice,
    a_float,
    a_manifest,
    a_scheduler,
    a_template,
    an_int,
    an_objective,
    an_ordinal,
)
from podium_contract.manifest import Fault, ManifestError, load_experiment, parse_experiment

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Malformed:
    """One way to get a manifest wrong, and what is said about it."""

    rule: str
    manifest: Manifest | str
    path: str
    words: tuple[str, ...]
    """Parts of the message: the rule, what it got, the remedy."""


def a_fault(rule: str, path: str, *words: str, **spec: Any) -> Malformed:
    return Malformed(rule, a_manifest(**spec), path, words)


def with_parameters(rule: str, path: str, parameters: list[Manifest], *words: str) -> Malformed:
    return a_fault(rule, f"spec.parameters{path}", *words, parameters=parameters)


def with_one(rule: str, path: str, parameter: Manifest, *words: str) -> Malformed:
    return with_parameters(rule, f"[0]{path}", [parameter], *words)


def changed(rule: str, path: str, change: Callable[[Manifest], object], *words: str) -> Malformed:
    manifest = a_manifest()
    change(manifest)
    return Malformed(rule, manifest, path, words)


def with_metrics(rule: str, path: str, metrics: Manifest, *words: str) -> Malformed:
    trial = {"template": a_template(), "metrics": metrics}
    return a_fault(rule, f"spec.trial.metrics{path}", *words, trial=trial)


def with_container(rule: str, path: str, container: Manifest, *words: str) -> Malformed:
    return a_fault(rule, path, *words, trial={"template": {"spec": {"containers": [container]}}})


OPTIMIZER = a_choice("optimizer", ["sgd", "adam"])

MALFORMED = [
    # The document
    Malformed("not YAML", "spec: [", "", ("YAML", "correct")),
    Malformed("a tab for indentation", "spec:\n\tmaxTrials: 1", "", ("YAML", "correct")),
    Malformed("a key given twice", "kind: Experiment\nkind: Experiment", "", ("'kind' given twice",)),
    Malformed(
        "two documents", yaml.safe_dump_all([a_manifest(), a_manifest()]), "", ("one Experiment", "got 2", "keep")
    ),
    Malformed("no document", "", "", ("one Experiment", "got 0")),
    Malformed("a list", "- 1", "", ("mapping", "got [1]", "start with apiVersion")),
    changed("another apiVersion", "apiVersion", lambda m: m.update(apiVersion="v1"), "must be podium.dev", 'got "v1"'),
    changed("another kind", "kind", lambda m: m.update(kind="Trial"), "must be Experiment", 'got "Trial"', "write"),
    changed("no spec", "spec", lambda m: m.pop("spec"), "required", "add it"),
    changed("no name", "metadata.name", lambda m: m["metadata"].pop("name"), "required", "add it"),
    changed("a name in capitals", "metadata.name", lambda m: m["metadata"].update(name="Demo"), "match", '"Demo"'),
    changed("a name too long", "metadata.name", lambda m: m["metadata"].update(name="d" * 51), "50", "correct"),
    # Unknown things
    a_fault("a misspelt field", "spec.maxTrial", "no field", "got 5", "did you mean maxTrials?", maxTrial=5),
    changed("a stray field", "extra", lambda m: m.update(extra=1), "no field", "remove it"),
    with_one("an unknown type", "", a_float(type="flaot"), "type must be one of", "'flaot'", "choose"),
    with_one("no type", "", {"name": "lr", "min": 0, "max": 1}, "needs 'type'", "add it"),
    with_one("an unknown scale", ".scale", a_float(scale="ln"), "'linear'", '"ln"', "choose"),
    a_fault("an unknown search", "spec.search", "one of", "'tpee'", "choose", search={"algorithm": "tpee"}),
    a_fault("an unknown scheduler", "spec.scheduler", "'asha2'", scheduler={"algorithm": "asha2", "max": 9}),
    a_fault(
        "an unknown setting",
        "spec.search.settings.candidats",
        "no field",
        "did you mean candidates?",
        search={"algorithm": "tpe", "settings": {"candidats": 3}},
    ),
    a_fault(
        "another algorithm's setting",
        "spec.search.settings.candidates",
        "no field",
        search={"algorithm": "grid", "settings": {"candidates": 3}},
    ),
    # Numbers
    with_one("min above max", "", a_float(low=1, high=0.1), "min < max", "min=1, max=0.1", "swap"),
    with_one("min equal to max", "", an_int(low=3, high=3), "min < max", "min=3", "swap"),
    with_one("log scale from zero", "", a_float(low=0.0, high=1.0), "min > 0", "min=0", "scale: linear"),
    with_one("logit scale up to one", "", a_float(low=0.1, high=1.0, scale="logit"), "max < 1", "tighten"),
    with_one("logit scale of an int", "", an_int(scale="logit"), "no logit scale", "use linear or log"),
    with_one("negative step", "", a_float(scale="linear", low=0, high=1, step=-0.1), "positive", "step=-0.1"),
    with_one("step wider than the range", "", an_int(step=9), "must not exceed", "step=9", "smaller step"),
    with_one("step on a log scale", "", a_float(step=0.01), "linear scale", "scale=log", "remove step"),
    with_one("text for a number", ".min", a_float(low="low"), "number", '"low"', "correct"),  # type: ignore[arg-type]
    with_one("truth for a whole number", ".min", an_int(low=True), "integer", "true", "correct"),
    with_one("a fraction for a whole number", ".max", an_int(high=2.5), "integer", "2.5"),  # type: ignore[arg-type]
    with_one("a bound that is not finite", ".max", a_float(high=math.inf), "finite", "correct"),
    with_one("a bound that is no number", ".min", a_float(low=math.nan), "finite", "correct"),
    with_one("a default outside", "", a_float(default=7.0), "default must be a value", "got 7.0", "choose"),
    with_one("a default off the lattice", "", an_int(low=4, high=12, step=2, default=5), "default", "got 5"),
    # Choices
    with_one("no values", ".values", {"name": "c", "type": "categorical", "values": []}, "at least 1", "[]"),
    with_one("values given twice", "", an_ordinal(values=[16, 32, 16]), "distinct", "16 twice", "remove"),
    with_one("nothing for a value", "", a_choice(values=["a", None]), "scalar or a list", "null", "use a string"),
    # Names and conditions
    with_one("a name with a space", ".name", a_float("learning rate"), "match", "learning rate"),
    with_parameters("a name twice", "", [a_float("lr"), an_int("lr")], "distinct", "'lr' 2 times", "rename"),
    with_parameters("an unknown parent", "[0].when", [a_float(when={"opt": ["sgd"]})], "names a parameter", "'opt'"),
    with_parameters("its own parent", "", [an_int("a", when={"a": [1]})], "cycle", "a", "remove"),
    with_parameters(
        "parents in a circle",
        "",
        [an_int("a", when={"b": [1]}), an_int("b", when={"a": [1]})],
        "cycle",
        "a, b",
        "remove",
    ),
    with_parameters(
        "a value that the parent cannot take",
        "[1].when.optimizer",
        [OPTIMIZER, a_float(when={"optimizer": ["sdg"]})],
        "lists values",
        '"sdg"',
        "choose",
    ),
    with_parameters(
        "a range of a categorical parent",
        "[1].when.optimizer",
        [OPTIMIZER, a_float(when={"optimizer": {"min": 1}})],
        "float or int",
        "categorical",
        "list the values",
    ),
    with_parameters(
        "a condition that is neither list nor range",
        "[1].when.optimizer",
        [OPTIMIZER, a_float(when={"optimizer": "sgd"})],
        "list of values or a range",
        '"sgd"',
        "write",
    ),
    with_parameters(
        "a range without bounds", "[1].when.depth", [an_int(), a_float(when={"depth": {}})], "min, max or both", "add"
    ),
    # Objectives and constraints
    a_fault("no objective", "spec.objectives", "at least 1", objectives=[]),
    a_fault("an unknown goal", "spec.objectives[0].goal", '"max"', objectives=[an_objective(goal="max")]),
    a_fault("an objective twice", "spec.objectives", "distinct", "2 times", objectives=[an_objective()] * 2),
    a_fault("a constraint without bound", "spec.constraints[0]", "min, max", "add", constraints=[{"metric": "ms"}]),
    a_fault(
        "an impossible constraint",
        "spec.constraints[0]",
        "min <= max",
        "swap",
        constraints=[{"metric": "ms", "min": 2, "max": 1}],
    ),
    a_fault(
        "several objectives with a scheduler",
        "spec.scheduler",
        "one objective",
        "got 2",
        "remove the scheduler",
        objectives=[an_objective(), an_objective("size")],
        scheduler=a_scheduler(),
    ),
    # Limits
    a_fault("no trials", "spec.maxTrials", "greater than or equal to 1", "got 0", max_trials=0),
    a_fault("no parallelism", "spec.parallelism", "greater than or equal to 1", "got 0", parallelism=0),
    a_fault("negative failures", "spec.maxFailedTrials", "greater than or equal to 0", "-1", max_failed_trials=-1),
    a_fault("no time", "spec.activeDeadlineSeconds", "greater than 0", "got 0", active_deadline_seconds=0),
    a_fault("a negative seed", "spec.search.seed", "greater", "-1", search={"algorithm": "tpe", "seed": -1}),
    a_fault("a ladder of one rung", "spec.scheduler", "min < max", "max=1", scheduler=a_scheduler(low=1, high=1)),
    a_fault("a scheduler without maximum", "spec.scheduler.max", "required", scheduler={"algorithm": "asha", "min": 1}),
    a_fault(
        "a factor that reduces nothing",
        "spec.scheduler.settings.reductionFactor",
        "greater than or equal to 2",
        "got 1",
        scheduler=a_scheduler(reductionFactor=1),
    ),
    # The trial
    a_fault("no template", "spec.trial.template", "required", trial={}),
    a_fault("no containers", "spec.trial.template", "spec.containers", "write", trial={"template": {"spec": {}}}),
    a_fault(
        "an unknown container", "spec.trial", "'x'", "known: train", trial={"template": a_template(), "container": "x"}
    ),
    with_container(
        "a command in one piece", "spec.trial.template", {"command": "python x"}, "list of strings", "quoted"
    ),
    with_container("a number in a command", "spec.trial.template", {"command": ["sleep", 5]}, "list of strings"),
    with_container(
        "a number in the environment",
        "spec.trial.template",
        {"command": ["x"], "env": [{"name": "N", "value": 5}]},
        "a string",
        "got 5 for N",
        "quotes",
    ),
    with_container(
        "an unknown placeholder",
        "spec.trial.template.spec.containers.command[1]",
        {"command": ["x", "${depth}"]},
        "names a parameter",
        "${depth}",
        "known: lr",
    ),
    a_fault("negative retries", "spec.trial.maxRetries", "-1", trial={"template": a_template(), "maxRetries": -1}),
    with_metrics("an unknown source", "", {"source": "files"}, "'sdk', 'prometheus', 'log'", "'files'"),
    with_metrics("a port out of range", ".port", {"source": "sdk", "port": 70000}, "65535", "70000"),
    with_metrics("a pattern without format", "", {"source": "log", "pattern": "x"}, "format: pattern", "both"),
    with_metrics(
        "a pattern that is none",
        "",
        {"source": "log", "format": "pattern", "pattern": "("},
        "regular expression",
        '"("',
    ),
    with_metrics(
        "a pattern without groups", "", {"source": "log", "format": "pattern", "pattern": "x"}, "'metric' and 'value'"
    ),
    with_metrics(
        "a metric without series",
        ".series",
        {"source": "prometheus", "port": 8000, "series": {"accuracy": "acc"}},
        "needs a series",
        "'loss'",
        "add it",
    ),
    a_fault(
        "checkpoints nowhere",
        "spec.trial.checkpoints.persistentVolumeClaim",
        "storage or claimName",
        trial={"template": a_template(), "checkpoints": {"persistentVolumeClaim": {}}},
    ),
]


def faults_in(manifest: Manifest | str) -> list[Fault]:
    text = manifest if isinstance(manifest, str) else yaml.safe_dump(manifest)
    with pytest.raises(ManifestError) as caught:
        parse_experiment(text)
    return caught.value.faults


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case.rule.replace(" ", "-"))
def test_malformed_manifest_gives_one_fault_that_names_place_rule_value_and_remedy(case: Malformed) -> None:
    faults = faults_in(case.manifest)
    assert [fault.path for fault in faults] == [case.path], faults
    for words in case.words:
        assert words in faults[0].message, faults[0].message
    assert "\n" not in faults[0].message


def test_every_fault_of_a_manifest_is_told_at_once() -> None:
    faults = faults_in(a_manifest(max_trials=0, parallelism=0))
    assert [fault.path for fault in faults] == ["spec.maxTrials", "spec.parallelism"]


def test_missing_file_is_a_fault_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"nowhere.yaml: cannot be read: No such file"):
        load_experiment(tmp_path / "nowhere.yaml")


def test_binary_file_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="UTF-8"):
        load_experiment(tmp_path / "m.yaml")


def test_exponents_without_a_point_are_numbers() -> None:
    text = yaml.safe_dump(a_manifest()).replace("1.0e-05", "1e-5")
    assert "1e-5" in text
    assert parse_experiment(text).spec.parameters[0].min == 1e-5  # type: ignore[union-attr]
