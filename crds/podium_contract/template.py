"""The trial's pod template: which container trains, and `${name}` replaced by parameter values without a shell.

An argument or environment value that mentions an inactive parameter is left out as a whole, so conditional parameters are
written in one piece: `--momentum=${momentum}`. `$${name}` stands for the text `${name}`.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from podium_contract.parameters import Assignment

_PLACEHOLDER = re.compile(r"\$(?P<escape>\$)?\{(?P<name>[^}]*)\}")


def trial_container(template: dict[str, Any], name: str | None) -> dict[str, Any]:
    """Return the container that trains; ValueError when the template is no pod template or has no such container."""
    spec = template.get("spec")
    containers = spec.get("containers") if isinstance(spec, dict) else None
    if not isinstance(containers, list) or not containers or not all(isinstance(c, dict) for c in containers):
        raise ValueError(
            f"a pod template has spec.containers, got {_shorten(template)}; write template: {{spec: {{containers: [...]}}}}"
        )
    for container in containers:
        _check_container(container)
    if name is None:
        return dict(containers[0])
    for container in containers:
        if container.get("name") == name:
            return dict(container)
    names = ", ".join(str(container.get("name")) for container in containers)
    raise ValueError(f"trial.container names a container of the template, got '{name}'; known: {names}")


def placeholders_of(container: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (place, parameter name) for every placeholder, the place as `command[3]` or `env[LR]`."""
    for part in ("command", "args"):
        for index, text in enumerate(container.get(part) or ()):
            yield from ((f"{part}[{index}]", name) for name in _names_in(text))
    for variable in container.get("env") or ():
        yield from ((f"env[{variable.get('name')}]", name) for name in _names_in(variable.get("value") or ""))


def substitute(container: dict[str, Any], assignment: Assignment) -> dict[str, Any]:
    """Return the container with every placeholder replaced; items that mention an inactive parameter are left out."""
    replaced = dict(container)
    for part in ("command", "args"):
        if container.get(part):
            texts = (_replace(text, assignment) for text in container[part])
            replaced[part] = [text for text in texts if text is not None]
    if container.get("env"):
        replaced["env"] = [variable for old in container["env"] if (variable := _variable(old, assignment)) is not None]
    return replaced


def value_text(value: Any) -> str:
    """Return a value as an argument: strings as they are, everything else as JSON (so 0.1, 3, true, [0.9, 0.999])."""
    return value if isinstance(value, str) else json.dumps(value)


def _check_container(container: dict[str, Any]) -> None:
    for part in ("command", "args"):
        value = container.get(part)
        if value is not None and not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
            raise ValueError(
                f"{part} of a container is a list of strings, got {_shorten(value)}; write each word as its own quoted item"
            )
    env = container.get("env")
    if env is not None and not (
        isinstance(env, list) and all(isinstance(item, dict) and "name" in item for item in env)
    ):
        raise ValueError(f"env of a container is a list of {{name, value}}, got {_shorten(env)}; correct it")
    for variable in env or ():
        if "value" in variable and not isinstance(variable["value"], str):
            raise ValueError(
                f"an env value is a string, got {_shorten(variable['value'])} for {variable['name']}; put it in quotes"
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
        return value_text(assignment[match["name"]])

    return _PLACEHOLDER.sub(value_of, text)


def _names_in(text: str) -> list[str]:
    return [match["name"] for match in _PLACEHOLDER.finditer(text) if not match["escape"]]


def _shorten(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
