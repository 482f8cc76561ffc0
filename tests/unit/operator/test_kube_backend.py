"""The Kubernetes backend against an API server in memory: what it makes of pods and records that others touch."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from builders.experiments import a_float, a_trial, an_experiment
from builders.fake_kubernetes import FakeKubernetes
from podium_contract.conditions import Reason
from podium_contract.experiment import Experiment
from podium_contract.trial import Trial
from podium_contract.wire import Assignment
from podium_operator.core.actions import CreateTrial, RemoveRun, StartRun, StopRun, WriteTrial
from podium_operator.core.facts import EndKind, Run, RunState
from podium_operator.core.ports import BackendError
from podium_operator.core.reconcile import _trial_of
from podium_operator.kube.api import KubernetesError
from podium_operator.kube.backend import KubeBackend
from podium_operator.metrics import Metrics

FORBIDDEN, SERVER_ERROR = 403, 500


class World:
    """A backend at work on an experiment of one trial."""

    def __init__(self, **spec: Any) -> None:
        defaults: dict[str, Any] = {"parameters": [a_float("lr", 0.0, 1.0, "linear")], "pod_history_limit": 0}
        experiment = an_experiment(**defaults | spec)
        identified = experiment.metadata.model_copy(update={"uid": "u1"})
        self.cluster = FakeKubernetes(
            experiment.model_copy(update={"metadata": identified}), lambda _, step: {"loss": 1.0 / step}
        )
        self.backend = self.a_backend()
        self.trial = _trial_of(identified, Assignment(number=1, parameters={"lr": 0.1}, target=3))

    def a_backend(self) -> KubeBackend:
        """The backend of an operator that has just started."""
        experiment = Experiment.model_validate(self.cluster.all_of("experiments")[0])
        return KubeBackend(experiment, self.cluster, httpx.AsyncClient(), lambda: self.cluster.now, Metrics())

    async def restart_operator(self) -> None:
        await self.backend.close()
        self.backend = self.a_backend()
        await self.backend.open()

    def start(self, number: int = 1) -> StartRun:
        return StartRun(self.trial_number(number), 1)

    def trial_number(self, number: int) -> Trial:
        metadata = self.trial.metadata
        return _trial_of(
            metadata.model_copy(update={"name": "demo"}), Assignment(number=number, parameters={"lr": 0.1}, target=3)
        )

    async def begin(self) -> None:
        await self.backend.perform(CreateTrial(self.trial))
        await self.backend.perform(self.start())

    async def look(self) -> Run | None:
        """Tell the watch's events, and return the trial's run."""
        self.cluster.deliver(self.backend, "in order")
        return (await self.backend.observe()).runs.get(1)


def told(story: Callable[[World], Any], **spec: Any) -> None:
    asyncio.run(story(World(**spec)))


def test_pod_deleted_mid_run_tells_its_last_reports_before_it_is_forgotten() -> None:
    async def story(world: World) -> None:
        await world.begin()
        for _ in range(3):
            world.cluster.tick()
        (pod,) = world.cluster.all_of("pods")
        pod["spec"]["activeDeadlineSeconds"] = 1
        world.cluster.put("pods", pod)
        world.cluster.tick()
        world.cluster.remove("pods", pod["metadata"]["name"])
        run = await world.look()
        assert run is not None
        assert run.end is not None
        assert run.end.kind is EndKind.CHECKPOINTED
        reports = (await world.backend.observe()).reports[1]
        assert [report.step for report in reports] == [1, 2]
        await world.backend.perform(RemoveRun(1, 1))
        assert await world.look() is None

    told(story)


def test_deletion_that_the_watch_missed_is_found_by_listing() -> None:
    async def story(world: World) -> None:
        await world.backend.open()
        await world.begin()
        world.cluster.remove("pods", "demo-00001-1")
        world.cluster.deliver(world.backend, "dropped")
        await world.backend.open()
        run = await world.look()
        assert run is not None
        assert run.state is RunState.ENDED
        await world.backend.close()

    told(story)


def test_trial_of_an_earlier_experiment_is_waited_for() -> None:
    async def story(world: World) -> None:
        foreign = {
            **world.trial.to_json(),
            "metadata": {**world.trial.to_json()["metadata"], "ownerReferences": [{"uid": "u0"}]},
        }
        world.cluster.put("trials", foreign)
        with pytest.raises(BackendError, match="of an earlier experiment is still being removed"):
            await world.backend.perform(CreateTrial(world.trial))
        world.cluster.remove("trials", "demo-00001")
        await world.backend.perform(CreateTrial(world.trial))

    told(story)


def test_used_up_quota_is_waited_for_and_asked_again() -> None:
    async def story(world: World) -> None:
        world.cluster.refusal = KubernetesError("pods is forbidden: exceeded quota: one", FORBIDDEN)
        await world.begin()
        run = await world.look()
        assert run is not None
        assert (run.state, run.waiting_reason) == (RunState.WAITING, Reason.UNSCHEDULABLE)
        world.cluster.refusal = None
        for _ in range(6):
            world.cluster.tick()
        await world.look()
        assert len(world.cluster.all_of("pods")) == 1

    told(story)


def test_run_held_back_by_a_quota_can_be_stopped() -> None:
    async def story(world: World) -> None:
        world.cluster.refusal = KubernetesError("exceeded quota", FORBIDDEN)
        await world.begin()
        await world.backend.perform(StopRun(1, 1, Reason.SUSPENDED, "the experiment is suspended"))
        run = await world.look()
        assert run is not None
        assert (run.state, run.stopping) == (RunState.ENDED, Reason.SUSPENDED)

    told(story)


@pytest.mark.parametrize(
    ("message", "status", "is_final"),
    [
        ("violates PodSecurity", 403, True),
        ("Invalid value: no such field", 422, True),
        ("cannot create resource pods", 403, False),
        ("namespace is being terminated", 403, False),
    ],
)
def test_refusal_is_a_failure_only_where_asking_again_is_pointless(message: str, status: int, is_final: bool) -> None:
    async def story(world: World) -> None:
        world.cluster.refusal = KubernetesError(message, status)
        await world.begin()
        run = await world.look()
        assert run is not None
        assert (run.end is not None and run.end.reason is Reason.START_FAILED) is is_final

    told(story)


def test_server_that_cannot_answer_is_asked_again_by_the_next_pass() -> None:
    async def story(world: World) -> None:
        world.cluster.refusal = KubernetesError("etcd is away", SERVER_ERROR)
        with pytest.raises(BackendError, match="etcd is away"):
            await world.begin()
        assert await world.look() is None

    told(story)


def test_status_that_somebody_else_has_written_since_is_refused() -> None:
    async def story(world: World) -> None:
        await world.begin()
        (trial,) = world.cluster.all_of("trials")
        world.cluster.put("trials", trial)
        with pytest.raises(BackendError, match="modified"):
            await world.backend.perform(WriteTrial(1, world.trial.status))
        await world.look()
        await world.backend.perform(WriteTrial(1, world.trial.status))

    told(story)


def test_deleted_trial_is_forgotten_and_its_pod_stopped_for_good() -> None:
    async def story(world: World) -> None:
        await world.begin()
        world.cluster.remove("trials", "demo-00001")
        world.cluster.deliver(world.backend, "in order")
        seen = await world.backend.observe()
        assert (seen.trials, seen.forgotten) == ({}, 1)
        await world.backend.perform(WriteTrial(1, world.trial.status))
        assert world.cluster.all_of("trials") == []

    told(story)


def test_latest_ended_pods_are_kept() -> None:
    async def story(world: World) -> None:
        for number in (1, 2, 3):
            await world.backend.perform(CreateTrial(world.trial_number(number)))
            await world.backend.perform(world.start(number))
            for _ in range(5):
                world.cluster.tick()
            await world.look()
            await world.backend.perform(RemoveRun(number, 1))
        assert [pod["metadata"]["name"] for pod in world.cluster.all_of("pods")] == ["demo-00002-1", "demo-00003-1"]

    told(story, pod_history_limit=2)


def test_pod_that_was_stopped_before_a_node_took_it_asks_for_no_node_any_more() -> None:
    async def story(world: World) -> None:
        await world.begin()
        run = await world.look()
        assert run is not None
        assert run.state is RunState.WAITING
        await world.backend.perform(StopRun(1, 1, Reason.SUSPENDED, "suspended"))
        await world.look()
        await world.backend.perform(RemoveRun(1, 1))
        assert world.cluster.all_of("pods") == []
        assert await world.look() is None

    told(story, pod_history_limit=10)


def test_cancellation_that_comes_with_the_news_is_not_lost() -> None:
    async def story(world: World) -> None:
        waiting = asyncio.create_task(world.backend.wait(30.0))
        await asyncio.sleep(0.0)
        world.backend.see_experiment(world.cluster.all_of("experiments")[0], None)
        await asyncio.sleep(0.0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    told(story)


def test_sidecar_that_outlives_the_training_is_told_to_stop_and_its_pod_kept() -> None:
    async def story(world: World) -> None:
        await world.begin()
        for _ in range(5):
            world.cluster.tick()
        (pod,) = world.cluster.all_of("pods")
        pod["status"]["phase"] = "Running"
        pod["spec"]["containers"].append({"name": "sidecar"})
        world.cluster.put("pods", pod)
        await world.look()
        await world.backend.perform(RemoveRun(1, 1))
        assert await world.look() is None
        (left,) = world.cluster.all_of("pods")
        assert left["spec"]["activeDeadlineSeconds"] == 1

    told(story, pod_history_limit=1)


# --- the claim

CLAIM: dict[str, Any] = {"trial": a_trial(checkpoints={"persistentVolumeClaim": {"storage": "1Gi"}})}


def test_claim_without_room_in_a_quota_is_told_waited_for_and_asked_again() -> None:
    async def story(world: World) -> None:
        world.cluster.refusal_of_claim = KubernetesError("claims are forbidden: exceeded quota: storage", FORBIDDEN)
        await world.begin()
        run = await world.look()
        assert run is not None
        assert (run.state, run.waiting_reason) == (RunState.WAITING, Reason.UNSCHEDULABLE)
        assert "exceeded quota: storage" in run.waiting
        assert world.cluster.all_of("pods") == []
        world.cluster.refusal_of_claim = None
        for _ in range(6):
            world.cluster.tick()
        await world.look()
        assert len(world.cluster.all_of("pods")) == 1

    told(story, **CLAIM)


def test_claim_of_somebody_else_is_told_with_the_remedy_and_waited_for() -> None:
    async def story(world: World) -> None:
        world.cluster.put("persistentvolumeclaims", {"metadata": {"name": "demo-checkpoints"}})
        await world.begin()
        run = await world.look()
        assert run is not None
        assert run.waiting.endswith("not this experiment's; delete it, or use it by claimName")
        assert world.cluster.all_of("pods") == []

    told(story, **CLAIM)


def test_claim_that_is_refused_for_good_is_a_failure_with_the_servers_words() -> None:
    async def story(world: World) -> None:
        world.cluster.refusal_of_claim = KubernetesError("Invalid value: no such access mode", 422)
        await world.begin()
        run = await world.look()
        assert run is not None
        assert run.end is not None
        assert (run.end.reason, run.end.message) == (Reason.START_FAILED, "Invalid value: no such access mode")

    told(story, **CLAIM)


# --- logs whose lines tell no step: they are counted

LOG: dict[str, Any] = {"trial": a_trial(metrics={"source": "log", "scrapeIntervalSeconds": 0.01})}


class Printer(World):
    """A trial whose training prints losses."""

    def print_losses(self, *losses: float) -> None:
        (pod,) = self.cluster.all_of("pods")
        for loss in losses:
            self.cluster.print_line(pod["metadata"]["name"], json.dumps({"loss": loss}))

    async def told_until(self, steps: int) -> dict[int, float]:
        """The losses by step that the running operator has read, once it has read so many steps."""
        while True:
            self.cluster.deliver(self.backend, "in order")
            reports = (await self.backend.observe()).reports.get(1, ())
            losses = {report.step: report.metrics["loss"] for report in reports}
            if len(losses) >= steps:
                return losses
            await self.backend.wait(1.0)

    async def record(self, **status: Any) -> None:
        """Write what an operator would: how far the trial is, and how its runs went."""
        written = self.trial.status.model_copy(update=status)
        self.trial = self.trial.model_copy(update={"status": written})
        await self.backend.perform(WriteTrial(1, written))


def printed(story: Callable[[Printer], Any]) -> None:
    asyncio.run(asyncio.wait_for(story(Printer(**LOG)), 30))


def test_counted_lines_keep_their_steps_when_the_operator_starts_again() -> None:
    async def story(world: Printer) -> None:
        await world.backend.open()
        await world.begin()
        world.cluster.tick()
        world.print_losses(0.9, 0.8)
        assert await world.told_until(2) == {1: 0.9, 2: 0.8}
        world.backend.acknowledge()
        await world.record(step=2)
        await world.restart_operator()
        world.print_losses(0.7)
        assert await world.told_until(3) == {1: 0.9, 2: 0.8, 3: 0.7}, "what is read again has its old steps"
        await world.backend.close()

    printed(story)


def test_counting_goes_on_behind_the_steps_of_earlier_runs() -> None:
    async def story(world: Printer) -> None:
        await world.backend.open()
        await world.backend.perform(CreateTrial(world.trial))
        await world.record(step=3, attempt=2, ended_attempt=1)
        await world.backend.perform(StartRun(world.trial, 2))
        world.cluster.tick()
        world.print_losses(0.6)
        assert await world.told_until(1) == {4: 0.6}
        await world.record(step=4)
        await world.restart_operator()
        world.print_losses(0.5)
        assert await world.told_until(2) == {4: 0.6, 5: 0.5}
        await world.backend.close()

    printed(story)


def test_a_run_has_not_ended_before_all_of_its_log_is_read() -> None:
    async def story(world: Printer) -> None:
        await world.backend.open()
        await world.begin()
        world.cluster.tick()
        world.print_losses(0.9, 0.8, 0.7)
        await world.record(step=0)
        for _ in range(4):
            world.cluster.tick()
        world.cluster.logs_break_off = 1
        world.cluster.deliver(world.backend, "in order")
        first = await world.backend.observe()
        assert first.runs[1].state is RunState.ACTIVE
        then = await world.backend.observe()
        assert then.runs[1].state is RunState.ENDED
        assert [report.step for report in then.reports[1]] == [1, 2, 3]
        await world.backend.close()

    printed(story)


def test_log_of_a_run_that_ended_while_no_operator_was_there_counts_once() -> None:
    async def story(world: Printer) -> None:
        await world.backend.open()
        await world.begin()
        world.cluster.tick()
        world.print_losses(0.9, 0.8)
        await world.told_until(2)
        await world.record(step=2)
        await world.backend.close()
        world.print_losses(0.7)
        for _ in range(4):
            world.cluster.tick()
        await world.restart_operator()
        assert await world.told_until(3) == {1: 0.9, 2: 0.8, 3: 0.7}
        assert (await world.backend.observe()).runs[1].state is RunState.ENDED
        await world.backend.close()

    printed(story)
