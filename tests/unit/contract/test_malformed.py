"""Malformed manifests, one per rule: each gives one fault with the field's path, the rule, the value and the remedy."""

import json
from pathlib import Path

import pytest
import yaml

from builders.experiments import a_choice, a_float, a_manifest
from builders.malformed import MALFORMED, Malformed, Manifest
from podium_contract.manifest import Fault, ManifestError, load_experiment, parse_experiment


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
