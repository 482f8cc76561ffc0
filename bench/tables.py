"""Tables of real trainings: looked up, never interpolated, because the space is exactly what was trained.

A table is an `.npz` file in `bench/data`: the parameters, and for each configuration of their lattice the metrics and the
seconds of every step, as whole multiples of a precision. `SHA256SUMS` beside it vouches for the bytes.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from bench.lattice import key_of, lattice
from podium_contract.parameters import Assignment, Parameter
from podium_suggestion.space import FloatArray

DATA = Path(__file__).parent / "data"
CHECKSUMS = DATA / "SHA256SUMS"
_MISSING = np.iinfo(np.uint16).max
"""Stands for NaN."""
_SECONDS = "seconds"


class TableError(RuntimeError):
    """A table's bytes are not the ones that were recorded."""


@dataclass(frozen=True)
class Table:
    """What every configuration of a lattice led to."""

    name: str
    about: str
    parameters: list[Parameter]
    precision: dict[str, float]
    cells: dict[str, NDArray[np.uint16]]
    """Multiples of the precision, shape (configurations, steps); by metric, and `seconds` of each step."""

    @classmethod
    def pack(
        cls,
        name: str,
        about: str,
        parameters: list[Parameter],
        precision: Mapping[str, float],
        values: Mapping[str, FloatArray],
    ) -> Self:
        """Round values to their precision; what is too large for 16 bits becomes the largest that is not."""
        return cls(
            name, about, parameters, dict(precision), {key: _pack(values[key], precision[key]) for key in precision}
        )

    @classmethod
    def load(cls, name: str) -> Self:
        """Read a table; raises TableError when its bytes are not the recorded ones."""
        path = DATA / f"{name}.npz"
        found, recorded = _digest(path), checksums()[path.name]
        if found != recorded:
            raise TableError(
                f"a table has its recorded checksum, got {found} for {path.name} instead of {recorded}; restore it, or "
                f"make it anew with `python -m bench.trainings {name}`"
            )
        with np.load(path) as arrays:
            head = json.loads(str(arrays["head"]))
            cells = {key: arrays[key] for key in head["precision"]}
        parameters = TypeAdapter(list[Parameter]).validate_python(head["parameters"])
        return cls(name, head["about"], parameters, head["precision"], cells)

    def save(self) -> None:
        """Write the table and its checksum."""
        DATA.mkdir(exist_ok=True)
        path = DATA / f"{self.name}.npz"
        head = {
            "about": self.about,
            "parameters": [parameter.to_json() for parameter in self.parameters],
            "precision": self.precision,
        }
        arrays: dict[str, Any] = {"head": np.array(json.dumps(head)), **self.cells}
        np.savez_compressed(path, **arrays)
        sums = {**checksums(), path.name: _digest(path)}
        CHECKSUMS.write_text("".join(f"{digest}  {file}\n" for file, digest in sorted(sums.items())))

    @property
    def steps(self) -> int:
        return int(self.cells[_SECONDS].shape[1])

    @property
    def metrics(self) -> list[str]:
        return [name for name in self.precision if name != _SECONDS]

    @cached_property
    def configurations(self) -> list[Assignment]:
        """Every configuration, in the order of the rows."""
        return lattice(self.parameters)

    def row(self, assignment: Assignment) -> int:
        """Return where a configuration stands; KeyError when it is not one of the lattice."""
        return self._rows[key_of(assignment)]

    def column(self, metric: str) -> FloatArray:
        """Return a metric of every configuration after each step, shape (configurations, steps); NaN where it diverged."""
        return self._values[metric]

    @property
    def seconds(self) -> FloatArray:
        """Seconds of each step, shape (configurations, steps)."""
        return self._values[_SECONDS]

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {key_of(assignment): row for row, assignment in enumerate(self.configurations)}

    @cached_property
    def _values(self) -> dict[str, FloatArray]:
        return {name: _unpack(cells, self.precision[name]) for name, cells in self.cells.items()}


@cache
def load_table(name: str) -> Table:
    return Table.load(name)


def table_names() -> list[str]:
    return sorted(path.stem for path in DATA.glob("*.npz"))


def checksums() -> dict[str, str]:
    """Return the recorded digests by file name."""
    if not CHECKSUMS.exists():
        return {}
    pairs = (line.split("  ") for line in CHECKSUMS.read_text().splitlines())
    return {file: digest for digest, file in pairs}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _pack(values: FloatArray, precision: float) -> NDArray[np.uint16]:
    multiples = np.where(np.isnan(values), _MISSING, np.minimum(np.round(values / precision), _MISSING - 1))
    return multiples.astype(np.uint16)


def _unpack(cells: NDArray[np.uint16], precision: float) -> FloatArray:
    return np.where(cells == _MISSING, np.nan, cells * precision)
