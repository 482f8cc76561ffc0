"""What `podium run` shows: every value under its heading, whatever the values are."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console, RenderableType

from builders.experiments import a_choice, an_objective
from builders.results import some_results
from podium_operator.cli.view import RunView, podium, screen, sparkline

IN_FULL = {"algorithm": "none", "max": 3, "resource": "epoch"}


def text_of(renderable: RenderableType) -> str:
    page = io.StringIO()
    Console(file=page, width=140).print(renderable)
    return page.getvalue()


def test_each_metric_has_one_column_also_when_it_is_bounded_as_well() -> None:
    objectives = [an_objective("loss"), an_objective("latency")]
    constraints = [{"metric": "latency", "max": 100.0}]
    results = some_results(12, objectives=objectives, constraints=constraints, scheduler=IN_FULL)
    heading, first = text_of(podium(results.experiment, "here", 1.0)).splitlines()[1:3]
    assert heading.split()[1:] == ["trial", "loss", "(min)", "latency", "(min)", "epoch", "parameters", "│"]
    best = results.experiment.status.best[0]
    values = [f"{best.metrics[metric]:.5g}" for metric in ("loss", "latency")]
    assert first.split()[1:5] == [str(best.trial), *values, "3"]


@pytest.mark.parametrize("value", ["[red]", "[/]", "[[", "a b"])
def test_values_that_look_like_markup_are_shown_as_they_are(value: str) -> None:
    results = some_results(4, parameters=[a_choice("kind", [value])], scheduler=IN_FULL)
    for shown in (
        podium(results.experiment, "here", 1.0),
        screen(results.experiment, RunView(datetime.now(UTC)), datetime.now(UTC)),
    ):
        assert f"kind={value}" in text_of(shown)


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([], ""),
        ([2.0, 2.0], "▁▁"),
        ([0.0, 0.0], "▁▁"),
        ([8.0, 1.0, 4.0], "█▁▄"),
        ([1e308, -1e308, 0.0], "█▁▅"),
        ([5e-324, 0.0], "█▁"),
    ],
)
def test_sparkline_goes_from_the_lowest_to_the_highest(values: list[float], shown: str) -> None:
    assert sparkline(values) == shown
