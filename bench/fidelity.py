"""Multi-fidelity: schedulers on real learning curves, with 1, 8 and 64 asynchronous workers, in equal worker-time.

A cell is a task with a number of workers. Every method gets the same virtual time in it, and what counts is the best value
that any report has shown. Random search with full training is what everything is measured against.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Self

import numpy as np

from bench import statistics
from bench.results import Result, Results
from bench.search import Scores, rank_cells
from bench.simulator import Run, best_after
from bench.tabulation import Figures, counted, not_run, number
from bench.tasks import Group, Task, all_tasks
from podium_suggestion.space import FloatArray

SUITE = "fidelity"
POPULATION_SUITE = "population"
"""Population-based training, against as many full trainings side by side as there are workers."""
BASELINE = "random"
WORKERS = (1, 8, 64)
FAMILIES: dict[Group, str] = {"training": "multi-fidelity", "unseen-training": "multi-fidelity, unseen"}
"""Groups of tasks with learning curves, within which methods are ranked, and what their tables are called."""
_FULL_TRAININGS = {1: 24, 8: 48, 64: 96}
"""Worker-time of a cell, in full trainings of mean length."""
_TRIALS_PER_TRAINING = 12
"""More trials than this per full training's time no scheduler here starts."""

Cell = tuple[str, int]
"""A task, and how many workers train."""


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
        return Terms(task.mean_seconds, workers * task.steps)
    trainings = _FULL_TRAININGS[max(known for known in _FULL_TRAININGS if known <= workers)]
    return Terms(trainings * task.mean_seconds / workers, trainings * _TRIALS_PER_TRAINING)


def fidelity_tasks() -> list[Task]:
    return [task for task in all_tasks().values() if task.steps > 1 and task.group in FAMILIES]


class Found:
    """All results of the suite."""

    def __init__(self, results: Results, only: Sequence[str] | None = None, suite: str = SUITE) -> None:
        """`only` names the methods that are wanted; all that have results by default."""
        self.errors: dict[tuple[str, str], str] = {}
        self.runs: dict[Cell, dict[str, dict[int, Run]]] = {}
        """By cell, method and seed."""
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

    def on(self, group: Group) -> Self:
        """Return the results on the tasks of a group alone."""
        chosen = copy(self)
        chosen.runs = {cell: runs for cell, runs in self.runs.items() if all_tasks()[cell[0]].group == group}
        chosen.errors = {where: error for where, error in self.errors.items() if all_tasks()[where[0]].group == group}
        return chosen

    def families(self) -> dict[Group, Self]:
        """Return the results on each family of tasks that was run, or could not be."""
        parts = {group: self.on(group) for group in FAMILIES}
        return {group: part for group, part in parts.items() if part.runs or part.errors}

    @property
    def workers(self) -> list[int]:
        return sorted({workers for _, workers in self.runs})

    @property
    def cells(self) -> list[Cell]:
        """Every task with every number of workers that there are runs of."""
        return sorted(self.runs)

    @property
    def tasks(self) -> list[str]:
        return sorted({task for task, _ in self.runs})

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


def all_tables(found: Found) -> Iterator[Figures]:
    """Yield the tables of each family of tasks that there are results of."""
    for group, family in found.families().items():
        yield from tables(family, FAMILIES[group])


def tables(found: Found, what: str) -> Iterator[Figures]:
    yield _ranks(found, what)
    yield _wins(found, what)
    yield _times_to_target(found, what)
    yield _workers_and_time(found, what)
    if found.errors:
        yield not_run(found.errors)


def _extent(scores: Scores) -> str:
    return f"{counted(len(scores.tasks), 'task')}, {counted(len(scores.seeds), 'seed')}"


def _ranks(found: Found, what: str) -> Figures:
    """Return mean ranks at the end of the time by number of workers, each with what 95 % of bootstrap draws hold."""
    by_workers = {workers: found.scores(workers) for workers in found.workers}
    columns = {
        f"{counted(workers, 'worker')} ({_extent(scores)})": rank_cells(scores)
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
        ["method", *_task_columns(found)],
    )
    for name in found.methods:
        table.add(name, *_by_task(found, {cell: share_of_time(found.runs[cell], name) for cell in found.cells}))
    table.notes.append(
        "the level is the median, over the seeds shared with it, of what random search with full training had at the end"
    )
    return table


def share_of_time(by_method: dict[str, dict[int, Run]], name: str) -> float:
    """Return the worker-seconds that a method took to random search's final level, as a share of what that took.

    Medians of the seeds that both have; infinite where the level was never reached, NaN where there are no such seeds.
    """
    seeds = _shared_seeds(by_method, name)
    if not seeds:
        return float("nan")
    baseline = [by_method[BASELINE][seed] for seed in seeds]
    target = float(np.median([run.incumbents[-1][2] if run.incumbents else np.inf for run in baseline]))
    whole = float(np.median([run.busy for run in baseline]))
    incumbents = [by_method[name][seed].incumbents for seed in seeds]
    spent = [next((busy for _, busy, loss in each if loss <= target), np.inf) for each in incumbents]
    return float(np.median(spent)) / whole


def _shared_seeds(by_method: dict[str, dict[int, Run]], name: str) -> list[int]:
    """Return the seeds that a method shares with random search."""
    return sorted(set(by_method.get(name, {})) & set(by_method.get(BASELINE, {})))


def _wins(found: Found, what: str) -> Figures:
    table = Figures(
        f"{what}: share of paired seeds better than random search with full training",
        ["method", *_task_columns(found), "least"],
    )
    for name in found.methods:
        shares = win_shares(found, name)
        known = [share for share in shares.values() if not np.isnan(share)]
        if name != BASELINE and known:
            table.add(name, *_by_task(found, shares, digits=2), number(min(known), 2))
    return table


def _task_columns(found: Found) -> list[str]:
    """Return the heads of columns that hold a figure for each number of workers."""
    return [f"{task}, {' / '.join(map(str, found.workers))}" for task in found.tasks]


def _by_task(found: Found, values: Mapping[Cell, float], digits: int = 3) -> list[str]:
    nothing = float("nan")
    return [
        " / ".join(number(values.get((task, workers), nothing), digits) for workers in found.workers)
        for task in found.tasks
    ]


def win_shares(found: Found, name: str) -> dict[Cell, float]:
    """Return by cell the share of the seeds shared with random search in which a method ends better; NaN without any."""
    return {cell: win_share(cell, runs, name) for cell, runs in found.runs.items()}


def win_share(cell: Cell, by_method: dict[str, dict[int, Run]], name: str) -> float:
    """Return the share of the seeds shared with random search in which a method ends better; ties count half.

    NaN where there are none.
    """
    seeds = _shared_seeds(by_method, name)
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
