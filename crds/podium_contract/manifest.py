"""From a manifest's text to an Experiment, or to faults that name the field, the rule, the value and the remedy."""

import difflib
import errno
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from podium_contract.algorithms import SCHEDULERS, SEARCHES, algorithm_name
from podium_contract.experiment import Experiment, MetricsSource
from podium_contract.model import BrokenRulesError, FieldError, Model
from podium_contract.names import API_VERSION
from podium_contract.parameters import Parameter

MAX_NODES = 100_000
"""The most values and keys that a manifest may come to with its aliases written out: etcd stores no larger object."""
_REMEDIES = {
    "greater_than_equal": "raise it",
    "greater_than": "raise it",
    "less_than_equal": "lower it",
    "less_than": "lower it",
    "too_short": "add one",
    "too_long": "remove some",
    "string_too_short": "write at least one character",
    "string_too_long": "shorten it",
    "string_type": "put it in quotes",
    "int_type": "write a whole number, without quotes",
    "float_type": "write a number, without quotes",
    "finite_number": "give a number",
    "bool_type": "write true or false, without quotes",
    "list_type": "write a list",
    "dict_type": "write fields below it",
    "model_type": "write fields below it",
    "model_attributes_type": "write fields below it",
    "invalid_key": "put it in quotes",
}


def _tags() -> Iterator[str]:
    for model in (*SEARCHES, *SCHEDULERS):
        yield algorithm_name(model)
    for union in (Parameter, MetricsSource):
        for member in get_args(get_args(union)[0]):
            for tag in ("type", "source"):
                if tag in member.model_fields:
                    yield from get_args(member.model_fields[tag].annotation)


_ALGORITHMS: dict[tuple[int | str, int | str], type[Model]] = {
    (kind, algorithm_name(model)): model
    for kind, models in (("search", SEARCHES), ("scheduler", SCHEDULERS))
    for model in models
}
"""Models by two parts of pydantic's locations that follow one another."""
_NO_FIELDS = frozenset(_tags()) | {"[key]"}
"""What pydantic puts into a location to say which member of a union it tried, or that a key is at fault."""


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
    return parse_experiment(read_manifest(path), str(path))


def read_manifest(path: Path) -> str:
    """Return the text of a manifest's file, which may be a pipe; raises ManifestError when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as fault:
        raise ManifestError([Fault(str(path), f"a manifest is UTF-8 text, got {fault}; save it as UTF-8")]) from None
    except OSError as fault:
        remedies = {errno.EISDIR: "name a file in it", errno.EACCES: "check its permissions"}
        remedy = remedies.get(fault.errno or 0, "check the path")
        raise ManifestError([Fault(str(path), f"cannot be read: {fault.strerror}; {remedy}")]) from None


def parse_experiment(text: str, source: str = "") -> Experiment:
    """Return the one Experiment of a manifest's text; raises ManifestError. `source` names where the text is from."""
    try:
        documents = [document for document in yaml.load_all(text, Loader=_StrictLoader) if document is not None]
    except yaml.YAMLError as fault:
        raise ManifestError(
            [Fault(source, f"a manifest is YAML, got {_one_line(fault)}; correct the syntax")]
        ) from None
    except RecursionError:
        message = "a manifest is YAML of sane depth, got endless nesting; flatten it"
        raise ManifestError([Fault(source, message)]) from None
    if len(documents) != 1:
        remedy = "keep exactly one" if documents else "write one"
        message = f"a manifest holds one Experiment, got {len(documents)} documents; {remedy}"
        raise ManifestError([Fault(source, message)])
    if _size(documents[0], {}) > MAX_NODES:
        message = f"a manifest has at most {MAX_NODES} values, got more with its aliases written out; write fewer"
        raise ManifestError([Fault(source, message)])
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
        return Experiment.model_validate(data, by_alias=True, by_name=False)  # as the API server: camelCase alone
    except ValidationError as error:
        raise ManifestError(faults_of(error, data)) from None


def faults_of(error: ValidationError, data: Any) -> list[Fault]:
    """Return pydantic's errors in Podium's words, each place once."""
    faults: dict[str, Fault] = {}
    for detail in error.errors(include_url=False):
        place = _path(detail["loc"], data)
        for path, message in _found(detail):
            faults.setdefault(place + path, Fault(place + path, message))
    return list(faults.values())


def _path(location: tuple[int | str, ...], data: Any) -> str:
    """Return the location as a user would write it, without the union tags that pydantic puts in between.

    A part is a field when the data has it; where the data ends, only a missing field's name can follow.
    """
    path, here = "", data
    for index, part in enumerate(location):
        if isinstance(part, int) and isinstance(here, list):
            path += f"[{part}]"
            here = here[part] if part < len(here) else None
            continue
        is_field = isinstance(here, dict) and part in here
        is_missing_field = isinstance(here, dict) and index == len(location) - 1 and part not in _NO_FIELDS
        if is_field or is_missing_field:
            name = part if str(part).isprintable() else json.dumps(part)
            path += f".{name}" if path else str(name)
            here = here.get(part)
    return path


def _found(detail: ErrorDetails) -> Iterator[tuple[str, str]]:
    """Yield what pydantic has noticed: the way from there to the field at fault, and what is wrong with it."""
    context = detail.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, BrokenRulesError):
        yield from ((fault.path, str(fault)) for fault in cause.faults)
    elif isinstance(cause, FieldError):
        yield cause.path, str(cause)
    elif detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        yield "." + str(context["discriminator"]).strip("'"), _message(detail)
    else:
        yield "", _message(detail)


def _message(detail: ErrorDetails) -> str:
    kind, got, context = detail["type"], _show(detail["input"]), detail.get("ctx", {})
    match kind:
        case "value_error":
            return str(context["error"])
        case "missing" | "union_tag_not_found":
            return "is required, got nothing; add it"
        case "extra_forbidden":
            return _unknown_field(detail["loc"], got)
        case "union_tag_invalid":
            return f"must be one of {context['expected_tags']}, got '{_shortened(context['tag'])}'; choose one of them"
        case "literal_error":
            return f"must be {context['expected']}, got {got}; choose one of them"
        case "string_pattern_mismatch":
            return f"must match {context['pattern']}, got {got}; use letters, digits and the signs it allows"
        case "too_short":
            least = context["min_length"]
            return f"must have at least {least} item{'s' * (least > 1)}, got {got}; {_REMEDIES[kind]}"
        case "model_type" | "model_attributes_type":
            is_name = detail["loc"][-1] in ("search", "scheduler") and isinstance(detail["input"], str)
            remedy = f"write {{algorithm: {detail['input']}}}" if is_name else _REMEDIES[kind]
            return f"should be a valid mapping, got {got}; {remedy}"
    rule = detail["msg"].removeprefix("Input ").removesuffix(".").replace(" dictionary", " mapping")
    return f"{rule}, got {got}; {_REMEDIES.get(kind, 'correct it')}"


def _unknown_field(location: tuple[int | str, ...], got: str) -> str:
    name = str(location[-1])
    model = next((_ALGORITHMS[pair] for pair in pairwise(location) if pair in _ALGORITHMS), None)
    if model is None or location[-2] not in ("settings", algorithm_name(model)):
        return f"is no field that Podium knows, got {got}; {_suggestion(name)}"
    return f"is no field of {algorithm_name(model)} here, got {got}; {_suggestion_of(model, name, str(location[-2]))}"


def _suggestion_of(model: type[Model], name: str, place: str) -> str:
    """Return the remedy for a name that an algorithm does not have among its settings, or beside them."""
    beside = [own for own in _names_in(model) if own != "algorithm"]
    within = _names_in(_models_in(model.model_fields["settings"].annotation)[0])
    own, other, where = (within, beside, "beside") if place == "settings" else (beside, within, "below")
    near = difflib.get_close_matches(name, own, n=1, cutoff=0.7)
    if name in other:
        return f"write it {where} settings"
    if near:
        return f"did you mean {near[0]}?"
    return f"remove it: {algorithm_name(model)} takes {', '.join(own) or 'no settings'}"


def _suggestion(name: str) -> str:
    known = _field_names()
    if name in known:
        return "it belongs elsewhere: remove it here"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
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
        names.update(_names_in(model))
        for field in model.model_fields.values():
            pending.extend(_models_in(field.annotation))
    return sorted(names)


def _names_in(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]


class _StrictLoader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: 1e-5, -.5 and 0o17 are numbers, and dates and 1:30 stay text.

    A key given twice is a fault, and so are `on`, `no` and `y`, which Kubernetes takes for truth values.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key '{key.value}' given twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)

    def construct_yaml_bool(self, node: yaml.ScalarNode) -> bool:
        if node.value.lower() in ("true", "false"):
            return bool(super().construct_yaml_bool(node))
        raise yaml.constructor.ConstructorError(
            None,
            None,
            f"{node.value}, a truth value to some programs and a word to others: put it in quotes, or write true or false",
            node.start_mark,
        )

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = node.value.replace("_", "")
        is_octal = re.fullmatch(r"[-+]?0[0-7]+", text) is not None
        try:
            return int(text, 8 if is_octal else 0)
        except ValueError:  # Python reads no more digits than would take it seconds
            problem = f"a number of {len(text)} digits: write a shorter one"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        number: float = super().construct_yaml_float(node)
        # The JSON in between writes 1e3 as 1000: it is a whole number.
        return int(number) if re.search(r"[eE]", node.value) and number.is_integer() else number


_INT, _FLOAT, _BOOL, _TIME = (f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "timestamp"))
_StrictLoader.add_constructor(_BOOL, _StrictLoader.construct_yaml_bool)
_StrictLoader.add_constructor(_INT, _StrictLoader.construct_yaml_int)
_StrictLoader.add_constructor(_FLOAT, _StrictLoader.construct_yaml_float)
_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_INT, _FLOAT, _TIME)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver(_BOOL, re.compile(r"^[yYnN]$"), list("yYnN"))
_StrictLoader.add_implicit_resolver(
    _INT,
    re.compile(r"^[-+]?(?:0b[01]+|0o[0-7]+|0x[0-9a-fA-F]+|0[0-7]*|[1-9][0-9_]*)$"),
    list("-+0123456789"),
)
_StrictLoader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"""^(?:[-+]?(?:[0-9][0-9_]*\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?
        |[-+]?\.(?:inf|Inf|INF)
        |\.(?:nan|NaN|NAN))$""",
        re.VERBOSE,
    ),
    list("-+0123456789."),
)


def _size(value: Any, known: dict[int, float]) -> float:
    """Return how many values there are with every alias written out; infinite when one contains itself."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = math.inf
        items = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(item, known) for item in items)
    return known[id(value)]


def _one_line(fault: yaml.YAMLError) -> str:
    if isinstance(fault, yaml.MarkedYAMLError) and fault.problem_mark is not None:
        mark = fault.problem_mark
        return f"{fault.problem} in line {mark.line + 1}, column {mark.column + 1}"
    return " ".join(str(fault).split())


def _show(value: Any) -> str:
    return _shortened(json.dumps(value, default=str))


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
