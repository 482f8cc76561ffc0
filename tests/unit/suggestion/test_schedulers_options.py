"""What the options that schedulers share change in each of those that have them."""

from typing import Any

import pytest

from builders.experiments import a_float, a_population, a_scheduler, a_search, an_experiment_spec, an_objective
from builders.race import Race
from builders.simulated_operator import SimulatedOperator
from podium_contract.algorithms import SCHEDULERS, algorithm_name
from podium_contract.lifecycle import Phase
from podium_suggestion.engine import Engine
from podium_suggestion.store import open_store
from podium_suggestion.study import Study

ALL = [algorithm_name(model) for model in SCHEDULERS]
LADDERS = ["halving", "asha", "hyperband"]
POPULATIONS = ["pbt", "pb2"]


def scheduling(algorithm: str, low: int = 1, high: int = 9, **settings: Any) -> dict[str, Any]:
    """A scheduler as a manifest writes it; a population is a small one unless told otherwise."""
    if algorithm in POPULATIONS:
        return a_population(high, **{"populationSize": 4, "interval": 2, **settings}) | {"algorithm": algorithm}
    return a_scheduler(algorithm, low, high, **settings)


def a_race(algorithm: str, low: int = 1, high: int = 9, seed: int = 0, **settings: Any) -> Race:
    scheduler = scheduling(algorithm, low, high, **settings)
    return Race(scheduler=scheduler, max_trials=100, search=a_search("random", seed=seed))


# --- all of them ----------------------------------------------------------------------------------------------


@pytest.mark.option("none.max", "median.max", "halving.max", "asha.max", "hyperband.max", "pbt.max", "pb2.max")
@pytest.mark.parametrize("maximum", [9, 14])
@pytest.mark.parametrize("algorithm", ALL)
def test_max_is_the_most_a_trial_is_given_and_reaching_it_is_success(algorithm: str, maximum: int) -> None:
    spec = an_experiment_spec(scheduler=scheduling(algorithm, high=maximum), max_trials=20, parallelism=3)
    operator = SimulatedOperator(Engine(open_store()), spec, lambda given, _: {"loss": given["lr"]})
    operator.run()
    steps = {number: trial.step for number, trial in operator.trials.items()}
    assert max(steps.values()) == maximum
    succeeded = [number for number, trial in operator.trials.items() if trial.phase is Phase.SUCCEEDED]
    assert succeeded == [number for number, step in steps.items() if step == maximum]


def test_without_max_a_trial_that_nobody_schedules_runs_until_its_command_ends() -> None:
    spec = an_experiment_spec(scheduler={"algorithm": "none"}, max_trials=3)
    operator = SimulatedOperator(Engine(open_store()), spec, lambda _, step: {"loss": 1.0 / step}, natural_end=17)
    operator.run()
    assert {trial.step for trial in operator.trials.values()} == {17}


def reasons_of(scheduler: dict[str, Any]) -> list[str]:
    """All that is said of any trial in a small experiment."""
    study = Study.create([a_float()], [an_objective()], search="random", scheduler=scheduler, max_trials=12)
    reasons: list[str] = []
    while (work := study.ask()) is not None:
        steps = range(work.from_step + 1, (work.target or 0) + 1)
        reasons.extend(study.tell(work.number, step, work.parameters["lr"]).reason for step in steps)
    return [*reasons, *(record.message for record in study.records()), study.advice.exhausted or ""]


@pytest.mark.option("scheduler.resource")
@pytest.mark.parametrize("algorithm", ALL)
def test_resource_is_what_a_step_is_called(algorithm: str) -> None:
    scheduler = scheduling(algorithm)
    of_trees = reasons_of(scheduler | {"resource": "tree"})
    assert of_trees == [reason.replace("epoch", "tree") for reason in reasons_of(scheduler | {"resource": "epoch"})]
    assert any("tree 9" in reason for reason in of_trees)


# --- ladders --------------------------------------------------------------------------------------------------


@pytest.mark.option("halving.min", "asha.min", "hyperband.min")
@pytest.mark.parametrize("least", [1, 3])
@pytest.mark.parametrize("algorithm", LADDERS)
def test_min_is_what_a_trial_is_given_before_it_is_judged(algorithm: str, least: int) -> None:
    race = a_race(algorithm, least, 27)
    race.start()
    assert race.history.trials[1].target == least
    assert race.scheduler.rungs(race.history)[0].budget == least


@pytest.mark.parametrize("least", [1, 3])
def test_nobody_is_stopped_by_the_stopping_form_before_min(least: int) -> None:
    race = a_race("asha", least, 27, variant="stopping")
    race.curve(0.1, 0.1, 0.1)
    race.curve(0.2, 0.2, 0.2)
    race.curve(0.9, 0.9, 0.9)
    assert next(step for step in (1, 2, 3) if race.judge(3, step)) == least


@pytest.mark.option("halving.reductionFactor", "asha.reductionFactor")
@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("algorithm", ["halving", "asha"])
def test_one_of_as_many_as_the_factor_goes_on_with_as_many_times_the_resource(algorithm: str, factor: int) -> None:
    race = a_race(algorithm, 1, 16, reductionFactor=factor)
    race.start_and_rest(*(number / 100 for number in range(16)))
    assert race.promote_all() == [(number, factor) for number in range(1, 16 // factor + 1)]


@pytest.mark.option("asha.variant")
def test_the_promoting_form_lets_trials_rest_and_the_stopping_one_trains_them_on() -> None:
    promoting, stopping = a_race("asha", variant="promotion"), a_race("asha", variant="stopping")
    for race in (promoting, stopping):
        for loss in (0.1, 0.2, 0.9):
            race.curve(loss)
    assert [promoting.history.trials[1].target, stopping.history.trials[1].target] == [1, 9]
    assert [race.judge(3, 1) is not None for race in (promoting, stopping)] == [False, True]


# --- median ---------------------------------------------------------------------------------------------------


@pytest.mark.option("median.startupTrials")
@pytest.mark.parametrize("startup", [1, 4])
def test_startup_trials_must_have_come_as_far_before_anyone_is_stopped(startup: int) -> None:
    race = a_race("median", startupTrials=startup)
    race.curve(0.9)
    others = 0
    while race.judge(1, 1) is None:
        race.curve(0.1)
        others += 1
    assert others == startup


# --- populations ----------------------------------------------------------------------------------------------


@pytest.mark.option("pbt.populationSize", "pb2.populationSize")
@pytest.mark.parametrize("size", [4, 7])
@pytest.mark.parametrize("algorithm", POPULATIONS)
def test_population_size_is_how_many_members_begin(algorithm: str, size: int) -> None:
    race = a_race(algorithm, populationSize=size)
    while race.scheduler.refusal(race.history) is None:
        race.start()
    assert [trial.bracket for trial in race.history.trials.values()] == list(range(size))


@pytest.mark.option("pbt.interval", "pb2.interval")
@pytest.mark.parametrize("interval", [2, 5])
@pytest.mark.parametrize("algorithm", POPULATIONS)
def test_members_are_compared_every_interval(algorithm: str, interval: int) -> None:
    race = a_race(algorithm, high=20, interval=interval)
    race.start_and_rest(0.1, 0.2, 0.3, 0.4)
    assert {trial.step for trial in race.history.trials.values()} == {interval}
    race.move_all()
    assert [race.history.trials[number].target for number in (1, 2, 3, 5)] == [2 * interval] * 4


@pytest.mark.option("pbt.quantile", "pb2.quantile")
@pytest.mark.parametrize(("quantile", "replaced"), [(0.25, ["7", "8"]), (0.5, ["5", "6", "7", "8"])])
@pytest.mark.parametrize("algorithm", POPULATIONS)
def test_quantile_is_the_worst_share_and_that_of_its_parents(
    algorithm: str, quantile: float, replaced: list[str]
) -> None:
    race = a_race(algorithm, populationSize=8, quantile=quantile)
    race.start_and_rest(*(number / 10 for number in range(8)))
    clones = [move for move in race.move_all() if " for " in move]
    assert [move.split(" for ")[1] for move in clones] == replaced
    assert {int(move.split()[2].split("@")[0]) for move in clones} <= set(range(1, len(replaced) + 1))


@pytest.mark.option("pbt.resampleProbability")
@pytest.mark.parametrize(("probability", "least", "most"), [(0.0, 0, 0), (0.5, 10, 30), (1.0, 40, 40)])
def test_resample_probability_is_how_often_a_clones_value_is_drawn_anew(
    probability: float, least: int, most: int
) -> None:
    fresh = 0
    for seed in range(40):
        race = a_race("pbt", seed=seed, resampleProbability=probability)
        race.start_and_rest(0.1, 0.2, 0.3, 0.4)
        race.move_all()
        factor = race.history.trials[5].assignment["lr"] / 0.001
        fresh += factor != pytest.approx(0.8) and factor != pytest.approx(1.2)
    assert least <= fresh <= most
