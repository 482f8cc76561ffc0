"""Results kept run by run, so that a long benchmark may be cut anywhere and goes on where it was.

One JSON file per (suite, task, method, workers, seed). Each says what made it; a run whose maker has changed is done again.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from bench.simulator import Run

_BENCH = Path(__file__).parent
_WHAT_MATTERS = ("tasks/*.py", "data/SHA256SUMS", "simulator.py")


@dataclass(frozen=True)
class Cell:
    """One run: what was tuned by whom."""

    suite: str
    task: str
    method: str
    workers: int
    seed: int

    def path(self, folder: Path) -> Path:
        method = self.method.replace(":", "--").replace("/", "_")
        return folder / self.suite / self.task / method / f"w{self.workers}-s{self.seed}.json"


@dataclass(frozen=True)
class Result:
    """A run that was kept, or why there is none."""

    cell: Cell
    made_by: str
    run: Run | None
    error: str = ""


class Results:
    """A folder of results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, cell: Cell, made_by: str | None = None) -> Result | None:
        """Return what is kept of a run; with `made_by` only if that made it."""
        path = cell.path(self.folder)
        if not path.exists():
            return None
        document = json.loads(path.read_text())
        if made_by is not None and document["made_by"] != made_by:
            return None
        run = None if document["run"] is None else Run(**document["run"])
        return Result(cell, document["made_by"], run, document["error"])

    def keep(self, result: Result) -> None:
        path = result.cell.path(self.folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        run = None if result.run is None else asdict(result.run)
        document = {"cell": asdict(result.cell), "made_by": result.made_by, "error": result.error, "run": run}
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(document))
        partial.replace(path)

    def all(self, suite: str) -> Iterator[Result]:
        """Iterate over all that is kept of a suite."""
        for path in sorted((self.folder / suite).glob("*/*/*.json")):
            document = json.loads(path.read_text())
            found = self.find(Cell(**document["cell"]))
            if found is not None:
                yield found


@cache
def bench_digest() -> str:
    """Return a digest of what decides about results apart from the tuner: tasks, tables and simulator."""
    digest = hashlib.sha256()
    for pattern in _WHAT_MATTERS:
        for path in sorted(_BENCH.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
