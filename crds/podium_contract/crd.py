"""Generates the CustomResourceDefinitions from the models: `python -m podium_contract.crd --write`, or `--check` in CI.

The reference of the manifest, docs/manifest.md, is written and checked with them (`reference.py`).

Kubernetes wants structural schemas: no references, and no alternatives between types. A union of models (parameters,
searches, schedulers, metric sources) therefore becomes one object with the fields of all its members, an enum for the
tag, and CEL rules for what belongs to which tag. What pydantic checks beyond shapes is said again in CEL where CEL can say
it at a bearable cost. What it cannot say (conditions, placeholders) becomes a Failed condition in pydantic's words.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from podium_contract.experiment import MUTABLE_FIELDS, Experiment, ExperimentSpec
from podium_contract.model import MAX_COUNT, Model
from podium_contract.names import GROUP, VERSION
from podium_contract.reference import PAGE, manifest_page
from podium_contract.trial import Trial

CRDS = Path(__file__).parent.parent
FOLDERS = (CRDS, CRDS.parent / "helm" / "podium" / "files" / "crds")
"""Where the files go: to the contract, and into the chart, which cannot reach outside its own folder."""
_HEADER = "# Generated from crds/podium_contract by `make crds`; edit the models, not this file.\n"
_ANYTHING = {"x-kubernetes-preserve-unknown-fields": True}
_TAGS = ("type", "algorithm", "source")
_KEPT = (
    "type",
    "description",
    "default",
    "enum",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "pattern",
    "format",
)
# CEL is charged for the largest input it could meet, so what a rule reads has a bound.
_MAX_ITEMS = {"parameters": 256, "values": 1024, "objectives": 8, "constraints": 16}
_MAX_STRING = 4096

Schema = dict[str, Any]

_NUMERIC = "self.type in ['float', 'int']"


def _rule(rule: str, message: str, field: str = "") -> Schema:
    """Return one CEL rule, and the field that a broken one points at.

    The message cannot repeat numbers: the server reckons with numbers of any length, and refuses the expression as too dear.
    """
    return {"rule": rule, "message": message, **({"fieldPath": f".{field}"} if field else {})}


def _only_for(field: str, tag: str, names: list[str]) -> Schema:
    listed = ", ".join(f"'{name}'" for name in names)
    return _rule(
        f"!has(self.{field}) || self.{tag} in [{listed}]",
        f"{field} belongs to {tag} {', '.join(names)}; remove it, or choose another {tag}",
        field,
    )


def _whole(field: str) -> Schema:
    return _rule(
        f"self.type != 'int' || !has(self.{field}) || (self.{field} >= -{MAX_COUNT}.0 && self.{field} <= {MAX_COUNT}.0"
        f" && self.{field} == double(int(self.{field})))",
        f"an int has whole numbers up to 2^53; round {field}, or use type: float",
        field,
    )


NAME_RULES = [
    _rule(
        "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 50",
        "an experiment's name has up to 50 small letters, digits and dashes; shorten or rename it",
    )
]

PARAMETER_RULES = [
    _rule(
        f"!({_NUMERIC}) || (has(self.min) && has(self.max))",
        "a float or int needs min and max; add them",
    ),
    _rule(
        f"!({_NUMERIC}) || !has(self.min) || !has(self.max) || self.min < self.max",
        "min < max must hold; swap the bounds or widen the range",
        "max",
    ),
    _rule(
        "!has(self.scale) || self.scale != 'log' || !has(self.min) || self.min > 0.0",
        "a log scale needs min > 0; raise min or use scale: linear",
        "min",
    ),
    _rule(
        "!has(self.scale) || self.scale != 'logit' || (has(self.min) && has(self.max) && self.min > 0.0 && self.max < 1.0)",
        "a logit scale needs 0 < min and max < 1; tighten the range or use scale: linear",
        "scale",
    ),
    _rule(
        "!has(self.scale) || self.scale != 'logit' || self.type != 'int'",
        "an int has no logit scale; use linear or log",
        "scale",
    ),
    _rule(
        "!has(self.step) || self.step > 0.0",
        "step must be positive; remove it or give a positive step",
        "step",
    ),
    # The last bits of a float's subtraction may not refuse what pydantic, reckoning in decimals, allows.
    _rule(
        "!has(self.step) || !has(self.min) || !has(self.max) || self.step <= (self.max - self.min) * 1.000000001",
        "step must not exceed max - min; use a smaller step",
        "step",
    ),
    _rule(
        "!has(self.step) || !has(self.scale) || self.scale == 'linear' || (self.type == 'int' && self.step == 1.0)",
        "step needs a linear scale; remove step, or list the values of an ordinal",
        "step",
    ),
    *(_whole(field) for field in ("min", "max", "step")),
]
# CEL does not see `values`, whose items are anything; the schema itself can say who has them.
PARAMETER_FORMS = [
    {"anyOf": [{"required": ["values"]}, {"not": {"properties": {"type": {"enum": ["ordinal", "categorical"]}}}}]},
    {"anyOf": [{"not": {"required": ["values"]}}, {"not": {"properties": {"type": {"enum": ["float", "int"]}}}}]},
]

SPEC_RULES = [
    _rule(
        "size(self.objectives) == 1 || !has(self.scheduler) || self.scheduler.algorithm == 'none'",
        "a scheduler ranks trials by one objective; remove the scheduler or turn objectives into constraints",
        "scheduler.algorithm",
    ),
    _rule(
        "!has(self.search) || self.search.algorithm != 'cmaes' || self.parameters.all(p, p.type != 'categorical')",
        "cmaes searches float, int and ordinal parameters that are always active; choose auto, evolution or forest",
        "search.algorithm",
    ),
    _rule(
        "!has(self.scheduler) || !(self.scheduler.algorithm in ['pbt', 'pb2']) || has(self.trial.checkpoints)",
        "clones of a population go on from the files of others; add checkpoints",
        "trial",
    ),
    _rule(
        "!has(self.scheduler) || !(self.scheduler.algorithm in ['pbt', 'pb2']) || self.maxTrials >="
        " (has(self.scheduler.settings) && has(self.scheduler.settings.populationSize)"
        " ? self.scheduler.settings.populationSize : 8)",
        "maxTrials counts the members and their clones; raise it well above populationSize",
        "maxTrials",
    ),
    *(
        _rule(
            f"!has(self.trial.metrics) || !has(self.trial.metrics.series) || !has(self.{field})"
            f" || self.{field}.all(item, item.metric in self.trial.metrics.series)",
            f"every metric of {field} needs a series; add it",
            "trial.metrics.series",
        )
        for field in ("objectives", "constraints")
    ),
]

SEARCH_RULES = [
    _rule(
        "!has(self.warmStart) || has(self.warmStart.experiments) || (has(self.metaFeatures) && size(self.metaFeatures) > 0)",
        "a warm start names experiments or is chosen by metaFeatures; add either",
        "warmStart",
    )
]

SCHEDULER_RULES = [
    _rule(
        "self.algorithm == 'none' || has(self.max)",
        "this scheduler needs max: the most that a trial is given; add it",
    ),
    _rule(
        "self.algorithm == 'none' || !has(self.max) || (has(self.min) ? self.min : 1) < self.max",
        "min < max must hold; raise max or lower min",
        "max",
    ),
]

TRIAL_RULES = [
    _rule(
        "!has(self.container) || self.template.spec.containers.exists(item, item.name == self.container)",
        "container names a container of the template; choose one of them",
        "container",
    )
]

CLAIM_RULES = [
    _rule(
        "has(self.storage) != has(self.claimName)",
        "a claim has either storage or claimName; give one",
    )
]

CONSTRAINT_RULES = [
    _rule("has(self.min) || has(self.max)", "a constraint needs min, max or both; add a bound"),
    _rule(
        "!has(self.min) || !has(self.max) || self.min <= self.max",
        "min <= max must hold; swap the bounds",
        "max",
    ),
]

METRICS_RULES = [
    _rule(
        "self.source != 'prometheus' || (has(self.port) && has(self.series))",
        "source: prometheus needs port and series; add them",
    ),
    _rule(
        "self.source != 'log' || (has(self.pattern) == (has(self.format) && self.format == 'pattern'))",
        "pattern goes with format: pattern; give both or neither",
        "pattern",
    ),
]


def _open(schema: Schema) -> Schema:
    return {**schema, **_ANYTHING}


def _texts(description: str) -> Schema:
    return {"type": "array", "description": description, "items": {"type": "string"}}


# Of a pod template only what placeholders stand in is described here; the API server judges the rest when a pod is made.
_VARIABLE = {
    "type": "object",
    "description": "One variable of the environment.",
    "properties": {
        "name": {"type": "string", "description": "Name of the variable."},
        "value": {"type": "string", "description": "Its value; `${name}` stands for a parameter's value."},
    },
    "required": ["name"],
}
_CONTAINER = {
    "type": "object",
    "description": "A container of the trial's pod.",
    "properties": {
        "name": {"type": "string", "maxLength": 63, "description": "Name of the container."},
        "command": _texts("The command, a word an item; `${name}` stands for a parameter's value."),
        "args": _texts("The command's arguments; `${name}` stands for a parameter's value."),
        "env": {"type": "array", "description": "The environment.", "items": _open(_VARIABLE)},
    },
    "required": ["name"],
}
POD_TEMPLATE = {
    "type": "object",
    "properties": {
        "spec": _open(
            {
                "type": "object",
                "description": "An ordinary PodSpec.",
                "properties": {
                    "containers": {
                        "type": "array",
                        "description": "The pod's containers; the first one trains unless `container` names another.",
                        "minItems": 1,
                        "maxItems": 64,
                        "items": _open(_CONTAINER),
                    }
                },
                "required": ["containers"],
            }
        )
    },
    "required": ["spec"],
}


def _immutability_rules() -> list[Schema]:
    rules = []
    for name, field in ExperimentSpec.model_fields.items():
        if name in MUTABLE_FIELDS:
            continue
        camel = field.alias or name
        same = f"self.{camel} == oldSelf.{camel}"
        both = f"has(self.{camel}) == has(oldSelf.{camel}) && (!has(self.{camel}) || {same})"
        rules.append(
            _rule(
                both,
                f"{camel} cannot change once an experiment exists; restore it, or create another experiment",
                camel,
            )
        )
    return rules


# --- from pydantic's schema to Kubernetes' ----------------------------------------------------------------------


def _structural(model: type[Model]) -> Schema:
    """Return a model's schema as Kubernetes wants it: by alias, with references resolved and unions flattened."""
    whole = model.model_json_schema(by_alias=True, mode="validation")
    return _convert(whole, whole.get("$defs", {}), "")


def _convert(schema: Schema, definitions: Schema, name: str) -> Schema:
    if "$ref" in schema:
        referred = definitions[schema["$ref"].rsplit("/", 1)[1]]
        return _convert({**referred, **{k: v for k, v in schema.items() if k != "$ref"}}, definitions, name)
    parts: list[Schema] = schema.get("anyOf") or schema.get("oneOf") or []
    alternatives = [part for part in parts if part.get("type") != "null"]
    if alternatives:
        return _convert_union(schema, alternatives, definitions, name)
    converted = {key: schema[key] for key in _KEPT if key in schema and schema[key] is not None}
    if isinstance(converted.get("default"), dict | list):
        del converted["default"]  # the operator knows it; written into every object it would only be noise
    if "const" in schema:
        converted |= {"type": "string", "enum": [schema["const"]]}
    _bound_exclusively(converted)
    if schema.get("type") == "object":
        _convert_object(schema, converted, definitions)
    if schema.get("type") == "array":
        converted["items"] = _convert(schema.get("items", {}), definitions, name)
        if name in _MAX_ITEMS:
            converted.setdefault("maxItems", _MAX_ITEMS[name])
    if "type" not in converted:
        return {**_ANYTHING, **{k: v for k, v in converted.items() if k in ("description", "default")}}
    return converted


def _convert_object(schema: Schema, converted: Schema, definitions: Schema) -> None:
    properties = schema.get("properties")
    if properties:
        converted["properties"] = {key: _convert(value, definitions, key) for key, value in properties.items()}
        required = [key for key in schema.get("required", []) if key in properties]
        if required:
            converted["required"] = required
        return
    by_pattern = schema.get("patternProperties", {}).values()  # Kubernetes has no patterns for keys
    additional = next(iter(by_pattern), schema.get("additionalProperties"))
    if isinstance(additional, dict) and additional:
        converted["additionalProperties"] = _convert(additional, definitions, "")
    elif additional is not False:  # a model without fields takes none
        converted |= _ANYTHING


def _convert_union(schema: Schema, alternatives: list[Schema], definitions: Schema, name: str) -> Schema:
    outer = {key: schema[key] for key in ("description", "default") if schema.get(key) is not None}
    if isinstance(outer.get("default"), dict | list):
        del outer["default"]
    if len(alternatives) == 1:
        return {**_convert(alternatives[0], definitions, name), **outer}
    members = [_convert(part, definitions, name) for part in alternatives]
    tag = next((tag for tag in _TAGS if all(tag in member.get("properties", {}) for member in members)), None)
    if tag is None:
        return {**_ANYTHING, **outer}
    return {**_flattened(members, tag), **outer}


def _flattened(members: list[Schema], tag: str) -> Schema:
    """Return one object with the fields of all members: common ones as they are, others with a rule on their tag."""
    tags = [member["properties"][tag]["enum"][0] for member in members]
    properties: Schema = {}
    owners: dict[str, list[str]] = {}
    for name, member in zip(tags, members, strict=True):
        for field, field_schema in member["properties"].items():
            owners.setdefault(field, []).append(name)
            known = properties.get(field)
            properties[field] = field_schema if known is None else _merged(known, field_schema)
    described = "; ".join(f"{name}: {_first_line(m)}" for name, m in zip(tags, members, strict=True))
    properties[tag] = {"type": "string", "enum": tags, "description": described}
    required = [
        field for field in members[0].get("required", []) if all(field in m.get("required", []) for m in members)
    ]
    special = {field: names for field, names in owners.items() if len(names) < len(members)}
    for field in (
        *(properties[name] for name in special),
        *properties.get("settings", {}).get("properties", {}).values(),
    ):
        _tell_default(field)
    rules = [_only_for(field, tag, names) for field, names in special.items() if _is_visible(properties[field])]
    rules += _setting_rules(members, tags, tag)
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "x-kubernetes-validations": rules,
    }


def _tell_default(field: Schema) -> None:
    """Say a default in words only: as a default it would be written into members that do not have the field."""
    if "default" in field:
        default = field.pop("default")
        field["description"] = f"{field.get('description', '')} Default: {default}.".strip()


def _is_visible(schema: Schema) -> bool:
    """Whether CEL can see a field: not when what it holds is left open."""
    opaque = "x-kubernetes-preserve-unknown-fields"
    return not any(opaque in part for part in (schema, schema.get("items", {}), schema.get("additionalProperties", {})))


def _setting_rules(members: list[Schema], tags: list[str], tag: str) -> list[Schema]:
    owners: dict[str, list[str]] = {}
    for name, member in zip(tags, members, strict=True):
        for setting in member["properties"].get("settings", {}).get("properties", {}):
            owners.setdefault(setting, []).append(name)
    rules = []
    for setting, names in owners.items():
        if len(names) == len(members):
            continue
        listed = ", ".join(f"'{name}'" for name in names)
        rules.append(
            _rule(
                f"!has(self.settings) || !has(self.settings.{setting}) || self.{tag} in [{listed}]",
                f"{setting} is a setting of {', '.join(names)}; remove it, or choose that {tag}",
                f"settings.{setting}",
            )
        )
    return rules


def _merged(left: Schema, right: Schema) -> Schema:
    """Merge the schemas that two members have for one field: the wider type, no default that only one of them has."""
    if "properties" in left or "properties" in right or left.get("type") == right.get("type") == "object":
        properties = {**left.get("properties", {}), **right.get("properties", {})}
        shared = {key: value for key, value in left.items() if key != "description" or right.get(key) == value}
        return {**shared, "properties": properties} if properties else shared
    if "type" not in left or "type" not in right:
        return {**_ANYTHING, "description": left.get("description", right.get("description", ""))}
    merged = {key: value for key, value in left.items() if right.get(key) == value or key in ("description", "type")}
    if {left.get("type"), right.get("type")} == {"number", "integer"}:
        merged["type"] = "number"
    if "enum" in left and "enum" in right:
        merged["enum"] = [*left["enum"], *(value for value in right["enum"] if value not in left["enum"])]
    return merged


def _bound_exclusively(converted: Schema) -> None:
    """Turn JSON Schema's numeric exclusive bounds into Kubernetes' pair of bound and flag."""
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in converted:
            converted[bound] = converted.pop(exclusive)
            converted[exclusive] = True


def _first_line(schema: Schema) -> str:
    return str(schema.get("description", "")).strip().splitlines()[0] if schema.get("description") else ""


def _without_defaults(schema: Any) -> Any:
    """Drop defaults: a status has none, and an object's defaults would be written into every manifest."""
    if isinstance(schema, dict):
        return {k: _without_defaults(v) for k, v in schema.items() if k != "default"}
    return [_without_defaults(item) for item in schema] if isinstance(schema, list) else schema


# --- the two definitions ----------------------------------------------------------------------------------------


def experiment_crd() -> Schema:
    """Return the CustomResourceDefinition of Experiment."""
    schema = _root(Experiment)
    spec = schema["properties"]["spec"]
    fields = spec["properties"]
    fields["parameters"] |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    fields["objectives"] |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["metric"]}
    parameter = fields["parameters"]["items"]
    parameter["properties"]["when"]["additionalProperties"] = dict(_ANYTHING)
    parameter["x-kubernetes-validations"] += PARAMETER_RULES
    parameter["allOf"] = PARAMETER_FORMS
    fields["constraints"]["items"]["x-kubernetes-validations"] = CONSTRAINT_RULES
    fields["search"]["x-kubernetes-validations"] += SEARCH_RULES
    fields["scheduler"]["x-kubernetes-validations"] += SCHEDULER_RULES
    trial = fields["trial"]["properties"]
    trial["metrics"]["x-kubernetes-validations"] += METRICS_RULES
    trial["checkpoints"]["properties"]["persistentVolumeClaim"]["x-kubernetes-validations"] = CLAIM_RULES
    trial["template"] = _open({**POD_TEMPLATE, "description": trial["template"]["description"]})
    fields["trial"]["x-kubernetes-validations"] = TRIAL_RULES
    schema["x-kubernetes-validations"] = NAME_RULES
    spec["x-kubernetes-validations"] = [*SPEC_RULES, *_immutability_rules()]
    return _definition(
        kind="Experiment",
        plural="experiments",
        short=["exp"],
        schema=schema,
        columns=[
            ("Phase", "string", ".status.phase", 0),
            ("Best", "string", ".status.bestValue", 0),
            ("Running", "integer", ".status.trials.running", 0),
            ("Succeeded", "integer", ".status.trials.succeeded", 0),
            ("Pruned", "integer", ".status.trials.pruned", 0),
            ("Failed", "integer", ".status.trials.failed", 0),
            ("Trials", "integer", ".status.trials.total", 1),
            ("Age", "date", ".metadata.creationTimestamp", 0),
        ],
        scale={"specReplicasPath": ".spec.parallelism", "statusReplicasPath": ".status.trials.running"},
    )


def trial_crd() -> Schema:
    """Return the CustomResourceDefinition of Trial."""
    schema = _root(Trial)
    schema["properties"]["spec"]["x-kubernetes-validations"] = [
        _rule("self == oldSelf", "a trial's spec cannot change; create another experiment")
    ]
    return _definition(
        kind="Trial",
        plural="trials",
        short=["ptrial"],
        schema=schema,
        columns=[
            ("Experiment", "string", ".spec.experiment", 0),
            ("Phase", "string", ".status.phase", 0),
            ("Step", "integer", ".status.step", 0),
            ("Target", "integer", ".status.target", 1),
            ("Value", "string", ".status.value", 0),
            ("Reason", "string", ".status.reason", 1),
            ("Age", "date", ".metadata.creationTimestamp", 0),
        ],
    )


def _root(model: type[Model]) -> Schema:
    schema = _structural(model)
    properties = schema["properties"]
    properties["apiVersion"] = {"type": "string"}
    properties["kind"] = {"type": "string"}
    properties["metadata"] = {"type": "object"}
    properties["status"] = _without_defaults(properties["status"])
    conditions = properties["status"]["properties"]["conditions"]
    conditions |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
    _open_numbers(properties["status"])
    schema["required"] = ["metadata", "spec"]
    return schema


def _open_numbers(schema: Schema) -> None:
    """Let values be numbers or the strings that stand for NaN and infinity."""
    for name, field in schema.get("properties", {}).items():
        if name in ("bestValue", "value"):
            schema["properties"][name] = {**_ANYTHING, "description": field.get("description", "")}
        elif name == "metrics":
            field["additionalProperties"] = dict(_ANYTHING)
        else:
            _open_numbers(field.get("items", field))


def _definition(
    *,
    kind: str,
    plural: str,
    short: list[str],
    schema: Schema,
    columns: Iterable[tuple[str, str, str, int]],
    scale: dict[str, str] | None = None,
) -> Schema:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": short,
                "categories": ["podium"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}, **({"scale": scale} if scale else {})},
                    "additionalPrinterColumns": [
                        {"name": name, "type": type_, "jsonPath": path, **({"priority": priority} if priority else {})}
                        for name, type_, path, priority in columns
                    ],
                }
            ],
        },
    }


class _Dumper(yaml.SafeDumper):
    """YAML without anchors: the same schema written twice is written twice."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def files() -> dict[Path, str]:
    """Return what each generated file should hold."""
    definitions = {
        folder / f"{GROUP}_{crd['spec']['names']['plural']}.yaml": _HEADER
        + yaml.dump(crd, Dumper=_Dumper, sort_keys=False, width=120)
        for crd in (experiment_crd(), trial_crd())
        for folder in FOLDERS
    }
    return {**definitions, PAGE: manifest_page()}


def main() -> None:
    """Write the files, or check that they are what they should be."""
    parser = argparse.ArgumentParser(prog="python -m podium_contract.crd", description=__doc__)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", action="store_true", help="write the files")
    mode.add_argument("--check", action="store_true", help="exit with 1 when a file is not what it should be")
    if parser.parse_args().write:
        for path, text in files().items():
            path.write_text(text, encoding="utf-8")
        return
    stale = [
        str(path) for path, text in files().items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    if stale:
        print(f"out of date: {', '.join(stale)}; run make crds", file=sys.stderr)  # noqa: T201  (the command's output)
        sys.exit(1)


if __name__ == "__main__":
    main()
