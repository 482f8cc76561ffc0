"""Combinations are counted and reached by index: the same as listing them all, and as quick for a billion."""

import itertools
from typing import Any

import numpy as np
import pytest

from builders.experiments import a_choice, a_float, an_int, an_ordinal
from builders.spaces import a_space
from podium_contract.parameters import Assignment, is_active
from podium_suggestion.samplers.combinations import Cells, Combinations, all_configurations
from podium_suggestion.space import Space

SPACES = {
    "flat": [a_choice("c", ["a", "b", "c"]), an_int("n", 1, 4), a_choice("only", ["one"])],
    "conditional": [a_choice("c", ["a", "b"]), an_int("n", 1, 3, when={"c": ["b"]})],
    "nested": [
        an_int("leaf", 1, 3, when={"twig": ["x"]}),
        a_choice("twig", ["x", "y"], when={"branch": {"min": 2}}),
        an_int("branch", 1, 3),
        a_choice("free", [True, False]),
    ],
    "two parents": [
        a_choice("a", [1, 2]),
        a_choice("b", [1, 2]),
        an_ordinal("both", [1, 2, 3], when={"a": [2], "b": [2]}),
        an_ordinal("one", [1, 2], when={"a": [1]}),
    ],
    "never active": [
        a_choice("c", ["a", "b"]),
        an_int("n", 1, 3, when={"c": ["a"]}),
        an_int("m", 1, 2, when={"n": {"min": 9}}),
    ],
}


def listed(space: Space) -> list[Assignment]:
    """Every configuration, the plain way: the full product, and what is inactive dropped."""
    sizes = [column.size or 0 for column in space.columns]
    assignments: list[Assignment] = []
    for cells in itertools.product(*map(range, sizes)):
        assignment: Assignment = {}
        for parameter, cell in zip(space.parameters, cells, strict=True):
            if is_active(parameter, assignment):
                assignment[parameter.name] = parameter.lattice_value(cell)
        if assignment not in assignments:
            assignments.append(assignment)
    return assignments


@pytest.mark.parametrize("name", SPACES)
def test_every_configuration_is_reached_by_exactly_one_index(name: str) -> None:
    space = a_space(*SPACES[name])
    configurations = all_configurations(space)
    assert configurations is not None
    points = [configurations.point(index) for index in range(configurations.size)]
    reached = [space.from_unit(point) for point in points]
    expected = listed(space)
    assert len(reached) == len(expected)
    assert all(assignment in expected for assignment in reached)
    assert len({space.key(point) for point in points}) == len(points)
    for point, assignment in zip(points, reached, strict=True):
        np.testing.assert_array_equal(point, space.to_unit(assignment))


def test_an_index_beyond_the_last_is_refused() -> None:
    configurations = all_configurations(a_space(*SPACES["nested"]))
    assert configurations is not None
    with pytest.raises(IndexError):
        configurations.point(configurations.size)


def test_a_space_with_a_continuous_parameter_cannot_be_counted() -> None:
    assert all_configurations(a_space(a_choice(), a_float())) is None


def test_more_configurations_than_any_integer_type_holds_are_counted_at_once() -> None:
    space = a_space(*[an_int(f"n{index}", 1, 10**9) for index in range(20)], a_choice("c", [1, 2, 3]))
    configurations = all_configurations(space)
    assert configurations is not None
    assert configurations.size == 3 * 10**180
    last = space.from_unit(configurations.point(configurations.size - 1))
    assert last == {**{f"n{index}": 10**9 for index in range(20)}, "c": 3}


def test_independent_conditions_do_not_multiply_the_work() -> None:
    parents = [a_choice(f"p{index}", list(range(8))) for index in range(30)]
    children = [an_int(f"n{index}", 1, 5, when={f"p{index}": [0]}) for index in range(30)]
    configurations = all_configurations(a_space(*parents, *children))
    assert configurations is not None
    assert configurations.size == (7 + 5) ** 30


def test_parents_with_too_many_states_are_not_counted() -> None:
    assert all_configurations(a_space(an_int("n", 1, 10**6), an_int("m", 1, 2, when={"n": {"min": 5}}))) is None


def test_cells_end_like_any_sequence() -> None:
    column = a_space(an_ordinal("b", [1, 2, 3, 4])).columns[0]
    assert list(Cells(column)) == [0.125, 0.375, 0.625, 0.875]


def test_chosen_coordinates_are_combined_where_they_are_active() -> None:
    space = a_space(a_float("x", 0, 1, "linear"), a_float("y", 0, 1, "linear", when={"x": {"min": 0.5}}))
    choices: list[Any] = [[0.0, 1.0], [0.25, 0.5, 0.75]]
    combinations = Combinations(space, choices)
    assert [space.from_unit(combinations.point(index)) for index in range(combinations.size)] == [
        {"x": 0.0},
        {"x": 1.0, "y": 0.25},
        {"x": 1.0, "y": 0.5},
        {"x": 1.0, "y": 0.75},
    ]
