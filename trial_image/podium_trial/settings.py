"""What a run finds in its environment, read once."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podium_contract import runtime


@dataclass(frozen=True)
class Settings:
    """One run's orders; the defaults are those of a script that runs without Podium."""

    experiment: str = ""
    trial: str = ""
    number: int = 0
    attempt: int = 1
    parameters: Mapping[str, Any] | None = None
    resource: str = "step"
    target: int | None = None
    checkpoints: Path = Path("checkpoints")
    parent_checkpoints: Path | None = None
    parent_step: int | None = None
    """The step from which a clone goes on; None: its parent's latest."""
    metrics_host: str = ""
    metrics_port: int | None = None
    """None: serve nothing."""
    metrics_port_file: Path | None = None
    termination_log: Path | None = None
    seed: int = 0

    @property
    def is_managed(self) -> bool:
        """Whether Podium runs this script."""
        return bool(self.trial)


def settings_from(environment: Mapping[str, str]) -> Settings:
    """Read the treaty's variables; raises ValueError, naming the variable, when one is no number or no JSON."""

    def number(name: str) -> int | None:
        text = environment.get(name)
        try:
            return None if text is None else int(text)
        except ValueError:
            raise ValueError(f"{name} must be a whole number, got {text!r}; unset it or correct it") from None

    def path(name: str) -> Path | None:
        text = environment.get(name)
        return Path(text) if text else None

    return Settings(
        experiment=environment.get(runtime.ENV_EXPERIMENT, ""),
        trial=environment.get(runtime.ENV_TRIAL, ""),
        number=number(runtime.ENV_NUMBER) or 0,
        attempt=number(runtime.ENV_ATTEMPT) or 1,
        parameters=_parameters(environment),
        resource=environment.get(runtime.ENV_RESOURCE, "step"),
        target=number(runtime.ENV_TARGET),
        checkpoints=path(runtime.ENV_CHECKPOINTS) or Path("checkpoints"),
        parent_checkpoints=path(runtime.ENV_PARENT_CHECKPOINTS),
        parent_step=number(runtime.ENV_PARENT_STEP),
        metrics_host=environment.get(runtime.ENV_METRICS_HOST, ""),
        metrics_port=number(runtime.ENV_METRICS_PORT),
        metrics_port_file=path(runtime.ENV_METRICS_PORT_FILE),
        termination_log=_termination_log(environment),
        seed=number(runtime.ENV_SEED) or 0,
    )


def _parameters(environment: Mapping[str, str]) -> dict[str, Any]:
    text = environment.get(runtime.ENV_PARAMETERS, "{}")
    with suppress(ValueError):
        parameters = json.loads(text)
        if isinstance(parameters, dict):
            return parameters
    raise ValueError(f"{runtime.ENV_PARAMETERS} must be a JSON object, got {text[:60]!r}; unset it or correct it")


def _termination_log(environment: Mapping[str, str]) -> Path | None:
    given = environment.get(runtime.ENV_TERMINATION_LOG)
    if given:
        return Path(given)
    default = Path(runtime.DEFAULT_TERMINATION_LOG)
    return default if default.exists() else None
