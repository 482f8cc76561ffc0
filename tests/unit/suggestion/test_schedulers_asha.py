"""ASHA, promotion by promotion."""

from typing import Any

import pytest

from builders.experiments import a_scheduler
from builders.race import INF, NAN, Race
from podium_contract.lifecycle import Phase


def a_race(low: int = 1, high: int = 81, **settings: Any) -> Race:
    return Race(scheduler=a_scheduler("asha", low, high, **settings), max_trials=10_000)


def test_a_trial_starts_at_the_lowest_rung() -> None:
    race = a_race()
    race.start()
    assert race.history.trials[1].target == 1


def test_one_of_three_is_promoted() -> None:
    race = a_race()
    race.start_and_rest(0.3, 0.1)
    assert race.promote() is None
    race.start_and_rest(0.2)
    assert race.promote_all() == [(2, 3)]


def test_three_of_nine_are_promoted() -> None:
    race = a_race()
    race.start_and_rest(0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
    assert race.promote_all() == [(9, 3), (8, 3), (7, 3)]


def test_the_reason_has_the_numbers_that_decided() -> None:
    race = a_race()
    race.start_and_rest(0.3, 0.1, 0.2)
    move = race.promote()
    assert move is not None
    assert move.reason == "loss 0.1 at epoch 1 is among the best third of 3"


def test_a_goal_to_maximize_is_worded_in_the_users_direction() -> None:
    race = Race(
        scheduler=a_scheduler("asha", 1, 9), objectives=[{"metric": "loss", "goal": "maximize"}], max_trials=100
    )
    race.start_and_rest(0.3, 0.9, 0.2)
    move = race.promote()
    assert move is not None
    assert (move.trial, move.reason) == (2, "loss 0.9 at epoch 1 is among the best third of 3")


def test_higher_rungs_go_first() -> None:
    race = a_race()
    race.start_and_rest(*(number / 100 for number in range(9)))
    race.promote_all()
    for number in (1, 2, 3):
        race.rest(number, number / 100)
    race.start_and_rest(0.001, 0.002, 0.003)
    assert race.promote_all() == [(1, 9), (10, 3), (11, 3), (12, 3)]


def test_a_straggler_blocks_nobody() -> None:
    race = a_race()
    race.start()
    race.start_and_rest(0.1, 0.2, 0.3)
    assert race.promote_all() == [(2, 3)]


def test_a_trial_whose_run_has_not_ended_is_not_promoted_but_counts() -> None:
    race = a_race()
    race.start_and_rest(0.2, 0.3)
    race.start()
    race.report(3, 1, 0.1)
    assert race.promote() is None
    race.history.settle(3, Phase.PAUSED)
    assert race.promote_all() == [(3, 3)]


def test_a_trial_that_failed_before_the_rung_does_not_count() -> None:
    race = a_race()
    race.start_and_rest(0.1, 0.2)
    race.start()
    race.fail(3)
    assert race.promote() is None


def test_a_promoted_trial_that_fails_gives_its_place_to_the_next_best() -> None:
    race = a_race()
    race.start_and_rest(0.1, 0.2, 0.3)
    race.promote_all()
    race.fail(1)
    assert race.promote_all() == [(2, 3)]


@pytest.mark.parametrize("unusable", [NAN, INF, -INF])
def test_an_unusable_loss_is_never_promoted(unusable: float) -> None:
    race = a_race()
    race.start_and_rest(unusable, unusable, unusable)
    assert race.promote() is None
    race.start_and_rest(0.9)
    assert race.promote_all() == [(4, 3)]


def test_ties_go_to_the_lower_number() -> None:
    race = a_race()
    race.start_and_rest(0.5, 0.5, 0.5)
    assert race.promote_all() == [(1, 3)]


def test_a_trial_that_breaks_a_constraint_ranks_after_those_that_do_not() -> None:
    race = Race(scheduler=a_scheduler("asha", 1, 81), constraints=[{"metric": "latency", "max": 10.0}], max_trials=100)
    for loss, latency in ((0.1, 20.0), (0.5, 5.0), (0.4, 5.0)):
        race.start()
        race.rest(race.history.rows, loss, latency=latency)
    assert race.promote_all() == [(3, 3)]


def test_later_reports_do_not_change_the_rank_at_a_rung() -> None:
    race = a_race()
    race.start_and_rest(0.1, 0.2, 0.3)
    race.promote_all()
    race.rest(1, 0.9)
    assert race.promote() is None


def test_the_order_of_facts_is_irrelevant() -> None:
    losses = [0.5, 0.1, 0.4, 0.2, 0.3, 0.6]
    moves = []
    for order in ([1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1], [3, 1, 6, 2, 5, 4]):
        race = a_race()
        race.start(6)
        for number in order:
            race.rest(number, losses[number - 1])
        moves.append(race.promote_all())
    assert moves[0] == moves[1] == moves[2] == [(2, 3), (4, 3)]


# --- out of turn ----------------------------------------------------------------------------------------------


def test_when_nothing_is_left_to_try_the_next_in_turn_gets_the_free_slot() -> None:
    race = a_race()
    race.start_and_rest(0.4, 0.1, 0.2, 0.3)
    race.promote_all()
    move = race.promote_out_of_turn(missing=10)
    assert move is not None
    assert (move.trial, move.target) == (3, 3)
    assert move.reason == "loss 0.2 at epoch 1 is next, and nothing else is left for a free slot"


def test_the_next_in_turn_is_the_one_nearest_to_its_rungs_best_share() -> None:
    race = a_race()
    race.start_and_rest(*(number / 10 for number in range(1, 10)))
    race.promote_all()
    for number in (1, 2):
        race.rest(number, number / 10)
    assert [move.trial for _ in range(3) if (move := race.promote_out_of_turn(missing=10))] == [4, 1, 5], (
        "4 is the fourth of nine, 1 the first of two, 5 the fifth of nine"
    )


def test_nobody_goes_on_out_of_turn_when_nothing_trains() -> None:
    race = a_race()
    race.start_and_rest(0.1, 0.2)
    assert race.promote_out_of_turn(missing=10) is None


def test_no_more_go_on_out_of_turn_than_trials_are_missing() -> None:
    race = a_race()
    race.start_and_rest(0.1, 0.2, 0.3, 0.4, 0.5)
    race.start()
    assert race.promote_all() == [(1, 3)]
    moves = [race.promote_out_of_turn(missing=2) for _ in range(4)]
    assert [move and move.trial for move in moves] == [2, 3, None, None]
    race.start_and_rest(0.6)
    assert race.promote_out_of_turn(missing=2) is not None, "seven have come: two of them in turn"


def test_an_unusable_trial_does_not_go_on_out_of_turn_either() -> None:
    race = a_race()
    race.start_and_rest(NAN, INF)
    race.start()
    assert race.promote_out_of_turn(missing=10) is None


def test_brackets_have_turns_of_their_own() -> None:
    race = Race(scheduler=a_scheduler("hyperband", 1, 9, asynchronous=True), max_trials=10_000)
    race.start(5)
    for number in (1, 2):
        race.rest(number, number / 10)
    assert [race.history.trials[number].bracket for number in (1, 2)] == [0, 1]
    move = race.promote_out_of_turn(missing=10)
    assert move is not None
    assert (move.trial, move.target) == (2, 9), "each is the first of one in its bracket; the higher rung goes first"


# --- the end --------------------------------------------------------------------------------------------------


def test_the_leader_is_trained_in_full_when_nothing_is_left() -> None:
    race = a_race()
    race.start_and_rest(0.2, 0.1)
    move = race.promote(more_trials=False)
    assert move is not None
    assert (move.trial, move.target) == (2, 81)
    assert move.reason == "loss 0.1 at epoch 1 leads, and nothing else is left to train"


def test_nobody_is_finished_while_another_trains() -> None:
    race = a_race()
    race.start_and_rest(0.2, 0.1)
    race.start()
    assert race.promote(more_trials=False) is None


@pytest.mark.option("asha.finishBest")
def test_finish_best_can_be_turned_off() -> None:
    race = a_race(finishBest=False)
    race.start_and_rest(0.2, 0.1)
    assert race.promote(more_trials=False) is None
    assert race.dismiss(more_trials=False) == [1, 2]


def test_a_leader_that_beats_a_fully_trained_trial_at_equal_training_is_finished_too() -> None:
    race = a_race()
    race.start_and_rest(0.2, 0.1)
    race.promote(more_trials=False)
    race.report(2, 81, 0.15)
    race.history.settle(2, Phase.SUCCEEDED)
    race.start_and_rest(0.05)
    assert race.promote_all(more_trials=False) == [(3, 3)], "one of three, by the ordinary rule"
    race.rest(3, 0.05)
    assert race.promote_all(more_trials=False) == [(3, 81)]


def test_training_on_that_did_not_pay_is_not_repeated() -> None:
    race = a_race()
    race.start_and_rest(0.2, 0.1)
    race.promote(more_trials=False)
    race.report(2, 81, 0.9)
    race.history.settle(2, Phase.SUCCEEDED)
    assert race.promote(more_trials=False) is None, "trial 1 leads with 0.2, but 2 was better when it was as young"


def test_resting_trials_are_dismissed_when_all_is_over_and_not_before() -> None:
    race = a_race()
    race.start_and_rest(0.2, 0.1, 0.3)
    race.promote_all()
    assert race.dismiss(more_trials=True) == []
    assert race.dismiss(more_trials=False) == [], "trial 2 still trains"
    race.fail(2)
    race.promote_all(more_trials=False)
    race.fail(1)
    assert race.promote_all(more_trials=False) == [(3, 3)]
    race.fail(3)
    assert race.dismiss(more_trials=False) == []


def test_a_dismissal_says_why() -> None:
    race = a_race(finishBest=False)
    race.start_and_rest(0.25, 0.1)
    stops = race.scheduler.dismissals(race.history, False)
    assert [(stop.trial, stop.step, stop.reason) for stop in stops] == [
        (1, 1, "loss 0.25 at epoch 1 is outside the best third of 2"),
        (2, 1, "loss 0.1 at epoch 1 is outside the best third of 2"),
    ]


def test_rungs_tell_who_runs_who_arrived_and_who_went_on() -> None:
    race = a_race(1, 9)
    race.start_and_rest(0.1, 0.2, 0.3)
    race.promote_all()
    race.start()
    rungs = [(rung.budget, rung.running, rung.reached, rung.promoted) for rung in race.scheduler.rungs(race.history)]
    assert rungs == [(1, 1, 3, 1), (3, 1, 0, 0), (9, 0, 0, 0)]
