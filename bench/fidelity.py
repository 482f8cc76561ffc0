"""Multi-fidelity: schedulers on real learning curves, with 1, 8 and 64 asynchronous workers, in equal worker-time.

A cell is a task with a number of workers. Every method gets the same virtual time in it, and what counts is the best value
that any report has shown. Random search with full training is what everything is measured against.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bench import statistics
from bench.results import Result, Results
from bench.search import Scores, rank_cells
from bench.simulator import Run, best_after
from bench.tabulation import Figures, not_run, number
from bench.tasks import Task, all_tasks
from podium_suggestion.space import FloatArray, Space

SUITE = "fidelity"
POPULATION_SUITE = "population"
"""Population-based training, against as many full trainings side by side as there are workers."""
BASELINE = "random"
WORKERS = (1, 8, 64)
_FULL_TRAININGS = {1: 24, 8: 48, 64: 96}
"""Worker-time of a cell, in full trainings of mean length."""
_TRIALS_PER_TRAINING = 12
"""More trials than this per full training's time no scheduler here starts."""


@dataclass(frozen=True)
class Terms:
    """What a cell gives every method."""

    limit: float
    """Virtual seconds."""
    trials: int
    """Trials at most: never what ends a run, except where the lattice itself is exhausted."""


def terms(task: Task, workers: int) -> Terms:
    """Return a cell's terms; numbers of workers in between get what the next smaller known one gets."""
    if task.group == "schedule":
        return Terms(mean_seconds(task), workers * task.steps)
    trainings = _FULL_TRAININGS[max(known for known in _FULL_TRAININGS if known <= workers)]
    return Terms(trainings * mean_seconds(task) / workers, trainings * _TRIALS_PER_TRAINING)


def mean_seconds(task: Task, draws: int = 300) -> float:
    """Return the mean length of a full training of a random configuration."""
    rng, space = np.random.default_rng(0), Space(task.parameters)
    return float(np.mean([task.evaluate(space.sample(rng)).seconds for _ in range(draws)]))


def fidelity_tasks() -> list[Task]:
    return [task for task in all_tasks().values() if task.steps > 1 and task.group == "training"]


class Found:
    """All results of the suite."""

    def __init__(self, results: Results, only: Sequence[str] | None = None, suite: str = SUITE) -> None:
        """`only` names the methods that are wanted; all that have results by default."""
        self.errors: dict[tuple[str, str], str] = {}
        self.runs: dict[tuple[str, int], dict[str, dict[int, Run]]] = {}
        """By cell (task, workers), method and seed."""
        for result in results.all(suite):
            if only is None or result.cell.method in only:
                self._add(result)

    def _add(self, result: Result) -> None:
        cell = result.cell
        if result.run is None:
            self.errors[cell.task, cell.method] = result.error
        else:
            by_method = self.runs.setdefault((cell.task, cell.workers), {})
            by_method.setdefault(cell.method, {})[cell.seed] = result.run

    @property
    def methods(self) -> list[str]:
        names = {name for by_method in self.runs.values() for name in by_method}
        return sorted(names, key=lambda name: (":" in name, name))

    @property
    def workers(self) -> list[int]:
        return sorted({workers for _, workers in self.runs})

    @property
    def cells(self) -> list[tuple[str, int]]:
        """Every task with every number of workers that there are runs of, by workers."""
        return sorted(self.runs, key=lambda cell: (cell[1], cell[0]))

    def scores(self, workers: int) -> Scores | None:
        """Return final regrets over the tasks run with so many workers, and those at half of the time."""
        cells = {task: runs for (task, count), runs in self.runs.items() if count == workers}
        methods = [name for name in self.methods if all(name in by_method for by_method in cells.values())]
        if not methods:
            return None
        common = set.intersection(*(set(by_method[name]) for by_method in cells.values() for name in methods))
        if not common:
            return None
        both = np.array(
            [
                [[_regrets_at(task, by_method[name][seed], (0.5, 1.0)) for name in methods] for seed in sorted(common)]
                for task, by_method in cells.items()
            ]
        )
        return Scores(list(cells), methods, sorted(common), both[..., 0], both[..., 1])

    def traces(self, task: str, workers: int, points: int = 60) -> tuple[FloatArray, dict[str, FloatArray]]:
        """Return shares of the time, shape (points,), and each method's median regret at them."""
        shares = np.geomspace(0.02, 1.0, points)
        by_method = self.runs.get((task, workers), {})
        medians = {
            name: np.median([_regrets_at(task, run, shares) for run in runs.values()], axis=0)
            for name, runs in by_method.items()
        }
        return shares, medians


def _regrets_at(task_name: str, run: Run, shares: FloatArray | tuple[float, ...]) -> FloatArray:
    """Return the regret of the best report known at shares of the time; it may be below 0 before the last epoch."""
    task = all_tasks()[task_name]
    limit = terms(task, run.workers).limit
    losses = best_after(run, np.asarray(shares) * limit, by=lambda incumbent: incumbent[0])
    return task.regret(losses)


# --- what is shown --------------------------------------------------------------------------------------------


def tables(found: Found, what: str = "multi-fidelity") -> Iterator[Figures]:
    yield _ranks(found, what)
    yield _wins(found, what)
    yield _times_to_target(found, what)
    yield _workers_and_time(found, what)
    if found.errors:
        yield not_run(found.errors)


def _ranks(found: Found, what: str) -> Figures:
    """Return mean ranks at the end of the time by number of workers, each with what 95 % of bootstrap draws hold."""
    by_workers = {workers: found.scores(workers) for workers in found.workers}
    columns = {
        f"{workers} workers ({len(scores.tasks)} tasks, {len(scores.seeds)} seeds)": rank_cells(scores)
        for workers, scores in by_workers.items()
        if scores is not None
    }
    table = Figures(f"{what}: mean rank at the end of the time (1 is best)", ["method", *columns])
    for name in found.methods:
        table.add(name, *(cells.get(name, "-") for cells in columns.values()))
    return table


def _times_to_target(found: Found, what: str) -> Figures:
    table = Figures(
        f"{what}: worker-seconds to random search's final level, as a share of what it took (median of seeds)",
        ["method", *(f"{task}, {workers}" for task, workers in found.cells)],
    )
    for name in found.methods:
        shares = [share_of_time(found.runs[cell], name) for cell in found.cells]
        table.add(name, *map(number, shares))
    table.notes.append("the level is the median over seeds of what random search with full training had at the end")
    return table


def share_of_time(by_method: dict[str, dict[int, Run]], name: str) -> float:
    """Return the worker-seconds that a method took to random search's final level, as a share of what that took.

    Medians of the seeds; infinite where the level was never reached, NaN where there are no runs of both.
    """
    if name not in by_method or BASELINE not in by_method:
        return float("nan")
    baseline = by_method[BASELINE].values()
    target = float(np.median([run.incumbents[-1][2] if run.incumbents else np.inf for run in baseline]))
    whole = float(np.median([run.busy for run in baseline]))
    spent = [
        next((busy for _, busy, loss in run.incumbents if loss <= target), np.inf) for run in by_method[name].values()
    ]
    return float(np.median(spent)) / whole


def _wins(found: Found, what: str) -> Figures:
    table = Figures(
        f"{what}: share of paired seeds better than random search with full training",
        ["method", *(f"{task}, {workers}" for task, workers in found.cells), "least"],
    )
    for name in found.methods:
        shares = [win_share(cell, found.runs[cell], name) for cell in found.cells]
        if name != BASELINE and not np.isnan(shares).all():
            table.add(name, *(number(share, 2) for share in [*shares, float(np.nanmin(shares))]))
    return table


def win_share(cell: tuple[str, int], by_method: dict[str, dict[int, Run]], name: str) -> float:
    """Return the share of the seeds shared with random search in which a method ends better; ties count half.

    NaN where there are none.
    """
    seeds = sorted(set(by_method.get(name, {})) & set(by_method.get(BASELINE, {})))
    if not seeds:
        return float("nan")
    final = [
        np.array([_regrets_at(cell[0], by_method[who][seed], (1.0,))[0] for seed in seeds]) for who in (name, BASELINE)
    ]
    return float(statistics.wins(final[0][np.newaxis, :, np.newaxis], final[1][np.newaxis])[0, 0])


def _workers_and_time(found: Found, what: str) -> Figures:
    table = Figures(
        f"{what}: busy share of the workers (least of the runs), and processor milliseconds of decision per trial (median)",
        ["method", *(f"busy, {w}" for w in found.workers), *(f"ms, {w}" for w in found.workers)],
    )
    for name in found.methods:
        runs = {
            workers: [
                run
                for (_, count), each in found.runs.items()
                if count == workers
                for run in each.get(name, {}).values()
            ]
            for workers in found.workers
        }
        busy = (f"{100 * min(run.busy_share for run in runs[w]):.1f} %" if runs[w] else "-" for w in found.workers)
        times = (
            number(float(np.median([run.decision_ms_per_trial for run in runs[w]])), 1) if runs[w] else "-"
            for w in found.workers
        )
        table.add(name, *busy, *times)
    return table
