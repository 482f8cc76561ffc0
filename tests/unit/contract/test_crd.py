"""The generated CRDs: structural, bounded, and complete as to what Podium writes."""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from podium_contract.algorithms import SCHEDULERS, SEARCHES, algorithm_name
from podium_contract.crd import experiment_crd, files, trial_crd
from podium_contract.experiment import ExperimentStatus
from podium_contract.model import Model
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


def a_full(model: type[Model]) -> Model:
    """A model with every field set, as deep as it goes."""
    return model.model_validate({name: a_value(field.annotation) for name, field in model.model_fields.items()})


def a_value(annotation: Any) -> Any:
    arguments = [part for part in get_args(annotation) if part not in (NoneType, Ellipsis)]
    origin = get_origin(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return a_full(annotation).model_dump()
    if origin is Literal:
        return arguments[0]
    if origin in (tuple, list):
        return [a_value(arguments[0])]
    if origin is dict:
        return {"any": a_value(arguments[1])}
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return next(iter(annotation))
    if annotation is datetime:
        return "2026-01-01T00:00:00Z"
    return a_value(arguments[0]) if arguments else {str: "x", bool: True}.get(annotation, 1)


def paths_in(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The way to everything in plain data; list items are no step of their own."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from paths_in(item, (*path, key))
    elif isinstance(value, list):
        for item in value:
            yield from paths_in(item, path)


def is_declared(schema: Schema, path: tuple[str, ...]) -> bool:
    """Whether the API server keeps what stands at a path, rather than drop it in silence."""
    if not path:
        return True
    schema = schema.get("items", schema)
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return True
    below = schema.get("properties", {}).get(path[0], schema.get("additionalProperties"))
    return below is not None and is_declared(below, path[1:])


def test_files_in_the_tree_are_what_the_models_say() -> None:
    for path, text in files().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of date; run make crds"


def test_schemas_are_structural() -> None:
    for crd in (experiment_crd(), trial_crd()):
        for part in parts_of(schema_of(crd)):
            assert not {"$ref", "oneOf", "$defs", "const"} & part.keys()
            for form in (*part.get("anyOf", ()), *part.get("allOf", ())):
                assert not {"type", "description", "default"} & form.keys(), (
                    "an alternative constrains, it declares nothing"
                )


def test_everything_that_podium_can_write_into_a_status_is_in_the_schema() -> None:
    for crd, status in ((experiment_crd(), a_full(ExperimentStatus)), (trial_crd(), a_full(TrialStatus))):
        written = set(paths_in(status.to_json()))
        known = schema_of(crd)["properties"]["status"]
        assert len(written) > 20
        assert [path for path in sorted(written) if not is_declared(known, path)] == []


def test_field_that_no_model_has_is_not_in_the_schema() -> None:
    assert not is_declared(schema_of(experiment_crd())["properties"]["status"], ("trials", "lost"))


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
