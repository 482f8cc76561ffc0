"""How the service is set up: read once from the environment, when the process starts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DEFAULT_STORE_URL = "sqlite:///podium.db"
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8080
DEFAULT_MAX_REQUEST_BYTES = 64 * 1024 * 1024
"""Room for the complete facts of some 20 000 trials."""

LogFormat = Literal["text", "json"]


class SettingsError(ValueError):
    """The environment asks for something impossible; the message gives variable, rule, value and remedy."""


@dataclass(frozen=True)
class Settings:
    """What `python -m podium_suggestion` needs to know."""

    store_url: str = DEFAULT_STORE_URL
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    token_file: Path | None = None
    """Holds the bearer token that calls must carry; None: anybody may call."""
    log_format: LogFormat = "text"
    max_request_bytes: int = DEFAULT_MAX_REQUEST_BYTES


def settings_from(environment: Mapping[str, str], *, insecure: bool = False) -> Settings:
    """Return the settings; raises SettingsError. Without `insecure` there must be a token."""
    token_file = environment.get("PODIUM_TOKEN_FILE")
    if not token_file and not insecure:
        raise SettingsError(
            "PODIUM_TOKEN_FILE must name the file with the token that callers present, got nothing; set it, or pass "
            "--insecure to let anybody call"
        )
    return Settings(
        store_url=environment.get("PODIUM_STORE_URL") or DEFAULT_STORE_URL,
        host=environment.get("PODIUM_HOST") or DEFAULT_HOST,
        port=_number(environment, "PODIUM_PORT", DEFAULT_PORT, 0, 65535),
        token_file=Path(token_file) if token_file else None,
        log_format=_log_format(environment.get("PODIUM_LOG_FORMAT") or "text"),
        max_request_bytes=_number(environment, "PODIUM_MAX_REQUEST_BYTES", DEFAULT_MAX_REQUEST_BYTES, 1024, 2**40),
    )


def _number(environment: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = environment.get(name) or str(default)
    if name == "PODIUM_PORT" and re.match(r"^[a-z]+://", text):
        # A Service named "podium" makes Kubernetes set PODIUM_PORT=tcp://10.0.0.1:8080 in every pod of its namespace.
        return default
    if not re.fullmatch(r"[0-9]{1,15}", text) or not low <= int(text) <= high:
        raise SettingsError(f"{name} is a whole number from {low} to {high}, got '{text}'; correct it")
    return int(text)


def _log_format(text: str) -> LogFormat:
    match text:
        case "text" | "json":
            return text
        case _:
            raise SettingsError(f"PODIUM_LOG_FORMAT is text or json, got '{text}'; choose one of them")
