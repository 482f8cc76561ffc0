"""The operator may die at any action of any pass, and nothing is lost: every death is tried, all end the same.

After Sieve (Sun et al., OSDI 2022): the actions of an undisturbed run are recorded, and for each of them one run is
made in which the operator dies right before it, and one right after.
"""

import asyncio
from typing import Any

import pytest

from builders.bowl import SMALL, DirectAdvisor, a_bowl_experiment, bowl
from builders.experiments import a_population
from builders.fake_backend import FakeBackend, OperatorDied
from podium_contract.conditions import Reason
from podium_contract.lifecycle import Phase
from podium_operator.core.actions import Announce, RemoveRun, StopRun, WriteExperiment
from podium_operator.core.facts import End, EndKind
from podium_operator.core.loop import Loop
from podium_operator.core.outcome import has_ended
from podium_suggestion.engine import Engine
from podium_suggestion.store import Store, open_store

pytestmark = pytest.mark.thorough
MAX_PASSES = 2000


def finish(backend: FakeBackend, store: Store) -> int:
    """Drive the experiment to its end, restarting operator and engine whenever the operator dies; return the deaths."""
    deaths = 0

    async def drive() -> None:
        nonlocal deaths
        loop = new_operator()
        for _ in range(MAX_PASSES):
            try:
                step = await loop.step()
            except OperatorDied:
                deaths += 1
                backend.forget_acknowledgements()
                loop = new_operator()
                continue
            if step.plan.is_finished:
                return
            backend.tick()
        raise AssertionError("the experiment does not end")

    def new_operator() -> Loop:
        return Loop(backend, DirectAdvisor(Engine(store)), lambda: backend.now)

    asyncio.run(drive())
    return deaths


def table(backend: FakeBackend) -> list[tuple[Any, ...]]:
    """What a user would compare: every trial with its parameters, phase, reason and progress."""
    return [
        (number, trial.spec.parameters, trial.status.phase, trial.status.reason, trial.status.step, trial.status.value)
        for number, trial in sorted(backend.trials.items())
    ]


def an_undisturbed_run(**spec: Any) -> FakeBackend:
    backend = FakeBackend(a_bowl_experiment(**spec), bowl)
    finish(backend, open_store("sqlite://"))
    return backend


def assert_nothing_is_left(backend: FakeBackend) -> None:
    assert has_ended(backend.experiment.status)
    assert not backend.runs
    assert sorted(backend.trials) == list(range(1, len(backend.trials) + 1))
    assert len(backend.trials) <= backend.experiment.spec.max_trials
    assert backend.experiment.status.trials.total == len(backend.trials)


def test_undisturbed_run_promotes_three_of_nine_and_then_one() -> None:
    backend = an_undisturbed_run()
    assert_nothing_is_left(backend)
    steps = sorted(trial.status.step for trial in backend.trials.values())
    assert steps[-1] == 9
    assert steps.count(1) == 6
    assert backend.experiment.status.phase == "Complete"
    best = backend.experiment.status.best[0]
    assert best.metrics["loss"] == min(trial.status.value or 9.0 for trial in backend.trials.values())


def test_promoted_trials_repeat_no_step() -> None:
    trained = an_undisturbed_run().trained
    assert len(trained) == len(set(trained))


@pytest.mark.parametrize("moment", ["die_before", "die_after"])
def test_death_at_any_action_changes_nothing(moment: str) -> None:
    undisturbed = an_undisturbed_run(**SMALL)
    for action, performed in enumerate(undisturbed.performed):
        if isinstance(performed, Announce):
            continue  # it tells people something, and changes nothing
        backend = FakeBackend(a_bowl_experiment(**SMALL), bowl)
        setattr(backend, moment, action)
        assert finish(backend, open_store("sqlite://")) == 1
        assert table(backend) == table(undisturbed), f"{moment} action {action}: {performed}"
        assert sorted(backend.trained) == sorted(undisturbed.trained), "a step was trained twice, or never"
        assert_nothing_is_left(backend)


POPULATION: dict[str, Any] = {"scheduler": a_population(3, populationSize=4, interval=1), "max_trials": 20}


@pytest.mark.parametrize("moment", ["die_before", "die_after"])
def test_death_at_any_action_changes_nothing_in_a_population(moment: str) -> None:
    undisturbed = an_undisturbed_run(**POPULATION)
    assert any(trial.spec.parent is not None for trial in undisturbed.trials.values())
    for action, performed in enumerate(undisturbed.performed):
        if isinstance(performed, Announce | RemoveRun | WriteExperiment):
            continue  # tried above, and the same in every experiment
        backend = FakeBackend(a_bowl_experiment(**POPULATION), bowl)
        setattr(backend, moment, action)
        assert finish(backend, open_store("sqlite://")) == 1
        assert table(backend) == table(undisturbed), f"{moment} action {action}: {performed}"
        assert sorted(backend.trained) == sorted(undisturbed.trained), "a step was trained twice, or never"
        assert_nothing_is_left(backend)


@pytest.mark.parametrize("parallelism", [1, 3, 8])
def test_clones_are_started_while_what_they_start_from_is_there(parallelism: int) -> None:
    """The backend drops checkpoints as the SDK does, and refuses a clone whose parent's is gone."""
    scheduler = a_population(20, populationSize=8, interval=2)
    backend = an_undisturbed_run(scheduler=scheduler, max_trials=60, parallelism=parallelism)
    clones = [trial for trial in backend.trials.values() if trial.spec.parent is not None]
    assert len(clones) > 8
    for clone in clones:
        assert clone.spec.parent is not None
        own = [step for number, step in backend.trained if number == clone.spec.number]
        assert own[0] == clone.spec.parent.step + 1
    assert_nothing_is_left(backend)


@pytest.mark.parametrize("passes", [10, 25, 40])
def test_population_whose_store_is_lost_goes_on_with_its_places_and_parents(passes: int) -> None:
    backend = a_run_interrupted_after(passes, **POPULATION)
    finish(backend, open_store("sqlite://"))
    assert table(backend) == table(an_undisturbed_run(**POPULATION))


def a_run_interrupted_after(passes: int, **spec: Any) -> FakeBackend:
    backend = FakeBackend(a_bowl_experiment(**spec), bowl)
    loop = Loop(backend, DirectAdvisor(Engine(open_store("sqlite://"))), lambda: backend.now)

    async def drive() -> None:
        for _ in range(passes):
            await loop.step()
            backend.tick()

    asyncio.run(drive())
    return backend


@pytest.mark.parametrize("passes", [3, 9, 20, 40])
def test_lost_store_is_restored_from_the_trials(passes: int) -> None:
    backend = a_run_interrupted_after(passes)
    finish(backend, open_store("sqlite://"))
    assert table(backend) == table(an_undisturbed_run())


def test_disrupted_runs_resume_and_crashes_fail_while_the_experiment_goes_on() -> None:
    def fate(number: int, attempt: int, step: int) -> End | None:
        if number == 2 and attempt == 1 and step == 1:
            return End(EndKind.DISRUPTED, Reason.DISRUPTED, "its node was lost", backend.now)
        if number == 4:
            return End(EndKind.FAILED, Reason.EXIT_CODE, "exit code 3", backend.now)
        return None

    backend = FakeBackend(a_bowl_experiment(parallelism=3), bowl, fate=fate)
    finish(backend, open_store("sqlite://"))
    assert backend.trials[2].status.retries == 1
    assert backend.trials[4].status.phase is Phase.FAILED
    assert backend.experiment.status.phase == "Complete"
    assert_nothing_is_left(backend)


def test_reached_target_frees_everything() -> None:
    objective = {"metric": "loss", "goal": "minimize", "target": 0.6}
    backend = FakeBackend(a_bowl_experiment(objectives=[objective], parallelism=4, max_trials=50), bowl)
    finish(backend, open_store("sqlite://"))
    assert_nothing_is_left(backend)
    assert len(backend.trials) < 50
    assert any(isinstance(action, StopRun) for action in backend.performed)
    assert backend.experiment.status.best[0].metrics["loss"] <= 0.6
