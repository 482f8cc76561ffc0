"""The trial's pod template: which container trains, and `${name}` replaced by parameter values without a shell.

An argument or environment value that mentions an inactive parameter is left out as a whole, so conditional parameters are
written in one piece: `--momentum=${momentum}`. `$${name}` stands for the text `${name}`.

Kubernetes then reads the words once more: `$(NAME)` is a variable of the container, and `$$` one dollar. That is the
template's to use; a dollar in a parameter's value is doubled, so that it arrives as it is.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from podium_contract.model import FieldError, refuse
from podium_contract.names import DNS_LABEL
from podium_contract.parameters import Assignment

_PLACEHOLDER = re.compile(r"\$(?P<escape>\$)?\{(?P<name>[^}]*)\}")
_REFERENCE = re.compile(r"\$(?:\$|\((?P<name>[^)]*)\))")


def check_template(template: dict[str, Any]) -> None:
    """Raise BrokenRulesError, with paths inside the template, unless it is a pod template whose containers can be run."""
    refuse(_faults_of(template))


def _faults_of(template: dict[str, Any]) -> Iterator[FieldError]:
    spec = template.get("spec")
    containers = spec.get("containers") if isinstance(spec, dict) else None
    if not isinstance(containers, list) or not containers:
        yield FieldError(
            ".spec.containers" if isinstance(spec, dict) else ".spec",
            f"a pod template has spec.containers, got {_shorten(template)}; write template: {{spec: {{containers: [...]}}}}",
        )
        return
    for index, container in enumerate(containers):
        path = f".spec.containers[{index}]"
        if isinstance(container, dict):
            yield from _container_faults(container, path)
        else:
            yield FieldError(
                path, f"a container is a mapping, got {_shorten(container)}; write name:, image: and command: below it"
            )


def container_index(template: dict[str, Any], name: str | None) -> int:
    """Return which container of a checked template trains; ValueError when none has that name."""
    containers = template["spec"]["containers"]
    names = [str(container.get("name")) for container in containers]
    if name is None:
        return 0
    if name not in names:
        raise ValueError(f"names a container of the template, got '{name}'; choose one of {', '.join(names)}")
    return names.index(name)


def trial_container(template: dict[str, Any], name: str | None) -> dict[str, Any]:
    """Return the container of a checked template that trains; ValueError when none has that name."""
    return dict(template["spec"]["containers"][container_index(template, name)])


def placeholders_of(container: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (place, parameter name) for every placeholder, the place as `command[3]` or `env[0].value`."""
    for part in ("command", "args"):
        for index, text in enumerate(container.get(part) or ()):
            yield from ((f"{part}[{index}]", name) for name in _names_in(text))
    for index, variable in enumerate(container.get("env") or ()):
        yield from ((f"env[{index}].value", name) for name in _names_in(variable.get("value") or ""))


def substitute(container: dict[str, Any], assignment: Assignment) -> dict[str, Any]:
    """Return the container with every placeholder replaced; items that mention an inactive parameter are left out.

    What it holds is for Kubernetes to read, or `expand`: dollars of values are doubled.
    """
    replaced = dict(container)
    for part in ("command", "args"):
        if container.get(part):
            texts = (_replace(text, assignment) for text in container[part])
            replaced[part] = [text for text in texts if text is not None]
    if container.get("env"):
        replaced["env"] = [variable for old in container["env"] if (variable := _variable(old, assignment)) is not None]
    return replaced


def literal(text: str) -> str:
    """Return a text as a container's command, args or variable must hold it to arrive as it is."""
    return text.replace("$", "$$")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Return what Kubernetes makes of a word or value: `$(NAME)` is a variable if there is one, `$$` is one dollar."""

    def value_of(match: re.Match[str]) -> str:
        return "$" if match["name"] is None else variables.get(match["name"], match[0])

    return _REFERENCE.sub(value_of, text)


def value_text(value: Any) -> str:
    """Return a value as an argument: strings as they are, everything else as JSON (so 0.1, 3, true, [0.9, 0.999])."""
    return value if isinstance(value, str) else json.dumps(value)


def _container_faults(container: dict[str, Any], path: str) -> Iterator[FieldError]:
    name = container.get("name")
    if not isinstance(name, str) or not re.fullmatch(DNS_LABEL, name):
        yield FieldError(
            f"{path}.name", f"a container has a name of small letters, digits and dashes, got {_shorten(name)}; name it"
        )
    for part in ("command", "args"):
        words = container.get(part)
        if isinstance(words, list):
            yield from (
                FieldError(
                    f"{path}.{part}[{index}]", f"{part} is a list of strings, got {_shorten(word)}; put it in quotes"
                )
                for index, word in enumerate(words)
                if not isinstance(word, str)
            )
        elif words is not None:
            yield FieldError(
                f"{path}.{part}",
                f"{part} is a list of strings, got {_shorten(words)}; write each word as its own item",
            )
    env = container.get("env")
    if isinstance(env, list):
        for index, variable in enumerate(env):
            yield from _variable_faults(variable, f"{path}.env[{index}]")
    elif env is not None:
        yield FieldError(f"{path}.env", f"env is a list of {{name, value}}, got {_shorten(env)}; write it as a list")


def _variable_faults(variable: Any, path: str) -> Iterator[FieldError]:
    if not isinstance(variable, dict) or not isinstance(variable.get("name"), str):
        yield FieldError(path, f"a variable has a name and a value, got {_shorten(variable)}; give it both")
    elif not isinstance(variable.get("value", ""), str):
        yield FieldError(
            f"{path}.value",
            f"a variable's value is a string, got {_shorten(variable['value'])}; put it in quotes",
        )


def _variable(variable: dict[str, Any], assignment: Assignment) -> dict[str, Any] | None:
    if "value" not in variable:
        return variable
    text = _replace(variable["value"], assignment)
    return None if text is None else {**variable, "value": text}


def _replace(text: str, assignment: Assignment) -> str | None:
    if any(name not in assignment for name in _names_in(text)):
        return None

    def value_of(match: re.Match[str]) -> str:
        if match["escape"]:
            return match[0][1:]
        return literal(value_text(assignment[match["name"]]))

    return _PLACEHOLDER.sub(value_of, text)


def _names_in(text: str) -> list[str]:
    return [match["name"] for match in _PLACEHOLDER.finditer(text) if not match["escape"]]


def _shorten(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
