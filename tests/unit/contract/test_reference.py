"""docs/manifest.md: every field that a manifest may have, with what the models say of it."""

import re
from collections.abc import Iterator
from typing import Any

from podium_contract.crd import experiment_crd
from podium_contract.experiment import MUTABLE_FIELDS, ExperimentSpec
from podium_contract.reference import manifest_page

TOLD_ELSEWHERE = ("settings", "template")


def tables() -> dict[str, dict[str, str]]:
    """The rows of each section's table by field; a field with several rows has them all."""
    found: dict[str, dict[str, str]] = {}
    for section in manifest_page().split("\n## ")[1:]:
        fields = found.setdefault(section.split("`")[1], {})
        for name, rest in re.findall(r"^\| `(\w+)` \|(.*)\|$", section, re.MULTILINE):
            fields[name] = fields.get(name, "") + rest
    return found


def fields_in(schema: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    """Every field of a CRD's schema, with the path of the object that has it."""
    path += "[]" if "items" in schema else ""
    for name, field in schema.get("items", schema).get("properties", {}).items():
        yield path, name
        if name not in TOLD_ELSEWHERE:
            yield from fields_in(field, f"{path}.{name}")


def schema_of(part: str) -> dict[str, Any]:
    root = experiment_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema: dict[str, Any] = root["properties"][part]
    return schema


def test_every_field_of_the_spec_has_a_row_and_no_other() -> None:
    told = {(path, name) for path, fields in tables().items() for name in fields if path != "status"}
    assert told == set(fields_in(schema_of("spec"), "spec"))
    assert set(tables()["status"]) == set(schema_of("status")["properties"])


def test_every_row_says_what_its_field_means() -> None:
    silent = [(path, name) for path, fields in tables().items() for name, row in fields.items() if row.endswith("|  ")]
    assert silent == []


def test_a_row_tells_type_default_and_what_must_be_there() -> None:
    spec, parameters, metrics = (tables()[path] for path in ("spec", "spec.parameters[]", "spec.trial.metrics"))
    assert spec["parallelism"].startswith(" whole number from 1 to 10 000 | `1` |")
    assert "| **required** |" in spec["maxTrials"]
    assert "`{algorithm: auto}`" in spec["search"]
    assert parameters["values"].startswith(" `ordinal`, `categorical` | list | **required** |")
    assert "| `prometheus` | whole number" not in metrics["port"], "a row for each member"
    assert metrics["port"].count("whole number from 1 to 65 535") == 2


def test_the_fields_that_may_change_are_marked_and_no_others() -> None:
    marked = {name for name, row in tables()["spec"].items() if "*May change.*" in row}
    assert marked == {ExperimentSpec.model_fields[name].alias for name in MUTABLE_FIELDS}
    assert not any("*May change.*" in row for path, rows in tables().items() for row in rows.values() if path != "spec")


def test_links_lead_to_headings() -> None:
    anchors = {re.sub(r"[^a-z0-9]", "", path.lower()) for path in tables()}
    assert set(re.findall(r"\]\(#(\w+)\)", manifest_page())) <= anchors
