"""Writes docs/manifest.md, every field of a manifest, from the models; `python -m podium_contract.crd --write` calls it.

The models' own JSON schema is read rather than the CRD's, in which a union of models has become one object.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podium_contract.experiment import MUTABLE_FIELDS, Experiment, ExperimentSpec
from podium_contract.model import MAX_COUNT

PAGE = Path(__file__).parents[2] / "docs" / "manifest.md"
_HEAD = """<!-- Generated from crds/podium_contract by `make crds`; edit the models, not this file. -->

# The manifest, field by field

```yaml
apiVersion: podium.dev/v1alpha1
kind: Experiment
metadata: {name: digits}     # up to 50 small letters, digits and dashes
spec: {}                     # below
```

A laptop and a cluster take the same manifest. `podium validate FILE` tells every fault with its place and remedy. On a
cluster `kubectl explain experiment.spec` shows the same fields, with `--recursive` all below them. The settings of searches
and schedulers are listed by `podium algorithms`. [examples/](../examples/) has a manifest for each feature.

Where an absent field means something, the last column says what. Of the spec only the fields marked *May change* can be
changed while an experiment exists.
"""
_STATUS = """
Written by Podium, and shown by `kubectl get experiment NAME --output yaml` and `podium run --output json`.
`kubectl explain experiment.status --recursive` tells what is below each field.
"""
_LEFT_OUT = ("settings",)
"""Fields whose own fields are told elsewhere: each algorithm has others."""
_ANY = "any value"
_TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}

Schema = dict[str, Any]


@dataclass(frozen=True)
class _Section:
    """One table: the fields of a model, or of a union of models that a tag tells apart."""

    path: str
    description: str
    members: dict[str, Schema]
    """The models by their tags; a single one by an empty tag."""
    tag: str = ""

    @property
    def anchor(self) -> str:
        """The heading's name in links, as GitHub makes it."""
        return "".join(letter for letter in self.path.lower() if letter.isalnum())


def manifest_page() -> str:
    """Return the whole page."""
    whole = Experiment.model_json_schema(by_alias=True, mode="validation")
    definitions: Schema = whole["$defs"]
    sections = list(_sections_in("spec", whole["properties"]["spec"], definitions))
    status = next(_sections_in("status", whole["properties"]["status"], definitions))
    lines = [_HEAD]
    for section in sections:
        lines += [*_heading(section), *_table_of(section, sections, definitions), ""]
    lines += [*_heading(status), _STATUS.lstrip(), *_brief_table_of(status, definitions), ""]
    return "\n".join(lines)


def _sections_in(path: str, field: Schema, definitions: Schema) -> Iterator[_Section]:
    """Yield the section of what a field holds, then those of the fields below it."""
    field, suffix = _held(field)
    members = _members(field, definitions)
    if not members:
        return
    description = _one_line(members[""].get("description", "")) if "" in members else ""
    section = _Section(path + suffix, description, members, field.get("discriminator", {}).get("propertyName", ""))
    yield section
    seen = set()
    for member in members.values():
        for name, below in member.get("properties", {}).items():
            if name not in seen and name not in _LEFT_OUT:
                yield from _sections_in(f"{section.path}.{name}", below, definitions)
            seen.add(name)


def _held(field: Schema) -> tuple[Schema, str]:
    """Return what a field holds once absence and lists are looked through, and the mark of a list."""
    alternatives = [part for part in field.get("anyOf", ()) if part.get("type") != "null"]
    if len(alternatives) == 1:
        field = {**alternatives[0], **{key: value for key, value in field.items() if key != "anyOf"}}
    return (field["items"], "[]") if field.get("type") == "array" else (field, "")


def _members(field: Schema, definitions: Schema) -> dict[str, Schema]:
    """Return the models that a field may hold by their tags; none when it holds no model."""
    if "discriminator" in field:
        references = [part["$ref"] for part in field["oneOf"]]
        tags = {reference: tag for tag, reference in field["discriminator"]["mapping"].items()}
        return {tags[reference]: _referred(reference, definitions) for reference in references}
    if "$ref" not in field:
        return {}
    model = _referred(field["$ref"], definitions)
    return {"": model} if model.get("properties") else {}


def _referred(reference: str, definitions: Schema) -> Schema:
    model: Schema = definitions[reference.rsplit("/", 1)[1]]
    return model


def _meaning(field: Schema, definitions: Schema) -> str:
    """Return a field's description, else that of the model in it."""
    text = field.get("description")
    held, _ = _held(field)
    if text is None and "$ref" in held:
        text = _referred(held["$ref"], definitions).get("description")
    return _one_line(text or "")


def _one_line(text: str) -> str:
    return " ".join(text.split())


# --- from a section to Markdown ---------------------------------------------------------------------------------


def _heading(section: _Section) -> list[str]:
    about = [section.description] if section.description else []
    if section.tag:
        summaries = {tag: member["description"].split("\n\n")[0] for tag, member in section.members.items()}
        about = [f"- `{tag}`: {_one_line(summary)}" for tag, summary in summaries.items()]
    return [f"## `{section.path}`", "", *about, ""]


def _table_of(section: _Section, sections: list[_Section], definitions: Schema) -> Iterator[str]:
    mutable = {ExperimentSpec.model_fields[name].alias for name in MUTABLE_FIELDS} if section.path == "spec" else set()
    of = f" of {section.tag} |" if section.tag else ""
    yield f"| field |{of} type | default | meaning |"
    yield f"|---|{'---|' if of else ''}---|---|---|"
    for name, owners, field, is_required in _rows(section):
        cells = [f"`{name}`"]
        if of:
            cells.append("" if len(owners) == len(section.members) else ", ".join(f"`{owner}`" for owner in owners))
        cells += [
            _type_of(field, f"{section.path}.{name}", sections, definitions),
            "**required**" if is_required else _default_of(field),
            _meaning(field, definitions) + (" *May change.*" if name in mutable else ""),
        ]
        yield _row(cells)


def _brief_table_of(section: _Section, definitions: Schema) -> Iterator[str]:
    yield "| field | type | meaning |"
    yield "|---|---|---|"
    for name, _, field, _ in _rows(section):
        yield _row([f"`{name}`", _type_of(field, "", [], definitions), _meaning(field, definitions)])


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _rows(section: _Section) -> Iterator[tuple[str, list[str], Schema, bool]]:
    """Yield each field with the tags of the members that have it, the tag first; apart where members differ in it."""
    if section.tag:
        tags = {"enum": list(section.members), "type": "string", "description": "Which of the above."}
        yield section.tag, list(section.members), tags, True
    rows: list[tuple[str, list[str], Schema, bool]] = []
    for tag, member in section.members.items():
        for name, field in member.get("properties", {}).items():
            is_required = name in member.get("required", ())
            if name == section.tag:
                continue
            told = _told_elsewhere(name, field)
            same = next((row for row in rows if (row[0], row[2], row[3]) == (name, told, is_required)), None)
            if same is not None:
                same[1].append(tag)
            else:
                place = max((index + 1 for index, row in enumerate(rows) if row[0] == name), default=len(rows))
                rows.insert(place, (name, [tag], told, is_required))
    yield from sorted(rows, key=lambda row: row[0] in _LEFT_OUT)


def _told_elsewhere(name: str, field: Schema) -> Schema:
    if name not in _LEFT_OUT:
        return field
    return {"type": "object", "description": "The algorithm's own: see `podium algorithms`."}


def _type_of(field: Schema, path: str, sections: list[_Section], definitions: Schema) -> str:
    """Return a type in a user's words, with its bounds; a link where it has a section of its own."""
    held, suffix = _held(field)
    section = next((found for found in sections if found.path == path + suffix), None)
    if section is not None:
        return f"[{'list' if suffix else 'fields'}](#{section.anchor})"
    if suffix:
        return _filled("list", _type_of(held, "", sections, definitions))
    if "anyOf" in held:
        kinds = [_type_of(part, "", sections, definitions) for part in held["anyOf"] if part.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "$ref" in held:
        referred = _referred(held["$ref"], definitions)
        properties = referred.get("properties", {})
        return f"`{{{', '.join(properties)}}}`" if properties else _ANY
    if "const" in held or "enum" in held:
        return ", ".join(f"`{value}`" for value in held.get("enum", [held.get("const")]))
    if held.get("type") == "object":
        inner = held.get("additionalProperties") or next(iter(held.get("patternProperties", {}).values()), None)
        return _filled("mapping", _type_of(inner, "", sections, definitions) if isinstance(inner, dict) else _ANY)
    if held.get("format") == "date-time":
        return "time"
    return " ".join(filter(None, [_TYPES.get(held.get("type", ""), _ANY), _bounds_of(held)]))


def _filled(kind: str, inner: str) -> str:
    """Return the type of a list or a mapping of things: "list of text", "mapping to number"."""
    return kind if inner == _ANY else f"{kind} {'of' if kind == 'list' else 'to'} {inner}"


def _bounds_of(field: Schema) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    above, below = field.get("exclusiveMinimum"), field.get("exclusiveMaximum")
    if low is not None and high is not None and abs(high) < MAX_COUNT:
        return f"from {low:g} to {high:g}" if high < 10_000 else f"from {low} to {high:_}".replace("_", " ")
    bounds = [
        f"at least {low:g}" if low is not None and abs(low) < MAX_COUNT else "",
        f"above {above:g}" if above is not None else "",
        f"at most {high:g}" if high is not None and abs(high) < MAX_COUNT else "",
        f"below {below:g}" if below is not None else "",
    ]
    return ", ".join(filter(None, bounds))


def _default_of(field: Schema) -> str:
    default = field.get("default")
    if isinstance(default, dict):
        tag = field.get("discriminator", {}).get("propertyName")
        return f"`{{{tag}: {default[tag]}}}`" if tag else ""
    if default is None or default in ([], ""):
        return ""
    return f"`{_plain(default)}`"


def _plain(value: Any) -> str:
    """Return a value as YAML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
