"""Every option of every algorithm has a test that shows what it changes, marked with its name:

    @pytest.mark.option("tpe.candidates")

An option is named as `podium algorithms` lists it, after its algorithm and without "settings."; one that all searches or all
schedulers have is named after these: "search.seed". Its test is parametrised over whom it concerns.
"""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

from podium_contract.algorithms import SCHEDULERS, SEARCHES
from podium_contract.model import Model
from podium_operator.cli.algorithms import common_fields, describe


def options_of(kind: str, models: Sequence[type[Model]]) -> Iterator[str]:
    entries = [describe(model) for model in models]
    shared = [field["name"] for field in common_fields(entries)]
    yield from (f"{kind}.{name}" for name in shared if f"{name}.experiments" not in shared)  # warmStart holds options
    for entry in entries:
        own = [field["name"] for field in entry["fields"] if field["name"] not in shared]
        yield from (f"{entry['algorithm']}.{name.removeprefix('settings.')}" for name in own)


def marks_in(folder: Path) -> Iterator[str]:
    """Yield the options that the tests below a folder are marked with."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield from (name for decorator in node.decorator_list for name in marks_of(decorator))


def marks_of(decorator: ast.expr) -> list[str]:
    if not isinstance(decorator, ast.Call) or ast.unparse(decorator.func) != "pytest.mark.option":
        return []
    return [ast.literal_eval(argument) for argument in decorator.args]


OPTIONS = {*options_of("search", SEARCHES), *options_of("scheduler", SCHEDULERS)}
MARKED = set(marks_in(Path(__file__).parent))


def test_every_option_has_a_test_of_what_it_changes() -> None:
    assert sorted(OPTIONS - MARKED) == []


def test_every_mark_names_an_option() -> None:
    assert sorted(MARKED - OPTIONS) == []


def test_options_are_found_at_every_level() -> None:
    assert {"search.seed", "search.warmStart.experiments", "scheduler.resource", "asha.max", "pb2.quantile"} < OPTIONS
    assert len(OPTIONS) > 60
