"""The history: what algorithms see is a function of the facts, whatever their order."""

import itertools
import math
import random
from collections.abc import Callable

import numpy as np
import pytest

from builders.experiments import a_choice, a_float
from builders.spaces import a_history, a_report, with_trial
from podium_contract.lifecycle import Phase
from podium_contract.trial import Observation
from podium_suggestion.history import History, TrialHistory

X = a_float("x", 0.0, 1.0, "linear")


def _trial(number: int, x: float = 0.5, **more: object) -> TrialHistory:
    return TrialHistory(number=number, assignment={"x": x}, **more)  # type: ignore[arg-type]  # whatever the test cares about


# --- reports ----------------------------------------------------------------------------------------------------


def test_a_known_report_changes_nothing() -> None:
    history = a_history(X)
    history.add(_trial(1))
    assert history.observe(1, a_report(3, loss=0.5))
    revision = history.revision
    assert not history.observe(1, a_report(3, loss=0.5))
    assert history.revision == revision


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_of_two_reports_of_a_step_the_latest_attempt_counts_then_the_latest_sequence(order: tuple[int, ...]) -> None:
    reports = [
        a_report(3, attempt=1, sequence=9, loss=0.1),
        a_report(3, attempt=2, sequence=0, loss=0.2),
        a_report(3, attempt=2, sequence=1, loss=0.3),
    ]
    history = a_history(X)
    history.add(_trial(1))
    for index in order:
        history.observe(1, reports[index])
    assert history.loss[0, 0] == 0.3


def test_losses_are_lower_is_better() -> None:
    history = a_history(X, objectives=(("accuracy", "maximize"), ("latency", "minimize")))
    assert history.losses(a_report(accuracy=0.9, latency=3.0)).tolist() == [-0.9, 3.0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_a_value_that_is_not_finite_ranks_worst_and_never_raises(value: float, goal: str) -> None:
    history = a_history(X, objectives=(("loss", goal),))
    with_trial(history, {"x": 0.5}, loss=value)
    assert history.loss[0, 0] == math.inf
    assert history.failed[0]
    assert not history.usable[0]
    assert history.at(1)[0] == math.inf


def test_a_metric_that_a_later_report_of_the_step_leaves_out_is_that_of_the_step_before() -> None:
    history = a_history(X, objectives=(("accuracy", "maximize"),))
    history.add(TrialHistory(1, {"x": 0.5}))
    history.observe(1, a_report(1, accuracy=0.7))
    history.observe(1, a_report(2, accuracy=0.8))
    history.observe(1, Observation(attempt=2, step=2, sequence=1, metrics={"seconds": 3.0}))
    assert history.latest(1) == {"accuracy": 0.7}
    assert history.loss_at(1, 2) == -0.7
    history.observe(1, Observation(attempt=2, step=2, sequence=2, metrics={"accuracy": 0.9}))
    assert history.latest(1) == {"accuracy": 0.9}


def test_a_metric_that_is_reported_only_now_and_then_keeps_its_latest_value() -> None:
    history = a_history(X, objectives=(("accuracy", "maximize"),), constraints=({"metric": "latency", "max": 5},))
    history.add(_trial(1))
    history.observe(1, a_report(1, latency=7.0))
    history.observe(1, a_report(2, accuracy=0.8))
    history.observe(1, a_report(3, train_loss=0.1))
    assert history.latest(1) == {"accuracy": 0.8, "latency": 7.0}
    assert history.loss[0, 0] == -0.8
    assert history.violations[0] == 2.0
    steps, losses = history.curve(1)
    assert steps.tolist() == [2]
    assert losses.tolist() == [-0.8]


def test_a_missing_constraint_metric_is_an_infinite_violation() -> None:
    history = a_history(X, constraints=({"metric": "latency", "max": 5},))
    with_trial(history, {"x": 0.5}, loss=0.1)
    assert history.violations[0] == math.inf


# --- phases and verdicts ----------------------------------------------------------------------------------------


def test_a_failed_trial_ranks_worst_however_well_it_did_before() -> None:
    history = a_history(X)
    with_trial(history, {"x": 0.5}, 0.3, 0.2, 0.1, phase=Phase.FAILED)
    assert history.loss[0, 0] == math.inf
    assert history.failed[0]
    assert math.isnan(history.at(1)[0])


def test_a_trial_that_ended_stays_ended() -> None:
    history = a_history(X)
    history.add(_trial(1))
    assert history.settle(1, Phase.SUCCEEDED)
    assert not history.settle(1, Phase.RUNNING)
    assert history.trials[1].phase is Phase.SUCCEEDED
    assert history.settle(1, Phase.PRUNED, "StoppedByScheduler", "worse than the median")
    assert history.trials[1].message == "worse than the median"


def test_reports_after_the_verdict_decide_nothing() -> None:
    history = a_history(X)
    history.add(_trial(1))
    for step, loss in enumerate([0.5, 0.4, 0.3], start=1):
        history.observe(1, a_report(step, loss=loss))
    assert history.stop(1, 2, "worse than the median")
    history.observe(1, a_report(4, loss=0.0))
    assert history.loss[0, 0] == 0.4
    assert history.trials[1].step == 2
    assert history.curve(1)[1].tolist() == [0.5, 0.4]
    assert history.decided[0]
    assert not history.trials[1].is_at_rest
    assert math.isnan(history.at(3)[0])


def test_of_two_verdicts_the_earlier_step_counts() -> None:
    history = a_history(X)
    history.add(_trial(1))
    assert history.stop(1, 5, "late")
    assert not history.stop(1, 7, "later")
    assert history.stop(1, 3, "early")
    assert (history.trials[1].judged_step, history.trials[1].message) == (3, "early")


def test_a_trial_rests_at_its_target_and_is_pending_again_when_promoted() -> None:
    history = a_history(X)
    history.add(_trial(1, target=3))
    assert history.pending[0]
    for step in (1, 2, 3):
        history.observe(1, a_report(step, loss=1 / step))
    history.settle(1, Phase.PAUSED)
    assert history.trials[1].is_at_rest
    assert history.usable[0]
    assert history.retarget(1, 9)
    assert not history.retarget(1, 3)
    assert history.pending[0]
    assert history.target[0] == 9
    assert history.at(3)[0] == pytest.approx(1 / 3)


def test_a_trial_paused_short_of_its_target_is_pending() -> None:
    history = a_history(X)
    history.add(_trial(1, target=3))
    history.observe(1, a_report(2, loss=0.5))
    history.settle(1, Phase.PAUSED)
    assert not history.trials[1].is_at_rest
    assert history.pending[0]


# --- losses at a budget -----------------------------------------------------------------------------------------


def test_the_loss_at_a_budget_is_the_last_within_it_once_the_trial_has_got_there() -> None:
    history = a_history(X)
    history.add(_trial(1))
    history.observe(1, a_report(2, loss=0.5))
    assert math.isnan(history.at(3)[0])
    history.observe(1, a_report(4, loss=0.4))
    assert history.at(3)[0] == 0.5
    assert history.at(4)[0] == 0.4
    assert math.isnan(history.at(5)[0])


def test_a_report_that_arrives_late_corrects_the_loss_at_its_budget() -> None:
    history = a_history(X)
    history.add(_trial(1))
    history.observe(1, a_report(4, loss=0.4))
    assert history.at(3)[0] == 0.4, "the first report after the budget stands in for one within it"
    history.observe(1, a_report(3, loss=0.6))
    assert history.at(3)[0] == 0.6


def test_a_trial_that_succeeded_early_counts_at_every_budget() -> None:
    history = a_history(X)
    with_trial(history, {"x": 0.1}, 0.5, 0.4, phase=Phase.SUCCEEDED)
    with_trial(history, {"x": 0.2}, 0.5, 0.4, phase=Phase.PRUNED)
    assert history.at(81)[0] == 0.4
    assert math.isnan(history.at(81)[1])


def test_many_budgets_are_answered_rightly_though_only_some_are_kept() -> None:
    history = a_history(X)
    with_trial(history, {"x": 0.1}, *[1 / step for step in range(1, 201)])
    with_trial(history, {"x": 0.2}, *[2 / step for step in range(1, 201)])
    for budget in [*range(1, 201), *range(200, 0, -1)]:
        assert history.at(budget).tolist() == [1 / budget, 2 / budget]


# --- views ------------------------------------------------------------------------------------------------------


def test_views_are_read_only() -> None:
    history = a_history(X)
    with_trial(history, {"x": 0.1}, loss=0.5)
    for view in (history.units, history.loss, history.violations, history.step, history.at(1)):
        with pytest.raises(ValueError, match="read-only"):
            view[0] = 0
    with_trial(history, {"x": 0.2}, loss=0.4)
    assert history.at(1).tolist() == [0.5, 0.4]


def test_rows_are_trial_numbers_even_with_gaps() -> None:
    history = a_history(X)
    with_trial(history, {"x": 0.25}, number=3, loss=0.5)
    assert history.known.tolist() == [False, False, True]
    assert len(history) == 1
    assert not history.pending[0]
    with_trial(history, {"x": 0.75}, number=1)
    assert history.known.tolist() == [True, False, True]
    assert history.units[:, 0].tolist()[::2] == [0.75, 0.25]


def test_an_inactive_parameter_is_nan() -> None:
    history = a_history(
        a_choice("optimizer", ["sgd", "adam"]), a_float("momentum", 0, 1, "linear", when={"optimizer": ["sgd"]})
    )
    with_trial(history, {"optimizer": "adam"})
    assert math.isnan(history.units[0, 1])


def test_masks_divide_the_known_trials() -> None:
    history = a_history(X)
    with_trial(history, {"x": 0.1}, loss=0.5)
    with_trial(history, {"x": 0.2}, loss=math.nan)
    with_trial(history, {"x": 0.3}, phase=Phase.FAILED)
    with_trial(history, {"x": 0.4})
    masks = np.array([history.usable, history.failed, history.pending])
    assert masks.sum(axis=0).tolist() == [1, 1, 1, 1]
    assert masks.argmax(axis=0).tolist() == [0, 1, 1, 2]
    assert history.in_phase(Phase.SUCCEEDED).tolist() == [True, True, False, False]


Fact = Callable[[History], object]


def _observed(number: int, report: Observation) -> Fact:
    return lambda history: history.observe(number, report)


@pytest.mark.parametrize("seed", range(20))
def test_what_algorithms_see_does_not_depend_on_the_order_of_facts(seed: int) -> None:
    facts: list[Fact] = [
        *(
            _observed(number, a_report(step, attempt=attempt, sequence=step, loss=number / step + attempt))
            for number in range(1, 6)
            for step in range(1, 5)
            for attempt in (1, 2)
        ),
        lambda history: history.settle(1, Phase.RUNNING),
        lambda history: history.settle(1, Phase.SUCCEEDED),
        lambda history: history.settle(2, Phase.FAILED),
        lambda history: history.stop(3, 2, "worse"),
        lambda history: history.stop(3, 3, "worse"),
        lambda history: history.retarget(4, 2),
        lambda history: history.retarget(4, 4),
        lambda history: history.settle(4, Phase.PAUSED),
    ]
    reference, shuffled = a_history(X), a_history(X)
    numbers = list(range(1, 6))
    shuffle = random.Random(seed)
    for history, order in ((reference, facts), (shuffled, shuffle.sample(facts, len(facts)))):
        for number in numbers:
            history.add(_trial(number, number / 10, target=1))
        history.at(3)
        for fact in order:
            fact(history)
        numbers = shuffle.sample(numbers, len(numbers))
    for view in ("units", "loss", "violations", "step", "target", "decided", "usable", "failed", "pending"):
        np.testing.assert_array_equal(getattr(reference, view), getattr(shuffled, view), err_msg=view)
    for budget in range(1, 6):
        np.testing.assert_array_equal(reference.at(budget), shuffled.at(budget))


def test_a_trial_added_with_its_observations_counts_like_one_observed_later() -> None:
    history = a_history(X)
    history.add(_trial(1, phase=Phase.SUCCEEDED, observations={2: a_report(2, loss=0.2), 1: a_report(1, loss=0.1)}))
    assert history.trials[1].steps == [1, 2]
    assert history.loss[0, 0] == 0.2
