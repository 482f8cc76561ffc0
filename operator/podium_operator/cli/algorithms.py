"""`podium algorithms`: every sampler and scheduler with its settings, told from the models that check manifests."""

import json
from collections.abc import Iterable, Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from podium_contract.algorithms import SCHEDULERS, SEARCHES, algorithm_name
from podium_contract.model import MAX_COUNT, Model

_NOT_SETTINGS = ("algorithm", "settings")


def command(
    output: Annotated[Literal["text", "json"], typer.Option(help="json: one document on standard output.")] = "text",
) -> None:
    """List every sampler and scheduler, with each setting's default, range and meaning."""
    catalogue = {"search": [describe(m) for m in SEARCHES], "scheduler": [describe(m) for m in SCHEDULERS]}
    if output == "json":
        print(json.dumps(catalogue, indent=2))  # noqa: T201  (the document is the output)
        return
    console = Console(highlight=False)
    for kind, title in (("search", "search: what to try"), ("scheduler", "scheduler: how much to spend on it")):
        console.print(f"\n[bold]{title}[/bold]")
        common = common_fields(catalogue[kind])
        if common:
            console.print(Padding(Text.assemble("\n", ("any of them", "bold green")), (0, 0, 0, 2)))
            console.print(Group(*(line for field in common for line in _field_lines(field))))
        for entry in catalogue[kind]:
            console.print(
                Padding(Text.assemble("\n", (entry["algorithm"], "bold green"), f": {entry['meaning']}"), (0, 0, 0, 2))
            )
            own = [field for field in entry["fields"] if field not in common]
            console.print(Group(*(line for field in own for line in _field_lines(field))))


def describe(model: type[Model]) -> dict[str, Any]:
    """Return an algorithm as plain data: name, meaning, and its fields, those within others with their full path."""
    fields = [
        *(
            part
            for name, field in model.model_fields.items()
            if name not in _NOT_SETTINGS
            for part in _parts(name, field)
        ),
        *_parts("settings", model.model_fields["settings"])[1:],
    ]
    return {"algorithm": algorithm_name(model), "meaning": " ".join((model.__doc__ or "").split()), "fields": fields}


def common_fields(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the fields that all algorithms have in the same form."""
    first, *others = (entry["fields"] for entry in entries)
    return [field for field in first if all(field in fields for fields in others)]


def _parts(name: str, field: FieldInfo) -> list[dict[str, Any]]:
    """Return a field, and the fields of the model that it holds."""
    prefix = f"{field.alias or name}."
    held = [part for part in (field.annotation, *get_args(field.annotation)) if _is_model(part)]
    inner = [_field(part, within, prefix) for model in held for part, within in model.model_fields.items()]
    return [_field(name, field), *inner]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Model)


def _field(name: str, field: FieldInfo, prefix: str = "") -> dict[str, Any]:
    return {
        "name": prefix + (field.alias or name),
        "default": "required" if field.is_required() else field.default,
        "range": ", ".join(_limits(field.annotation, field.metadata)),
        "meaning": " ".join((field.description or "").split()),
    }


def _limits(annotation: Any, metadata: Iterable[Any] = ()) -> Iterator[str]:
    """Yield what a value must keep: its bounds, its choices, and what holds for each item of a list."""
    for bound in metadata:
        match bound:
            case Ge(value):
                yield f">= {value}"
            case Gt(value):
                yield f"> {value}"
            case Le(value) if value != MAX_COUNT:
                yield f"<= {value}"
            case Lt(value):
                yield f"< {value}"
            case FieldInfo():
                yield from _limits(None, bound.metadata)
    parts = get_args(annotation)
    match get_origin(annotation):
        case origin if origin is Literal:
            yield " | ".join(parts)
        case origin if origin is Annotated:
            yield from _limits(parts[0], parts[1:])
        case origin if origin in (Union, UnionType):
            yield from (limit for part in parts for limit in _limits(part))
        case origin if origin is list:
            limits = ", ".join(_limits(parts[0]))
            if limits:
                yield f"each {limits}"


def _field_lines(field: dict[str, Any]) -> list[RenderableType]:
    line = Text(f"{field['name']}", style="cyan")
    default = field["default"]
    told = {None: " optional", "required": " required"}.get(default if isinstance(default, str | None) else "")
    line.append(told or f" = {json.dumps(default)}", style="default")
    if field["range"]:
        line.append(f"  ({field['range']})", style="dim")
    return [Padding(line, (0, 0, 0, 4)), Padding(Text(field["meaning"]), (0, 0, 0, 8))]
