"""Search quality in full evaluations: how good the best configuration is at half and at full budget."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bench import statistics
from bench.results import Result, Results
from bench.tabulation import Figures, not_run, number
from bench.tasks import SINGLE_OBJECTIVE, Group, all_tasks
from podium_suggestion.space import FloatArray

SUITE = "search"
_BASELINE = "random"


@dataclass(frozen=True)
class Scores:
    """Regrets of some methods on some tasks, on the seeds that all of them have."""

    tasks: list[str]
    methods: list[str]
    seeds: int
    half: FloatArray
    """At half of the budget, shape (tasks, seeds, methods)."""
    full: FloatArray

    def of(self, method: str) -> FloatArray:
        """Return a method's regrets at the full budget, shape (tasks, seeds)."""
        return self.full[:, :, self.methods.index(method)]


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

    def scores(self, tasks: Sequence[str]) -> Scores | None:
        """Return the regrets of every method that was run on all of the tasks, on the seeds common to them."""
        runs = [self.regrets[task] for task in tasks]
        methods = [name for name in self.methods if all(name in by_method for by_method in runs)]
        if not methods:
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
        return Scores(list(tasks), methods, len(common), half, full)

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
    """Yield the suite's tables: by task, ranks by group and over all, and what the worst cases are."""
    groups = found.groups()
    for group, tasks in groups.items():
        yield _regrets(found, group, tasks)
    yield from _ranks(found, groups)
    yield _against_random(found)
    if "constrained" in groups:
        yield _feasible(found, groups["constrained"])
    yield _time(found)
    if found.errors:
        yield not_run(found.errors)


def _regrets(found: Found, group: Group, tasks: list[str]) -> Figures:
    methods = [name for name in found.methods if any(name in found.regrets[task] for task in tasks)]
    of_what = "missing share of the front's hypervolume" if group == "multi-objective" else "mean normalised regret"
    table = Figures(f"{group}: {of_what}, at half / full budget", ["task", *methods])
    for task in tasks:
        means = {name: _half_and_full(found.regrets[task][name]) for name in methods if name in found.regrets[task]}
        best = [min(pair[place] for pair in means.values()) for place in (0, 1)]
        cells = [
            " / ".join(_marked(value, best[place]) for place, value in enumerate(means[name])) if name in means else "-"
            for name in methods
        ]
        table.add(task, *cells)
    seeds = sorted({len(found.regrets[task][name]) for task in tasks for name in found.regrets[task]})
    table.notes.append(f"seeds: {' to '.join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))}; bold is the least")
    return table


def _half_and_full(runs: dict[int, FloatArray]) -> tuple[float, float]:
    every = np.minimum(np.array(list(runs.values())), 1.0)
    return float(every[:, every.shape[1] // 2 - 1].mean()), float(every[:, -1].mean())


def _marked(value: float, best: float) -> str:
    return f"**{number(value)}**" if value <= best + 5e-4 else number(value)


def _ranks(found: Found, groups: dict[Group, list[str]]) -> Iterator[Figures]:
    single = [task for group, tasks in groups.items() if group in SINGLE_OBJECTIVE for task in tasks]
    sets = {"all single-objective tasks": single, **{str(group): tasks for group, tasks in groups.items()}}
    for title, tasks in sets.items():
        scores = found.scores(tasks) if tasks else None
        if scores is not None and len(scores.methods) > 1:
            yield rank_table(f"mean rank, {title} ({len(tasks)} tasks)", scores)


def rank_table(title: str, scores: Scores) -> Figures:
    """Return mean ranks, the best first, with what 95 % of bootstrap draws over tasks and seeds hold."""
    half, full = statistics.mean_ranks(scores.half), statistics.mean_ranks(scores.full)
    regret = statistics.clipped_mean(scores.full).mean(axis=0)
    table = Figures(title, ["method", "half budget", "full budget", "mean regret"])
    for place in np.argsort([estimate.mean for estimate in full], kind="stable"):
        cells = (f"{each.mean:.2f} ({each.low:.2f}-{each.high:.2f})" for each in (half[place], full[place]))
        table.add(scores.methods[place], *cells, number(float(regret[place])))
    table.notes.append(f"{scores.seeds} seeds; of {len(scores.methods)} methods")
    return table


def _against_random(found: Found) -> Figures:
    table = Figures(
        "against random search at full budget", ["method", "better in", "worse on tasks (by a sign test over seeds)"]
    )
    for name in found.methods:
        tasks = [task for task, runs in found.regrets.items() if name in runs and _BASELINE in runs]
        if name == _BASELINE or not tasks:
            continue
        worse, shares = [], []
        for task in tasks:
            seeds = sorted(set(found.regrets[task][name]) & set(found.regrets[task][_BASELINE]))
            pair = [np.array([found.regrets[task][who][seed][-1] for seed in seeds]) for who in (name, _BASELINE)]
            shares.append(statistics.wins(pair[0][np.newaxis, :, np.newaxis], pair[1][np.newaxis])[0, 0])
            if statistics.is_worse(*pair):
                worse.append(task)
        table.add(
            name, f"{100 * float(np.mean(shares)):.0f} % of {len(tasks)} tasks' seeds", ", ".join(worse) or "none"
        )
    return table


def _feasible(found: Found, tasks: list[str]) -> Figures:
    table = Figures("constrained: evaluations until the first feasible configuration (median)", ["method", *tasks])
    for name in found.methods:
        if any(name in found.excess[task] for task in tasks):
            table.add(name, *(_first_feasible(found.excess[task].get(name, {})) for task in tasks))
    return table


def _first_feasible(runs: dict[int, FloatArray]) -> str:
    if not runs:
        return "-"
    firsts = [float(np.argmax(run <= 0) + 1) if (run <= 0).any() else np.inf for run in runs.values()]
    return number(float(np.median(firsts)), digits=0)


def _time(found: Found) -> Figures:
    table = Figures("processor milliseconds of decision per trial", ["method", "median run", "slowest run"])
    for name in found.methods:
        values = found.milliseconds[name]
        table.add(name, number(float(np.median(values)), 1), number(max(values), 1))
    return table
