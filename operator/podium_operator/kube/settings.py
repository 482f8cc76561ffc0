"""The operator's settings, read once from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """How one operator process is set up."""

    suggestion_url: str
    token_file: Path | None = None
    namespaces: tuple[str, ...] = ()
    """Namespaces that it looks after; empty: all."""
    lease_namespace: str | None = None
    """Where replicas settle which of them acts; None: this one acts alone."""
    lease_name: str = "podium-operator"
    identity: str = "podium-operator"
    port: int = 8080
    """Where health and metrics are served."""


def settings_from(environment: Mapping[str, str]) -> Settings:
    """Return the settings; raises ValueError, naming the variable, when one is missing or malformed."""
    url = environment.get("PODIUM_SUGGESTION_URL")
    if not url:
        raise ValueError("PODIUM_SUGGESTION_URL must be set, got nothing; give the suggestion service's address")
    try:
        port = int(environment.get("PODIUM_PORT", "8080"))
    except ValueError:
        raise ValueError(f"PODIUM_PORT must be a number, got {environment['PODIUM_PORT']!r}; correct it") from None
    token_file = environment.get("PODIUM_TOKEN_FILE")
    return Settings(
        suggestion_url=url,
        token_file=Path(token_file) if token_file else None,
        namespaces=tuple(name for name in environment.get("PODIUM_NAMESPACES", "").split(",") if name),
        lease_namespace=environment.get("PODIUM_LEASE_NAMESPACE") or None,
        lease_name=environment.get("PODIUM_LEASE_NAME", "podium-operator"),
        identity=environment.get("PODIUM_IDENTITY", "podium-operator"),
        port=port,
    )
