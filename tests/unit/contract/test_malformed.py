"""Malformed manifests, one per rule: each gives one fault with the field's path, the rule, the value and the remedy."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from builders.experiments import (
    a_choice,
    a_float,
    a_manifest,
    a_population,
    a_scheduler,
    a_search,
    a_trial,
    an_int,
    an_objective,
    an_ordinal,
)
from builders.malformed import MALFORMED, Malformed, Manifest
from podium_contract.manifest import Fault, ManifestError, load_experiment, parse_experiment, validate_experiment


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


def test_all_that_does_not_fit_together_is_told_at_once() -> None:
    manifest = a_manifest(
        objectives=[an_objective("loss"), an_objective("size")],
        scheduler=a_population(mutable=["lr", "depth", "width"]),
        search={**a_search("grid"), "points": [{"lr": 1.0}, {"lr": 0.01}, {"lr": 0.01}]},
        max_trials=2,
        trial=a_trial("train", "--lr=${lr}", "--depth=${depth}", "--width=${width}"),
    )
    assert [fault.path.removeprefix("spec.") for fault in faults_in(manifest)] == [
        "trial.template.spec.containers[0].command[2]",
        "trial.template.spec.containers[0].command[3]",
        "scheduler.algorithm",
        "search.points",
        "search.points[0].lr",
        "search.points[2]",
        "scheduler.settings.mutable[1]",
        "scheduler.settings.mutable[2]",
        "maxTrials",
        "search.algorithm",
        "trial.checkpoints",
    ]


@pytest.mark.parametrize(
    ("conditions", "paths"),
    [
        ([{"depth": [1]}, {"lr": ["a"]}, {"batch": [16, 17, 18]}], ["[1].when.depth"]),
        ([{"lr": ["a"]}, {"batch": [16, 17, 18]}], ["[1].when.lr[0]", "[2].when.batch[1]", "[2].when.batch[2]"]),
    ],
    ids=["a parent that does not exist", "values that parents cannot take"],
)
def test_all_conditions_that_cannot_hold_are_told_at_once(conditions: list[Manifest], paths: list[str]) -> None:
    children = [an_int(f"x{index}", when=condition) for index, condition in enumerate(conditions)]
    faults = faults_in(a_manifest(parameters=[a_float(), *children, an_ordinal()]))
    assert [fault.path for fault in faults] == [f"spec.parameters{path}" for path in paths]


def test_all_that_is_wrong_with_a_template_is_told_at_once() -> None:
    nameless = {"command": "train.py --fast", "env": [{"name": "A", "value": 1}, "B=2"]}
    template = {"spec": {"containers": [nameless, "sidecar", {"name": "train", "args": ["--epochs", 3, 4]}]}}
    assert [fault.path for fault in faults_in(a_manifest(trial={"template": template}))] == [
        f"spec.trial.template.spec.containers[{place}"
        for place in (
            "0].name",
            "0].command",
            "0].env[0].value",
            "0].env[1]",
            "1]",
            "2].args[1]",
            "2].args[2]",
        )
    ]


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


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1:30", "1:30"),
        ("0o17", 15),
        ("017", 15),
        ("0x1F", 31),
        ("1_000", 1000),
        ("-.5", -0.5),
        ("1e3", 1000),
        ("08", 8.0),
    ],
)
def test_values_are_read_as_kubernetes_reads_them(written: str, read: object) -> None:
    text = yaml.safe_dump(a_manifest(parameters=[a_choice(values=["VALUE", "b"])])).replace("VALUE", written)
    (parameter,) = parse_experiment(text).spec.parameters
    value = parameter.values[0]  # type: ignore[union-attr]
    assert (value, type(value)) == (read, type(read))


def test_rules_are_told_apart_and_are_many() -> None:
    assert len({case.rule for case in MALFORMED}) == len(MALFORMED) > 100


def test_dates_stay_text() -> None:
    (parameter,) = parse_experiment(
        yaml.safe_dump(a_manifest(parameters=[a_choice(values=["DAY", "b"])])).replace("DAY", "2026-01-01")
    ).spec.parameters
    assert parameter.values[0] == "2026-01-01"  # type: ignore[union-attr]


def test_truth_values_written_as_such_are_choices() -> None:
    (parameter,) = parse_experiment(
        yaml.safe_dump(a_manifest(parameters=[a_choice(values=[True, False])]))
    ).spec.parameters
    assert parameter.values == [True, False]  # type: ignore[union-attr]


def test_json_is_a_manifest_too() -> None:
    assert parse_experiment(json.dumps(a_manifest(parameters=[a_float()]))).metadata.name == "demo"


def places_in(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places_in(item, (*path, key))


RICH = a_manifest(
    parameters=[a_choice(), a_float("lr", when={"optimizer": ["sgd"]})],
    scheduler=a_scheduler(reductionFactor=3),
    trial=a_trial("train", "${lr}", metrics={"source": "log", "format": "json"}, container="train"),
)
PLACES = list(places_in(RICH))
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=5,
)


@example(("spec",), {"\n": None})
@given(st.sampled_from(PLACES), ANYTHING)
def test_anything_anywhere_is_an_experiment_or_a_fault_in_one_line(place: tuple[str | int, ...], value: object) -> None:
    manifest = copy.deepcopy(RICH)
    here: Any = manifest
    for step in place[:-1]:
        here = here[step]
    here[place[-1]] = value
    faults: list[Fault] = []
    try:
        validate_experiment(manifest)
    except ManifestError as error:
        faults = error.faults
    assert all(fault.message and "\n" not in str(fault) for fault in faults)
