from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from bench import tables
from bench.lattice import key_of, lattice
from bench.tables import Table, TableError, load_table, table_names
from bench.trainings import RECIPES, Recipe
from podium_contract.parameters import Parameter, assignment_faults


def _parameters(*plain: dict[str, object]) -> list[Parameter]:
    return TypeAdapter(list[Parameter]).validate_python(plain)


CONDITIONAL = _parameters(
    {"name": "kind", "type": "categorical", "values": ["a", "b"]},
    {"name": "n", "type": "int", "min": 1, "max": 3},
    {"name": "share", "type": "float", "min": 0.0, "max": 0.3, "step": 0.1, "when": {"kind": ["b"]}},
)


def test_a_lattice_holds_each_configuration_once_and_no_inactive_values() -> None:
    points = lattice(CONDITIONAL)
    assert len(points) == 3 + 3 * 4
    assert len({key_of(point) for point in points}) == len(points)
    assert all(assignment_faults(CONDITIONAL, point) == [] for point in points)


def test_a_continuous_parameter_has_no_lattice() -> None:
    with pytest.raises(ValueError, match="got continuous 'lr'"):
        lattice(_parameters({"name": "lr", "type": "float", "min": 0, "max": 1}))


def test_a_configuration_is_known_by_its_values_not_by_their_order_or_type() -> None:
    assert key_of({"a": 1, "b": True}) == key_of({"b": True, "a": 1.0})
    assert key_of({"a": 0.1 + 0.2}) == key_of({"a": 0.3})
    assert key_of({"b": True}) != key_of({"b": 1})


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_stored_table_is_what_its_recipe_would_make(recipe: Recipe) -> None:
    table = load_table(recipe.name)
    assert table.parameters == recipe.parameters
    assert table.metrics == list(recipe.metrics)
    assert table.steps == recipe.steps
    assert table.seconds.shape == (len(table.configurations), recipe.steps)
    assert f"python -m bench.trainings {recipe.name}" in table.about


@pytest.mark.parametrize("name", table_names())
def test_a_table_has_hundreds_of_configurations_that_differ(name: str) -> None:
    table = load_table(name)
    assert 300 <= len(table.configurations) <= 2000
    assert (table.seconds.sum(axis=1) > 0).all()
    final = table.column(table.metrics[0])[:, -1]
    assert np.isfinite(final).mean() > 0.9
    assert len(np.unique(final)) > 30


def test_all_tables_together_are_small() -> None:
    assert sum(path.stat().st_size for path in tables.DATA.glob("*.npz")) < 1_000_000


def test_a_table_with_other_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "DATA", tmp_path)
    monkeypatch.setattr(tables, "CHECKSUMS", tmp_path / "SHA256SUMS")
    _table().save()
    assert Table.load("toy").configurations == lattice(CONDITIONAL)
    (tmp_path / "toy.npz").write_bytes((tmp_path / "toy.npz").read_bytes() + b"x")
    with pytest.raises(TableError, match=r"toy\.npz .*`python -m bench\.trainings toy`"):
        Table.load("toy")


def test_values_are_kept_to_their_precision_and_divergence_as_nan() -> None:
    table = _table()
    assert table.column("loss")[0] == pytest.approx([0.12, np.nan], nan_ok=True)
    assert table.seconds[0] == pytest.approx([0.5, 0.25])
    assert table.row({"n": 1, "kind": "a"}) == 0


def test_values_beyond_16_bits_become_the_largest_that_is_kept() -> None:
    table = _table()
    assert table.column("loss")[1, 0] == pytest.approx(655.34)


def test_what_is_not_on_the_lattice_is_not_looked_up() -> None:
    with pytest.raises(KeyError):
        _table().row({"kind": "b", "n": 1, "share": 0.05})


def _table() -> Table:
    losses = np.full((15, 2), 0.5)
    losses[0], losses[1] = [0.123, np.nan], [1e9, 1.0]
    seconds = np.tile([0.5, 0.25], (15, 1))
    return Table.pack("toy", "", CONDITIONAL, {"loss": 0.01, "seconds": 0.01}, {"loss": losses, "seconds": seconds})
