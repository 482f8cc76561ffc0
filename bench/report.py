"""All that the benchmark's kept results say, in one go: what was aimed at, and the tables of docs/benchmarks.md."""

from collections.abc import Iterator, Sequence

from bench import aims, fidelity, latency, search
from bench.results import Results
from bench.tabulation import Figures
from bench.tasks import SINGLE_OBJECTIVE

_BESIDE_SPARSE = ("auto", "tpe")


def tables(results: Results, workers: int, only: Sequence[str] | None = None) -> Iterator[Figures]:
    """Yield every table that there are results for; `workers` are those of the search suite, `only` names methods."""
    found = search.Found(results, workers, only)
    curves, population = (fidelity.Found(results, only, suite) for suite in (fidelity.SUITE, fidelity.POPULATION_SUITE))
    timings = latency.load(results.folder, only)
    yield aims.table(shared(found), curves.on("training"), population, timings)
    if found.regrets:
        yield from _searches(found)
        yield from search.further_tables(found)
    yield from fidelity.all_tables(curves)
    if population.runs:
        yield from fidelity.tables(population, "population")
    yield from latency.tables(timings)


def shared(found: search.Found) -> search.Found:
    """Return the results of the methods that have seeds enough to be compared all at once."""
    return found.without(found.on(SINGLE_OBJECTIVE).sparse())


def _searches(found: search.Found) -> Iterator[Figures]:
    """Yield comparisons of all methods at once, but for those hardly run: each of these by itself, on the seeds it has."""
    for part in map(found.on, search.FAMILIES):
        sparse = part.sparse()
        yield from search.tables(part.without(sparse))
        for name in sparse:
            yield from search.tables(part.among([*_BESIDE_SPARSE, name], tasks_of=name))
