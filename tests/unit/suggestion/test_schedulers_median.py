"""Median stopping against the rule worked by hand."""

import random
import statistics
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.experiments import a_float, a_scheduler
from builders.race import NAN, Race
from podium_contract.trial import Observation
from podium_suggestion.schedulers import make_scheduler
from podium_suggestion.study import Next, Study

LOSSES = st.lists(st.floats(-10, 10), min_size=4, max_size=4)


def a_race(low: int = 1, high: int = 100, **settings: Any) -> Race:
    return Race(scheduler=a_scheduler("median", low, high, **{"startupTrials": 3, **settings}), max_trials=1000)


def test_a_trial_worse_than_the_median_of_running_averages_is_stopped() -> None:
    race = a_race()
    race.curve(0.9, 0.1)  # running average at 2: 0.5
    race.curve(0.4, 0.4)  # 0.4
    race.curve(0.6, 0.2)  # 0.4
    race.curve(0.8, 0.41)
    stop = race.judge(4, 2)
    assert stop is not None
    assert (stop.trial, stop.step) == (4, 2)
    assert stop.reason == "loss 0.41, the best up to epoch 2, is worse than the median loss 0.4 of 3 running averages"


def test_a_trial_as_good_as_the_median_goes_on() -> None:
    race = a_race()
    race.curve(0.4)
    race.curve(0.5)
    race.curve(0.6)
    race.curve(0.5)
    assert race.judge(4, 1) is None


@settings(deadline=None)
@given(st.lists(LOSSES, min_size=3, max_size=8), LOSSES, st.integers(1, 4))
def test_the_verdict_is_the_rule_in_plain_arithmetic(others: list[list[float]], mine: list[float], step: int) -> None:
    race = a_race()
    for losses in others:
        race.curve(*losses)
    race.curve(*mine)
    median = statistics.median(sum(losses[:step]) / step for losses in others)
    best = min(mine[:step])
    if abs(best - median) > 1e-9:
        assert (race.judge(len(others) + 1, step) is not None) == (best > median)


def test_the_first_trials_are_not_stopped() -> None:
    race = a_race()
    race.curve(0.1)
    race.curve(0.1)
    race.curve(0.9)
    assert race.judge(3, 1) is None


def test_trials_that_have_not_come_as_far_do_not_count() -> None:
    race = a_race()
    race.curve(0.1, 0.1)
    race.curve(0.1, 0.1)
    race.curve(0.1)
    race.curve(0.9, 0.9)
    assert race.judge(4, 1) is not None
    assert race.judge(4, 2) is None


@pytest.mark.option("median.min", "median.interval")
def test_nobody_is_judged_before_min_or_off_the_interval() -> None:
    race = a_race(3, 100, interval=2)
    for _ in range(3):
        race.curve(*[0.1] * 8)
    race.curve(*[0.9] * 8)
    assert [step for step in range(1, 9) if race.judge(4, step)] == [3, 5, 7]


def test_reports_that_never_meet_the_interval_are_judged_when_they_pass_it() -> None:
    study = Study.create(
        parameters=[a_float("x", 0.0, 1.0, "linear")],
        objectives=[{"metric": "loss", "goal": "minimize"}],
        max_trials=20,
        search="random",
        scheduler={"algorithm": "median", "max": 100, "settings": {"interval": 10}},
    )
    stopped = 0
    while (work := study.ask()) is not None:
        for step in range(10, 101, 10):
            following = study.tell(work.number, step, work.parameters["x"]).next
            if following is not Next.CONTINUE:
                stopped += following is Next.STOP
                break
    assert stopped >= 5


def test_nobody_is_stopped_at_the_very_end() -> None:
    race = a_race(1, 4)
    for _ in range(3):
        race.curve(*[0.1] * 4)
    race.curve(*[0.9] * 4)
    assert race.judge(4, 4) is None


def test_later_reports_of_the_trial_itself_do_not_matter() -> None:
    race = a_race()
    for _ in range(3):
        race.curve(0.1, 0.1, 0.1)
    race.curve(0.9, 0.9, 0.0)
    assert race.judge(4, 2) is not None


def test_a_failed_trial_is_no_yardstick() -> None:
    race = a_race()
    for _ in range(3):
        race.curve(0.1)
    race.curve(0.9)
    race.fail(1)
    assert race.judge(4, 1) is None


def test_a_trial_without_a_usable_value_is_worse_than_any_median() -> None:
    race = a_race()
    for _ in range(3):
        race.curve(0.1)
    race.curve(NAN)
    stop = race.judge(4, 1)
    assert stop is not None
    assert "no usable loss" in stop.reason


def test_nobody_is_stopped_when_the_median_is_unusable_too() -> None:
    race = a_race()
    for _ in range(3):
        race.curve(NAN)
    race.curve(NAN)
    assert race.judge(4, 1) is None


def test_a_stopped_trial_counts_up_to_its_last_step() -> None:
    race = a_race()
    for _ in range(3):
        race.curve(0.1, 0.1)
    race.history.stop(1, 1, "stopped")
    race.curve(0.9, 0.9)
    assert race.judge(4, 1) is not None
    assert race.judge(4, 2) is None


def test_a_corrected_report_changes_the_yardstick() -> None:
    race = a_race()
    for _ in range(3):
        race.curve(0.1)
    race.curve(0.5)
    assert race.judge(4, 1) is not None
    for number in (1, 2, 3):
        race.history.observe(number, Observation(attempt=2, step=1, sequence=0, metrics={"loss": 0.9}))
    assert race.judge(4, 1) is None


@pytest.mark.parametrize(("latency", "is_stopped"), [(5.0, False), (20.0, True)])
def test_keeping_the_constraints_comes_before_the_loss(latency: float, is_stopped: bool) -> None:
    race = Race(
        scheduler=a_scheduler("median", 1, 9, startupTrials=3),
        constraints=[{"metric": "latency", "max": 10.0}],
        max_trials=100,
    )
    for loss in (0.1, 0.2, 0.3):
        race.start()
        race.report(race.history.rows, 1, loss, latency=12.0)
    race.start()
    race.report(4, 1, 0.05 if is_stopped else 0.9, latency=latency)
    assert (race.judge(4, 1) is not None) == is_stopped


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_what_is_remembered_between_verdicts_changes_none(chance: random.Random) -> None:
    race = a_race()
    for _ in range(25):
        number = chance.randint(1, max(race.history.rows, 1))
        match chance.choice(["start", "start", "report", "report", "report", "fail", "stop", "correct"]):
            case "start":
                race.curve(chance.random())
            case _ if not race.history.rows:
                continue
            case "report":
                race.report(number, chance.randint(1, 5), chance.random())
            case "fail":
                race.fail(number)
            case "stop":
                race.history.stop(number, chance.randint(1, 5), "stopped")
            case "correct":
                again = Observation(attempt=2, step=chance.randint(1, 5), metrics={"loss": chance.random()})
                race.history.observe(number, again)
        for trial, step in ((chance.randint(1, max(race.history.rows, 1)), chance.randint(1, 5)) for _ in range(3)):
            if trial in race.history.trials:
                afresh = make_scheduler(race.spec).judge(race.history, trial, step)
                assert race.judge(trial, step) == afresh
