"""How clones depart from their parents, parameter by parameter."""

from typing import Any

import numpy as np
import pytest

from builders.experiments import a_choice, a_float, an_int, an_ordinal
from builders.spaces import a_space
from podium_contract.parameters import assignment_faults
from podium_suggestion.schedulers.explore import Perturbation, explore, perturbed, told


def moved(parameter: dict[str, Any], value: float, factor: float) -> Any:
    (column,) = a_space(parameter).columns
    return column.from_unit(perturbed(column, value, factor))


@pytest.mark.parametrize(
    ("parameter", "value", "factor", "expected"),
    [
        (a_float("lr", 1e-5, 1e-1), 0.01, 1.2, 0.012),
        (a_float("lr", 1e-5, 1e-1), 0.01, 0.8, 0.008),
        (a_float("lr", 1e-5, 1e-1), 0.09, 1.2, 0.1),
        (a_float("size", 1.0, 10.0, "linear"), 5.0, 0.8, 4.0),
        (a_float("dropout", 0.0, 0.5, "linear"), 0.0, 1.2, 0.1),
        (a_float("dropout", 0.0, 0.5, "linear"), 0.05, 0.8, 0.0),
        (a_float("shift", -1.0, 1.0, "linear"), -0.5, 1.2, -0.1),
        (a_float("beta", 0.9, 0.9999, "logit"), 0.99, 2.0, 198 / 199),
        (an_int("width", 16, 256, scale="log"), 100, 1.2, 120),
        (an_int("depth", 1, 8), 2, 1.2, 3),
        (an_int("depth", 1, 8), 2, 0.8, 1),
        (an_int("depth", 1, 8), 8, 1.2, 8),
        (an_int("depth", 4, 12, step=2), 6, 1.1, 8),
        (a_float("rate", 0.1, 0.9, "linear", step=0.1), 0.5, 1.2, 0.6),
        (an_ordinal("batch", [16, 32, 64]), 32, 1.2, 64),
        (an_ordinal("batch", [16, 32, 64]), 32, 0.8, 16),
        (an_ordinal("batch", [16, 32, 64]), 64, 1.2, 64),
        (an_int("depth", 1, 8), 5, 1.0, 5),
    ],
)
def test_values_move_by_the_factor_within_their_range(
    parameter: dict[str, Any], value: float, factor: float, expected: float
) -> None:
    assert moved(parameter, value, factor) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def clones(
    assignment: dict[str, Any], *parameters: dict[str, Any], count: int = 200, **how: Any
) -> list[dict[str, Any]]:
    """Clones of one assignment over a space."""
    space = a_space(*parameters)
    perturbation = Perturbation(**{"factors": (0.8, 1.2), "resample_probability": 0.25, **how})
    return [explore(space, assignment, perturbation, np.random.default_rng(seed)) for seed in range(count)]


def test_factors_are_those_that_were_given() -> None:
    values = {c["lr"] for c in clones({"lr": 0.001}, a_float(), factors=(0.5, 2.0), resample_probability=0.0)}
    assert sorted(values) == pytest.approx([0.0005, 0.002])


def test_the_share_that_is_drawn_anew_is_the_probability() -> None:
    for probability in (0.0, 0.25, 1.0):
        made = clones({"lr": 0.001}, a_float(), count=1000, resample_probability=probability)
        fresh = sum(min(abs(c["lr"] - 0.0008), abs(c["lr"] - 0.0012)) > 1e-9 for c in made)
        assert fresh / 1000 == pytest.approx(probability, abs=0.05)


def test_only_mutable_parameters_change_and_the_others_to_the_last_bit() -> None:
    value = 0.1 + 0.2
    made = clones({"lr": 0.001, "keep": value}, a_float(), a_float("keep", 0.0, 1.0, "linear"), mutable=["lr"])
    assert {c["keep"] for c in made} == {value}
    assert len({c["lr"] for c in made}) > 2


def test_a_category_stays_unless_it_is_drawn_anew() -> None:
    stay = clones({"optimizer": "adam"}, a_choice(), resample_probability=0.0)
    drawn = clones({"optimizer": "adam"}, a_choice(), resample_probability=1.0)
    assert {c["optimizer"] for c in stay} == {"adam"}
    assert {c["optimizer"] for c in drawn} == {"sgd", "adam", "rmsprop"}


def test_conditions_are_kept_whatever_the_parents_turn_to() -> None:
    parameters = (a_choice(), a_float("momentum", 0.0, 0.99, "linear", when={"optimizer": ["sgd"]}), a_float())
    made = clones({"optimizer": "adam", "lr": 0.001}, *parameters, resample_probability=0.5)
    space = a_space(*parameters)
    assert not any(assignment_faults(space.parameters, clone) for clone in made)
    momenta = [clone["momentum"] for clone in made if clone["optimizer"] == "sgd"]
    assert len(momenta) > 10
    assert len(set(momenta)) == len(momenta), "one that becomes active has no value to start from"
    assert not any("momentum" in clone for clone in made if clone["optimizer"] != "sgd")


def test_one_that_becomes_active_gets_a_value_though_it_is_not_mutable() -> None:
    parameters = (a_choice(), a_float("momentum", 0.0, 0.99, "linear", when={"optimizer": ["sgd"]}))
    made = clones({"optimizer": "adam"}, *parameters, resample_probability=1.0, mutable=["optimizer"])
    assert any("momentum" in clone for clone in made)


def test_what_changed_is_told() -> None:
    before = {"lr": 0.01, "optimizer": "sgd", "momentum": 0.9, "depth": 2}
    after = {"lr": 0.012, "optimizer": "adam", "depth": 2}
    assert told(before, after) == "lr 0.01 -> 0.012, optimizer sgd -> adam, momentum 0.9 -> none"
    assert told(before, before) == "nothing changed"


def test_what_is_active_follows_from_the_value_that_is_kept_and_not_from_its_rounded_coordinate() -> None:
    parameters = a_float("lr", 1e-5, 1e-1), a_float("w", 0.0, 1.0, "linear", when={"lr": {"max": 1e-3}})
    space = a_space(*parameters)
    clone = explore(space, {"lr": 1e-3, "w": 0.5}, Perturbation((0.8, 1.2), 0.25, ["w"]), np.random.default_rng(0))
    assert clone["lr"] == 1e-3
    assert assignment_faults(list(space.parameters), clone) == []
