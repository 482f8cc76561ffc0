"""Population-based training, rest by rest."""

import re
from functools import cache
from itertools import repeat
from typing import Any

import numpy as np
import pytest

from builders.experiments import a_float, a_population, a_search, an_experiment, an_experiment_spec
from builders.race import NAN, Race
from builders.simulated_operator import Parameters, SimulatedOperator
from podium_contract.algorithms import share_of
from podium_contract.lifecycle import Phase
from podium_suggestion.engine import Engine
from podium_suggestion.schedulers.base import Clone
from podium_suggestion.store import open_store


def a_race(size: int = 4, *, high: int = 40, interval: int = 10, max_trials: int = 100, **settings: Any) -> Race:
    scheduler = a_population(high, populationSize=size, interval=interval, **settings)
    return Race(scheduler=scheduler, max_trials=max_trials, search=a_search("random", seed=settings.pop("seed", 0)))


def a_rested_race(*losses: float, **more: Any) -> Race:
    """A whole population at the end of its first segment."""
    race = a_race(len(losses), **more)
    race.start_and_rest(*losses)
    return race


# --- segments -------------------------------------------------------------------------------------------------


def test_a_member_trains_one_interval_at_first() -> None:
    race = a_race()
    race.start()
    assert race.history.trials[1].target == 10


def test_every_member_has_a_place_of_its_own() -> None:
    race = a_race()
    race.start(4)
    assert [trial.bracket for trial in race.history.trials.values()] == [0, 1, 2, 3]


def test_the_search_is_refused_once_all_places_are_taken() -> None:
    race = a_race()
    assert race.scheduler.refusal(race.history) is None
    race.start(4)
    assert race.scheduler.refusal(race.history) == (
        "the 4 places of the population are taken, and are trained up to epoch 40"
    )


def test_members_that_have_not_begun_go_first() -> None:
    race = a_race()
    race.start_and_rest(0.1, 0.2, 0.3)
    assert race.move() is None


def test_the_last_segment_ends_at_the_maximum() -> None:
    race = a_rested_race(0.1, 0.2, 0.3, 0.4, high=15)
    assert race.move_all(more_trials=False) == ["1 to 15", "2 to 15", "3 to 15", "4 to 15"]


def test_the_interval_is_a_tenth_of_the_maximum_unless_given() -> None:
    assert Race(scheduler=a_population(50), max_trials=10).spec.scheduler.interval == 5  # type: ignore[union-attr]
    assert Race(scheduler=a_population(5), max_trials=10).spec.scheduler.interval == 1  # type: ignore[union-attr]


# --- exploitation ---------------------------------------------------------------------------------------------


def test_the_worst_is_replaced_by_a_clone_of_the_best_and_the_others_go_on() -> None:
    race = a_rested_race(0.1, 0.2, 0.3, 0.4)
    assert race.move_all() == ["1 to 20", "2 to 20", "3 to 20", "5 from 1@10 for 4"]
    clone = race.history.trials[5]
    assert (clone.bracket, clone.target) == (3, 20)


def test_reasons_have_the_numbers_that_decided() -> None:
    race = a_rested_race(0.4, 0.2, 0.3, 0.1)
    clone = race.move()
    assert isinstance(clone, Clone)
    assert clone.replaces is not None
    assert clone.replaces.reason == (
        "loss 0.4 at epoch 10 is among the worst 1 of 4: trial 5, a clone of trial 4, takes its place"
    )
    assert clone.origin.startswith("clone of trial 4 at epoch 10: lr 0.001 -> ")
    promotion = race.move()
    assert promotion is not None
    assert getattr(promotion, "reason", "") == "loss 0.2 at epoch 10 is not among the worst 1 of 4"


def test_whole_shares_are_counted_without_binary_noise() -> None:
    assert share_of(100, 0.29) == 29
    assert 100 * 0.29 < 29
    assert [share_of(count, 0.25) for count in (3, 4, 7, 8)] == [0, 1, 1, 2]


def test_each_of_the_best_share_is_cloned_now_and_then() -> None:
    parents = set()
    for seed in range(20):
        race = Race(
            scheduler=a_population(20, populationSize=8, interval=10),
            max_trials=100,
            search=a_search("random", seed=seed),
        )
        race.start_and_rest(*(number / 10 for number in range(8)))
        parents |= {move.split()[2] for move in race.move_all() if "from" in move}
    assert parents == {"1@10", "2@10"}


def test_a_diverged_member_is_the_worst_and_is_never_cloned() -> None:
    race = a_rested_race(0.3, NAN, 0.2, 0.4)
    assert [move for move in race.move_all() if "from" in move] == ["5 from 3@10 for 2"]
    only_nan = a_rested_race(NAN, NAN, NAN, NAN)
    assert not [move for move in only_nan.move_all() if "from" in move]


def test_without_room_for_a_clone_the_worst_trains_on() -> None:
    race = a_rested_race(0.1, 0.2, 0.3, 0.4)
    assert race.move_all(more_trials=False) == ["1 to 20", "2 to 20", "3 to 20", "4 to 20"]


def test_a_clone_is_compared_with_the_others_at_the_end_of_its_own_segment() -> None:
    race = a_rested_race(0.1, 0.2, 0.3, 0.4)
    race.move_all()
    for number, loss in ((1, 0.05), (2, 0.15), (3, 0.25), (5, 0.01)):
        race.rest(number, loss)
    assert race.move_all() == ["1 to 30", "2 to 30", "6 from 5@20 for 3", "5 to 30"]


def test_members_that_break_a_constraint_are_replaced_first() -> None:
    race = Race(
        scheduler=a_population(20, populationSize=4, interval=10),
        constraints=[{"metric": "latency", "max": 10.0}],
        max_trials=100,
    )
    for loss, latency in ((0.1, 20.0), (0.2, 5.0), (0.3, 5.0), (0.4, 5.0)):
        race.start()
        race.rest(race.history.rows, loss, latency=latency)
    assert [move for move in race.move_all() if "from" in move] == ["5 from 2@10 for 1"]


# --- nobody waits longer than needed ----------------------------------------------------------------------------


def test_a_member_with_enough_below_it_goes_on_before_the_others_have_come() -> None:
    race = a_race()
    race.start(4)
    race.rest(1, 0.4)
    assert race.move() is None, "three are on their way, and may all be better"
    race.rest(2, 0.1)
    assert race.move_all() == ["2 to 20"], "1 is below it, whoever comes"


def test_a_member_waits_for_those_on_their_way_and_is_replaced_when_they_are_better() -> None:
    race = a_race()
    race.start(4)
    race.rest(1, 0.4)
    race.rest(2, 0.1)
    race.move_all()
    race.rest(3, 0.2)
    race.move_all()
    assert race.move() is None
    race.rest(4, 0.3)
    assert "5 from 2@10 for 1" in race.move_all()


def test_a_straggler_is_not_waited_for_beyond_the_next_segment() -> None:
    race = a_race(8)
    race.start(8)
    for number in range(1, 8):
        race.rest(number, number / 10)
    moves = race.move_all()
    assert moves[:5] == ["1 to 20", "2 to 20", "3 to 20", "4 to 20", "5 to 20"]
    assert moves[5].endswith("for 7"), "two of eight are the worst whether 8 is better or not; only 6 may be in or out"
    assert len(moves) == 6
    race.rest(2, 0.1)
    assert race.move_all() == ["6 to 20"], "of the seven that are there one is the worst share"


def test_when_more_wait_than_train_the_first_is_judged_by_who_is_there() -> None:
    race = a_race(4, quantile=0.5)
    race.start(4)
    race.rest(1, 0.4)
    race.rest(2, 0.3)
    assert race.move_all() == ["5 from 2@10 for 1"], "then three train, and 2 waits for them"


def test_those_that_are_behind_go_first() -> None:
    race = a_rested_race(0.1, 0.2, 0.3, 0.4)
    first = race.move()
    assert first is not None
    race.rest(1, 0.05)
    assert race.move_all()[0] == "2 to 20"


# --- the parent's checkpoint ------------------------------------------------------------------------------------


def test_a_parent_that_trains_on_is_cloned_at_the_step_where_it_last_rested() -> None:
    race = a_race()
    race.start(4)
    for number, loss in ((1, 0.1), (2, 0.2), (3, 0.3)):
        race.rest(number, loss)
    race.move_all()
    race.report(1, 17, 0.05)
    race.rest(4, 0.4)
    assert race.move_all() == ["3 to 20", "5 from 1@10 for 4"]


def test_a_parent_does_not_lose_the_checkpoint_that_a_clone_has_yet_to_start_from() -> None:
    race = a_rested_race(0.1, 0.2, 0.3, 0.4)
    race.move_all()
    for number, loss in ((1, 0.05), (2, 0.15), (3, 0.25)):
        race.rest(number, loss)
    assert race.move_all() == ["2 to 30"], "trial 5 has not begun: 1 waits for it"
    race.report(5, 11, 0.09)
    assert race.move_all() == ["1 to 30"]


def test_a_clone_that_failed_is_not_waited_for() -> None:
    race = a_rested_race(0.1, 0.2, 0.3, 0.4)
    race.move_all()
    race.rest(1, 0.05)
    race.rest(2, 0.15)
    race.rest(3, 0.25)
    race.fail(5)
    assert "1 to 30" in race.move_all()


@pytest.mark.option("pbt.perturbationFactors", "pbt.mutable")
def test_what_a_clone_changes_is_set() -> None:
    race = Race(
        parameters=[a_float(), a_float("keep", 0.0, 1.0, "linear")],
        scheduler=a_population(
            20, populationSize=4, interval=10, perturbationFactors=[0.5], resampleProbability=0, mutable=["lr"]
        ),
        max_trials=100,
    )
    race.start(4)
    for number, trial in race.history.trials.items():
        trial.assignment = {"lr": 0.001, "keep": 0.3}
        race.rest(number, number / 10)
    race.move_all()
    assert race.history.trials[5].assignment == {"lr": pytest.approx(0.0005), "keep": 0.3}


def test_a_trial_whose_place_another_holds_is_stopped() -> None:
    """A store was lost after the clone was made and before its predecessor was stopped."""
    race = a_rested_race(0.1, 0.2, 0.3, 0.4)
    race.move_all()
    race.history.trials[4].judged_step = None
    race.history.trials[4].phase = Phase.RUNNING
    race.history.settle(4, Phase.PAUSED)
    assert race.move() is None
    assert race.dismiss() == [4]


# --- failures ---------------------------------------------------------------------------------------------------


def test_the_place_of_a_failed_member_goes_to_a_clone() -> None:
    race = a_race()
    race.start(4)
    for number, loss in ((1, 0.1), (2, 0.2), (3, 0.3)):
        race.rest(number, loss)
    race.fail(4)
    assert race.move_all()[0] == "5 from 1@10"
    assert race.history.trials[5].bracket == 3


def test_the_place_of_a_clone_that_failed_goes_to_a_clone_from_a_later_step() -> None:
    race = a_rested_race(0.1, 0.2, 0.3, 0.4)
    race.move_all()
    race.fail(5)
    assert race.move_all() == [], "a clone from step 10 has failed in this place, and nobody has come further yet"
    race.rest(2, 0.15)
    assert race.move_all()[0] == "6 from 2@20"
    assert race.history.trials[6].bracket == 3


def test_a_place_that_cannot_be_filled_yet_does_not_keep_another_empty() -> None:
    race = a_race(5)
    race.start(5)
    for number, loss in ((1, 0.1), (2, 0.2), (3, 0.3)):
        race.rest(number, loss)
    race.fail(4)
    assert race.move_all()[0] == "6 from 1@10"
    race.fail(6)
    race.fail(5)
    assert race.move_all()[0] == "7 from 1@10"
    assert race.history.trials[7].bracket == 4


def test_clones_that_always_crash_are_one_per_segment_and_hold_up_nobody() -> None:
    spec = an_experiment_spec(
        parameters=[a_float("rate", 1e-4, 1.0, "log")],
        scheduler=a_population(40, populationSize=4, interval=4),
        search=a_search("random", seed=3),
        max_trials=200,
        parallelism=4,
    )
    members: list[Parameters] = []

    def crash_but_for_members(parameters: Parameters, step: int) -> dict[str, float] | None:
        if step <= 4 and parameters not in members:
            members.append(parameters)
        return {"loss": parameters["rate"]} if parameters in members else None

    operator = SimulatedOperator(Engine(open_store()), spec, crash_but_for_members, repeat(1))
    operator.run()
    clones = [trial for trial in operator.trials.values() if trial.parent is not None]
    assert 1 <= len(clones) <= 9, "one place is the worst share, and there are nine comparisons"
    starts = [trial.parent.step for trial in clones if trial.parent is not None]
    assert starts == sorted(set(starts))
    assert sum(trial.phase is Phase.SUCCEEDED for trial in operator.trials.values()) == 3


def test_the_search_fills_the_places_when_nobody_is_left_to_be_cloned() -> None:
    race = a_race(2, quantile=0.5)
    race.start(2)
    race.fail(1)
    assert race.scheduler.refusal(race.history) is not None, "trial 2 may rest and be cloned"
    race.fail(2)
    assert race.scheduler.refusal(race.history) is None
    race.start()
    assert race.history.trials[3].bracket == 0


# --- the whole of it --------------------------------------------------------------------------------------------


def a_schedule_task(parameters: Parameters, weights: float | None, _step: int) -> float:
    """A model whose best learning rate falls as it learns: with error e a step at rate r leaves e (1 - r)^2 + 0.02 r^2."""
    error = 1.0 if weights is None else weights
    rate = parameters["rate"]
    return float(error * (1.0 - rate) ** 2 + 0.02 * rate**2)


def final_error(rate: float, steps: int) -> float:
    weights = None
    for step in range(1, steps + 1):
        weights = a_schedule_task({"rate": rate}, weights, step)
    assert weights is not None
    return weights


@cache
def a_population_at_work(seed: int, algorithm: str = "pbt", **settings: Any) -> SimulatedOperator:
    spec = an_experiment_spec(
        parameters=[a_float("rate", 1e-4, 1.0, "log")],
        scheduler=a_population(100, populationSize=10, interval=5, **settings) | {"algorithm": algorithm},
        search=a_search("random", seed=seed),
        max_trials=200,
        parallelism=10,
    )
    operator = SimulatedOperator(
        Engine(open_store()), spec, lambda given, _: {"loss": given["weights"]}, repeat(1), learn=a_schedule_task
    )
    operator.run()
    return operator  # shared by tests, which only look at it


def schedule_of(operator: SimulatedOperator, number: int) -> list[float]:
    """The rate at each step of a trial's lineage."""
    trial = operator.trials[number]
    before = [] if trial.parent is None else schedule_of(operator, trial.parent.trial)[: trial.parent.step]
    return before + [trial.parameters["rate"]] * (trial.step - len(before))


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(10))
def test_a_population_beats_the_best_fixed_configuration_of_equal_cost_and_its_schedule_changes(seed: int) -> None:
    operator = a_population_at_work(seed)
    best = operator.advice.best[0]
    rates = np.exp(np.random.default_rng(seed).uniform(np.log(1e-4), 0.0, operator.trained_steps // 100))
    assert operator.trained_steps == 1000, "ten places of 100 steps: what ten fixed configurations cost"
    fixed = min(final_error(rate, 100) for rate in rates)
    assert best.metrics["loss"] < 0.75 * fixed
    schedule = schedule_of(operator, best.trial)
    assert len(schedule) == 100
    assert np.mean(schedule[:5]) > 3 * np.mean(schedule[-20:]), "large at first, small in the end"


def test_the_best_fixed_rate_there_is_loses_to_the_population() -> None:
    """Not only the best of ten: the population's median result over ten seeds is below the optimum over all fixed rates."""
    optimum = min(final_error(rate, 100) for rate in np.exp(np.linspace(np.log(1e-4), 0.0, 500)))
    results = [a_population_at_work(seed).advice.best[0].metrics["loss"] for seed in range(10)]
    assert np.median(results) < optimum


def test_clones_begin_with_their_parents_weights_at_the_step_after_its_rest() -> None:
    operator = a_population_at_work(3)
    clones = [trial for trial in operator.trials.values() if trial.parent is not None]
    assert len(clones) > 10
    for clone in clones:
        assert clone.parent is not None
        parent = operator.trials[clone.parent.trial]
        assert clone.reports[0].step == clone.parent.step + 1
        weights = {report.step: report.metrics["loss"] for report in parent.reports}[clone.parent.step]
        first = a_schedule_task(clone.parameters, weights, clone.parent.step + 1)
        assert clone.reports[0].metrics["loss"] == pytest.approx(first)


def test_the_experiment_ends_when_the_population_is_trained_though_more_trials_were_allowed() -> None:
    operator = a_population_at_work(0)
    assert len(operator.trials) < 200
    assert operator.advice.exhausted == "the 10 places of the population are taken, and are trained up to epoch 100"
    assert sum(trial.phase is Phase.SUCCEEDED for trial in operator.trials.values()) == 10


def test_rungs_are_the_comparisons_from_the_last_member_on() -> None:
    race = a_rested_race(0.1, 0.2, 0.3, 0.4, high=400)
    race.move_all()
    race.rest(2, 0.2)
    race.move_all()
    rungs = [(rung.budget, rung.running, rung.reached, rung.promoted) for rung in race.scheduler.rungs(race.history)]
    assert rungs[:2] == [(20, 3, 1, 0), (30, 0, 0, 0)]
    assert [rung[0] for rung in rungs] == list(range(20, 131, 10))


def test_rungs_of_a_population_that_is_done_are_the_last_comparisons() -> None:
    rungs = a_population_at_work(0).advice.rungs
    assert [rung.budget for rung in rungs] == list(range(45, 101, 5))
    assert all(rung.reached == 10 for rung in rungs)
    assert [rung.promoted for rung in rungs] == [*[8] * 11, 0]


def test_the_golden_trace_of_a_population() -> None:
    """Five members, two at a time, up to step 8 in segments of 2; stops and starts without their reasons and values."""
    spec = an_experiment_spec(
        parameters=[a_float("rate", 1e-4, 1.0, "log")],
        scheduler=a_population(8, populationSize=5, interval=2),
        search=a_search("random", seed=7),
        max_trials=12,
        parallelism=2,
    )
    operator = SimulatedOperator(
        Engine(open_store()), spec, lambda given, _: {"loss": given["weights"]}, repeat(1), learn=a_schedule_task
    )
    operator.run()
    assert [re.sub(r" \{.*\}|: .*", "", line) for line in operator.log] == GOLDEN_POPULATION


GOLDEN_POPULATION = [
    "start 1 to 2",
    "start 2 to 2",
    "start 3 to 2",
    "start 4 to 2",
    "promote 1 to 4",
    "start 5 to 2",
    "promote 2 to 4",
    "promote 3 to 4",
    "promote 4 to 4",
    "stop 5 at 2",
    "start 6 from 3@4 to 6",
    "promote 1 to 6",
    "promote 2 to 6",
    "promote 3 to 6",
    "stop 4 at 4",
    "start 7 from 3@4 to 6",
    "promote 1 to 8",
    "stop 2 at 6",
    "start 8 from 7@6 to 8",
    "promote 3 to 8",
    "promote 6 to 8",
    "promote 7 to 8",
]


# --- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"search": a_search("grid")}, "a population begins spread over the space, got grid"),
        ({"max_trials": 4}, "maxTrials counts the members and their clones, got 4 for a population of 8"),
        (
            {"scheduler": a_population(20, mutable=["rate"])},
            "a clone changes parameters of this experiment, got 'rate'",
        ),
        ({"scheduler": a_population(20, populationSize=3)}, "populationSize \\* quantile must be at least 1"),
        ({"scheduler": a_population(20, interval=20)}, "interval < max must hold, got interval=20, max=20"),
        ({"scheduler": a_population(1)}, "a population is compared on the way, got max=1"),
    ],
    ids=["grid", "too few trials", "unknown mutable", "nobody replaced", "one segment", "one step"],
)
def test_what_makes_no_sense_is_refused_with_a_reason(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        an_experiment(**{"scheduler": a_population(20), **spec})
