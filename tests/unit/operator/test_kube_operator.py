"""The operator's loops, one for each Experiment: begun when it is seen, ended when it is gone, however that is found."""

import asyncio

from builders.experiments import an_experiment
from builders.fake_kubernetes import FakeKubernetes
from podium_contract.wire import Advice, AdviceRequest
from podium_operator.advisors.http import HttpAdvisor
from podium_operator.kube.operator import Operator
from podium_operator.metrics import Metrics


class Advisor(HttpAdvisor):
    """A suggestion service that has nothing to suggest, and tells which histories it was told to forget."""

    def __init__(self) -> None:
        super().__init__("http://nowhere.invalid")
        self.forgotten: asyncio.Queue[str] = asyncio.Queue()
        self.asked = asyncio.Event()

    async def advise(self, request: AdviceRequest) -> Advice:  # noqa: ARG002  (the interface)
        self.asked.set()
        return Advice()

    async def forget(self, experiment: str) -> None:
        self.forgotten.put_nowait(experiment)


def a_cluster() -> FakeKubernetes:
    experiment = an_experiment()
    identified = experiment.metadata.model_copy(update={"uid": "u1"})
    return FakeKubernetes(experiment.model_copy(update={"metadata": identified}), lambda _, step: {"loss": 1.0 / step})


def test_deletion_that_the_watch_tells_ends_the_loop_and_the_record() -> None:
    async def story() -> None:
        cluster, advisor = a_cluster(), Advisor()
        operator, (body,) = Operator(cluster, advisor, Metrics()), cluster.all_of("experiments")
        await operator.see_experiment(body, deleted=False)
        await advisor.asked.wait()
        await operator.see_experiment(body, deleted=True)
        assert await advisor.forgotten.get() == "default/demo/u1"
        await operator.close()

    asyncio.run(asyncio.wait_for(story(), 30))


def test_edit_that_makes_no_sense_is_told_and_the_experiment_goes_on_as_it_was() -> None:
    async def story() -> None:
        cluster, advisor = a_cluster(), Advisor()
        operator, (body,) = Operator(cluster, advisor, Metrics()), cluster.all_of("experiments")
        await operator.see_experiment(body, deleted=False)
        await advisor.asked.wait()
        edited = body["spec"] | {
            "search": {"algorithm": "random", "points": [{"lr": 0.1}, {"lr": 0.01}]},
            "maxTrials": 1,
        }
        cluster.edit(**edited)
        (body,) = cluster.all_of("experiments")
        await operator.see_experiment(body, deleted=False)
        assert ("InvalidSpec", True) in [(reason, warning) for reason, _, warning in cluster.events]
        (seat,) = operator._seats.values()
        assert await seat.backend.open(), "also when it is listed anew"
        world = await seat.backend.observe()
        assert world.experiment.spec.max_trials > 1
        (body,) = cluster.all_of("experiments")
        assert not [each for each in body.get("status", {}).get("conditions", ()) if each["type"] == "Failed"]
        await operator.close()

    asyncio.run(asyncio.wait_for(story(), 30))


def test_deletion_that_the_watch_missed_is_found_by_listing() -> None:
    async def story() -> None:
        cluster, advisor = a_cluster(), Advisor()
        operator, (body,) = Operator(cluster, advisor, Metrics()), cluster.all_of("experiments")
        cluster.remove("experiments", "demo")
        await operator.see_experiment(body, deleted=False)
        assert await advisor.forgotten.get() == "default/demo/u1"
        assert not advisor.asked.is_set()
        await operator.close()

    asyncio.run(asyncio.wait_for(story(), 30))


def test_experiment_made_anew_under_the_name_is_not_taken_for_the_one_that_is_gone() -> None:
    async def story() -> None:
        cluster, advisor = a_cluster(), Advisor()
        operator, (old,) = Operator(cluster, advisor, Metrics()), cluster.all_of("experiments")
        cluster.remove("experiments", "demo")
        new = cluster.put("experiments", {**old, "metadata": {**old["metadata"], "uid": "u2"}})
        await operator.see_experiment(old, deleted=False)
        assert await advisor.forgotten.get() == "default/demo/u1"
        await operator.see_experiment(new, deleted=False)
        await advisor.asked.wait()
        assert advisor.forgotten.empty()
        await operator.close()

    asyncio.run(asyncio.wait_for(story(), 30))
