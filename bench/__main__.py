"""Podium's benchmark. Runs are kept one by one, so any of these may be cut off and started again.

    python -m bench quick                                        # a taste, in two minutes
    python -m bench search --methods random tpe optuna:tpe --seeds 20 --tasks continuous mixed
    python -m bench fidelity --methods random random+asha tpe+asha optuna:tpe+hyperband --workers 1 8 64
    python -m bench latency --methods tpe optuna:tpe --trials 50 200 1000 10000
    python -m bench report --markdown figures.md --charts docs/benchmarks
    python -m bench tasks

A method is an algorithm of a manifest (`tpe`, `tpe+asha`, `tpe(candidates=48)`) or a peer's (`optuna:tpe+hyperband`);
peers are installed with `python -m bench.peers install optuna`.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

from bench import charts, fidelity, latency, report, search
from bench.methods import Method
from bench.peers.client import PeerError
from bench.results import Cell, Result, Results, bench_digest
from bench.tabulation import Figures
from bench.tasks import SINGLE_OBJECTIVE, Task, all_tasks, select
from podium_suggestion.threads import use_one_thread

_DEFAULT_METHODS = ["random", "tpe", "optuna:tpe"]
_DEFAULT_FIDELITY = ["random", "random+asha", "tpe+asha", "optuna:tpe+hyperband"]
_DEFAULT_POPULATION = ["random", "random+pbt"]
_QUICK_TASKS = [
    "branin-2d",
    "mixed-network-8d",
    "jenatton-tree-9d",
    "cell-6x5",
    "network-cancer",
    "zdt1-6d",
    "gramacy-2d",
]
_QUICK_FIDELITY = "boosting-diabetes"

console = Console()


def main() -> None:
    options = _arguments().parse_args()
    use_one_thread()  # a task's own matrices are as small as a sampler's
    started = time.monotonic()
    try:
        options.run(options)
    except ValueError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("cut off; what had run is kept, and the same command goes on from there")
    console.print(f"[dim]{time.monotonic() - started:.0f} s; results are kept in {options.out}[/dim]")


def _arguments() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--out", type=Path, default=Path("results/bench"), help="where results are kept")
    commands = arguments.add_subparsers(dest="command", required=True)

    quick = commands.add_parser("quick", parents=[shared], help="a few tasks, three seeds")
    quick.add_argument("--methods", nargs="+", default=_DEFAULT_METHODS)
    quick.add_argument("--seeds", type=int, default=3)

    runs = argparse.ArgumentParser(add_help=False)
    runs.add_argument("--seeds", type=int, default=20, help="how many")
    runs.add_argument("--first-seed", type=int, default=0)
    runs.add_argument("--keep", action="store_true", help="keep runs that an earlier state of the code has made")
    runs.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many, between two runs")

    searching = commands.add_parser("search", parents=[shared, runs], help="search quality in full evaluations")
    searching.add_argument("--methods", nargs="+", default=_DEFAULT_METHODS)
    searching.add_argument("--tasks", nargs="+", default=list(SINGLE_OBJECTIVE), help="tasks or groups")
    searching.add_argument("--workers", type=int, default=1)
    searching.add_argument("--budget", type=int, default=None, help="evaluations; each task's own by default")

    scheduling = commands.add_parser("fidelity", parents=[shared, runs], help="schedulers on learning curves")
    scheduling.add_argument("--methods", nargs="+", default=_DEFAULT_FIDELITY)
    scheduling.add_argument("--tasks", nargs="+", default=None, help="tasks; all with learning curves by default")
    scheduling.add_argument("--workers", type=int, nargs="+", default=list(fidelity.WORKERS))

    breeding = commands.add_parser("population", parents=[shared, runs], help="a task whose best schedule changes")
    breeding.add_argument("--methods", nargs="+", default=_DEFAULT_POPULATION)
    breeding.add_argument("--workers", type=int, nargs="+", default=[8], help="as many as the population has members")

    asking = commands.add_parser("latency", parents=[shared], help="milliseconds per ask")
    asking.add_argument("--methods", nargs="+", default=["tpe", "optuna:tpe"])
    asking.add_argument("--trials", type=int, nargs="+", default=[50, 200, 1_000], help="finished ones")
    asking.add_argument("--space", choices=sorted(latency.SPACES), default="mixed")
    asking.add_argument("--objectives", type=int, default=1, help="of several, Podium's samplers alone are timed")
    asking.add_argument("--repeats", type=int, default=10, help="cycles of telling and asking")
    asking.add_argument("--cap", type=float, default=60.0, help="seconds after which a method is not asked again")

    reporting = commands.add_parser("report", parents=[shared], help="tables and charts of all that is kept")
    reporting.add_argument("--workers", type=int, default=1, help="of the search suite")
    reporting.add_argument("--methods", nargs="+", default=None, help="only these")
    reporting.add_argument("--markdown", type=Path, default=None, help="write the tables here as well")
    reporting.add_argument("--charts", type=Path, default=None, help="draw charts into this folder")

    listing = commands.add_parser("tasks", parents=[shared], help="list the tasks")
    runners = (
        (quick, _quick),
        (searching, _search),
        (scheduling, _fidelity),
        (breeding, _population),
        (asking, _latency),
        (reporting, _report),
        (listing, _tasks),
    )
    for parser, run in runners:
        parser.set_defaults(run=run)
    return arguments


# --- commands -------------------------------------------------------------------------------------------------


def _quick(options: argparse.Namespace) -> None:
    methods = _available(options.methods)
    results = Results(options.out / "quick")
    for task in select(_QUICK_TASKS):
        _run_all(results, _search_cells([task], methods, range(options.seeds), 1), None, keep=False)
    task = all_tasks()[_QUICK_FIDELITY]
    schedulers = _available(_DEFAULT_FIDELITY)
    _run_all(results, _fidelity_cells([task], schedulers, range(options.seeds), (8,)), None, keep=False)
    timings = [
        timing
        for trials in (50, 200, 1_000)
        for timing in latency.measure(methods, "mixed", trials, repeats=15, cap=5.0)
    ]
    latency.keep(results.folder, "mixed", timings)
    _show(report.tables(results, workers=1))


def _search(options: argparse.Namespace) -> None:
    cells = _search_cells(
        select(options.tasks), _available(options.methods), _seeds(options), options.workers, options.budget
    )
    results = Results(options.out)
    _run_all(results, cells, options.budget, keep=options.keep, minutes=options.minutes)
    found = search.Found(results, options.workers, [method.name for method in _available(options.methods)])
    _show([*search.tables(found), *search.further_tables(found)])


def _fidelity(options: argparse.Namespace) -> None:
    tasks = select(options.tasks) if options.tasks else fidelity.fidelity_tasks()
    methods, results = _available(options.methods), Results(options.out)
    cells = _fidelity_cells(tasks, methods, _seeds(options), options.workers)
    _run_all(results, cells, None, keep=options.keep, minutes=options.minutes)
    _show(fidelity.all_tables(fidelity.Found(results, [method.name for method in methods])))


def _population(options: argparse.Namespace) -> None:
    methods, results = _available(options.methods), Results(options.out)
    cells = _fidelity_cells(select(["schedule"]), methods, _seeds(options), options.workers, fidelity.POPULATION_SUITE)
    _run_all(results, cells, None, keep=options.keep, minutes=options.minutes)
    _show(fidelity.tables(fidelity.Found(results, None, fidelity.POPULATION_SUITE), "population"))


def _latency(options: argparse.Namespace) -> None:
    methods, subject = _available(options.methods), latency.subject(options.space, options.objectives)
    for trials in options.trials:
        timings = latency.measure(
            methods, options.space, trials, options.repeats, options.cap, objectives=options.objectives
        )
        latency.keep(options.out, subject, timings)
        console.print(f"[dim]{trials} trials done[/dim]")
    _show(latency.tables({subject: latency.load(options.out)[subject]}))


def _report(options: argparse.Namespace) -> None:
    results = Results(options.out)
    tables = list(report.tables(results, options.workers, options.methods))
    _show(tables)
    if options.markdown is not None:
        options.markdown.write_text("\n".join(table.markdown() for table in tables))
    if options.charts is not None:
        found = report.shared(search.Found(results, options.workers, options.methods))
        drawn = charts.draw_all(
            options.charts,
            found,
            fidelity.Found(results, options.methods),
            latency.load(results.folder, options.methods),
        )
        console.print("drawn: " + ", ".join(map(str, drawn)))


def _tasks(options: argparse.Namespace) -> None:  # noqa: ARG001  (all commands have one form)
    table = Figures("tasks", ["name", "group", "parameters", "budget", "steps", "what"])
    for task in all_tasks().values():
        table.add(task.name, task.group, str(len(task.parameters)), str(task.budget), str(task.steps), task.about)
    _show([table])


# --- running --------------------------------------------------------------------------------------------------


def _search_cells(
    tasks: Sequence[Task], methods: Sequence[Method], seeds: Sequence[int], workers: int, budget: int | None = None
) -> Iterator[tuple[Cell, Method, Task]]:
    """Seeds outermost: wherever a long run is cut, all methods have the same seeds."""
    suite = search.SUITE if budget is None else f"{search.SUITE}-{budget}"
    for seed in seeds:
        for task in tasks:
            for method in methods:
                yield Cell(suite, task.name, method.name, workers, seed), method, task


def _fidelity_cells(
    tasks: Sequence[Task],
    methods: Sequence[Method],
    seeds: Sequence[int],
    workers: Sequence[int],
    suite: str = fidelity.SUITE,
) -> Iterator[tuple[Cell, Method, Task]]:
    for seed in seeds:
        for count in workers:
            for task in tasks:
                for method in methods:
                    yield Cell(suite, task.name, method.name, count, seed), method, task


def _run_all(
    results: Results,
    cells: Iterator[tuple[Cell, Method, Task]],
    budget: int | None,
    *,
    keep: bool,
    minutes: float = float("inf"),
) -> None:
    """Run what is not kept yet. What cannot be run is kept with the reason, and not tried again."""
    deadline = time.monotonic() + 60 * minutes
    for cell, method, task in cells:
        stamp = f"{method.stamp} bench-{bench_digest()}"
        if results.find(cell, None if keep else stamp) is not None:
            continue
        if time.monotonic() > deadline:
            console.print("[yellow]time is up; the same command goes on from here[/yellow]")
            return
        results.keep(_result(cell, method, task, budget, stamp))


def _result(cell: Cell, method: Method, task: Task, budget: int | None, stamp: str) -> Result:
    start = time.monotonic()
    try:
        if cell.suite in (fidelity.SUITE, fidelity.POPULATION_SUITE):
            terms = fidelity.terms(task, cell.workers)
            run = method.run(task, cell.seed, cell.workers, terms.limit, terms.trials)
        else:
            run = method.run(task, cell.seed, cell.workers, trials=budget)
    except (PeerError, ValidationError) as error:
        console.print(f"[yellow]{method.name} on {task.name}: {error}[/yellow]")
        return Result(cell, stamp, None, str(error))
    console.print(
        f"[dim]{cell.task} {cell.method} w{cell.workers} s{cell.seed}: {time.monotonic() - start:.1f} s[/dim]"
    )
    return Result(cell, stamp, run)


def _available(names: Sequence[str]) -> list[Method]:
    """Return the methods that can be run here, and say which cannot."""
    methods = [Method.parse(name) for name in names]
    for method in methods:
        if not method.is_available:
            console.print(
                f"[yellow]{method.name} is left out: run `python -m bench.peers install {method.peer}` first[/yellow]"
            )
    return [method for method in methods if method.is_available]


def _seeds(options: argparse.Namespace) -> Sequence[int]:
    return range(options.first_seed, options.first_seed + options.seeds)


def _show(tables: Iterator[Figures] | Sequence[Figures]) -> None:
    for table in tables:
        console.print(table.rich())


if __name__ == "__main__":
    main()
