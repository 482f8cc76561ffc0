"""The peers' virtual environments: made on demand, one each, under a cache folder; they share nothing with Podium."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_LONG = 1800.0
"""Seconds that an installation may take."""


@dataclass(frozen=True)
class PeerKind:
    """A peer, and what its environment holds."""

    name: str
    requirements: tuple[str, ...]
    methods: tuple[str, ...]
    schedulers: tuple[str, ...] = ()
    knows_conditions: bool = False
    """Whether it is told which parameters depend on which; else it chooses them all, and the inactive ones are dropped."""
    adapter: str = ""
    """Whose adapter it shares; its own when empty."""
    bare: tuple[str, ...] = ()
    """Packages installed without what they require: `requirements` then brings it, in releases that work together."""

    @property
    def module(self) -> str:
        return f"bench.peers.adapters.{(self.adapter or self.name).replace('-', '_')}_peer"


_CONDITIONS = True
PEERS = {
    kind.name: kind
    for kind in (
        PeerKind(
            "optuna",
            ("optuna", "cmaes"),
            ("tpe", "cmaes", "nsga2", "random"),
            ("median", "hyperband", "asha"),
            _CONDITIONS,
        ),
        # The same release with torch, which its Gaussian process needs and which is large.
        PeerKind("optuna-gp", ("optuna", "scipy", "torch"), ("gp",), ("median", "hyperband"), _CONDITIONS, "optuna"),
        PeerKind("smac", ("smac",), ("forest", "forest-anew", "gp"), knows_conditions=_CONDITIONS),
        PeerKind("hyperopt", ("hyperopt", "setuptools<81"), ("tpe", "anneal"), knows_conditions=_CONDITIONS),
        PeerKind("nevergrad", ("nevergrad",), ("ngopt", "de", "oneplusone")),
        PeerKind("scikit-optimize", ("scikit-optimize",), ("gp", "forest")),
        PeerKind("flaml", ("flaml[blendsearch]",), ("blend", "cfo"), knows_conditions=_CONDITIONS),
        # Its quantile regression imports huggingface_hub, which the release does not bring.
        PeerKind(
            "syne-tune", ("syne-tune", "huggingface-hub"), ("kde", "bore", "cqr", "evolution", "random"), ("asha",)
        ),
        # HEBO pins numpy below 1.25 and pymoo to 0.6.0, and wants GPy and CatBoost, which its default does not import.
        PeerKind(
            "hebo",
            ("torch", "gpytorch", "pymoo>=0.6.1,<0.7", "numpy", "scipy", "pandas<3", "scikit-learn", "disjoint-set"),
            ("gp", "rf"),
            bare=("hebo==0.3.6",),
        ),
    )
}


class InstallationError(RuntimeError):
    """A peer could not be installed; the message is the installer's last words."""


def cache_folder() -> Path:
    """Return where environments are kept: PODIUM_BENCH_CACHE, or a folder of the user's cache."""
    given = os.environ.get("PODIUM_BENCH_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "podium-bench"


def environment(kind: PeerKind) -> Path:
    return cache_folder() / kind.name


def python_of(kind: PeerKind) -> Path:
    return environment(kind) / "bin" / "python"


def is_installed(kind: PeerKind) -> bool:
    return _mark(kind).exists()


def install(kind: PeerKind, python: str = sys.executable) -> str:
    """Make a peer's environment, if need be, and return what is installed; raises InstallationError."""
    if is_installed(kind):
        return _mark(kind).read_text()
    folder = environment(kind)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run([python, "-m", "venv", str(folder)], kind)
    pip = [str(python_of(kind)), "-m", "pip", "--disable-pip-version-check"]
    _run([*pip, "install", "--quiet", *kind.requirements], kind)
    if kind.bare:
        _run([*pip, "install", "--quiet", "--no-deps", *kind.bare], kind)
    frozen = _run([*pip, "freeze"], kind)
    _mark(kind).write_text(frozen)
    return frozen


def version_of(kind: PeerKind) -> str:
    """Return the installed release of a peer; empty when there is none."""
    if not is_installed(kind):
        return ""
    wanted = re.split(r"[\[<>=]", (kind.bare or kind.requirements)[0])[0].lower().replace("_", "-")
    pairs = (line.split("==") for line in _mark(kind).read_text().splitlines() if "==" in line)
    return next((version for name, version in pairs if name.lower().replace("_", "-") == wanted), "unknown")


def remove(kind: PeerKind) -> None:
    shutil.rmtree(environment(kind), ignore_errors=True)


def _mark(kind: PeerKind) -> Path:
    """Return the file that is written last, with the versions of everything: the environment is complete."""
    return environment(kind) / "installed.txt"


def _run(command: list[str], kind: PeerKind) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LONG, check=False)  # noqa: S603
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise InstallationError(f"{kind.name} cannot be installed: {_reason(words)}")
    return done.stdout


def _reason(words: list[str]) -> str:
    """Return what an installer's messages come down to: its first line that says error, or the last line."""
    return next((line for line in words if "error" in line.lower()), words[-1])[:300]
