"""What `podium estimate` and `podium validate` reckon, against numbers worked by hand."""

from typing import Any

import pytest
import typer

from builders.experiments import a_choice, a_float, a_population, a_scheduler, an_experiment, an_experiment_spec, an_int
from podium_contract.algorithms import SCHEDULERS, SEARCHES, AshaScheduler, HalvingScheduler, PbtScheduler
from podium_operator.cli.algorithms import describe
from podium_operator.cli.estimate import Estimate, alternatives, estimate_of, parse_duration, trials_within
from podium_operator.cli.validate import summary


def test_full_training_spends_everything() -> None:
    estimate = estimate_of(an_experiment_spec(max_trials=20, scheduler=a_scheduler("none", high=9)))
    assert (estimate.steps, estimate.full_steps, estimate.saved) == (180, 180, 0.0)


def test_full_bracket_of_halving_spends_what_the_table_says() -> None:
    """27 x 1, then 9 x 2 more, 3 x 6 more and 1 x 18 more."""
    estimate = estimate_of(an_experiment_spec(max_trials=27, scheduler=a_scheduler("halving", 1, 27)))
    assert estimate.steps == 27 + 9 * 2 + 3 * 6 + 1 * 18


@pytest.mark.thorough
def test_asha_spends_more_than_halving_and_far_less_than_everything() -> None:
    halving, asha = (
        estimate_of(an_experiment_spec(max_trials=81, scheduler=a_scheduler(name, 1, 81)))
        for name in ("halving", "asha")
    )
    assert halving.steps <= asha.steps < 0.2 * asha.full_steps


def test_estimate_of_a_target_is_that_of_the_whole_search() -> None:
    objectives = [{"metric": "loss", "goal": "minimize", "target": 1e9}]
    spec = an_experiment_spec(max_trials=20, objectives=objectives, scheduler=a_scheduler("none", high=9))
    assert estimate_of(spec).steps == 180


def test_a_space_with_fewer_points_than_trials_is_all_there_is_to_train() -> None:
    full = a_scheduler("none", high=9)
    grid = {"algorithm": "grid", "settings": {"pointsPerParameter": 3}}
    estimate = estimate_of(
        an_experiment_spec(parameters=[a_float("x"), an_int("n")], search=grid, max_trials=100, scheduler=full)
    )
    assert estimate == Estimate(9, 81, 81)
    tree = [a_choice("kind", values=["a", "b"]), a_choice("more", values=["x", "y"], when={"kind": ["a"]})]
    estimate = estimate_of(an_experiment_spec(parameters=tree, max_trials=100, scheduler=full))
    assert estimate == Estimate(3, 27, 27), "a with x, a with y, and b"


def test_same_experiment_gets_the_same_estimate() -> None:
    spec = an_experiment_spec(max_trials=30, scheduler=a_scheduler("asha", 1, 27))
    assert estimate_of(spec) == estimate_of(spec)


@pytest.mark.thorough
def test_steps_of_median_stopping_are_reckoned_in_fewer_and_scaled() -> None:
    short, long = (
        estimate_of(an_experiment_spec(max_trials=30, scheduler=a_scheduler("median", 1, high))) for high in (27, 2700)
    )
    assert long.saved == pytest.approx(short.saved, abs=0.01)


def test_every_scheduler_is_compared_with_the_own_one_as_it_is() -> None:
    spec = an_experiment_spec(scheduler=a_scheduler("asha", 2, 50, reductionFactor=5))
    others = alternatives(spec)
    assert [other.scheduler.algorithm for other in others] == ["none", "median", "halving", "asha", "hyperband"]
    assert others[3] is spec
    assert all(other.scheduler.max == 50 for other in others)
    assert isinstance(spec.scheduler, AshaScheduler)


def test_one_step_leaves_nothing_to_judge() -> None:
    spec = an_experiment_spec(scheduler=a_scheduler("none", high=1))
    assert [other.scheduler.algorithm for other in alternatives(spec)] == ["none"]


def test_budget_affords_trials_by_their_expected_steps() -> None:
    estimate = Estimate(trials=100, steps=500.0, full_steps=2700)
    assert trials_within(estimate, seconds=3600, step_seconds=10, parallelism=4) == 3600 * 4 // 50


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2min", 120), (" 2 h ", 7200), ("1d", 86400)]
)
def test_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-1h", "1w", "1h30m", "nan"])
def test_other_text_is_no_duration(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="write 90s, 30m or 2h"):
        parse_duration(text)


# --- validate and algorithms ----------------------------------------------------------------------------------


def test_summary_tells_the_ladder_and_what_is_conditional() -> None:
    momentum = a_float("momentum", 0.0, 0.9, "linear", when={"optimizer": ["sgd"]})
    told = summary(an_experiment(parameters=[a_choice(), momentum], scheduler=a_scheduler("asha", 1, 9)))
    assert "2 parameters (1 conditional), 1 of them continuous" in told
    assert "up to epoch 9 in 3 rungs (1, 3, 9)" in told


def test_summary_counts_the_points_of_a_discrete_space() -> None:
    assert ", 24 points;" in summary(an_experiment(parameters=[a_choice(), an_int(low=1, high=8)]))
    child = an_int(low=1, high=8, when={"optimizer": ["sgd"]})
    assert ", at most 24 points;" in summary(an_experiment(parameters=[a_choice(), child]))


@pytest.mark.parametrize("model", [*SEARCHES, *SCHEDULERS], ids=lambda model: model.__name__)
def test_every_algorithm_and_each_of_its_fields_has_a_meaning(model: type) -> None:
    entry = describe(model)
    assert len(entry["meaning"]) > 20 or entry["algorithm"] == "none"
    assert all(field["meaning"].strip() for field in entry["fields"])


@pytest.mark.parametrize(
    ("model", "name", "default", "limits"),
    [
        (AshaScheduler, "max", "required", ">= 1"),
        (AshaScheduler, "settings.variant", "promotion", "promotion | stopping"),
        (HalvingScheduler, "settings.bracketSize", None, ">= 1"),
        (PbtScheduler, "settings.perturbationFactors", [0.8, 1.2], "each > 0, <= 100"),
        (PbtScheduler, "settings.mutable", None, ""),
    ],
    ids=["no bound that no one reaches", "choices", "optional", "items", "none"],
)
def test_range_is_what_a_value_must_keep(model: type, name: str, default: Any, limits: str) -> None:
    (field,) = [field for field in describe(model)["fields"] if field["name"] == name]
    assert (field["default"], field["range"]) == (default, limits)


def test_population_trains_every_place_once_whoever_holds_it() -> None:
    estimate = estimate_of(an_experiment_spec(max_trials=30, scheduler=a_population(40, populationSize=8)))
    assert (estimate.steps, estimate.full_steps) == (8 * 40, 30 * 40)


def test_population_is_compared_with_nothing_else() -> None:
    spec = an_experiment_spec(scheduler=a_population(40))
    assert alternatives(spec) == [spec]
