"""Successive halving, rung by rung."""

from typing import Any

import pytest

from builders.experiments import a_scheduler
from builders.race import NAN, Race
from podium_contract.lifecycle import Phase


def a_race(low: int = 1, high: int = 9, max_trials: int = 1000, **settings: Any) -> Race:
    return Race(scheduler=a_scheduler("halving", low, high, **settings), max_trials=max_trials)


def test_the_worked_bracket_of_81_runs_as_planned() -> None:
    race = a_race(1, 81)
    race.start_and_rest(*(number / 100 for number in range(81)))
    sizes = [81]
    while moves := race.promote_all():
        sizes.append(len(moves))
        race.dismiss()
        for number, _ in moves:
            race.rest(number, number / 1000)
    assert sizes == [81, 27, 9, 3, 1]
    assert race.history.step.max() == 81


def test_nobody_is_promoted_before_the_rung_is_full() -> None:
    race = a_race()
    race.start_and_rest(*[0.5] * 8)
    assert race.promote() is None
    assert race.dismiss() == []


def test_the_best_third_goes_on_and_the_rest_is_stopped() -> None:
    race = a_race()
    race.start_and_rest(0.9, 0.8, 0.7, 0.1, 0.6, 0.2, 0.5, 0.3, 0.4)
    assert race.promote_all() == [(4, 3), (6, 3), (8, 3)]
    assert race.dismiss() == [1, 2, 3, 5, 7, 9]


def test_a_dismissal_says_why() -> None:
    race = a_race()
    race.start_and_rest(0.9, 0.8, 0.7, 0.1, 0.6, 0.2, 0.5, 0.3, 0.4)
    stop = race.scheduler.dismissals(race.history, True)[0]
    assert (stop.trial, stop.step, stop.reason) == (1, 1, "loss 0.9 at epoch 1 is outside the best third of 9")


def test_a_rung_waits_for_stragglers_while_new_trials_fill_the_next_bracket() -> None:
    race = a_race()
    race.start(9)
    for number in range(1, 9):
        race.rest(number, 0.5)
    race.start_and_rest(0.1)
    assert race.history.trials[9].bracket == 0
    assert race.history.trials[10].bracket == 1
    assert race.promote() is None
    race.rest(9, 0.4)
    assert race.promote_all() == [(9, 3), (1, 3), (2, 3)]


def test_a_failed_trial_counts_as_the_worst_and_holds_nothing_up() -> None:
    race = a_race()
    race.start(9)
    race.fail(1)
    race.fail(2)
    for number in range(3, 10):
        race.rest(number, number / 10)
    assert race.promote_all() == [(3, 3), (4, 3), (5, 3)]


def test_promotions_that_wait_for_a_slot_are_not_ranked_away() -> None:
    race = a_race()
    race.start_and_rest(*(number / 10 for number in range(9)))
    first = race.promote()
    assert first is not None
    race.dismiss()
    race.rest(first.trial, 0.9)
    assert race.promote_all() == [(2, 3), (3, 3)], "the next rung is not complete before these have come"


def test_a_promoted_trial_that_fails_does_not_call_back_the_dismissed() -> None:
    race = a_race()
    race.start_and_rest(*(number / 10 for number in range(9)))
    race.promote_all()
    race.dismiss()
    race.fail(1)
    assert race.promote() is None
    race.rest(2, 0.1)
    race.rest(3, 0.2)
    assert race.promote_all() == [(2, 9)]


def test_trials_without_a_usable_loss_are_dismissed_even_if_places_stay_empty() -> None:
    race = a_race()
    race.start_and_rest(*[NAN] * 8, 0.5)
    assert race.promote_all() == [(9, 3)]
    assert race.dismiss() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_bracket_of_failures_only_leaves_the_next_one_alone() -> None:
    race = a_race()
    race.start(9)
    for number in range(1, 10):
        race.fail(number)
    race.start_and_rest(*(number / 10 for number in range(9)))
    assert race.promote_all() == [(10, 3), (11, 3), (12, 3)]


def test_a_bracket_that_cannot_be_filled_shrinks_and_still_has_a_winner() -> None:
    race = a_race()
    race.start_and_rest(0.4, 0.3, 0.2, 0.1)
    assert race.promote(more_trials=True) is None
    assert race.promote_all(more_trials=False) == [(4, 3)]
    assert race.dismiss(more_trials=False) == [1, 2, 3]
    race.rest(4, 0.1)
    assert race.promote_all(more_trials=False) == [(4, 9)]


def test_a_bracket_ranked_early_is_not_joined_by_later_trials() -> None:
    race = a_race()
    race.start_and_rest(0.4, 0.3, 0.2, 0.1)
    race.promote_all(more_trials=False)
    race.dismiss(more_trials=False)
    race.start()
    assert race.history.trials[5].bracket == 1


def test_brackets_are_no_larger_than_the_limit_of_trials() -> None:
    race = a_race(1, 81, max_trials=10)
    race.start_and_rest(*(number / 10 for number in range(10)))
    assert race.promote_all() == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.option("halving.bracketSize")
def test_the_size_of_brackets_can_be_set() -> None:
    race = a_race(bracketSize=3)
    race.start_and_rest(0.3, 0.2, 0.1)
    assert race.promote_all() == [(3, 3)]


def test_a_trial_that_ended_by_itself_does_not_stall_its_rung() -> None:
    race = a_race(bracketSize=3)
    race.start(3)
    race.report(1, 1, 0.1)
    race.history.settle(1, Phase.SUCCEEDED)
    race.rest(2, 0.2)
    race.rest(3, 0.3)
    assert race.promote_all() == [(2, 3)]


def test_rungs_count_all_brackets_together() -> None:
    race = a_race(bracketSize=3)
    race.start_and_rest(0.3, 0.2, 0.1, 0.3, 0.2, 0.1)
    race.promote_all()
    rungs = [(rung.budget, rung.running, rung.reached, rung.promoted) for rung in race.scheduler.rungs(race.history)]
    assert rungs == [(1, 0, 6, 2), (3, 2, 0, 0), (9, 0, 0, 0)]
