"""Rung arithmetic against plain integer loops."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podium_suggestion.rungs import (
    Rung,
    bracket_plan,
    full_bracket_size,
    hyperband_brackets,
    rung_budgets,
    shares,
    survivors,
)


@pytest.mark.parametrize("eta", range(2, 11))
@pytest.mark.parametrize("height", range(1, 9))
@pytest.mark.parametrize("minimum", [1, 2, 7])
def test_a_power_of_eta_has_exactly_its_rungs(eta: int, height: int, minimum: int) -> None:
    maximum = minimum
    for _ in range(height):
        maximum *= eta
    budgets = rung_budgets(minimum, maximum, eta)
    assert len(budgets) == height + 1
    assert budgets[0] == minimum
    assert budgets[-1] == maximum
    assert all(above == below * eta for below, above in pairwise(budgets))


@pytest.mark.parametrize(("maximum", "eta"), [(243, 3), (1000, 10), (1_000_000, 10), (125, 5), (216, 6)])
def test_no_rung_is_lost_where_logarithms_lose_one(maximum: int, eta: int) -> None:
    assert rung_budgets(1, maximum, eta)[-2] * eta == maximum


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(1, 100_000), st.integers(2, 20))
def test_a_ladder_climbs_from_min_to_max_by_at_most_eta(minimum: int, more: int, eta: int) -> None:
    maximum = minimum + more
    budgets = rung_budgets(minimum, maximum, eta)
    assert budgets[0] == minimum
    assert budgets[-1] == maximum
    assert all(below < above <= below * eta for below, above in pairwise(budgets))
    assert all(above == below * eta for below, above in pairwise(budgets[:-1]))


@pytest.mark.parametrize(("minimum", "maximum", "eta"), [(0, 9, 3), (9, 9, 3), (10, 9, 3), (1, 9, 1)])
def test_a_ladder_that_cannot_be_climbed_is_refused(minimum: int, maximum: int, eta: int) -> None:
    with pytest.raises(ValueError, match="needs 1 <= min < max"):
        rung_budgets(minimum, maximum, eta)


def test_the_classic_bracket_of_81() -> None:
    bracket = bracket_plan(1, 81, 3)
    assert bracket.rungs == (Rung(81, 1), Rung(27, 3), Rung(9, 9), Rung(3, 27), Rung(1, 81))
    assert [rung.trials * rung.budget for rung in bracket.rungs] == [81] * 5
    assert bracket.steps_from_scratch == 405
    assert bracket.steps_resumed == 81 + 27 * 2 + 9 * 6 + 3 * 18 + 1 * 54 == 297
    assert bracket.steps_in_full == 6561


def test_a_bracket_that_cannot_be_filled_still_has_a_winner() -> None:
    assert [rung.trials for rung in bracket_plan(1, 81, 3, trials=10).rungs] == [10, 3, 1, 1, 1]


@settings(deadline=None)
@given(st.integers(1, 10), st.integers(1, 5000), st.integers(2, 6))
def test_a_full_bracket_leaves_one_at_the_top(minimum: int, more: int, eta: int) -> None:
    budgets = rung_budgets(minimum, minimum + more, eta)
    trials = full_bracket_size(budgets, eta)
    for _ in budgets[1:]:
        assert trials % eta == 0
        trials = survivors(trials, eta)
    assert trials == 1


@settings(deadline=None)
@given(st.integers(1, 1000), st.integers(2, 6))
def test_resuming_never_costs_more_than_starting_again(trials: int, eta: int) -> None:
    bracket = bracket_plan(1, 81, eta, trials)
    assert bracket.steps_resumed <= bracket.steps_from_scratch
    assert bracket.steps_resumed <= bracket.steps_in_full


def test_hyperbands_round_of_81_is_that_of_the_paper() -> None:
    """Table 1 of Li et al. (2018), with the paper's ceil: 34, 15 and 8 trials where the first version of it had 27, 9, 6."""
    rounds = [[(rung.trials, rung.budget) for rung in bracket.rungs] for bracket in hyperband_brackets(1, 81, 3)]
    assert rounds == [
        [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
        [(34, 3), (11, 9), (3, 27), (1, 81)],
        [(15, 9), (5, 27), (1, 81)],
        [(8, 27), (2, 81)],
        [(5, 81)],
    ]


def test_hyperband_does_not_lose_a_bracket_to_rounding() -> None:
    """log(243) / log(3) is 4.999... in floating point, which costs others the bracket of 243 trials."""
    assert [bracket.rungs[0].trials for bracket in hyperband_brackets(1, 243, 3)] == [243, 98, 41, 18, 9, 6]
    assert [bracket.rungs[0].trials for bracket in hyperband_brackets(1, 1000, 10)] == [1000, 134, 20, 4]


@settings(deadline=None)
@given(st.integers(1, 10), st.integers(1, 5000), st.integers(2, 6))
def test_each_bracket_of_hyperband_climbs_one_rung_less_and_reaches_the_top(minimum: int, more: int, eta: int) -> None:
    budgets = rung_budgets(minimum, minimum + more, eta)
    brackets = hyperband_brackets(minimum, minimum + more, eta)
    assert [tuple(rung.budget for rung in bracket.rungs) for bracket in brackets] == [
        budgets[k:] for k in range(len(budgets))
    ]
    assert brackets[0].rungs[0].trials == full_bracket_size(budgets, eta)
    assert brackets[-1].rungs[0].trials == len(budgets)


@settings(deadline=None)
@given(st.integers(0, 500), st.lists(st.integers(1, 100), min_size=1, max_size=8))
def test_shares_add_up_and_are_fair_to_within_one(total: int, sizes: list[int]) -> None:
    parts = shares(total, sizes)
    assert sum(parts) == total
    assert all(abs(part - total * size / sum(sizes)) < 1 for part, size in zip(parts, sizes, strict=True))
