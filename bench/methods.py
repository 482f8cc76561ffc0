"""A method by its name: `tpe`, `gp+asha`, `tpe(candidates=48)` are Podium's, `optuna:tpe+hyperband` a peer's.

Podium's names are those of a manifest, settings included, so whatever algorithm the contract knows can be measured.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Self

import podium_contract
import podium_suggestion
from bench.peers.client import PeerTuner, start_peer
from bench.peers.environments import PEERS, is_installed, version_of
from bench.podium_tuner import PodiumTuner
from bench.simulator import Run, Simulation
from bench.tasks.task import Task

_NAME = re.compile(
    r"(?:(?P<peer>[a-z-]+):)?(?P<search>[\w-]+)(?:\((?P<settings>[^)]*)\))?"
    r"(?:\+(?P<scheduler>[\w-]+)(?:\((?P<budgets>[^)]*)\))?)?"
)


@dataclass(frozen=True)
class Method:
    """A tuner and how it is set."""

    name: str
    peer: str
    """Empty: Podium itself."""
    search: str
    scheduler: str
    """Empty: every trial is trained in full."""
    search_settings: dict[str, Any] = field(default_factory=dict, hash=False)
    scheduler_settings: dict[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read a method's name; ValueError when it is none."""
        match = _NAME.fullmatch(name)
        if match is None or (match["peer"] and match["peer"] not in PEERS):
            raise ValueError(
                f"a method is search+scheduler or peer:search+scheduler with a peer of {', '.join(PEERS)}, got {name}"
            )
        return cls(
            name=name,
            peer=match["peer"] or "",
            search=match["search"],
            scheduler=match["scheduler"] or "",
            search_settings=_settings(match["settings"]),
            scheduler_settings=_settings(match["budgets"]),
        )

    @property
    def is_ours(self) -> bool:
        return not self.peer

    @property
    def is_available(self) -> bool:
        return self.is_ours or is_installed(PEERS[self.peer])

    @property
    def stamp(self) -> str:
        """What made its results: Podium's own code, or the versions in the peer's environment."""
        if self.is_ours:
            return f"podium-{_digest_of_podium()}"
        return f"{self.peer}-{version_of(PEERS[self.peer])}"

    def run(self, task: Task, seed: int, workers: int, limit: float = float("inf"), trials: int | None = None) -> Run:
        """Tune a task: until `limit` virtual seconds, or `trials` (the task's budget) have run.

        Raises PeerError, or pydantic's ValidationError for a name or setting that no manifest may hold.
        """
        task = task if self.scheduler or limit != float("inf") else task.in_full()
        most = trials or task.budget
        if self.is_ours:
            return Simulation(task, self.tuner(task, seed, workers, most), workers, limit).play()
        peer = start_peer(PEERS[self.peer], task, self.search, self.scheduler, seed, workers, most)
        with peer:
            return Simulation(task, PeerTuner(task, peer, most), workers, limit).play()

    def tuner(self, task: Task, seed: int, workers: int, trials: int) -> PodiumTuner:
        """Return Podium, set as the name says."""
        search = {"algorithm": self.search, "seed": seed, "settings": self.search_settings}
        scheduler: dict[str, Any] = {"algorithm": "none", "max": task.steps}
        if self.scheduler:
            scheduler = {"algorithm": self.scheduler, "max": task.steps, "settings": self.scheduler_settings}
        return PodiumTuner(task, search, scheduler, workers, trials)


def _settings(text: str | None) -> dict[str, Any]:
    """Read `candidates=48, multivariate=false`; values are JSON, or text as it stands."""
    pairs = (pair.split("=", 1) for pair in (text or "").split(",") if pair.strip())
    return {name.strip(): _value(value.strip()) for name, value in pairs}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


@cache
def _digest_of_podium() -> str:
    """Return a digest of the code that decides: the contract and the suggestion room."""
    digest = hashlib.sha256()
    for package in (podium_contract, podium_suggestion):
        for path in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
