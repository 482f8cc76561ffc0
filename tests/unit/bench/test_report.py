from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bench import charts, fidelity, report, search
from bench.latency import Timing, keep
from bench.results import Cell, Result, Results
from bench.simulator import Run
from bench.tabulation import Figures
from bench.tasks import all_tasks


def _keep_search(
    results: Results, task: str, method: str, finals: Sequence[float], excess: Sequence[float] = ()
) -> None:
    """Keep a run for each final regret, seed by seed: the median random configuration up to the end, then that."""
    problem = all_tasks()[task]
    for seed, final in enumerate(finals):
        loss = problem.optimum + final * (problem.typical - problem.optimum)
        losses = [[problem.typical]] * (problem.budget - 1) + [[loss]]
        exceeded = [*excess, *[0.0] * (problem.budget - len(excess))]
        run = Run(losses=losses, excess=exceeded, trials=problem.budget, decision_seconds=1.0)
        results.keep(Result(Cell(search.SUITE, task, method, 1, seed), "x", run))


def _keep_curves(
    results: Results, method: str, at: Sequence[Sequence[tuple[float, float, float]]], task: str = "network-cancer"
) -> None:
    """Keep a run on 8 workers for each list of incumbents, seed by seed; in all they train for 800 seconds."""
    for seed, incumbents in enumerate(at):
        run = Run(incumbents=list(incumbents), trials=10, workers=8, busy=800.0, elapsed=100.0, decision_seconds=0.05)
        results.keep(Result(Cell(fidelity.SUITE, task, method, 8, seed), "x", run))


def _cells(tables: Sequence[Figures], title: str) -> dict[str, list[str]]:
    """Return the rows of the first table whose title has some words in it."""
    table = next(table for table in tables if title in table.title)
    return {row[0]: row[1:] for row in table.rows}


def test_methods_that_were_hardly_run_are_compared_each_by_itself_on_the_tasks_and_seeds_that_it_has(
    tmp_path: Path,
) -> None:
    results = Results(tmp_path)
    for task in ("branin-2d", "hartmann-3d"):
        for method, final in (("random", 1.0), ("auto", 0.1), ("tpe", 0.4), ("optuna:tpe", 0.2)):
            _keep_search(results, task, method, [final, final, final])
    _keep_search(results, "branin-2d", "smac:forest", [0.05, 0.3])
    _keep_search(results, "branin-2d", "optuna-gp:gp", [0.3, 0.3, 0.3])
    _keep_search(results, "hartmann-3d", "optuna-gp:gp", [0.3])
    tables = list(report.tables(results, workers=1))
    ranked = [table for table in tables if table.title.startswith("mean rank")]
    assert [table.title for table in ranked] == [
        "mean rank of 4 methods (1 is best) at half / full budget, 3 seeds",
        "mean rank of 3 methods (1 is best) at half / full budget, 1 seed",
        "mean rank of 3 methods (1 is best) at half / full budget, 2 seeds",
    ]
    assert [row[0] for row in ranked[0].rows] == ["auto", "optuna:tpe", "tpe", "random"]
    assert [row[0] for row in ranked[1].rows] == ["auto", "optuna-gp:gp", "tpe"]
    assert [row[0] for row in ranked[2].rows] == ["auto", "smac:forest", "tpe"]
    assert (ranked[1].columns[1], ranked[2].columns[1]) == ("continuous (2)", "continuous (1)")
    assert ranked[2].rows[1][1].startswith("2.00 / 1.50")


def test_what_is_run_on_one_family_of_tasks_does_not_count_as_hardly_run_on_the_other(tmp_path: Path) -> None:
    results = Results(tmp_path)
    for method in ("auto", "tpe", "optuna:tpe"):
        _keep_search(results, "branin-2d", method, [0.5] * 6)
    for method in ("auto", "tpe", "optuna:nsga2"):
        _keep_search(results, "zdt1-6d", method, [0.5, 0.5])
    tables = list(report.tables(results, workers=1))
    assert [table.title for table in tables if table.title.startswith("mean rank")] == [
        "mean rank of 3 methods (1 is best) at half / full budget, 6 seeds",
        "mean rank of 3 methods (1 is best) at half / full budget, 2 seeds",
    ]


def test_regrets_are_means_over_the_shared_seeds_alone(tmp_path: Path) -> None:
    results = Results(tmp_path)
    _keep_search(results, "branin-2d", "tpe", [0.2, 0.4])
    _keep_search(results, "branin-2d", "auto", [0.1, 0.1, 5.0])
    rows = _cells(list(report.tables(results, workers=1)), "mean normalised regret at full budget, 2 seeds")
    assert rows == {"branin-2d": ["**0.100**", "0.300"]}


def test_worse_than_random_takes_the_seeds_shared_with_it(tmp_path: Path) -> None:
    results = Results(tmp_path)
    _keep_search(results, "branin-2d", "random", [0.5] * 6)
    _keep_search(results, "branin-2d", "tpe", [0.6] * 5)
    _keep_search(results, "branin-2d", "auto", [0.1] * 4)
    _keep_search(results, "hartmann-3d", "auto", [0.1] * 2)
    rows = _cells(list(report.tables(results, workers=1)), "against random search")
    assert rows == {
        "auto": ["100 % of 1 tasks' seeds", "4", "none"],
        "tpe": ["0 % of 1 tasks' seeds", "5", "branin-2d"],
    }
    assert search.worse_than_random(search.Found(results, 1), "tpe") == ["branin-2d"]


@pytest.mark.parametrize(
    ("excess", "first"), [([-1.0, 2.0], 1), ([1.0, 0.5, 0.0, 3.0], 3), ([1.0, float("inf")], float("inf"))]
)
def test_the_first_feasible_evaluation_is_counted_from_one(excess: list[float], first: float) -> None:
    assert search.first_feasible(np.array(excess)) == first


def test_evaluations_until_feasible_are_a_median_over_seeds(tmp_path: Path) -> None:
    results = Results(tmp_path)
    _keep_search(results, "gramacy-2d", "tpe", [0.1], excess=[1.0, 1.0, 1.0])
    _keep_search(results, "gramacy-2d", "auto", [0.1], excess=[1.0])
    rows = _cells(list(report.tables(results, workers=1)), "first feasible configuration (median of 1 seed)")
    assert rows == {"auto": ["2"], "tpe": ["4"]}


@pytest.mark.parametrize(("count", "text"), [(9.0, "9"), (9.5, "9.5"), (float("inf"), "never")])
def test_a_median_of_counts_is_not_rounded(count: float, text: str) -> None:
    assert search.evaluations(count) == text


def test_time_to_randoms_level_is_a_share_of_the_worker_seconds_that_it_took(tmp_path: Path) -> None:
    results = Results(tmp_path)
    level = all_tasks()["network-cancer"].optimum * 2
    _keep_curves(results, "random", [[(0.02, 80.0, level)], [(0.02, 80.0, level)]])
    _keep_curves(results, "random+asha", [[(0.01, 40.0, level), (0.02, 72.0, level / 2)], [(0.03, 160.0, level / 2)]])
    _keep_curves(results, "tpe+asha", [[(0.01, 40.0, 2 * level)], [(0.01, 40.0, 2 * level)]])
    tables = list(report.tables(results, workers=1))
    assert _cells(tables, "worker-seconds") == {
        "random": ["0.100"],
        "random+asha": ["0.125"],  # the median of 40 and 160 of 800
        "tpe+asha": ["never"],
    }
    assert _cells(tables, "share of paired seeds") == {"random+asha": ["1.00", "1.00"], "tpe+asha": ["0.00", "0.00"]}
    assert _cells(tables, "mean rank")["random+asha"] == ["1.00 (1.00-1.00)"]
    assert _cells(tables, "busy share")["tpe+asha"] == ["100.0 %", "5.0"]


def test_each_task_tells_a_figure_for_each_number_of_workers(tmp_path: Path) -> None:
    results = Results(tmp_path)
    _keep_curves(results, "random", [[(0.02, 80.0, 1.0)]])
    _keep_curves(results, "random+asha", [[(0.01, 40.0, 1.0)]])
    other = Run(incumbents=[(0.1, 8.0, 1.0)], workers=1, busy=10.0, elapsed=10.0)
    results.keep(Result(Cell(fidelity.SUITE, "network-digits", "random", 1, 0), "x", other))
    table = next(table for table in report.tables(results, workers=1) if "worker-seconds" in table.title)
    assert table.columns == ["method", "network-cancer, 1 / 8", "network-digits, 1 / 8"]
    assert table.rows == [["random", "- / 0.100", "0.800 / -"], ["random+asha", "- / 0.050", "- / -"]]


def test_learning_curves_by_which_nothing_was_chosen_are_ranked_apart(tmp_path: Path) -> None:
    results = Results(tmp_path)
    for task, better in (("network-cancer", "tpe+asha"), ("network-diabetes", "random+asha")):
        for method in ("random", "tpe+asha", "random+asha"):
            level = all_tasks()[task].optimum * (1.0 if method == better else 2.0 if method == "random" else 1.5)
            _keep_curves(results, method, [[(0.01, 40.0, level)]], task)
    tables = list(report.tables(results, workers=1))
    assert _cells(tables, "multi-fidelity: mean rank")["tpe+asha"] == ["1.00 (1.00-1.00)"]
    assert _cells(tables, "multi-fidelity, unseen: mean rank")["tpe+asha"] == ["2.00 (2.00-2.00)"]
    (says,) = _cells(tables, "what was aimed at")["multi-fidelity: Podium first with 8 workers"]
    assert says == "yes: tpe+asha 1.00 (1.00-1.00), 1 seed, 1 task", "aims are about the tasks that were seen"


def test_learning_curves_that_could_not_be_run_say_why(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.keep(
        Result(Cell(fidelity.SUITE, "network-diabetes", "optuna:tpe+asha", 8, 0), "x", None, "it is not there")
    )
    *_, last = fidelity.all_tables(fidelity.Found(results))
    assert (last.title, last.rows) == (
        "what could not be run",
        [["optuna:tpe+asha", "network-diabetes", "it is not there"]],
    )
    assert charts.draw_all(tmp_path / "charts", search.Found(results, 1), fidelity.Found(results), {}) == []


def test_without_random_search_beside_it_nothing_is_said_of_beating_it(tmp_path: Path) -> None:
    results = Results(tmp_path)
    _keep_curves(results, "tpe+asha", [[(5.0, 40.0, 1.0)]])
    tables = list(report.tables(results, workers=1))
    assert _cells(tables, "worker-seconds") == {"tpe+asha": ["-"]}
    assert _cells(tables, "share of paired seeds") == {}


def test_a_report_of_some_methods_leaves_out_the_others_timings_too(tmp_path: Path) -> None:
    keep(tmp_path, "mixed", [Timing("tpe", 50, [1.0, 2.0, 6.0]), Timing("gp", 50, [10.0])])
    _, table = report.tables(Results(tmp_path), workers=1, only=["tpe"])
    assert table.rows == [["tpe", "2.00 (3.00)"]]


# --- what was aimed at ----------------------------------------------------------------------------------------


def _aims(results: Results) -> dict[str, str]:
    return {aim: says for aim, (says,) in _cells(list(report.tables(results, workers=1)), "what was aimed at").items()}


def test_an_aim_without_results_says_so(tmp_path: Path) -> None:
    assert set(_aims(Results(tmp_path)).values()) == {"no results"}


def test_aims_of_searching_tell_who_is_ahead_and_by_how_much(tmp_path: Path) -> None:
    results = Results(tmp_path)
    for method, final in (("random", 0.9), ("auto", 0.1), ("tpe", 0.05)):
        _keep_search(results, "branin-2d", method, [final] * 5)
        _keep_search(results, "cell-6x5", method, [0.0] * 5)
    aims = _aims(results)
    # All are level at half budget; at the end tpe is first on one of two tasks.
    assert aims["auto first in mean rank"] == (
        "no: level with random at half budget, 0.50 behind tpe at full budget; of 3 methods, 5 seeds"
    )
    assert aims["auto in every group first or within 0.5 of a rank"] == (
        "no: 1.00 behind tpe on continuous at full budget"
    )
    assert aims["auto never worse than random search"] == "yes by the sign test"
    _keep_search(results, "branin-2d", "auto", [0.95] * 5)
    assert _aims(results)["auto never worse than random search"] == "no by the sign test: branin-2d"


def test_aims_of_constraints_compare_medians_of_shared_seeds(tmp_path: Path) -> None:
    results = Results(tmp_path)
    _keep_search(results, "gramacy-2d", "auto", [0.1], excess=[1.0, 1.0])
    _keep_search(results, "gramacy-2d", "optuna:tpe", [0.1, 0.1], excess=[1.0])
    aims = _aims(results)
    assert aims["auto feasible no later than optuna:tpe (median of shared seeds)"] == "no: gramacy-2d 3 against 2"
    as_good = "auto as good as optuna:tpe ends within the constraints, no later than it"
    assert aims[as_good] == "yes: gramacy-2d 40 against 40"
    _keep_search(results, "gramacy-2d", "auto", [0.3])
    assert _aims(results)[as_good] == "no: gramacy-2d never against 40"


def test_aims_of_scheduling_are_judged_cell_by_cell(tmp_path: Path) -> None:
    results = Results(tmp_path)
    _keep_curves(results, "random", [[(0.02, 80.0, 1.0)]] * 2)
    _keep_curves(results, "auto+asha", [[(0.01, 40.0, 0.5)], [(0.01, 40.0, 2.0)]])
    _keep_curves(results, "syne-tune:kde+asha", [[(0.01, 60.0, 0.7)]] * 2)
    aims = _aims(results)
    assert aims["multi-fidelity: Podium first with 8 workers"] == (
        "no: syne-tune:kde+asha 1.50 (1.00-2.00), 2 seeds, 1 task"
    )
    assert aims["auto+asha: 90% of paired seeds better than random in every cell"] == (
        "no, in 0 of 1 cells; not network-cancer with 8 0.50"
    )
    assert aims["auto+asha: random's level in half the best peer's time"] == "no, in 0 of 1 cells"
    assert aims["auto+asha: workers busy 95%"] == "yes: 100.0% at least, on network-cancer with 8"
    assert aims["auto+asha: at most 20 ms a trial"] == "yes: median 5.0 with 8 workers"


def test_aims_of_time_compare_means(tmp_path: Path) -> None:
    keep(tmp_path, "mixed", [Timing("tpe", 50, [1.0, 3.0]), Timing("optuna:tpe", 50, [4.0, 4.0])])
    keep(tmp_path, "mixed", [Timing("gp", 50, [1.0]), Timing("optuna-gp:gp", 50, [4.0])])
    aims = _aims(Results(tmp_path))
    assert aims["an ask of tpe takes 1/2 of optuna:tpe's"] == "yes: 0.50 at 50 trials (mixed)"
    assert aims["an ask of gp takes 1/5 of optuna-gp:gp's"] == "no: 0.25 at 50 trials (mixed)"
    assert aims["an ask of forest takes 1/4 of smac:forest-anew's"] == "no results"
