"""The generated CRDs: structural, bounded, and complete as to what Podium writes."""

from collections.abc import Iterator
from typing import Any

from podium_contract.algorithms import SCHEDULERS, SEARCHES, algorithm_name
from podium_contract.crd import experiment_crd, files, trial_crd
from podium_contract.experiment import ExperimentStatus
from podium_contract.trial import TrialStatus

Schema = dict[str, Any]


def schema_of(crd: Schema) -> Schema:
    schema: Schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def parts_of(schema: Any) -> Iterator[Schema]:
    if isinstance(schema, dict):
        yield schema
        for part in schema.values():
            yield from parts_of(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from parts_of(part)


def test_files_in_the_tree_are_what_the_models_say() -> None:
    for path, text in files().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of date; run make crds"


def test_schemas_are_structural() -> None:
    for crd in (experiment_crd(), trial_crd()):
        for part in parts_of(schema_of(crd)):
            assert not {"$ref", "anyOf", "oneOf", "allOf", "$defs", "const"} & part.keys()


def test_every_status_field_that_podium_writes_is_in_the_schema() -> None:
    for crd, status in ((experiment_crd(), ExperimentStatus), (trial_crd(), TrialStatus)):
        known = schema_of(crd)["properties"]["status"]["properties"]
        written = {field.alias or name for name, field in status.model_fields.items()}
        assert written == known.keys()


def test_every_field_of_the_spec_is_described() -> None:
    for name, field in schema_of(experiment_crd())["properties"]["spec"]["properties"].items():
        assert field.get("description"), name


def test_field_that_is_a_number_here_and_anything_there_is_left_open() -> None:
    parameter = schema_of(experiment_crd())["properties"]["spec"]["properties"]["parameters"]["items"]["properties"]
    assert "type" not in parameter["default"]
    assert parameter["min"]["type"] == "number"


def test_every_algorithm_is_in_the_enum() -> None:
    fields = schema_of(experiment_crd())["properties"]["spec"]["properties"]
    for field, models in (("search", SEARCHES), ("scheduler", SCHEDULERS)):
        assert fields[field]["properties"]["algorithm"]["enum"] == [algorithm_name(model) for model in models]


def test_lists_that_people_edit_are_maps_for_server_side_apply() -> None:
    fields = schema_of(experiment_crd())["properties"]["spec"]["properties"]
    assert fields["parameters"]["x-kubernetes-list-map-keys"] == ["name"]
    assert fields["objectives"]["x-kubernetes-list-map-keys"] == ["metric"]
