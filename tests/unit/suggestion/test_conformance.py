"""Every sampler and scheduler that `podium algorithms` lists passes its conformance suite and has an example.

The examples themselves are run by tests/local/test_examples.py.
"""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from podium_contract.algorithms import SCHEDULERS, SEARCHES, algorithm_name
from podium_contract.manifest import load_experiment
from unit.suggestion.sampler_conformance import SamplerConformance
from unit.suggestion.scheduler_conformance import SchedulerConformance

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[2] / "examples"
MANIFESTS = sorted(EXAMPLES.glob("*.yaml"))
SPECS = [load_experiment(path).spec for path in MANIFESTS]
for path in HERE.glob("test_s*ers*.py"):
    import_module(f"unit.suggestion.{path.stem}")


def suites_of(base: type) -> Iterator[type]:
    """Yield the test classes that inherit a suite."""
    heirs: list[type] = base.__subclasses__()
    for heir in heirs:
        if heir.__name__.startswith("Test"):
            yield heir
        yield from suites_of(heir)


@pytest.mark.parametrize("algorithm", [algorithm_name(model) for model in SEARCHES])
def test_every_sampler_passes_the_conformance_suite_and_has_an_example(algorithm: str) -> None:
    assert algorithm in {suite.algorithm for suite in suites_of(SamplerConformance)}  # type: ignore[attr-defined]
    assert algorithm in {spec.search.algorithm for spec in SPECS}


@pytest.mark.parametrize("algorithm", [algorithm_name(model) for model in SCHEDULERS])
def test_every_scheduler_passes_the_conformance_suite_and_has_an_example(algorithm: str) -> None:
    assert algorithm in {suite.scheduler["algorithm"] for suite in suites_of(SchedulerConformance)}  # type: ignore[attr-defined]
    assert algorithm in {spec.scheduler.algorithm for spec in SPECS}


def test_the_list_of_examples_has_them_all() -> None:
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in MANIFESTS if f"[{path.name}]({path.name})" not in listed] == []
