"""ASHA in the form that stops, arrival by arrival."""

from typing import Any

import pytest

from builders.experiments import a_scheduler
from builders.race import INF, NAN, Race
from podium_contract.lifecycle import Phase


def a_race(low: int = 1, high: int = 81, **settings: Any) -> Race:
    return Race(scheduler=a_scheduler("asha", low, high, variant="stopping", **settings), max_trials=1000)


def arrive(race: Race, *losses: float, step: int = 1) -> list[int]:
    """New trials come to a step one after the other; returns those that are stopped on arrival."""
    stopped = []
    for loss in losses:
        race.start()
        number = race.history.rows
        race.report(number, step, loss)
        stop = race.judge(number, step)
        if stop is not None:
            race.history.stop(number, stop.step, stop.reason)
            race.history.settle(number, Phase.PRUNED, "StoppedByScheduler", stop.reason)
            stopped.append(number)
    return stopped


def test_the_promoting_form_is_the_default() -> None:
    race = Race(scheduler=a_scheduler("asha"), max_trials=10)
    race.start()
    assert race.history.trials[1].target == 1


def test_a_trial_sets_out_for_the_top() -> None:
    race = a_race()
    race.start()
    assert race.history.trials[1].target == 81


def test_nobody_is_stopped_before_as_many_have_come_as_one_is_kept_of() -> None:
    assert arrive(a_race(), 0.1, 0.9) == []


def test_who_is_outside_the_best_third_at_arrival_is_stopped() -> None:
    """Places: 1 of 3, 2 of 4, 2 of 5, 2 of 6, 3 of 7."""
    assert arrive(a_race(), 0.5, 0.6, 0.7, 0.55, 0.4, 0.52, 0.3) == [3, 6]


def test_a_trial_that_was_let_through_is_not_judged_again_at_the_rung() -> None:
    race = a_race()
    arrive(race, 0.9, 0.1, 0.2, 0.3)
    race.report(1, 2, 0.9)
    assert race.judge(1, 2) is None


def test_between_rungs_nobody_is_judged() -> None:
    race = a_race()
    arrive(race, 0.1, 0.2, 0.3)
    race.report(1, 2, 99.0)
    assert race.judge(1, 2) is None


def test_a_trial_that_skips_a_rung_is_judged_at_it_by_its_next_report() -> None:
    race = a_race()
    arrive(race, 0.1, 0.2, 0.3, step=3)
    race.start()
    race.report(4, 2, 0.9)
    race.report(4, 4, 0.01)
    stop = race.judge(4, 4)
    assert stop is not None
    assert stop.reason == "loss 0.9 at epoch 3 is outside the best third of 4"
    assert stop.step == 4


def test_the_last_rung_judges_nobody() -> None:
    race = a_race(1, 9)
    arrive(race, 0.1, 0.2, 0.3, step=9)
    race.start()
    race.report(4, 3, 0.1)
    race.report(4, 9, 99.0)
    assert race.judge(4, 9) is None


@pytest.mark.parametrize("unusable", [NAN, INF, -INF])
def test_an_unusable_loss_is_outside_every_share(unusable: float) -> None:
    assert arrive(a_race(), unusable, unusable, unusable, 0.9) == [3]


def test_a_failed_trial_does_not_count() -> None:
    race = a_race()
    arrive(race, 0.1, 0.2)
    race.fail(1)
    assert arrive(race, 0.9) == []


def test_stopped_trials_go_on_counting() -> None:
    race = a_race()
    arrive(race, 0.1, 0.2, 0.3)
    assert arrive(race, 0.15) == [], "second of four, of which two go on"


def test_ties_go_to_the_lower_number() -> None:
    assert arrive(a_race(), 0.5, 0.5, 0.5) == [3]


def test_a_trial_that_breaks_a_constraint_ranks_after_those_that_do_not() -> None:
    race = Race(
        scheduler=a_scheduler("asha", 1, 9, variant="stopping"),
        constraints=[{"metric": "latency", "max": 10.0}],
        max_trials=10,
    )
    for loss, latency in ((0.5, 5.0), (0.6, 5.0), (0.1, 20.0)):
        race.start()
        race.report(race.history.rows, 1, loss, latency=latency)
    assert race.judge(3, 1) is not None


@pytest.mark.option("asha.reductionFactor")
def test_the_share_is_set_by_the_reduction_factor() -> None:
    assert arrive(a_race(reductionFactor=3), 0.1, 0.4, 0.2, 0.3) == [3, 4]
    assert arrive(a_race(reductionFactor=2), 0.1, 0.4, 0.2, 0.3) == [2, 4]


def test_rungs_tell_who_is_on_the_way_who_arrived_and_who_went_on() -> None:
    race = a_race(1, 9)
    arrive(race, 0.1, 0.2, 0.3)
    race.report(1, 2, 0.1)
    race.report(2, 3, 0.2)
    race.start()
    rungs = [(rung.budget, rung.running, rung.reached, rung.promoted) for rung in race.scheduler.rungs(race.history)]
    assert rungs == [(1, 1, 3, 2), (3, 1, 1, 1), (9, 1, 0, 0)]
