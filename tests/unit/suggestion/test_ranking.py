"""Which trials did better: one order over budgets, failures, constraints and several objectives."""

import itertools
import math

import numpy as np
import pytest

from builders.experiments import a_float
from builders.spaces import a_history, a_report, with_trial
from podium_contract.lifecycle import Phase
from podium_contract.trial import Observation
from podium_suggestion.history import History, TrialHistory
from podium_suggestion.ranking import levels, ranking

X = a_float("x", 0.0, 1.0, "linear")


def order_of(history: History) -> list[int]:
    """The ranked trials' numbers, best first."""
    return [int(row) + 1 for row in ranking(history)]


def at_rung(history: History, *curve: float, target: int | None = None) -> None:
    """Add a trial that reports a loss per step and rests at its last one, or was promoted to `target` and still trains."""
    number = history.rows + 1
    history.add(TrialHistory(number, {"x": number / 100}, target=target or len(curve)))
    for step, loss in enumerate(curve, start=1):
        history.observe(number, a_report(step, loss=loss))
    history.settle(number, Phase.RUNNING if target else Phase.PAUSED)


# --- one objective, one budget ----------------------------------------------------------------------------------


def test_finished_trials_rank_by_their_last_loss() -> None:
    history = a_history(X)
    for curve in ([0.1, 0.5], [0.9, 0.2], [0.3, 0.3]):
        with_trial(history, {"x": 0.5}, *curve)
    assert order_of(history) == [2, 3, 1]


def test_ties_rank_in_order_of_numbers() -> None:
    history = a_history(X)
    for _ in range(4):
        with_trial(history, {"x": 0.5}, loss=1.0)
    assert order_of(history) == [1, 2, 3, 4]


def test_failed_unusable_and_pending_trials_are_not_ranked() -> None:
    history = a_history(X)
    with_trial(history, {"x": 0.1}, 0.1, phase=Phase.FAILED)
    with_trial(history, {"x": 0.2}, loss=math.nan)
    with_trial(history, {"x": 0.3}, 0.1, 0.1, phase=Phase.RUNNING)
    with_trial(history, {"x": 0.4})
    with_trial(history, {"x": 0.5}, loss=0.7)
    assert order_of(history) == [5]


def test_no_trials_are_no_ranking() -> None:
    assert order_of(a_history(X)) == []


# --- several budgets --------------------------------------------------------------------------------------------


def test_trials_of_one_rung_rank_by_their_losses_there() -> None:
    history = a_history(X)
    for loss in (0.3, 0.1, 0.2):
        at_rung(history, loss)
    assert order_of(history) == [2, 3, 1]


def test_losses_of_different_budgets_are_not_compared() -> None:
    history = a_history(X)
    at_rung(history, 0.5, 0.1)  # the worst at step 1, however low its loss has become by step 2
    at_rung(history, 0.4)
    at_rung(history, 0.3)
    assert order_of(history) == [3, 2, 1]


def test_an_early_promotion_is_worth_nothing_once_better_trials_have_come() -> None:
    history = a_history(X)
    at_rung(history, 0.50, 0.45, 0.44)  # promoted as the best of three
    at_rung(history, 0.60)
    at_rung(history, 0.70)
    for loss in (0.20, 0.21, 0.22):
        at_rung(history, loss)
    assert order_of(history) == [4, 5, 6, 1, 2, 3]


def test_trials_that_were_trained_further_are_ordered_by_the_better_evidence() -> None:
    history = a_history(X)
    at_rung(history, 0.10, 0.10, 0.30)
    at_rung(history, 0.20, 0.20, 0.20)
    at_rung(history, 0.15)
    assert order_of(history) == [2, 3, 1], "the two at the top keep places 1 and 3, and change them"


def test_a_promoted_trial_keeps_its_rank_while_it_trains_on() -> None:
    history = a_history(X)
    at_rung(history, 0.3)
    at_rung(history, 0.1, target=9)
    at_rung(history, 0.2)
    assert history.pending.tolist() == [False, True, False]
    assert order_of(history) == [2, 3, 1]


def test_a_pruned_trial_competes_up_to_the_step_it_was_stopped_at() -> None:
    history = a_history(X)
    with_trial(history, {"x": 0.1}, 0.9, 0.8, 0.1)
    with_trial(history, {"x": 0.2}, 0.5, 0.6, phase=Phase.PRUNED)
    with_trial(history, {"x": 0.3}, 0.7, 0.2, 0.2)
    assert order_of(history) == [1, 2, 3], "2 beats both at step 2 or 1, and the finished two share the other places"


def test_levels_are_the_steps_at_which_trials_rest() -> None:
    history = a_history(X)
    for curve in ([0.1], [0.1] * 3, [0.1] * 9, [0.2]):
        at_rung(history, *curve)
    assert levels(history) == [1, 3, 9]


def test_of_many_different_steps_the_least_and_powers_of_two_are_levels() -> None:
    history = a_history(X)
    for length in range(3, 30):
        with_trial(history, {"x": 0.1}, *[0.5] * length, phase=Phase.PRUNED)
    assert levels(history) == [3, 4, 8, 16]
    assert sorted(order_of(history)) == list(range(1, 28))


# --- constraints ------------------------------------------------------------------------------------------------


def test_feasible_trials_come_first_then_the_least_violation() -> None:
    history = a_history(X, constraints=({"metric": "size", "max": 1.0},))
    for loss, size in ((0.1, 3.0), (0.9, 0.5), (0.2, 2.0), (0.8, 1.0)):
        with_trial(history, {"x": 0.5}, loss=loss, size=size)
    with_trial(history, {"x": 0.5}, loss=0.0)
    assert order_of(history) == [4, 2, 3, 1, 5]


# --- several objectives -----------------------------------------------------------------------------------------


def two_objectives(*values: tuple[float, float]) -> History:
    history = a_history(X, objectives=(("loss", "minimize"), ("speed", "maximize")))
    for loss, speed in values:
        with_trial(history, {"x": 0.5}, loss=loss, speed=speed)
    return history


def test_fronts_come_one_after_another() -> None:
    history = two_objectives((1, 1), (2, 2), (3, 3), (2, 1), (3, 2), (3, 1))
    order = order_of(history)
    assert [set(order[:3]), set(order[3:5]), set(order[5:])] == [{1, 2, 3}, {4, 5}, {6}]


def test_within_a_front_the_ends_and_the_lonely_come_first() -> None:
    history = two_objectives((0, 0), (1, 10), (1.1, 10.5), (1.2, 11), (10, 20))
    order = order_of(history)
    assert set(order[:2]) == {1, 5}
    assert order[-1] == 3


@pytest.mark.parametrize("objectives", [2, 3])
def test_no_trial_ranks_behind_one_that_it_dominates(objectives: int) -> None:
    rng = np.random.default_rng(objectives)
    metrics = [f"m{index}" for index in range(objectives)]
    history = a_history(X, objectives=[(metric, "minimize") for metric in metrics])
    for row in rng.integers(0, 6, (60, objectives)):
        number = history.rows + 1
        history.add(TrialHistory(number, {"x": 0.5}))
        history.observe(
            number, Observation(attempt=1, step=1, metrics=dict(zip(metrics, map(float, row), strict=True)))
        )
        history.settle(number, Phase.SUCCEEDED)
    losses = history.loss[ranking(history)]
    for earlier, later in itertools.combinations(losses, 2):
        assert not ((later <= earlier).all() and (later < earlier).any())


def test_the_first_places_are_right_when_only_they_are_asked_for() -> None:
    rng = np.random.default_rng(0)
    history = two_objectives(*[(float(loss), float(speed)) for loss, speed in rng.random((80, 2))])
    some = ranking(history, places=10)
    np.testing.assert_array_equal(some[:10], ranking(history)[:10])
    assert sorted(some) == list(range(80))
