"""Parameters: lattices without noise, conditions that nest, and what is wrong with an assignment."""

import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.experiments import a_choice, a_float, an_experiment_spec, an_int, an_ordinal
from podium_contract.parameters import (
    FloatParameter,
    IntParameter,
    Parameter,
    Range,
    assignment_faults,
    condition_holds,
    default_assignment,
    in_dependency_order,
    is_active,
    same_value,
    typed,
)

TENTHS = st.integers(-1000, 1000).map(lambda tenths: Decimal(tenths) / 10)
STEPS = st.integers(1, 50).map(lambda hundredths: Decimal(hundredths) / 100)


def parameters(*plain: dict[str, Any]) -> list[Parameter]:
    return an_experiment_spec(parameters=list(plain)).parameters


def a_lattice(low: float, high: float, step: float) -> FloatParameter:
    return FloatParameter(name="x", type="float", min=low, max=high, step=step)


def test_floats_are_floats_again_after_json_has_made_them_whole_numbers() -> None:
    given = parameters(
        a_float(name="lr"),
        an_int(name="n"),
        an_ordinal(name="rate", values=[0, 0.5]),
        a_choice(name="size", values=[1, 2]),
        a_choice(name="mixed", values=[1, 0.5, "auto"]),
        a_choice(name="flag", values=[True, 0.5]),
    )
    assignment = typed(given, {"lr": 1, "n": 1, "rate": 0, "size": 1, "mixed": 1, "flag": True})
    assert assignment == {"lr": 1, "n": 1, "rate": 0, "size": 1, "mixed": 1, "flag": True}
    assert [type(value) for value in assignment.values()] == [float, int, float, int, int, bool]


# --- lattices -------------------------------------------------------------------------------------------------


def test_lattice_values_have_no_binary_noise() -> None:
    tenths = a_lattice(0.1, 1.0, 0.1)
    assert [tenths.lattice_value(k) for k in range(10)] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert tenths.lattice_size == 10


def test_lattice_ends_at_the_last_value_that_the_range_holds() -> None:
    odd = a_lattice(0.0, 1.0, 0.3)
    assert odd.lattice_size == 4
    assert odd.lattice_value(3) == 0.9
    assert not odd.contains(1.0)


def test_range_of_a_single_step_has_both_ends() -> None:
    assert a_lattice(0.1, 0.3, 0.2).lattice_size == 2


@given(TENTHS, st.integers(1, 200), STEPS)
def test_every_lattice_value_is_contained_and_the_next_one_is_outside(low: Decimal, count: int, step: Decimal) -> None:
    lattice = a_lattice(float(low), float(low + count * step), float(step))
    assert lattice.lattice_size == count + 1
    for index in {0, count // 2, count}:
        assert lattice.contains(lattice.lattice_value(index))
        assert lattice.lattice_value(index) == float(low + index * step)
    assert not lattice.contains(lattice.lattice_value(count + 1))


@given(TENTHS, st.integers(1, 50), STEPS, st.floats(0.1, 0.9))
def test_nothing_between_lattice_values_is_contained(low: Decimal, count: int, step: Decimal, share: float) -> None:
    lattice = a_lattice(float(low), float(low + count * step), float(step))
    assert not lattice.contains(float(low) + share * float(step))


@given(st.integers(-(10**6), 10**6), st.integers(1, 10**6), st.integers(1, 1000))
def test_whole_lattice_is_anchored_at_min(low: int, width: int, step: int) -> None:
    if step > width:
        return
    lattice = IntParameter(name="n", type="int", min=low, max=low + width, step=step)
    last = lattice.lattice_value(lattice.lattice_size - 1)
    assert last <= lattice.max < last + step
    assert lattice.contains(last)
    assert (last - low) % step == 0


@pytest.mark.parametrize("value", [True, "3", 3.5, math.nan, math.inf, None, [3]])
def test_whole_number_is_nothing_else(value: Any) -> None:
    (depth,) = parameters(an_int(low=1, high=8))
    assert not depth.contains(value)


def test_choices_keep_true_apart_from_one_and_take_one_for_one_point_zero() -> None:
    (choice,) = parameters(a_choice(values=[1, "1", [0.9, 1]]))
    assert choice.contains(1.0)
    assert not choice.contains(True)
    assert choice.contains([0.9, 1.0])
    assert not choice.contains([0.9, True])
    assert not same_value([1], 1)


def test_position_of_a_value_is_told_or_refused() -> None:
    (batch,) = parameters(an_ordinal(values=[16, 32, 64]))
    assert batch.index_of(32) == 1  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="48 is not a value of parameter 'batch'"):
        batch.index_of(48)  # type: ignore[union-attr]


# --- conditions -----------------------------------------------------------------------------------------------

NESTED = (
    a_float("nesterov_decay", 0.1, 0.9, "linear", when={"momentum": {"min": 0.5}}),
    a_float("momentum", 0.0, 0.99, "linear", when={"optimizer": ["sgd"], "depth": {"max": 4}}),
    a_choice("optimizer", ["sgd", "adam"]),
    an_int("depth", 1, 8),
)


@pytest.mark.parametrize(
    ("condition", "value", "holds"),
    [
        (Range(min=1, max=2), 1, True),
        (Range(min=1, max=2), 2.0, True),
        (Range(min=1), 0.999, False),
        (Range(max=2), 2.001, False),
        (["sgd", True], True, True),
        (["sgd", True], 1, False),
        ([[0.9, 1]], [0.9, 1.0], True),
    ],
)
def test_condition_includes_its_bounds_and_compares_as_yaml_users_expect(
    condition: Any, value: Any, holds: bool
) -> None:
    assert condition_holds(condition, value) is holds


def test_parents_come_before_children_and_the_rest_as_written() -> None:
    order = [parameter.name for parameter in in_dependency_order(parameters(*NESTED))]
    assert order == ["optimizer", "depth", "momentum", "nesterov_decay"]


def test_child_needs_every_parent_to_be_active_and_to_agree() -> None:
    decay, momentum, *_ = parameters(*NESTED)
    assert is_active(momentum, {"optimizer": "sgd", "depth": 4})
    assert not is_active(momentum, {"optimizer": "sgd", "depth": 5})
    assert not is_active(momentum, {"optimizer": "adam", "depth": 4})
    assert is_active(decay, {"optimizer": "sgd", "depth": 4, "momentum": 0.5})
    assert not is_active(decay, {"optimizer": "adam", "depth": 4}), "its parent is inactive"


@pytest.mark.parametrize(
    ("assignment", "faults"),
    [
        ({"optimizer": "adam", "depth": 3}, []),
        ({"optimizer": "sgd", "depth": 3, "momentum": 0.1}, []),
        ({"optimizer": "sgd", "depth": 3}, ["'momentum' has no value"]),
        ({"optimizer": "adam", "depth": 3, "momentum": 0.1}, ["'momentum' is inactive"]),
        ({"optimizer": "adam", "depth": 9}, ["'depth' cannot be 9"]),
        ({"optimizer": "lion", "depth": 3, "lr": 1}, ["'optimizer' cannot be \"lion\"", "'lr' does not exist"]),
    ],
)
def test_assignment_is_told_what_is_wrong_with_it(assignment: dict[str, Any], faults: list[str]) -> None:
    told = assignment_faults(parameters(*NESTED), assignment)
    assert len(told) == len(faults)
    for sentence, words in zip(told, faults, strict=True):
        assert words in sentence


def test_defaults_are_an_assignment_only_when_every_active_parameter_has_one() -> None:
    inactive = a_float("momentum", 0.0, 0.99, "linear", when={"optimizer": ["sgd"]})
    optimizer = a_choice("optimizer", ["sgd", "adam"], default="adam")
    assert default_assignment(parameters(optimizer, inactive)) == {"optimizer": "adam"}
    assert default_assignment(parameters({**optimizer, "default": "sgd"}, inactive)) is None


def test_false_and_zero_are_defaults_like_any_other() -> None:
    plain = (a_choice("flag", [True, False], default=False), an_int("shift", -1, 1, default=0))
    assert default_assignment(parameters(*plain)) == {"flag": False, "shift": 0}
