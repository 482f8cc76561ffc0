"""The Kubernetes backend may lose its process at any write, and its watch in any way: the experiment ends the same.

After Sieve (Sun et al., OSDI 2022): the writes of an undisturbed run are recorded, and for each of them one run is made
in which the operator dies right before it, and one right after; and one run for each way in which a watch may fail it.
"""

import asyncio
import json
from typing import Any, Literal, get_args

import httpx
import pytest

from builders.bowl import SMALL, DirectAdvisor, a_bowl_experiment, bowl
from builders.fake_backend import OperatorDied
from builders.fake_kubernetes import Delivery, FakeKubernetes
from podium_contract.experiment import Experiment
from podium_operator.core.loop import Loop
from podium_operator.core.outcome import is_expired
from podium_operator.core.ports import BackendError
from podium_operator.kube.backend import KubeBackend
from podium_operator.metrics import Metrics
from podium_suggestion.engine import Engine
from podium_suggestion.store import open_store

pytestmark = pytest.mark.thorough
MAX_PASSES = 1000
LISTING_PASSES = 5
"""How often the operator of these tests lists everything anew."""


def a_cluster(**spec: Any) -> FakeKubernetes:
    return FakeKubernetes(a_bowl_experiment(**{"pod_history_limit": 0} | spec), bowl)


def finish(cluster: FakeKubernetes, delivery: Delivery = "in order", engine: Engine | None = None) -> Engine:
    """Drive the experiment to its end, with a new operator whenever one has died; its Trials are gone if it says so."""
    engine = engine or Engine(open_store("sqlite://"))

    async def drive() -> None:
        async with httpx.AsyncClient() as client:
            while not await has_lived_to_the_end(cluster, engine, client, delivery):
                pass

    asyncio.run(drive())
    return engine


async def has_lived_to_the_end(
    cluster: FakeKubernetes, engine: Engine, client: httpx.AsyncClient, delivery: Delivery
) -> bool:
    """One operator's life; answers whether it saw the end."""
    body = cluster.all_of("experiments")[0]
    backend = KubeBackend(Experiment.model_validate(body), cluster, client, lambda: cluster.now, Metrics())
    loop = Loop(backend, DirectAdvisor(engine), lambda: cluster.now)
    has_time_to_live = "ttlSecondsAfterFinished" in body["spec"]
    try:
        await backend.open()
        for number in range(MAX_PASSES):
            cluster.deliver(backend, delivery)
            try:
                if number % LISTING_PASSES == 0:
                    await backend.open()
                step = await loop.step()
                if is_expired(step.world.experiment, cluster.now):
                    await backend.remove_trials()
                if step.plan.is_finished and not (has_time_to_live and cluster.all_of("trials")):
                    return True
            except BackendError:
                await backend.open()
            cluster.tick()
    except OperatorDied:
        return False
    finally:
        await backend.close()
    raise AssertionError("the experiment does not end")


def table(cluster: FakeKubernetes) -> list[tuple[Any, ...]]:
    """What a user would compare: every trial with its parameters, phase, reason and progress."""
    return [
        (
            trial["spec"]["number"],
            trial["spec"]["parameters"],
            *(trial["status"].get(field) for field in ("phase", "reason", "step", "value", "retries")),
            [(observation["step"], observation["metrics"]) for observation in trial["status"]["observations"]],
        )
        for trial in cluster.all_of("trials")
    ]


def an_undisturbed_run(**spec: Any) -> FakeKubernetes:
    cluster = a_cluster(**spec)
    finish(cluster)
    return cluster


def assert_same(cluster: FakeKubernetes, undisturbed: FakeKubernetes, what: str) -> None:
    assert table(cluster) == table(undisturbed), what
    assert sorted(cluster.trained) == sorted(undisturbed.trained), f"{what}: a step was trained twice, or never"
    assert cluster.all_of("pods") == [], what
    (experiment,) = cluster.all_of("experiments")
    assert experiment["status"]["phase"] == "Complete"


def test_undisturbed_run_promotes_three_of_nine_and_then_one() -> None:
    cluster = an_undisturbed_run()
    steps = sorted(trial["status"]["step"] for trial in cluster.all_of("trials"))
    assert (steps[-1], steps.count(1), len(steps)) == (9, 6, 9)
    assert len(cluster.trained) == len(set(cluster.trained))


@pytest.mark.parametrize("moment", ["before", "after"])
def test_death_at_any_write_changes_nothing(moment: Literal["before", "after"]) -> None:
    undisturbed = an_undisturbed_run(**SMALL)
    assert len(undisturbed.writes) > 20
    for number, description in enumerate(undisturbed.writes):
        cluster = a_cluster(**SMALL)
        cluster.die = (number, moment)
        finish(cluster)
        assert cluster.deaths == 1
        assert_same(cluster, undisturbed, f"death {moment} write {number}: {description}")


@pytest.mark.parametrize("delivery", get_args(Delivery))
def test_watch_that_fails_in_any_way_changes_nothing(delivery: Delivery) -> None:
    cluster = a_cluster()
    finish(cluster, delivery)
    assert_same(cluster, an_undisturbed_run(), delivery)


@pytest.mark.parametrize("delivery", ["late", "dropped"])
def test_death_with_a_bad_watch_changes_nothing(delivery: Delivery) -> None:
    undisturbed = an_undisturbed_run(**SMALL)
    for number in range(len(undisturbed.writes)):
        cluster = a_cluster(**SMALL)
        cluster.die = (number, "after")
        finish(cluster, delivery)
        assert_same(cluster, undisturbed, f"death after write {number}")


def test_edit_under_way_is_a_conflict_that_resolves_itself() -> None:
    undisturbed, cluster = an_undisturbed_run(**SMALL), a_cluster(**SMALL)
    tick = cluster.tick

    def tick_and_edit() -> None:
        tick()
        for plural in ("experiments", "trials"):
            for body in cluster.all_of(plural):
                body["metadata"].setdefault("annotations", {})["edited"] = cluster.now.isoformat()
                cluster.put(plural, body)

    cluster.tick = tick_and_edit  # type: ignore[method-assign]  # somebody edits every object at every moment
    finish(cluster, "late")
    assert_same(cluster, undisturbed, "edits")


def test_status_of_a_long_experiment_is_as_small_as_that_of_a_short_one() -> None:
    sizes = []
    for trials in (30, 150):
        cluster = an_undisturbed_run(max_trials=trials, parallelism=10)
        (experiment,) = cluster.all_of("experiments")
        sizes.append(len(json.dumps(experiment["status"])))
    assert sizes[1] <= 1.03 * sizes[0]


# --- Trials that go when the experiment has been over for its time to live

SHORT_LIVED = {**SMALL, "ttl_seconds_after_finished": 2, "pod_history_limit": 10}


def sums(cluster: FakeKubernetes) -> dict[str, Any]:
    """What the Experiment's status tells of its trials."""
    (experiment,) = cluster.all_of("experiments")
    return {
        field: experiment["status"].get(field) for field in ("phase", "trials", "best", "bestValue", "rungs", "cost")
    }


def test_trials_and_pods_go_after_their_time_and_the_status_stays() -> None:
    cluster = an_undisturbed_run(**SHORT_LIVED)
    assert (cluster.all_of("trials"), cluster.all_of("pods")) == ([], [])
    assert sums(cluster) == sums(an_undisturbed_run(**SMALL))


@pytest.mark.parametrize("moment", ["before", "after"])
def test_death_while_trials_are_removed_loses_and_doubles_nothing_of_the_sums(
    moment: Literal["before", "after"],
) -> None:
    undisturbed = an_undisturbed_run(**SHORT_LIVED)
    writes = list(enumerate(undisturbed.writes))
    counted = max(number for number, description in writes if description == "status of demo")
    assert len(writes[counted:]) == 4, "the Trials are counted as removed, and then deleted"
    for number, description in writes[counted:]:
        cluster = a_cluster(**SHORT_LIVED)
        cluster.die = (number, moment)
        finish(cluster)
        assert cluster.deaths == 1
        what = f"death {moment} write {number}: {description}"
        assert sums(cluster) == sums(undisturbed), what
        assert (cluster.all_of("trials"), cluster.all_of("pods")) == ([], []), what


@pytest.mark.parametrize("delivery", get_args(Delivery))
def test_watch_that_fails_in_any_way_brings_no_removed_trial_back(delivery: Delivery) -> None:
    cluster = a_cluster(**SHORT_LIVED)
    finish(cluster, delivery)
    assert sums(cluster) == sums(an_undisturbed_run(**SHORT_LIVED))
    assert cluster.all_of("trials") == []


@pytest.mark.parametrize("store_is_lost", [False, True])
def test_limit_raised_after_the_trials_went_gives_new_numbers_only(store_is_lost: bool) -> None:
    cluster = a_cluster(**SHORT_LIVED)
    engine = finish(cluster)
    first = set(cluster.trained)
    cluster.edit(maxTrials=5)
    engine = finish(cluster, engine=None if store_is_lost else engine)
    assert {trial for trial, _ in set(cluster.trained) - first} == {"demo-00004", "demo-00005"}
    assert sums(cluster)["trials"]["total"] == 5
    assert sums(cluster)["phase"] == "Complete"
    if not store_is_lost:
        assert [record.number for record in engine.records("default/demo/u1")] == [1, 2, 3, 4, 5]
