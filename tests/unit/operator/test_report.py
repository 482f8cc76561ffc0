"""The report: right numbers in the figures, and a page that needs nothing else."""

import csv
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders.experiments import a_float, a_population, a_scheduler, an_experiment, an_objective
from builders.results import CONDITIONAL_SPACE, some_results
from podium_contract.experiment import RungStatus
from podium_contract.lifecycle import Phase
from podium_operator.core.ports import BackendError
from podium_operator.report.facts import (
    MIN_TRIALS_FOR_IMPORTANCE,
    best_so_far,
    curve_of,
    final_values,
    front_growth,
    importance_of,
    lineage_of,
)
from podium_operator.report.figures import drawings
from podium_operator.report.page import observation_rows, trial_rows, write_report
from podium_operator.results import Results, load_results

pytestmark = pytest.mark.thorough
IN_FULL = {"algorithm": "none", "max": 9, "resource": "epoch"}
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def results() -> Results:
    return some_results(60, failing=2)


@pytest.fixture(scope="module")
def written(results: Results, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_report(results, tmp_path_factory.mktemp("report") / "deep")


class Page(HTMLParser):
    """What a page refers to, and what its pictures say to those who do not see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.alternatives: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.links += [named[name] or "" for name in ("src", "href") if name in named]
        if tag == "img":
            self.alternatives.append(named.get("alt") or "")


# --- facts ----------------------------------------------------------------------------------------------------


def test_best_so_far_never_gets_worse() -> None:
    assert best_so_far([3.0, 1.0, 2.0], maximize=False).tolist() == [3.0, 1.0, 1.0]
    assert best_so_far([1.0, 3.0, 2.0], maximize=True).tolist() == [1.0, 3.0, 3.0]


def test_values_that_are_not_finite_are_no_points(results: Results) -> None:
    diverged = [trial for trial in results.trials if any(math.isnan(o.metrics["loss"]) for o in trial.observations)]
    assert diverged
    assert not final_values(results, "loss").keys() & {trial.number for trial in diverged}


def test_reports_after_the_verdict_are_not_drawn(results: Results) -> None:
    stopped = next(t for t in results.trials if t.judged_step is not None and curve_of(t, "loss").steps)
    late = stopped.observations[-1].model_copy(update={"step": 1000})
    curve = curve_of(stopped.model_copy(update={"observations": (*stopped.observations, late)}), "loss")
    assert max(curve.steps) <= (stopped.judged_step or 0)


def test_parameter_that_decides_is_found_and_one_that_does_nothing_is_not() -> None:
    importance = importance_of(some_results(80, scheduler=IN_FULL))
    assert importance is not None
    shares = dict(zip(importance.names, importance.shares, strict=True))
    assert importance.names[0] == "lr"
    assert shares["lr"] > 0.5
    assert shares["dropout"] + shares["batch"] < 0.1
    assert sum(importance.shares) == pytest.approx(1.0)


def test_too_few_trials_have_no_importance() -> None:
    assert importance_of(some_results(MIN_TRIALS_FOR_IMPORTANCE - 1, scheduler=IN_FULL)) is None


# --- figures --------------------------------------------------------------------------------------------------


def test_each_question_has_its_figure(results: Results) -> None:
    assert [drawing.name for drawing in drawings(results)] == ["history", "curves", "rungs", "parameters", "importance"]


def test_several_objectives_have_a_front() -> None:
    objectives = [an_objective("loss"), an_objective("latency")]
    results = some_results(30, objectives=objectives, scheduler=IN_FULL)
    (front,) = [drawing for drawing in drawings(results) if drawing.name == "front"]
    assert (
        front.words
        == f"{len(results.experiment.status.best)} of {len(final_values(results, 'loss'))} trials are not dominated."
    )


def test_a_diverged_trial_leaves_the_picture_of_the_front_and_the_front_stays() -> None:
    results = some_results(30, objectives=[an_objective("loss"), an_objective("latency")], scheduler=IN_FULL)
    diverged, *others = results.trials
    last = diverged.observations[-1]
    observations = (*diverged.observations[:-1], last.model_copy(update={"metrics": {"loss": 1e308, "latency": 1.0}}))
    trials = (diverged.model_copy(update={"observations": observations}), *others)
    (front,) = [drawing for drawing in drawings(replace(results, trials=trials)) if drawing.name == "front"]
    low, high = front.figure.axes[0].get_xlim()
    assert high < 100
    assert all(low < standing.metrics["loss"] < high for standing in results.experiment.status.best)


def test_metrics_at_the_limits_of_floats_are_drawn(tmp_path: Path) -> None:
    results = some_results(12, objectives=[an_objective("loss"), an_objective("latency")], scheduler=IN_FULL)
    trials = tuple(
        trial.model_copy(
            update={
                "observations": tuple(
                    observation.model_copy(update={"metrics": {"loss": 1e308 * (-1) ** step, "latency": -1e308 * step}})
                    for step, observation in enumerate(trial.observations)
                )
            }
        )
        for trial in results.trials
    )
    assert write_report(replace(results, trials=trials), tmp_path)


def test_front_of_three_objectives_is_told_to_be_a_view_and_has_no_line() -> None:
    objectives = [an_objective("loss"), an_objective("latency"), an_objective("size")]
    results = some_results(12, objectives=objectives, scheduler=IN_FULL)
    (front,) = [drawing for drawing in drawings(results) if drawing.name == "front"]
    assert front.words.endswith("Seen by the first two of 3 objectives.")
    assert [line.get_linestyle() for line in front.figure.axes[0].get_lines()] == ["None"]


def test_the_hypervolume_never_shrinks_and_is_measured_from_what_is_stated() -> None:
    objectives = [an_objective("loss") | {"reference": 0.8}, an_objective("latency")]
    results = some_results(30, objectives=objectives, scheduler=IN_FULL)
    growth = front_growth(results)
    assert growth is not None
    assert growth.reference[0] == 0.8
    worst = max(standing.metrics["latency"] for standing in results.experiment.status.best)
    assert growth.reference[1] >= worst
    assert (np.diff(growth.volumes) >= 0).all()
    (drawing,) = [drawing for drawing in drawings(results) if drawing.name == "hypervolume"]
    assert f"measured from loss 0.8, latency {growth.reference[1]:.4g}: {growth.volumes[-1]:.5g}" in drawing.words


def test_trials_that_break_a_constraint_add_nothing_to_the_hypervolume() -> None:
    spec: dict[str, Any] = {"objectives": [an_objective("loss"), an_objective("latency")], "scheduler": IN_FULL}
    free = front_growth(some_results(30, **spec))
    bound = float(np.median(list(final_values(some_results(30, **spec), "latency").values())))
    bounded = front_growth(some_results(30, **spec, constraints=[{"metric": "latency", "max": bound}]))
    assert free is not None
    assert bounded is not None
    assert set(bounded.numbers) < set(free.numbers)


def test_one_objective_has_no_hypervolume(results: Results) -> None:
    assert front_growth(results) is None


def test_configurations_are_followed_across_inactive_parameters(results: Results) -> None:
    (drawing,) = [drawing for drawing in drawings(results) if drawing.name == "parameters"]
    dotted = [line for line in drawing.figure.axes[0].get_lines() if line.get_linestyle() == ":"]
    drawn = final_values(results, "loss")
    adam = [t for t in results.trials if t.number in drawn and t.parameters["optimizer"] == "adam"]
    assert len(dotted) == len(adam) > 0, "from dropout to betas, over momentum"


def test_nothing_run_yet_draws_nothing(tmp_path: Path) -> None:
    nothing = Results(an_experiment(), ())
    assert drawings(nothing) == []
    assert write_report(nothing, tmp_path)[0].exists()


def test_best_trial_without_a_record_is_survived(results: Results) -> None:
    best = results.experiment.status.best[0].trial
    others = tuple(trial for trial in results.trials if trial.number != best)
    assert "curves" in [drawing.name for drawing in drawings(Results(results.experiment, others))]


def test_single_trial_single_parameter_is_drawn() -> None:
    one = some_results(1, parameters=[a_float(low=1e-4, high=1e-2)], scheduler=IN_FULL)
    assert [drawing.name for drawing in drawings(one)] == ["history", "curves"]


def test_brackets_are_told_apart(results: Results) -> None:
    rungs = (RungStatus(budget=1, reached=9, promoted=3), RungStatus(budget=3, bracket=1, reached=3))
    status = results.experiment.status.model_copy(update={"rungs": rungs})
    several = Results(results.experiment.model_copy(update={"status": status}), results.trials)
    (drawing,) = [drawing for drawing in drawings(several) if drawing.name == "rungs"]
    labels = [label.get_text() for label in drawing.figure.axes[0].get_yticklabels()]
    assert labels == ["epoch 1", "epoch 3 (1)"]


# --- the page -------------------------------------------------------------------------------------------------


def test_page_needs_nothing_else_and_says_what_its_pictures_show(written: list[Path]) -> None:
    text = written[0].read_text(encoding="utf-8")
    page = Page(text)
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert "http" not in re.sub(r"data:[^\"]*", "", text)
    assert len(page.alternatives) == 5
    assert all(len(words) > 20 for words in page.alternatives)


def test_text_of_trials_is_text_not_markup(written: list[Path]) -> None:
    text = written[0].read_text(encoding="utf-8")
    assert "learning rate &lt;script&gt;" in text
    assert text.count("<script>") == 1, "the page's own"


def test_figures_are_written_beside_the_page(written: list[Path]) -> None:
    assert [path.name for path in written if path.suffix != ".png"] == ["report.html", "trials.csv", "observations.csv"]
    assert all(path.read_bytes().startswith(PNG) for path in written if path.suffix == ".png")


def test_same_results_give_the_same_files(tmp_path: Path) -> None:
    few = some_results(4)
    first, second = write_report(few, tmp_path / "a"), write_report(few, tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_page_says_why_there_is_no_importance(tmp_path: Path) -> None:
    text = write_report(some_results(5), tmp_path)[0].read_text(encoding="utf-8")
    assert f"it takes {MIN_TRIALS_FOR_IMPORTANCE} usable trials that differ" in text


def test_trials_in_csv_leave_inactive_parameters_empty(results: Results, written: list[Path]) -> None:
    with (written[0].parent / "trials.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(results.trials) == 60
    assert all((row["momentum"] == "") == (row["optimizer"] != "sgd") for row in rows)
    assert {row["betas"] for row in rows} == {"", "[0.9, 0.999]", "[0.95, 0.999]"}
    assert rows[0]["phase"] == Phase.FAILED
    assert set(rows[0]) >= {parameter["name"] for parameter in CONDITIONAL_SPACE}


def test_every_report_is_in_csv_also_those_that_are_not_finite(results: Results) -> None:
    heading, *rows = observation_rows(results)
    assert heading == ["trial", "step", "attempt", "seconds", "loss"]
    assert len(rows) == sum(len(trial.observations) for trial in results.trials)
    assert any(row[4] == "nan" for row in rows)


def test_trial_without_reports_has_a_row(results: Results) -> None:
    heading, first, *_ = trial_rows(results)
    assert dict(zip(heading, first, strict=True))["loss"] == ""


# --- the document ---------------------------------------------------------------------------------------------


def test_document_gives_back_the_results(results: Results, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results.to_json(), allow_nan=False), encoding="utf-8")
    assert load_results(path).to_json() == results.to_json()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"spec": 1}', "not json"])
def test_other_file_is_refused_with_its_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BackendError, match=r"other.json is no document of podium run"):
        load_results(path)


def test_other_folder_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"no results folder of podium run: it has no state/experiment.json"):
        load_results(tmp_path)


def test_report_of_a_maximised_metric_has_its_best_on_top() -> None:
    results = some_results(30, objectives=[an_objective("accuracy", "maximize")], scheduler=a_scheduler("asha", 1, 9))
    (history,) = [drawing for drawing in drawings(results) if drawing.name == "history"]
    assert f"the best accuracy is {max(final_values(results, 'accuracy').values()):.5g}" in history.words


# --- populations ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def population() -> Results:
    return some_results(30, scheduler=a_population(20, populationSize=6, interval=4))


def test_a_lineage_is_the_steps_of_each_ancestor_up_to_its_cloning(population: Results) -> None:
    clone = next(trial for trial in reversed(population.trials) if trial.parent is not None)
    stretches = lineage_of(population.trials, clone.number)
    assert stretches[-1].trial.number == clone.number
    assert stretches[0].start == 0
    assert all(before.end == after.start for before, after in pairwise(stretches))
    assert [s.trial.parent.trial for s in stretches[1:] if s.trial.parent] == [s.trial.number for s in stretches[:-1]]


def test_a_trial_that_was_no_clone_is_its_own_lineage(population: Results) -> None:
    (stretch,) = lineage_of(population.trials, 1)
    assert (stretch.trial.number, stretch.start) == (1, 0)


def test_a_population_is_drawn_with_lineage_and_schedule(population: Results) -> None:
    drawing = next(drawing for drawing in drawings(population) if drawing.name == "population")
    clones = sum(trial.parent is not None for trial in population.trials)
    assert clones
    assert drawing.words.startswith(f"{clones} clones in 6 places.")
    best = population.experiment.status.best[0].trial
    numbers = " → ".join(str(stretch.trial.number) for stretch in lineage_of(population.trials, best))
    assert numbers in drawing.words
    assert numbers.endswith(str(best))
    axes = drawing.figure.axes
    assert len(axes[0].lines) == len(population.trials) + clones + len(lineage_of(population.trials, best))


def test_without_clones_no_population_is_drawn(results: Results) -> None:
    assert "population" not in {drawing.name for drawing in drawings(results)}
