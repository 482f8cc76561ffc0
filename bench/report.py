"""All that the benchmark's kept results say, in one go: what was aimed at, and the tables of docs/benchmarks.md."""

from collections.abc import Iterator, Sequence

from bench import aims, fidelity, latency, search
from bench.results import Results
from bench.tabulation import Figures

_DEAR = ("optuna-gp", "smac", "hebo", "scikit-optimize")
"""Peers that take so long that they have fewer seeds than the others: each is compared by itself, on the seeds it has."""
_BESIDE_DEAR = ("auto", "tpe")


def tables(results: Results, workers: int, only: Sequence[str] | None = None) -> Iterator[Figures]:
    """Yield every table that there are results for; `workers` are those of the search suite, `only` names methods."""
    found = search.Found(results, workers, only)
    curves, population = (fidelity.Found(results, only, suite) for suite in (fidelity.SUITE, fidelity.POPULATION_SUITE))
    timings = latency.load(results.folder, only)
    cheap, dear = by_cost(found.methods)
    yield aims.table(found.among(cheap), curves, population, timings)
    if found.regrets:
        yield from search.tables(found.among(cheap))
        for name in dear:
            yield from search.tables(found.among([*_BESIDE_DEAR, name], tasks_of=name))
        yield from search.further_tables(found)
    if curves.runs:
        yield from fidelity.tables(curves)
    if population.runs:
        yield from fidelity.tables(population, "population")
    yield from latency.tables(timings)


def by_cost(methods: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the methods whose runs are cheap, and the dear ones."""
    dear = [name for name in methods if name.split(":")[0] in _DEAR]
    return [name for name in methods if name not in dear], dear
