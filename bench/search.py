"""Search quality in full evaluations: how good the best configuration is at half and at full budget."""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np

from bench import statistics
from bench.results import Result, Results
from bench.tabulation import Figures, counted, not_run, number
from bench.tasks import SINGLE_OBJECTIVE, Group, all_tasks
from podium_suggestion.space import FloatArray

SUITE = "search"
_BASELINE = "random"
_OTHERS: tuple[Group, ...] = ("multi-objective", "constrained")
FAMILIES: tuple[tuple[Group, ...], ...] = (SINGLE_OBJECTIVE, ("unseen", "unseen-training"), _OTHERS)
"""Groups of tasks over which methods are ranked together."""


@dataclass(frozen=True)
class Scores:
    """Regrets of some methods on some tasks, on the seeds that all of them have."""

    tasks: list[str]
    methods: list[str]
    seeds: list[int]
    half: FloatArray
    """At half of the budget, shape (tasks, seeds, methods)."""
    full: FloatArray

    def on(self, tasks: Sequence[str]) -> Self:
        """Return the scores on some of the tasks alone."""
        rows = [self.tasks.index(task) for task in tasks]
        return replace(self, tasks=list(tasks), half=self.half[rows], full=self.full[rows])


class Found:
    """All results of the suite, with the regret after each evaluation."""

    def __init__(self, results: Results, workers: int, only: Sequence[str] | None = None) -> None:
        """`only` names the methods that are wanted; all that have results by default."""
        self.errors: dict[tuple[str, str], str] = {}
        self.regrets: dict[str, dict[str, dict[int, FloatArray]]] = {}
        """By task, method and seed: regret after each evaluation, shape (budget,)."""
        self.excess: dict[str, dict[str, dict[int, FloatArray]]] = {}
        self.milliseconds: dict[str, list[float]] = {}
        """Of decision per trial, by method."""
        for result in results.all(SUITE):
            cell = result.cell
            is_wanted = only is None or cell.method in only
            if cell.workers == workers and cell.task in all_tasks() and is_wanted:
                self._add(result)

    def _add(self, result: Result) -> None:
        cell, run = result.cell, result.run
        if run is None:
            self.errors[cell.task, cell.method] = result.error
            return
        task = all_tasks()[cell.task].in_full()
        regrets = _to_length(task.regrets(np.array(run.losses), np.array(run.excess)), task.budget)
        self.regrets.setdefault(cell.task, {}).setdefault(cell.method, {})[cell.seed] = regrets
        self.excess.setdefault(cell.task, {}).setdefault(cell.method, {})[cell.seed] = np.array(run.excess)
        self.milliseconds.setdefault(cell.method, []).append(run.decision_ms_per_trial)

    @property
    def methods(self) -> list[str]:
        return sorted(self.milliseconds, key=lambda name: (":" in name, name))

    def groups(self) -> dict[Group, list[str]]:
        """Return the tasks that there are results of, by group, in the registry's order."""
        groups: dict[Group, list[str]] = {}
        for task in all_tasks().values():
            if task.name in self.regrets:
                groups.setdefault(task.group, []).append(task.name)
        return groups

    def on(self, groups: Sequence[Group]) -> Self:
        """Return the results on the tasks of some groups alone."""
        return self._with({task: runs for task, runs in self.regrets.items() if all_tasks()[task].group in groups})

    def sparse(self) -> list[str]:
        """Return the methods with less than half the seeds of the one with the most, on the task that each has fewest of."""
        seeds = {name: min(len(runs.get(name, {})) for runs in self.regrets.values()) for name in self.methods}
        return [name for name, count in seeds.items() if 2 * count < max(seeds.values())]

    def among(self, methods: Sequence[str], tasks_of: str = "") -> Self:
        """Return the results of some methods alone; with `tasks_of` on that method's tasks alone."""
        return self._with(
            {
                task: by_method
                for task, runs in self.regrets.items()
                if (by_method := {name: runs[name] for name in methods if name in runs})
                and (not tasks_of or tasks_of in by_method)
            }
        )

    def without(self, methods: Sequence[str]) -> Self:
        """Return the results of the other methods."""
        return self.among([name for name in self.methods if name not in methods])

    def _with(self, regrets: dict[str, dict[str, dict[int, FloatArray]]]) -> Self:
        chosen = copy(self)
        chosen.regrets = regrets
        names = {name for by_method in regrets.values() for name in by_method}
        chosen.milliseconds = {name: each for name, each in self.milliseconds.items() if name in names}
        return chosen

    def scores(self, tasks: Sequence[str]) -> Scores | None:
        """Return the regrets of every method that was run on all of the tasks, on the seeds common to them."""
        runs = [self.regrets[task] for task in tasks]
        methods = [name for name in self.methods if all(name in by_method for by_method in runs)]
        if not methods or not tasks:
            return None
        common = set.intersection(*(set(by_method[name]) for by_method in runs for name in methods))
        if not common:
            return None
        shape = len(tasks), len(common), len(methods)
        half, full = np.empty(shape), np.empty(shape)
        for place, by_method in enumerate(runs):
            for column, name in enumerate(methods):
                for row, seed in enumerate(sorted(common)):
                    regrets = by_method[name][seed]
                    half[place, row, column] = regrets[len(regrets) // 2 - 1]
                    full[place, row, column] = regrets[-1]
        return Scores(list(tasks), methods, sorted(common), half, full)

    def curves(self, tasks: Sequence[str], points: int = 20) -> dict[str, FloatArray]:
        """Return each method's mean regret over tasks and seeds at shares of the budget, shape (points,); at most 1."""
        scores = self.scores(tasks)
        if scores is None:
            return {}
        curves = {}
        for name in scores.methods:
            runs = [regrets for task in tasks for regrets in self.regrets[task][name].values()]
            at = [run[np.ceil(np.linspace(0, 1, points + 1)[1:] * len(run)).astype(int) - 1] for run in runs]
            curves[name] = np.minimum(np.array(at), 1.0).mean(axis=0)
        return curves


def _to_length(regrets: FloatArray, length: int) -> FloatArray:
    """Return the regrets of a whole budget: a tuner that ended early keeps what it had."""
    if len(regrets) >= length:
        return regrets[:length]
    return np.concatenate([regrets, np.full(length - len(regrets), regrets[-1] if len(regrets) else np.inf)])


# --- what is shown --------------------------------------------------------------------------------------------


def tables(found: Found) -> Iterator[Figures]:
    """Yield what compares methods on the seeds that all of them have, family by family."""
    for family in FAMILIES:
        groups = {group: tasks for group, tasks in found.groups().items() if group in family}
        scores = found.scores([task for tasks in groups.values() for task in tasks])
        if scores is None:
            continue
        yield _ranks(scores, groups)
        yield _regrets(scores, "full")
        if family is _OTHERS:
            yield _regrets(scores, "half")
        if "constrained" in groups:
            yield _feasible(found, groups["constrained"], scores)


def further_tables(found: Found) -> Iterator[Figures]:
    """Yield what is told of each method by itself: where it is worse than random search, its time, what it cannot do."""
    yield _against_random(found)
    yield _time(found)
    if found.errors:
        yield not_run(found.errors)


def _ranks(scores: Scores, groups: dict[Group, list[str]]) -> Figures:
    """Return mean ranks at half / full budget, the best at the full one first."""
    half, full = statistics.mean_ranks(scores.half), statistics.mean_ranks(scores.full)
    regret = statistics.clipped_mean(scores.full).mean(axis=0)
    parts = {group: scores.on(tasks) for group, tasks in groups.items()} if len(groups) > 1 else {}
    means = {
        group: [statistics.ranks(each).mean(axis=(0, 1)) for each in (part.half, part.full)]
        for group, part in parts.items()
    }
    table = Figures(
        f"mean rank of {len(scores.methods)} methods (1 is best) at half / full budget, {_seeds(scores)}",
        [
            "method",
            f"{'all' if len(groups) > 1 else next(iter(groups))} ({len(scores.tasks)})",
            *(f"{group} ({len(part.tasks)})" for group, part in parts.items()),
            "mean regret",
        ],
    )
    for place in np.argsort([estimate.mean for estimate in full], kind="stable"):
        cells = [f"{at_half[place]:.2f} / {at_end[place]:.2f}" for at_half, at_end in means.values()]
        whole = f"{half[place].mean:.2f} / {_with_interval(full[place])}"
        table.add(scores.methods[place], whole, *cells, number(float(regret[place])))
    table.notes.append("over all tasks with the interval that holds 95 % of bootstrap draws at full budget")
    return table


def _regrets(scores: Scores, at: Literal["half", "full"]) -> Figures:
    """Return the tasks' mean regrets, the least of each in bold."""
    means = statistics.clipped_mean(scores.half if at == "half" else scores.full)
    table = Figures(
        f"mean normalised regret at {at} budget, {_seeds(scores)}; of several objectives the missing share of the "
        "hypervolume",
        ["task", *scores.methods],
    )
    for task, values in zip(scores.tasks, means, strict=True):
        table.add(task, *(_marked(float(value), float(values.min())) for value in values))
    return table


def _marked(value: float, best: float) -> str:
    return f"**{number(value)}**" if value <= best + 5e-4 else number(value)


def _seeds(scores: Scores) -> str:
    return counted(len(scores.seeds), "seed")


def rank_cells(scores: Scores) -> dict[str, str]:
    """Return each method's mean rank at the end, with its interval."""
    return {
        name: _with_interval(each)
        for name, each in zip(scores.methods, statistics.mean_ranks(scores.full), strict=True)
    }


def _with_interval(each: statistics.Estimate) -> str:
    return f"{each.mean:.2f} ({each.low:.2f}-{each.high:.2f})"


def worse_than_random(found: Found, name: str) -> list[str]:
    """Return the tasks on which a method is worse than random search at full budget, by a sign test over shared seeds."""
    return [task for task, runs in found.regrets.items() if name in runs and statistics.is_worse(*_against(runs, name))]


def _against(runs: dict[str, dict[int, FloatArray]], name: str) -> tuple[FloatArray, FloatArray]:
    """Return final regrets of a method and of random search on the seeds that both have, each of shape (seeds,)."""
    baseline = runs.get(_BASELINE, {})
    seeds = sorted(set(runs[name]) & set(baseline))
    return np.array([runs[name][seed][-1] for seed in seeds]), np.array([baseline[seed][-1] for seed in seeds])


def _against_random(found: Found) -> Figures:
    table = Figures(
        "against random search at full budget, on the seeds shared with it",
        ["method", "better in", "seeds", "worse on tasks (by a sign test over seeds)"],
    )
    for name in found.methods:
        pairs = [_against(runs, name) for runs in found.regrets.values() if name in runs]
        pairs = [pair for pair in pairs if len(pair[0])]
        if name == _BASELINE or not pairs:
            continue
        shares = [
            statistics.wins(own[np.newaxis, :, np.newaxis], baseline[np.newaxis])[0, 0] for own, baseline in pairs
        ]
        counts = sorted({len(own) for own, _ in pairs})
        table.add(
            name,
            f"{100 * float(np.mean(shares)):.0f} % of {len(pairs)} tasks' seeds",
            "-".join(map(str, dict.fromkeys((counts[0], counts[-1])))),
            ", ".join(worse_than_random(found, name)) or "none",
        )
    return table


def first_feasible(excess: FloatArray) -> float:
    """Return how many evaluations it took until one was feasible; infinite when none was. `excess` has the shape (n,)."""
    return float(np.argmax(excess <= 0) + 1) if (excess <= 0).any() else float("inf")


def reached(regrets: FloatArray, level: float) -> float:
    """Return how many evaluations it took to a level; infinite when none came to it. Regrets have the shape (n,)."""
    return first_feasible(regrets - level)


def _feasible(found: Found, tasks: list[str], scores: Scores) -> Figures:
    table = Figures(
        f"evaluations until the first feasible configuration (median of {_seeds(scores)})", ["method", *tasks]
    )
    for name in scores.methods:
        firsts = [[first_feasible(found.excess[task][name][seed]) for seed in scores.seeds] for task in tasks]
        table.add(name, *(evaluations(float(np.median(each))) for each in firsts))
    return table


def evaluations(count: float) -> str:
    """Return a count, or the median of some: `9`, `9.5`, `never` for infinity."""
    return f"{count:g}" if np.isfinite(count) else "never"


def _time(found: Found) -> Figures:
    table = Figures("processor milliseconds of decision per trial", ["method", "median run", "slowest run"])
    for name in found.methods:
        values = found.milliseconds[name]
        table.add(name, number(float(np.median(values)), 1), number(max(values), 1))
    return table
