from pathlib import Path

import numpy as np
import pytest

from bench import fidelity, latency, search, statistics
from bench.__main__ import _fidelity_cells, _run_all, _search_cells
from bench.methods import Method
from bench.results import Cell, Result, Results
from bench.simulator import Run
from bench.tabulation import Figures, not_run, number
from bench.tasks import all_tasks, select
from podium_contract.parameters import Assignment

RANDOM, TPE = Method.parse("random"), Method.parse("tpe")


# --- statistics -----------------------------------------------------------------------------------------------


def test_equal_scores_share_their_places_and_nothing_found_is_last() -> None:
    scores = np.array([[[0.2, 0.1, 0.2 + 1e-13, np.inf]]])
    assert statistics.ranks(scores).tolist() == [[[2.5, 1.0, 2.5, 4.0]]]


def test_a_method_that_always_wins_has_rank_1_without_doubt() -> None:
    scores = np.stack([np.full((4, 6), 0.1), np.full((4, 6), 0.9)], axis=-1)
    first, second = statistics.mean_ranks(scores)
    assert (first.mean, first.low, first.high) == (1.0, 1.0, 1.0)
    assert second.mean == 2.0


def test_the_interval_holds_the_mean_and_narrows_with_tasks() -> None:
    rng = np.random.default_rng(0)
    few, many = (statistics.mean_ranks(rng.random((tasks, 5, 3)))[0] for tasks in (2, 40))
    assert few.low <= few.mean <= few.high
    assert many.high - many.low < few.high - few.low


def test_no_run_counts_for_more_than_a_typical_random_configuration() -> None:
    assert statistics.clipped_mean(np.array([[[0.5], [7.0], [np.inf]]])) == pytest.approx(np.array([[2.5 / 3]]))


def test_wins_are_counted_by_pairs_and_ties_by_half() -> None:
    scores, baseline = np.array([[[0.1], [0.3], [0.2], [np.inf]]]), np.array([[0.2, 0.2, 0.2, np.inf]])
    assert statistics.wins(scores, baseline) == pytest.approx(np.array([[0.5]]))


def test_worse_means_worse_beyond_chance() -> None:
    baseline = np.zeros(6)
    assert statistics.is_worse(np.array([1, 1, 1, 1, 1, 0.0]), baseline)
    assert not statistics.is_worse(np.array([1, 1, 1, -1, 1, 0.0]), baseline)
    assert not statistics.is_worse(baseline, baseline)


# --- results --------------------------------------------------------------------------------------------------


def test_a_result_is_found_again_unless_something_else_made_it(tmp_path: Path) -> None:
    results, cell = Results(tmp_path), Cell("search", "branin-2d", "optuna:tpe", 1, 0)
    results.keep(Result(cell, "podium-1", Run(losses=[[0.5]], excess=[0.0], incumbents=[(1.0, 1.0, 0.5)])))
    found = results.find(cell, "podium-1")
    assert found is not None
    assert found.run is not None
    assert found.run.losses == [[0.5]]
    assert results.find(cell, "podium-2") is None
    assert results.find(cell) is not None
    assert [each.cell for each in results.all("search")] == [cell]


def test_a_run_that_is_kept_is_not_done_again(tmp_path: Path) -> None:
    results, tasks = Results(tmp_path), select(["cell-6x5"])
    for _ in range(2):
        _run_all(results, _search_cells(tasks, [RANDOM], range(2), 1), None, keep=False)
        files = list(tmp_path.rglob("*.json"))
        assert len(files) == 2
        for file in files:
            file.write_text(file.read_text().replace('"trials": 60', '"trials": 59'))
    assert all(result.run is not None and result.run.trials == 59 for result in results.all("search"))


def test_what_cannot_be_run_is_kept_with_its_reason(tmp_path: Path) -> None:
    results = Results(tmp_path)
    _run_all(results, _search_cells(select(["cell-6x5"]), [Method.parse("tpee")], range(1), 1), None, keep=False)
    (result,) = results.all("search")
    assert result.run is None
    assert "tpee" in result.error
    assert "tpee" in "".join(map(str, [table.rows for table in search.further_tables(search.Found(results, 1))]))


def test_no_run_begins_after_the_minutes_are_up(tmp_path: Path) -> None:
    _run_all(
        Results(tmp_path), _search_cells(select(["branin-2d"]), [RANDOM], range(3), 1), None, keep=False, minutes=0
    )
    assert list(tmp_path.rglob("*.json")) == []


# --- tables ---------------------------------------------------------------------------------------------------


def test_the_search_suite_ranks_methods_at_half_and_full_budget(tmp_path: Path) -> None:
    results = Results(tmp_path)
    tasks = select(["branin-2d", "gramacy-2d", "zdt1-6d"])
    for task in tasks:
        for method, best in (("random", 1.0), ("tpe", 0.0)):
            losses = [[5.0 + best] * len(task.objectives)] * (task.budget // 2 - 1) + [
                [best] * len(task.objectives)
            ] * 99
            run = Run(losses=losses, excess=[0.0] * len(losses), trials=len(losses), decision_seconds=1.0)
            results.keep(Result(Cell("search", task.name, method, 1, 0), "x", run))
    found = search.Found(results, workers=1)
    assert list(found.groups()) == ["continuous", "multi-objective", "constrained"]
    scores = found.scores(["branin-2d"])
    assert scores is not None
    assert (scores.methods, scores.seeds) == (["random", "tpe"], [0])
    assert np.array_equal(scores.half, scores.full)
    ranked, regrets, *others = search.tables(found)
    assert ranked.title == "mean rank of 2 methods (1 is best) at half / full budget, 1 seed"
    assert ranked.columns == ["method", "continuous (1)", "mean regret"]
    assert [row[:2] for row in ranked.rows] == [
        ["tpe", "1.00 / 1.00 (1.00-1.00)"],
        ["random", "2.00 / 2.00 (2.00-2.00)"],
    ]
    assert [cell.startswith("**") for cell in regrets.rows[0]] == [False, False, True]
    assert others[0].columns == ["method", "all (2)", "multi-objective (1)", "constrained (1)", "mean regret"]
    assert search.Found(results, workers=1, only=["tpe"]).methods == ["tpe"]


def test_a_tuner_that_ends_early_keeps_what_it_had() -> None:
    assert search._to_length(np.array([3.0, 1.0]), 4).tolist() == [3.0, 1.0, 1.0, 1.0]


@pytest.mark.thorough
def test_the_fidelity_suite_runs_every_method_for_the_same_time(tmp_path: Path) -> None:
    results, task = Results(tmp_path), all_tasks()["boosting-diabetes"]
    methods = [RANDOM, Method.parse("random+asha")]
    _run_all(results, _fidelity_cells([task], methods, range(1), (8,)), None, keep=False)
    found = fidelity.Found(results)
    runs = [runs[0] for runs in found.runs[task.name, 8].values()]
    assert {run.elapsed for run in runs} == {fidelity.terms(task, 8).limit}
    assert all(run.busy_share > 0.99 for run in runs)
    assert runs[1].trials > 2 * runs[0].trials
    ranked = next(fidelity.all_tables(found))
    assert ranked.title == "multi-fidelity: mean rank at the end of the time (1 is best)"
    assert ranked.columns == ["method", "8 workers (1 task, 1 seed)"]
    _, traces = found.traces(task.name, 8)
    assert all(np.all(np.diff(regrets) <= 0) for regrets in traces.values())


def test_latency_is_measured_in_turns_and_kept_by_method(tmp_path: Path) -> None:
    latency.keep(tmp_path, "mixed", latency.measure([RANDOM], "mixed", trials=20, repeats=3, cap=5.0))
    latency.keep(tmp_path, "mixed", latency.measure([TPE], "mixed", trials=20, repeats=3, cap=5.0))
    (timings,) = latency.load(tmp_path).values()
    assert [(each.method, len(each.milliseconds)) for each in timings] == [("random", 3), ("tpe", 3)]
    (table,) = latency.tables({"mixed": timings})
    assert [row[0] for row in table.rows] == ["random", "tpe"]


@pytest.mark.parametrize(
    "name", ["auto", "gp", "forest", "tpe", "cmaes", "evolution", "evolution(variant=differential)", "frugal", "sobol"]
)
def test_every_sampler_goes_through_the_same_cycles(name: str) -> None:
    (timing,) = latency.measure([Method.parse(name)], "floats", trials=25, repeats=2, cap=5.0)
    assert (len(timing.milliseconds), timing.error) == (2, "")


def test_asks_are_timed_with_several_objectives_of_which_each_has_a_best_configuration_of_its_own() -> None:
    gp, peer = Method.parse("gp"), Method.parse("optuna:tpe")
    timings = latency.measure([gp, peer], "floats", trials=25, repeats=2, cap=5.0, objectives=3)
    assert [(len(each.milliseconds), each.error) for each in timings] == [
        (2, ""),
        (0, "peers are timed with one objective"),
    ]
    task = latency.latency_task("floats", trials=5, objectives=2)
    near, far = 10 ** (-5 + 5 * 0.8), 10 ** (-5 + 5 * 0.3)
    best_of_the_first = {f"x{index}": far if index % 2 else near for index in range(10)}
    assert task.evaluate(best_of_the_first).metrics == {
        "loss0": pytest.approx(0.0),
        "loss1": pytest.approx(10 * 0.5**2),
    }


def test_a_new_result_is_told_before_each_ask_and_both_are_paid_for() -> None:
    class Scripted:
        """Asking takes two seconds, telling one."""

        seconds = 10.0

        def __init__(self) -> None:
            self.calls: list[str] = []

        def ask(self) -> Assignment:
            self.seconds += 2.0
            self.calls.append("ask")
            return {f"x{index}": 10 ** (-5 + 5 * 0.3) for index in range(9)} | {"x9": 10 ** (-5 + 5 * 0.8)}

        def tell(self, losses: list[float]) -> None:
            self.seconds += 1.0
            self.calls.append(f"tell {losses[0]:.2f}")

    tuner = Scripted()
    cycles = latency.timed_cycles(tuner, latency.latency_task("floats", trials=5))
    assert [next(cycles) for _ in range(2)] == [3.0, 3.0]
    assert tuner.calls == ["ask", "tell 0.25", "ask", "tell 0.25", "ask"]


def test_a_method_that_has_used_its_time_is_not_asked_again() -> None:
    (timing,) = latency.measure([TPE], "floats", trials=20, repeats=50, cap=1e-9)
    assert len(timing.milliseconds) == 1


@pytest.mark.thorough
def test_a_method_that_has_nothing_more_to_propose_says_why() -> None:
    grid, unknown = Method.parse("grid(pointsPerParameter=2)"), Method.parse("tpee")
    timings = latency.measure([grid, unknown], "floats", trials=1, repeats=2**10 + 1, cap=60.0)
    assert [len(timing.milliseconds) for timing in timings] == [2**10 - 1, 0]  # the first ask belongs to no cycle
    assert "have all been tried" in timings[0].error
    assert "tpee" in timings[1].error
    (table,) = latency.tables({"floats": timings})
    assert table.rows[1] == ["tpee", "-"]
    assert len(table.notes) == 2


def test_a_table_reads_the_same_in_the_terminal_and_in_a_document() -> None:
    table = Figures("regret", ["task", "tpe"], [["branin", "0.1"]], ["a note"])
    assert table.rich().row_count == 1
    assert "| branin | 0.1 |" in table.markdown()
    assert "a note" in table.markdown()


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1234, "0.123"), (12.34, "12.3"), (123.4, "123"), (4210.0, "4 210"), (np.inf, "never"), (np.nan, "-")],
)
def test_figures_take_few_characters(value: float, text: str) -> None:
    assert number(value) == text


def test_what_could_not_be_run_is_told_by_method_with_the_reason() -> None:
    table = not_run({("cell-6x5", "b"): "too late", ("branin-2d", "b"): "x" * 500, ("cell-6x5", "a"): "no such method"})
    assert [row[:2] for row in table.rows] == [["a", "cell-6x5"], ["b", "branin-2d"], ["b", "cell-6x5"]]
    assert table.rows[0][2] == "no such method"
    assert len(table.rows[1][2]) == 160
