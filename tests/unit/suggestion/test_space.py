"""The unit cube: values and coordinates are each other's mirror, on every scale, lattice and condition."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from builders.experiments import a_choice, a_float, an_int, an_ordinal
from builders.spaces import a_space
from podium_contract.parameters import assignment_faults

UNIT = st.floats(0.0, 1.0)
SCALES = st.sampled_from(["linear", "log", "logit"])


@st.composite
def floats(draw: st.DrawFn) -> dict[str, Any]:
    """Any continuous float parameter."""
    scale = draw(SCALES)
    bounds = {"linear": (-1e6, 1e6), "log": (1e-12, 1e12), "logit": (1e-9, 1 - 1e-9)}[scale]
    low = draw(st.floats(*bounds))
    high = draw(st.floats(*bounds))
    assume(high > low * (1 + 1e-6) if low > 0 else high > low + 1e-6)
    return a_float("x", low, high, scale)


@st.composite
def stepped(draw: st.DrawFn) -> dict[str, Any]:
    """A float lattice whose numbers are decimals, as people write them."""
    digits = draw(st.integers(0, 4))
    low, step, count = draw(st.integers(-1000, 1000)), draw(st.integers(1, 500)), draw(st.integers(1, 200))
    rest = draw(st.integers(0, step - 1))
    unit = 10**digits
    return a_float("x", low / unit, (low + step * count + rest) / unit, "linear", step=step / unit)


@st.composite
def ints(draw: st.DrawFn) -> dict[str, Any]:
    if draw(st.booleans()):
        low = draw(st.integers(1, 10**6))
        return an_int("x", low, low + draw(st.integers(1, 10**6)), scale="log")
    low, step, count = draw(st.integers(-(10**6), 10**6)), draw(st.integers(1, 50)), draw(st.integers(1, 10**6))
    return an_int("x", low, low + step * count, step=step)


# --- one parameter ----------------------------------------------------------------------------------------------


@given(floats(), UNIT)
def test_a_continuous_value_survives_the_round_trip(parameter: dict[str, Any], unit: float) -> None:
    space = a_space(parameter)
    value = space.from_unit(np.array([unit]))["x"]
    assert parameter["min"] <= value <= parameter["max"]
    again = space.from_unit(space.to_unit({"x": value}))["x"]
    assert math.isclose(again, value, rel_tol=1e-9, abs_tol=1e-9)


@given(floats())
def test_the_ends_of_the_cube_are_the_ends_of_the_range(parameter: dict[str, Any]) -> None:
    space = a_space(parameter)
    for unit, end in ((0.0, "min"), (1.0, "max")):
        assert math.isclose(space.from_unit(np.array([unit]))["x"], parameter[end], rel_tol=1e-9, abs_tol=1e-12)
        assert math.isclose(space.to_unit({"x": parameter[end]})[0], unit, abs_tol=1e-12)


@given(floats(), UNIT, UNIT)
def test_a_larger_coordinate_is_never_a_smaller_value(parameter: dict[str, Any], one: float, other: float) -> None:
    space = a_space(parameter)
    low, high = (space.from_unit(np.array([unit]))["x"] for unit in sorted((one, other)))
    assert low <= high


@given(stepped() | ints(), UNIT)
def test_a_lattice_value_survives_the_round_trip_exactly(parameter: dict[str, Any], unit: float) -> None:
    space = a_space(parameter)
    assignment = space.from_unit(np.array([unit]))
    assert assignment_faults(space.parameters, assignment) == []
    assert space.from_unit(space.to_unit(assignment)) == assignment
    assert space.key(space.to_unit(assignment)) == space.key(space.encode(np.array([[unit]]))[0])


@given(stepped(), st.data())
def test_lattice_values_are_the_decimals_a_person_would_write(parameter: dict[str, Any], data: st.DataObject) -> None:
    column = a_space(parameter).columns[0]
    assert column.size is not None
    value = column.parameter.lattice_value(data.draw(st.integers(0, column.size - 1)))
    assert isinstance(value, float)
    assert value == round(value, 4)
    assert value <= parameter["max"]


def test_a_tenth_and_two_tenths_is_three_tenths() -> None:
    space = a_space(a_float("x", 0.1, 0.5, "linear", step=0.1))
    values = [space.from_unit(np.array([(cell + 0.5) / 5]))["x"] for cell in range(5)]
    assert values == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_the_lattice_is_anchored_at_min_and_stays_below_max() -> None:
    space = a_space(a_float("x", 0.05, 1.0, "linear", step=0.3))
    values = {space.from_unit(np.array([unit]))["x"] for unit in np.linspace(0, 1, 101)}
    assert sorted(values) == [0.05, 0.35, 0.65, 0.95]


@pytest.mark.parametrize(
    "parameter",
    [
        a_float("x", 0.0, 1.0, "linear", step=0.25),
        an_int("x", 4, 12, step=2),
        an_int("x", 1, 5),
        an_ordinal("x", [16, 32, 64, 128, 256]),
        a_choice("x", ["a", "b", "c", "d", "e"]),
    ],
    ids=["stepped", "stepped int", "int", "ordinal", "categorical"],
)
def test_both_ends_of_a_lattice_are_as_likely_as_the_rest(parameter: dict[str, Any]) -> None:
    space = a_space(parameter)
    cells = space.columns[0].cell((np.arange(1000) + 0.5) / 1000)
    assert np.bincount(cells.astype(int)).tolist() == [200] * 5


def test_a_log_int_gives_each_value_its_share_of_the_scale() -> None:
    space = a_space(an_int("x", 1, 100, scale="log"))
    column = space.columns[0]
    edges = column.edge(np.arange(101.0))
    assert edges[0] == 0.0
    assert edges[100] == pytest.approx(1.0)
    expected = np.log(10.5 / 9.5) / np.log(100.5 / 0.5)
    assert edges[10] - edges[9] == pytest.approx(expected)
    values = column.numbers(np.linspace(0, 1, 5000))
    assert np.all(np.diff(values) >= 0)
    assert set(values) == set(range(1, 101))


@given(ints())
def test_a_cell_contains_its_centre_and_begins_at_its_edge(parameter: dict[str, Any]) -> None:
    column = a_space(parameter).columns[0]
    assert column.size is not None
    cells = np.unique(np.linspace(0, column.size - 1, 50).round())
    np.testing.assert_array_equal(column.cell(column.centre(cells)), cells)
    assert np.all(column.edge(cells) < column.centre(cells))
    assert np.all(column.centre(cells) < column.edge(cells + 1))


def test_a_huge_lattice_costs_nothing() -> None:
    space = a_space(an_int("x", 1, 10**12), an_int("y", 1, 10**9, scale="log"))
    assignment = space.from_unit(np.array([0.75, 0.5]))
    assert assignment["x"] == pytest.approx(0.75e12, rel=1e-6)
    assert space.from_unit(space.to_unit(assignment)) == assignment


def test_coordinates_outside_the_cube_count_as_the_nearer_end() -> None:
    space = a_space(a_float("x", 1e-3, 1e3), an_int("y", 1, 9))
    assert space.from_unit(np.array([-0.5, 1.5])) == {"x": pytest.approx(1e-3), "y": 9}


def test_values_may_be_lists() -> None:
    space = a_space(a_choice("betas", [[0.9, 0.999], [0.95, 0.999]]), a_choice("nesterov", [True, False]))
    assignment = {"betas": [0.95, 0.999], "nesterov": True}
    assert space.from_unit(space.to_unit(assignment)) == assignment


def test_log_coordinates_measure_orders_of_magnitude() -> None:
    space = a_space(a_float("x", 1e-4, 1.0, "log"))
    assert space.to_unit({"x": 1e-2})[0] == pytest.approx(0.5)


def test_logit_coordinates_are_symmetric_about_a_half() -> None:
    space = a_space(a_float("x", 0.01, 0.99, "logit"))
    assert space.to_unit({"x": 0.5})[0] == pytest.approx(0.5)
    assert space.to_unit({"x": 0.1})[0] == pytest.approx(1 - space.to_unit({"x": 0.9})[0])


# --- conditions -------------------------------------------------------------------------------------------------

NESTED = a_space(
    a_float("momentum", 0.0, 0.99, "linear", when={"optimizer": ["sgd"]}),
    a_choice("optimizer", ["sgd", "adam"]),
    a_choice("schedule", ["none", "step", "cosine"]),
    an_int("period", 1, 10, when={"schedule": ["step", "cosine"], "optimizer": ["sgd"]}),
    a_float("decay", 0.1, 0.5, "linear", step=0.1, when={"period": {"min": 5}}),
    a_float("warmup", 0.0, 1.0, "linear", when={"decay": {"min": 0.3, "max": 0.4}}),
    a_float("late", 0.0, 1.0, "linear", when={"warmup": {"max": 0.5}, "schedule": ["cosine"]}),
)


@given(st.lists(UNIT, min_size=NESTED.dimension, max_size=NESTED.dimension))
def test_activity_of_arrays_agrees_with_the_assignment(coordinates: list[float]) -> None:
    point = np.array(coordinates)
    assignment = NESTED.from_unit(point)
    assert assignment_faults(NESTED.parameters, assignment) == []
    active = NESTED.activity(point[None])[0]
    assert [p.name for p, is_on in zip(NESTED.parameters, active, strict=True) if is_on] == list(assignment)


@given(st.lists(UNIT, min_size=NESTED.dimension, max_size=NESTED.dimension))
def test_an_encoded_point_is_that_of_its_assignment(coordinates: list[float]) -> None:
    point = np.array(coordinates)
    encoded = NESTED.encode(point[None])[0]
    np.testing.assert_allclose(encoded, NESTED.to_unit(NESTED.from_unit(point)), atol=1e-12)


def test_inactive_parameters_are_absent_and_nan() -> None:
    space = a_space(a_choice("kind", ["a", "b"]), a_float("x", 0, 1, "linear", when={"kind": ["a"]}))
    assert space.from_unit(np.array([0.9, 0.5])) == {"kind": "b"}
    np.testing.assert_array_equal(space.to_unit({"kind": "b"}), [0.75, np.nan])


def test_a_child_of_an_inactive_parent_is_inactive() -> None:
    space = a_space(
        a_choice("kind", ["a", "b"]),
        an_int("depth", 1, 4, when={"kind": ["a"]}),
        a_float("x", 0, 1, "linear", when={"depth": [1, 2]}),
    )
    assert space.activity(np.array([[0.75, 0.1, 0.5]])).tolist() == [[True, False, False]]
    assert space.activity(np.array([[0.25, 0.1, 0.5]])).tolist() == [[True, True, True]]


def test_a_lattice_parent_satisfies_a_range_up_to_its_very_bound() -> None:
    space = a_space(
        a_float("p", 0.1, 0.5, "linear", step=0.1), a_float("x", 0, 1, "linear", when={"p": {"min": 0.3, "max": 0.3}})
    )
    points = np.array([[cell / 5 + 0.1, 0.5] for cell in range(5)])
    assert space.activity(points)[:, 1].tolist() == [False, False, True, False, False]


def test_one_and_true_are_different_values_of_a_parent() -> None:
    space = a_space(a_choice("p", [1, True]), a_float("x", 0, 1, "linear", when={"p": [True]}))
    assert space.activity(np.array([[0.25, 0.5], [0.75, 0.5]]))[:, 1].tolist() == [False, True]


@given(st.lists(st.lists(UNIT, min_size=NESTED.dimension, max_size=NESTED.dimension), max_size=5))
def test_many_points_are_encoded_like_each_of_them(rows: list[list[float]]) -> None:
    assignments = [NESTED.from_unit(np.array(row)) for row in rows]
    together = NESTED.to_unit_many(assignments)
    assert together.shape == (len(rows), NESTED.dimension)
    for point, assignment in zip(together, assignments, strict=True):
        np.testing.assert_array_equal(point, NESTED.to_unit(assignment))


# --- keys -------------------------------------------------------------------------------------------------------


def test_two_assignments_share_a_key_only_when_they_are_equal() -> None:
    rng = np.random.default_rng(3)
    space = a_space(
        a_choice("kind", ["a", "b"]), an_int("n", 1, 3, scale="log"), an_int("m", 1, 2, when={"kind": ["a"]})
    )
    points = space.encode(rng.random((200, 3)))
    by_key = {space.key(point): space.from_unit(np.nan_to_num(point)) for point in points}
    assert len(by_key) == 3 * 2 + 3
    for point in points:
        assert by_key[space.key(point)] == space.from_unit(np.nan_to_num(point))
    assert space.keys(points) == [space.key(point) for point in points]
