"""What an Experiment says about values and changes, beyond the shape of its fields."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from builders.experiments import a_float, a_scheduler, a_template, an_experiment, an_experiment_spec, an_objective
from podium_contract.experiment import (
    MUTABLE_FIELDS,
    Constraint,
    Experiment,
    ExperimentSpec,
    Objective,
    immutable_change,
)

CHANGES: dict[str, Any] = {
    "objectives": [an_objective("accuracy", "maximize")],
    "constraints": [{"metric": "latency", "max": 1}],
    "parameters": [a_float("lr", 1e-6, 1e-1)],
    "search": {"algorithm": "random", "seed": 8},
    "scheduler": a_scheduler("asha", 1, 27),
    "trial": {"template": a_template("python", "other.py")},
    "max_trials": 20,
    "parallelism": 3,
    "max_failed_trials": 2,
    "active_deadline_seconds": 60,
    "suspend": True,
    "pod_history_limit": 3,
    "ttl_seconds_after_finished": 60,
}


@pytest.mark.parametrize("field", ExperimentSpec.model_fields)
def test_change_of_an_immutable_field_is_named(field: str) -> None:
    changed = immutable_change(an_experiment_spec(), an_experiment_spec(**{field: CHANGES[field]}))
    alias = ExperimentSpec.model_fields[field].alias or field
    assert changed == (None if field in MUTABLE_FIELDS else f"spec.{alias}")


@pytest.mark.parametrize(
    ("goal", "value", "reached"),
    [
        ("maximize", 0.9, True),
        ("maximize", 0.89, False),
        ("minimize", 0.9, True),
        ("minimize", 0.91, False),
        ("maximize", math.nan, False),
        ("minimize", math.nan, False),
        ("minimize", -math.inf, True),
    ],
)
def test_target_is_reached_from_the_good_side(goal: Any, value: float, reached: bool) -> None:
    assert Objective(metric="m", goal=goal, target=0.9).is_reached_by(value) is reached


def test_objective_without_target_is_never_reached() -> None:
    assert not Objective(metric="m", goal="minimize").is_reached_by(-math.inf)


@pytest.mark.parametrize(("goal", "target"), [("maximize", 0.4), ("maximize", 0.5), ("minimize", 0.6)])
def test_a_target_that_is_no_better_than_the_reference_is_refused(goal: Any, target: float) -> None:
    with pytest.raises(ValidationError, match=f"target must be better than the reference, got target={target:g} and"):
        Objective(metric="m", goal=goal, target=target, reference=0.5)


def test_a_reference_is_refused_where_there_is_no_front() -> None:
    one = an_objective("loss") | {"reference": 1.0}
    with pytest.raises(ValidationError, match="got one objective; remove it, or bound the metric by a constraint"):
        an_experiment_spec(objectives=[one])
    assert an_experiment_spec(objectives=[one, an_objective("size")]).objectives[0].reference == 1.0


@pytest.mark.parametrize(
    ("value", "violation"), [(1.5, 0.0), (1.0, 0.0), (2.0, 0.0), (0.25, 0.75), (5.0, 3.0), (math.nan, math.inf)]
)
def test_violation_is_the_distance_from_the_bounds(value: float, violation: float) -> None:
    assert Constraint(metric="m", min=1.0, max=2.0).violation(value) == violation


def test_metrics_that_matter_are_named_once() -> None:
    spec = an_experiment_spec(
        objectives=[an_objective("loss"), an_objective("size")],
        constraints=[{"metric": "size", "max": 3}, {"metric": "ms", "max": 9}],
    )
    assert spec.metric_names == ["loss", "size", "ms"]


def test_experiment_survives_json_with_the_types_of_its_values() -> None:
    values = [1, 1.5, "1", True, [0.9, 0.999]]
    experiment = an_experiment(parameters=[{"name": "c", "type": "categorical", "values": values}])
    again = Experiment.model_validate(experiment.to_json())
    assert again == experiment
    assert repr(again.spec.parameters[0].values) == repr(values)  # type: ignore[union-attr]


def test_best_value_that_is_not_finite_survives_json() -> None:
    experiment = an_experiment()
    status = experiment.status.model_copy(update={"best_value": math.nan})
    document = experiment.model_copy(update={"status": status}).to_json()
    assert document["status"]["bestValue"] == "NaN"
    assert math.isnan(Experiment.model_validate(document).status.best_value or 0.0)
