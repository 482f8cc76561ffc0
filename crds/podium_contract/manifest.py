"""From a manifest's text to an Experiment, or to faults that name the field, the rule, the value and the remedy."""

import difflib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from podium_contract.algorithms import SCHEDULERS, SEARCHES, algorithm_name
from podium_contract.experiment import Experiment
from podium_contract.model import FieldError
from podium_contract.names import API_VERSION

_TAGS = frozenset(
    {algorithm_name(model) for model in (*SEARCHES, *SCHEDULERS)}
    | {"float", "int", "ordinal", "categorical", "sdk", "prometheus", "log"}
)
"""What pydantic puts into a location to say which member of a union it tried."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a manifest."""

    path: str
    """Where: `spec.parameters[2].min`."""
    message: str
    """The rule, what it got, and the remedy, in a sentence."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class ManifestError(ValueError):
    """A manifest that cannot be used; `faults` says why, one entry per fault."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


def load_experiment(path: Path) -> Experiment:
    """Read the Experiment of a YAML or JSON file; raises ManifestError, also when the file cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as fault:
        raise ManifestError([Fault(str(path), f"a manifest is UTF-8 text, got {fault}; save it as UTF-8")]) from None
    except OSError as fault:
        raise ManifestError([Fault(str(path), f"cannot be read: {fault.strerror}; check the path")]) from None
    return parse_experiment(text)


def parse_experiment(text: str) -> Experiment:
    """Return the one Experiment of a manifest's text; raises ManifestError."""
    try:
        documents = [document for document in yaml.load_all(text, Loader=_StrictLoader) if document is not None]
    except yaml.YAMLError as fault:
        raise ManifestError([Fault("", f"a manifest is YAML, got {_one_line(fault)}; correct the syntax")]) from None
    except RecursionError:
        raise ManifestError([Fault("", "a manifest is YAML of sane depth, got endless nesting; flatten it")]) from None
    if len(documents) != 1:
        raise ManifestError(
            [Fault("", f"a manifest holds one Experiment, got {len(documents)} documents; keep exactly one")]
        )
    return validate_experiment(documents[0])


def validate_experiment(data: Any) -> Experiment:
    """Return the Experiment that plain data describes; raises ManifestError with every fault."""
    if not isinstance(data, dict):
        raise ManifestError([Fault("", f"a manifest is a mapping, got {_show(data)}; start with apiVersion and kind")])
    for field, expected in (("apiVersion", API_VERSION), ("kind", "Experiment")):
        if data.get(field) != expected:
            message = f"must be {expected}, got {_show(data.get(field))}; write {field}: {expected}"
            raise ManifestError([Fault(field, message)])
    try:
        return Experiment.model_validate(data)
    except ValidationError as error:
        raise ManifestError(faults_of(error, data)) from None


def faults_of(error: ValidationError, data: Any) -> list[Fault]:
    """Return pydantic's errors in Podium's words, each place once."""
    faults: dict[str, Fault] = {}
    for detail in error.errors(include_url=False):
        cause = detail.get("ctx", {}).get("error")
        path = _path(detail["loc"], data) + (cause.path if isinstance(cause, FieldError) else "")
        faults.setdefault(path, Fault(path, _message(detail)))
    return list(faults.values())


def _path(location: tuple[int | str, ...], data: Any) -> str:
    """Return the location as a user would write it, without the union tags that pydantic puts in between.

    A part is a field when the data has it; where the data ends, only a missing field's name can follow.
    """
    path, here = "", data
    for index, part in enumerate(location):
        if isinstance(part, int):
            path += f"[{part}]"
            here = here[part] if isinstance(here, list) and part < len(here) else None
            continue
        is_field = isinstance(here, dict) and part in here
        is_missing_field = isinstance(here, dict) and index == len(location) - 1 and part not in _TAGS
        if is_field or is_missing_field:
            path += f".{part}" if path else part
            here = here.get(part)
    return path


def _message(detail: ErrorDetails) -> str:
    got, context = _show(detail["input"]), detail.get("ctx", {})
    match detail["type"]:
        case "value_error":
            return str(context["error"])
        case "missing":
            return "is required, got nothing; add it"
        case "extra_forbidden":
            return f"is no field that Podium knows, got {got}; {_suggestion(str(detail['loc'][-1]))}"
        case "union_tag_invalid":
            key = str(context["discriminator"]).strip("'")
            return f"{key} must be one of {context['expected_tags']}, got '{context['tag']}'; choose one of them"
        case "union_tag_not_found":
            return f"needs {context['discriminator']}, got {got}; add it"
        case "literal_error":
            return f"must be {context['expected']}, got {got}; choose one of them"
        case "string_pattern_mismatch":
            return f"must match {context['pattern']}, got {got}; use letters, digits and the signs it allows"
    rule = detail["msg"].removeprefix("Input ").removesuffix(".")
    return f"{rule}, got {got}; correct it"


def _suggestion(name: str) -> str:
    near = difflib.get_close_matches(name, _field_names(), n=1, cutoff=0.7)
    return f"did you mean {near[0]}?" if near else "remove it"


def _field_names() -> list[str]:
    names: set[str] = set()
    seen: set[type[BaseModel]] = set()
    pending: list[type[BaseModel]] = [Experiment, *SEARCHES, *SCHEDULERS]
    while pending:
        model = pending.pop()
        if model in seen:
            continue
        seen.add(model)
        for name, field in model.model_fields.items():
            names.add(field.alias or name)
            pending.extend(_models_in(field.annotation))
    return sorted(names)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]


class _StrictLoader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: 1e-5 is a number, a key given twice is a fault, and dates stay text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key}' given twice", node.start_mark)
        return super().construct_mapping(node, deep)


_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def _one_line(fault: yaml.YAMLError) -> str:
    return " ".join(str(fault).split())


def _show(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
