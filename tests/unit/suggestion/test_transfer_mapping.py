"""Configurations of one space in terms of another: by name, kind and value, whatever the two spaces are."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.experiments import a_choice, a_float, an_int, an_ordinal
from builders.spaces import a_space
from podium_contract.parameters import Assignment, is_active
from podium_suggestion.samplers.base import trial_rng
from podium_suggestion.space import Space
from podium_suggestion.transfer.mapping import SpaceMap

NAMES = st.sampled_from(["a", "b", "c", "d"])


@st.composite
def parameters(draw: Any) -> list[dict[str, Any]]:
    """One to four parameters of any kind, a later one perhaps on condition of the one before."""
    made: list[dict[str, Any]] = []
    for name in draw(st.lists(NAMES, min_size=1, max_size=4, unique=True)):
        low = draw(st.integers(1, 5))
        one: dict[str, Any] = draw(
            st.sampled_from(
                [
                    a_float(name, low, low + 3, "linear"),
                    a_float(name, low, low * 10, "log"),
                    a_float(name, low, low + 1, "linear", step=0.3),
                    an_int(name, low, low + 4),
                    an_int(name, low, low + 9, step=2),
                    an_ordinal(name, [1, 2, 4, 8]),
                    a_choice(name, draw(st.permutations(["x", "y", True, 2]))),
                ]
            )
        )
        if made and draw(st.booleans()):
            parent = made[-1]
            one["when"] = {parent["name"]: parent["values"][:2] if "values" in parent else {"min": parent["min"] + 1}}
        made.append(one)
    return made


@given(parameters(), parameters(), st.integers(0, 2**31))
def test_what_is_mapped_is_a_part_of_a_configuration_of_the_other_space(
    origin: list[Any], destination: list[Any], seed: int
) -> None:
    source, target = a_space(*origin), a_space(*destination)
    mapping = SpaceMap(source.parameters, target.parameters)
    mapped = mapping(source.sample(trial_rng(seed, 1)))
    if mapped is None:
        return
    by_name = {parameter.name: parameter for parameter in target.parameters}
    assert mapped.keys() <= set(mapping.shared)
    for name, value in mapped.items():
        assert by_name[name].contains(value)
        assert is_active(by_name[name], mapped), "a conditional value comes with its parents"


@given(parameters(), st.integers(0, 2**31))
def test_a_space_maps_onto_itself_unchanged(own: list[Any], seed: int) -> None:
    space = a_space(*own)
    assignment = space.sample(trial_rng(seed, 1))
    assert SpaceMap(space.parameters, space.parameters)(assignment) == assignment


@given(parameters(), parameters(), st.integers(0, 2**31))
def test_mapping_twice_is_mapping_once(origin: list[Any], destination: list[Any], seed: int) -> None:
    source, target = a_space(*origin), a_space(*destination)
    mapped = SpaceMap(source.parameters, target.parameters)(source.sample(trial_rng(seed, 1)))
    if mapped is not None:
        assert SpaceMap(target.parameters, target.parameters)(mapped) == mapped


def map_of(origin: Space, destination: Space, assignment: Assignment) -> Assignment | None:
    return SpaceMap(origin.parameters, destination.parameters)(assignment)


RATE = a_float("lr", 1e-4, 1.0)


@pytest.mark.parametrize(
    ("origin", "destination", "value", "mapped"),
    [
        (a_float("p", 0, 9, "linear"), an_int("p", 0, 9), 3.6, 4),
        (an_int("p", 0, 9), a_float("p", 0, 9, "linear"), 3, 3.0),
        (an_int("p", 0, 9), an_int("p", 0, 9, step=4), 7, 8),
        (an_int("p", 0, 9), an_int("p", 0, 9, step=4), 9, 8),
        (a_float("p", 0, 1, "linear"), a_float("p", 0, 1, "linear", step=0.1), 0.29, 0.3),
        (an_ordinal("p", ["a", 2]), a_choice("p", ["z", 2]), 2, 2),
        (a_choice("p", ["x", "y"]), a_choice("p", ["y", "z"]), "y", "y"),
        (an_ordinal("p", [16, 48]), an_ordinal("p", [32, 64, 128]), 48, 64),
        (an_int("p", 1, 100), an_ordinal("p", [10, 20, 40]), 29, 40),
        (an_ordinal("p", [16, 48]), a_float("p", 1, 64, "log"), 48, 48.0),
        (an_int("p", -5, 5), an_ordinal("p", [-4, 0, 4]), 1, 0),
    ],
)
def test_values_become_the_nearest_of_the_other_parameter(
    origin: Any, destination: Any, value: Any, mapped: Any
) -> None:
    assert map_of(a_space(origin, RATE), a_space(destination), {"p": value, "lr": 0.1}) == {"p": mapped}


@pytest.mark.parametrize(
    ("origin", "destination", "value"),
    [
        (a_float("p", 0, 1, "linear"), a_float("p", 0, 0.5, "linear"), 0.6),
        (a_choice("p", ["x", "y"]), a_choice("p", ["x", "z"]), "y"),
        (an_ordinal("p", [16, 48]), an_ordinal("p", [32, 64]), 16),
        (an_ordinal("p", ["S", "L"]), an_ordinal("p", ["S", "M"]), "L"),
    ],
)
def test_a_configuration_outside_is_left_out_rather_than_moved(origin: Any, destination: Any, value: Any) -> None:
    assert map_of(a_space(origin, RATE), a_space(destination, RATE), {"p": value, "lr": 0.1}) is None


def test_a_number_is_no_choice() -> None:
    assert SpaceMap(a_space(an_int("p", 1, 2)).parameters, a_space(a_choice("p", [1, 2])).parameters).shared == []


def test_other_parameters_are_ignored_and_new_ones_stay_open() -> None:
    mapping = SpaceMap(a_space(RATE, an_int("old", 1, 2)).parameters, a_space(RATE, an_int("new", 1, 2)).parameters)
    assert mapping.shared == ["lr"]
    assert mapping({"lr": 0.1, "old": 1}) == {"lr": 0.1}


def test_a_child_without_its_parent_is_not_shared() -> None:
    child = a_float("momentum", 0, 1, "linear")
    origin = a_space(RATE, child)
    destination = a_space(RATE, a_choice("opt", ["sgd"]), {**child, "when": {"opt": ["sgd"]}})
    assert SpaceMap(origin.parameters, destination.parameters).shared == ["lr"]


def test_what_is_inactive_in_the_other_space_is_left_out_whatever_its_value() -> None:
    child, opt = a_float("momentum", 0, 1, "linear"), a_choice("opt", ["sgd", "adam"])
    destination = a_space(opt, {**child, "max": 0.5, "when": {"opt": ["sgd"]}})
    assert map_of(a_space(opt, child), destination, {"opt": "adam", "momentum": 0.9}) == {"opt": "adam"}
    assert map_of(a_space(opt, child), destination, {"opt": "sgd", "momentum": 0.9}) is None
