"""The operator's series: what they say, and that they are bounded."""

import math
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from podium_contract.experiment import Cost, ExperimentStatus, RungStatus, TrialCounts
from podium_contract.lifecycle import Phase
from podium_operator.metrics import Metrics, gpu_seconds_saved

LABELS = ("namespace", "experiment", "metric", "phase", "reason", "bracket", "budget", "outcome")


def samples(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """The samples of a name by the values of their labels, in the order above."""
    return {
        tuple(sample.labels[label] for label in LABELS if label in sample.labels): sample.value
        for family in text_string_to_metric_families(metrics.page().decode())
        for sample in family.samples
        if sample.name == name
    }


def a_status(**fields: Any) -> ExperimentStatus:
    cost = Cost(steps=40, full_steps=100, gpu_seconds=20.0)
    return ExperimentStatus(
        **{"cost": cost, "best_value": 0.9, "trials": TrialCounts(total=3, running=2, pruned=1)} | fields
    )


def test_an_experiment_is_shown_as_its_status_has_it() -> None:
    metrics = Metrics()
    rungs = (RungStatus(budget=1, reached=9, promoted=3), RungStatus(budget=3, reached=3))
    metrics.show("vision", "digits", "accuracy", a_status(rungs=rungs))
    trials = samples(metrics, "podium_experiment_trials")
    assert trials["vision", "digits", "Running"] == 2
    assert len(trials) == len(Phase)
    assert samples(metrics, "podium_experiment_best_value") == {("vision", "digits", "accuracy"): 0.9}
    assert samples(metrics, "podium_experiment_rung_reached") == {
        ("vision", "digits", "0", "1"): 9,
        ("vision", "digits", "0", "3"): 3,
    }
    assert samples(metrics, "podium_experiment_steps_total") == {("vision", "digits"): 40}


def test_what_a_status_no_longer_says_is_gone() -> None:
    metrics = Metrics()
    metrics.show("vision", "digits", "accuracy", a_status())
    metrics.show("vision", "digits", "accuracy", a_status(best_value=None))
    assert samples(metrics, "podium_experiment_best_value") == {}


def test_a_deleted_experiment_leaves_no_series() -> None:
    metrics = Metrics()
    for name in ("digits", "letters"):
        metrics.show("vision", name, "accuracy", a_status())
        metrics.count_end("vision", name, Phase.FAILED, "OutOfMemory")
    metrics.forget("vision", "digits")
    assert 'experiment="digits"' not in metrics.page().decode()
    assert samples(metrics, "podium_operator_trials_ended_total") == {("vision", "letters", "Failed", "OutOfMemory"): 1}


def test_a_long_experiment_has_no_more_series_than_a_short_one() -> None:
    short, long = Metrics(), Metrics()
    for metrics, trials in ((short, 10), (long, 1000)):
        metrics.show("vision", "digits", "accuracy", a_status(trials=TrialCounts(total=trials, pruned=trials)))
        for _ in range(trials):
            metrics.count_end("vision", "digits", Phase.PRUNED, "StoppedByScheduler")
    assert len(short.page().splitlines()) == len(long.page().splitlines())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_best_value_that_is_not_finite_is_shown_as_it_is(value: float) -> None:
    metrics = Metrics()
    metrics.show("vision", "digits", "loss", a_status(best_value=value))
    (shown,) = samples(metrics, "podium_experiment_best_value").values()
    assert shown == value or (math.isnan(shown) and math.isnan(value))


@pytest.mark.parametrize(
    ("cost", "saved"),
    [
        (Cost(steps=40, full_steps=100, gpu_seconds=20.0), 30.0),
        (Cost(steps=100, full_steps=100, gpu_seconds=20.0), 0.0),
        (Cost(steps=120, full_steps=100, gpu_seconds=20.0), 0.0),
        (Cost(steps=0, full_steps=100), 0.0),
        (Cost(steps=40, gpu_seconds=20.0), 0.0),
    ],
    ids=["some", "none", "repeated", "not begun", "no maximum"],
)
def test_gpu_seconds_saved_are_those_of_the_steps_left_out(cost: Cost, saved: float) -> None:
    assert gpu_seconds_saved(a_status(cost=cost)) == saved


def test_outcomes_are_counted_from_zero() -> None:
    metrics = Metrics()
    metrics.count_scrape("timeout", 2.0)
    scrapes = samples(metrics, "podium_operator_scrapes_total")
    assert scrapes["timeout",] == 1
    assert scrapes["ok",] == 0


def test_passes_waits_and_advice_are_timed() -> None:
    metrics = Metrics()
    with metrics.reconciling():
        metrics.count_wait(0.1)
        metrics.count_advice("ok", 0.2)
    for name in ("reconcile", "queue", "advice"):
        assert samples(metrics, f"podium_operator_{name}_seconds_count") == {(): 1}


def test_standing_by_is_not_leading() -> None:
    metrics = Metrics()
    assert samples(metrics, "podium_operator_leader") == {(): 0}
    metrics.lead(is_leading=True)
    assert samples(metrics, "podium_operator_leader") == {(): 1}
