"""The Kubernetes backend: every trial's run a pod, every record an object of the API server.

It keeps a copy of one experiment's Trials and pods. The copy begins with a listing and follows watch events, which may come
late, twice or out of order: an older version of an object never replaces a newer one. Events wait until the next pass, so
that the world does not change under a pass; what the pass itself does is known at once.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from typing import TypeVar

import httpx
from pydantic import ValidationError

from podium_contract.conditions import Reason
from podium_contract.experiment import Experiment, ExperimentStatus, LogMetrics
from podium_contract.names import trial_name
from podium_contract.template import trial_container
from podium_contract.trial import Trial, TrialStatus
from podium_operator.core.actions import (
    Action,
    Announce,
    CreateTrial,
    RemoveRun,
    StartRun,
    StopRun,
    WriteExperiment,
    WriteTrial,
)
from podium_operator.core.facts import End, EndKind, Run, RunState, World
from podium_operator.core.outcome import with_trials_removed
from podium_operator.core.ports import BackendError
from podium_operator.kube.api import Json, KubernetesApi, KubernetesError
from podium_operator.kube.faults import Refusal, refusal_of
from podium_operator.kube.pods import claim_of, is_owned_by, pod_of, stop_patch, trial_body_of
from podium_operator.kube.runs import attempt_of, first_step_of, is_terminal, number_of, run_of, waits_for_a_node
from podium_operator.kube.scraper import LivePod, Scraper
from podium_operator.metrics import Metrics
from podium_operator.metrics_sources import reader_for

_SETTLING_SECONDS = 0.05
"""News comes in bursts: one pass takes in what comes so soon after the first."""
_DELETIONS = 100
"""So many Trials are deleted in a pass."""
_Record = TypeVar("_Record", Experiment, Trial)
_GONE = 2**64
"""A version later than any: what is gone stays gone."""


@dataclass(frozen=True)
class _Refused:
    """A run without a pod: the API server would not have it, for good or for now."""

    order: StartRun
    run: Run
    tried: datetime


class KubeBackend:
    """Runs one experiment's trials as pods."""

    def __init__(
        self,
        experiment: Experiment,
        api: KubernetesApi,
        client: httpx.AsyncClient,
        clock: Callable[[], datetime],
        metrics: Metrics,
    ) -> None:
        self._api = api
        self._clock = clock
        self._metrics = metrics
        self._world = World(experiment)
        self._source = experiment.spec.trial.metrics
        self._container = trial_container(experiment.spec.trial.template, experiment.spec.trial.container)["name"]
        self._scraper = Scraper(self._source, self._container, api, client, metrics)
        self._scraping: asyncio.Task[None] | None = None
        self._pods: dict[int, LivePod] = {}
        """The latest pod of each trial whose end is not accounted for."""
        self._kept: dict[str, str] = {}
        """Ended pods that are kept for their logs, oldest first: when each was made, by name."""
        self._leftovers: dict[str, str] = {}
        """Trials that are counted as removed and may still be there: their uids, by name."""
        self._refused: dict[int, _Refused] = {}
        self._versions: dict[str, int] = {}
        self._news: list[Callable[[], None]] = []
        self._changed = asyncio.Event()
        self._changed_at: float | None = None
        self._has_claim = False

    @property
    def key(self) -> str:
        return self._world.experiment.metadata.key

    async def open(self) -> bool:
        """List what exists; answers whether the Experiment does. Called again, it finds what the watch has missed."""
        metadata = self._world.experiment.metadata
        experiment = await self._api.experiment(metadata.namespace, metadata.name)
        if experiment is None or experiment["metadata"]["uid"] != metadata.uid:
            return False
        trials = await self._api.trials_of(metadata.namespace, metadata.uid)
        pods = await self._api.pods_of(metadata.namespace, metadata.uid)
        if self._is_news(experiment):
            self._take_over(experiment)
        for trial in trials:
            self._take_in_trial(trial)
        for number in self._world.trials.keys() - {trial["spec"]["number"] for trial in trials}:
            self._world.forget_trial(number)
        for pod in pods:
            self._take_in_pod(pod)
        listed = {pod["metadata"]["name"] for pod in pods}
        for live in self._pods.values():
            live.is_gone = live.is_gone or live.pod["metadata"]["name"] not in listed
        self._kept = {name: made for name, made in self._kept.items() if name in listed}
        if self._scraping is None:
            self._scraping = asyncio.create_task(self._scraper.run(self._running_pods, self._note_change))
        return True

    async def close(self) -> None:
        if self._scraping is not None:
            self._scraping.cancel()
            with suppress(asyncio.CancelledError):
                await self._scraping

    # --- what the watch tells

    def see_experiment(self, body: Json, changed: Experiment | None) -> None:
        """Take over the spec, where it has changed, at the next pass; the status is this process's own."""
        self._hear(lambda: self._take_in_experiment(body, changed))

    def see_trial(self, body: Json, *, deleted: bool = False) -> None:
        self._hear(lambda: self._lose_trial(body) if deleted else self._take_in_trial(body))

    def see_pod(self, body: Json, *, deleted: bool = False) -> None:
        self._hear(lambda: self._lose_pod(body) if deleted else self._take_in_pod(body))

    def _hear(self, news: Callable[[], None]) -> None:
        self._news.append(news)
        self._note_change()

    def _note_change(self) -> None:
        """Something has changed: the next pass need not wait for the clock."""
        self._changed_at = self._changed_at or time.monotonic()
        self._changed.set()

    def _take_in_news(self) -> None:
        news, self._news = self._news, []
        for take_in in news:
            take_in()

    def _take_in_experiment(self, body: Json, changed: Experiment | None) -> None:
        if not self._is_news(body):
            return
        if changed is not None:
            self._world.experiment = changed.model_copy(update={"status": self._world.experiment.status})
        else:
            self._world.experiment = _at_version_of(self._world.experiment, body)

    def _take_over(self, body: Json) -> None:
        """Take an Experiment as it is listed; of one whose spec makes no sense any more the last one that did stays."""
        try:
            self._world.experiment = Experiment.model_validate(known_fields(body))
        except ValidationError:
            self._world.experiment = _at_version_of(self._world.experiment, body)

    def _take_in_trial(self, body: Json) -> None:
        if not self._is_news(body):
            return
        if body["spec"]["number"] <= self._world.removed_up_to:
            self._leftovers[body["metadata"]["name"]] = body["metadata"]["uid"]
            return
        self._world.put_trial(Trial.model_validate(known_fields(body)))

    def _lose_trial(self, body: Json) -> None:
        self._versions[body["metadata"]["uid"]] = _GONE
        self._leftovers.pop(body["metadata"]["name"], None)
        self._world.forget_trial(body["spec"]["number"])

    def _take_in_pod(self, body: Json) -> None:
        if not self._is_news(body):
            return
        number, attempt, name = number_of(body), attempt_of(body), body["metadata"]["name"]
        live, trial = self._pods.get(number), self._world.trials.get(number)
        if live is not None and live.pod["metadata"]["name"] == name:
            live.pod = body
        elif name in self._kept:
            return
        elif trial is not None and attempt <= trial.status.ended_attempt and is_terminal(body):
            self._kept[name] = body["metadata"]["creationTimestamp"]
        elif live is None or attempt_of(live.pod) < attempt:
            known_as = trial_name(self._world.experiment.metadata.name, number)
            counted = self._counted_before(body, trial)
            reader = reader_for(self._source, attempt, counted, _reports_known_of(trial, attempt))
            self._pods[number] = LivePod(body, known_as, reader)

    def _lose_pod(self, body: Json) -> None:
        """A pod is gone: of a run that is not accounted for, its last sight is how it ended."""
        name, live = body["metadata"]["name"], self._pods.get(number_of(body))
        self._versions[body["metadata"]["uid"]] = _GONE
        self._kept.pop(name, None)
        if live is not None and live.pod["metadata"]["name"] == name:
            live.pod, live.is_gone = body, True

    # --- the backend's protocol

    async def observe(self) -> World:
        if self._changed_at is not None:
            self._metrics.count_wait(time.monotonic() - self._changed_at)
            self._changed_at = None
        if self._scraping is not None and self._scraping.done():
            failed, self._scraping = self._scraping, None  # listing anew begins it anew
            failed.result()  # it ends with a fault only
        self._take_in_news()
        await self._keep_to_the_limit()
        await self._clear_away()
        await self._try_again()
        now = self._clock()
        runs = {
            number: run_of(live.pod, self._container, now, is_gone=live.is_gone) for number, live in self._pods.items()
        }
        ended = [self._pods[number] for number, run in runs.items() if run.state is RunState.ENDED]
        await asyncio.gather(*(self._scraper.read_last(live) for live in ended if not live.is_read_to_the_end))
        for number, live in self._pods.items():
            if not live.is_read_to_the_end:  # nothing is decided on it before all that it has said is known
                runs[number] = _as_unended(runs[number])
        self._world.runs = {**runs, **{number: refused.run for number, refused in self._refused.items()}}
        reports = {number: live.inbox.hand_out() for number, live in self._pods.items()}
        self._world.reports = {number: observations for number, observations in reports.items() if observations}
        return self._world

    async def perform(self, action: Action) -> None:
        try:
            await self._do(action)
        except KubernetesError as fault:
            raise BackendError(str(fault)) from fault

    def acknowledge(self) -> None:
        for live in self._pods.values():
            live.inbox.acknowledge()

    async def wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(
                seconds
            ):  # Python 3.11's wait_for may lose a cancellation that comes with the news
                await self._changed.wait()
            await asyncio.sleep(_SETTLING_SECONDS)
        self._changed.clear()

    async def remove_trials(self) -> None:
        """Remove the Trials of an experiment that is over, and their pods with them; their sums stay in its status."""
        if not self._world.trials:
            return
        await self.perform(WriteExperiment(with_trials_removed(self._world)))
        self._leftovers |= {trial.metadata.name: trial.metadata.uid for trial in self._world.leave_out_removed()}
        self._note_change()

    # --- deeds

    async def _do(self, action: Action) -> None:
        match action:
            case CreateTrial(trial):
                await self._create_trial(trial)
            case WriteTrial(number, status):
                await self._write_trial(number, status)
            case StartRun():
                await self._start(action)
            case StopRun(number, attempt, reason, _):
                await self._stop(number, attempt, reason)
            case RemoveRun(number, attempt):
                await self._remove(number, attempt)
            case WriteExperiment(status):
                await self._write_experiment(status)
            case Announce(reason, message, number, warning):
                await self._api.emit(self._subject(number), reason, message, warning=warning)

    async def _create_trial(self, trial: Trial) -> None:
        experiment = self._world.experiment
        created = await self._api.create_trial(experiment.metadata.namespace, trial_body_of(experiment, trial))
        if not is_owned_by(created, experiment.metadata.uid):
            raise BackendError(f"Trial {trial.metadata.name} of an earlier experiment is still being removed")
        self._take_in_trial(created)

    async def _write_trial(self, number: int, status: TrialStatus) -> None:
        trial = self._world.trials.get(number)
        if trial is None:
            return
        metadata = trial.metadata
        body = await self._api.write_status(
            metadata.namespace, "trials", metadata.name, _whole(TrialStatus, status), metadata.resource_version
        )
        if body is None:
            self._world.forget_trial(number)
            return
        self._is_news(body)
        self._world.put_trial(_at_version_of(trial, body).model_copy(update={"status": status}))

    async def _write_experiment(self, status: ExperimentStatus) -> None:
        experiment = self._world.experiment
        metadata = experiment.metadata
        body = await self._api.write_status(
            metadata.namespace,
            "experiments",
            metadata.name,
            _whole(ExperimentStatus, status),
            metadata.resource_version,
        )
        if body is not None and self._is_news(body):
            experiment = _at_version_of(experiment, body)
        self._world.experiment = experiment.model_copy(update={"status": status})

    async def _start(self, order: StartRun) -> None:
        experiment, number = self._world.experiment, order.trial.spec.number
        trial = self._world.trials.get(number)
        if trial is None:
            return  # deleted meanwhile
        try:
            await self._ensure_claim()
            pod = await self._api.create_pod(experiment.metadata.namespace, pod_of(experiment, trial, order.attempt))
        except KubernetesError as fault:
            self._note_refusal(order, fault)
            return
        self._refused.pop(number, None)
        if not is_owned_by(pod, trial.metadata.uid):
            raise BackendError(f"pod {pod['metadata']['name']} of an earlier experiment is still being removed")
        self._take_in_pod(pod)

    def _note_refusal(self, order: StartRun, fault: KubernetesError) -> None:
        now = self._clock()
        number, attempt = order.trial.spec.number, order.attempt
        before = self._refused.get(number)
        created = before.run.created if before is not None and before.order.attempt == attempt else now
        refusal = refusal_of(fault)
        if refusal is Refusal.NONE:
            raise fault
        run = Run(number, attempt, RunState.WAITING, created, waiting_reason=Reason.UNSCHEDULABLE, waiting=str(fault))
        if refusal is Refusal.FOR_GOOD:
            end = End(EndKind.FAILED, Reason.START_FAILED, str(fault), now)
            run = Run(number, attempt, RunState.ENDED, created, end=end)
        self._refused[number] = _Refused(order, run, now)
        self._note_change()

    async def _try_again(self) -> None:
        """Ask again for pods that were refused for now (a quota was used up)."""
        now = self._clock()
        for refused in list(self._refused.values()):
            is_due = (now - refused.tried).total_seconds() >= self._scraper.interval
            if refused.run.state is RunState.WAITING and is_due:
                await self.perform(refused.order)

    async def _ensure_claim(self) -> None:
        experiment = self._world.experiment
        claim = claim_of(experiment)
        if claim is None or self._has_claim:
            return
        made = await self._api.create_claim(experiment.metadata.namespace, claim)
        if not is_owned_by(made, experiment.metadata.uid):
            name = claim["metadata"]["name"]
            raise KubernetesError(
                f"claim {name} is there already and not this experiment's; delete it, or use it by claimName",
                HTTPStatus.CONFLICT,
            )
        self._has_claim = True

    async def _stop(self, number: int, attempt: int, reason: Reason) -> None:
        refused = self._refused.get(number)
        if refused is not None and refused.order.attempt == attempt:
            end = End(EndKind.DISRUPTED, Reason.DISRUPTED, "it was told to stop before it had started", self._clock())
            ended = replace(refused.run, state=RunState.ENDED, stopping=reason, end=end)
            self._refused[number] = replace(refused, run=ended)
            self._note_change()
        live = self._pods.get(number)
        if live is None or attempt_of(live.pod) != attempt:
            return
        metadata = live.pod["metadata"]
        stopped = await self._api.patch_pod(metadata["namespace"], metadata["name"], stop_patch(reason))
        if stopped is None:
            live.is_gone = True
        elif self._is_news(stopped):
            live.pod = stopped

    async def _remove(self, number: int, attempt: int) -> None:
        refused = self._refused.get(number)
        if refused is not None and refused.order.attempt == attempt:
            del self._refused[number]
        live = self._pods.get(number)
        if live is None or attempt_of(live.pod) != attempt:
            return
        if not live.is_gone and waits_for_a_node(live.pod):
            # It has no log to be kept for; and would ask for a node, and take it.
            await self._api.delete_pod(live.pod["metadata"]["namespace"], live.pod["metadata"]["name"])
        elif not live.is_gone:
            await self._keep(live.pod)
        del self._pods[number]
        await self._keep_to_the_limit()

    async def _keep(self, pod: Json) -> None:
        """Keep an ended run's pod for its log; sidecars that outlive the training are told to stop."""
        metadata = pod["metadata"]
        self._kept[metadata["name"]] = metadata["creationTimestamp"]
        if not is_terminal(pod) and len(pod["spec"]["containers"]) > 1:
            await self._api.patch_pod(metadata["namespace"], metadata["name"], stop_patch(Reason.FINISHED))

    async def _keep_to_the_limit(self) -> None:
        """Delete the oldest of the kept pods, as many as there are too many."""
        experiment = self._world.experiment
        names = sorted(self._kept, key=lambda name: (self._kept[name], name))
        for name in names[: max(len(names) - experiment.spec.pod_history_limit, 0)]:
            await self._api.delete_pod(experiment.metadata.namespace, name)
            del self._kept[name]

    async def _clear_away(self) -> None:
        """Delete some of the Trials that are counted as removed."""
        for name, uid in list(self._leftovers.items())[:_DELETIONS]:
            await self._api.delete_trial(self._world.experiment.metadata.namespace, name, uid)
            del self._leftovers[name]
        if self._leftovers:
            self._note_change()

    # --- helpers

    def _counted_before(self, pod: Json, trial: Trial | None) -> int:
        """Return where counting goes on in a pod whose metrics tell no steps.

        A log is read from its beginning again, so from where the pod began; pages that were scraped do not come again.
        """
        first = first_step_of(pod)
        return first if trial is None or isinstance(self._source, LogMetrics) else max(first, trial.step)

    def _running_pods(self) -> Iterator[LivePod]:
        for live in list(self._pods.values()):
            if not live.is_gone and (live.pod.get("status") or {}).get("phase") == "Running":
                yield live

    def _is_news(self, body: Json) -> bool:
        """Whether an object is newer than what is known of it."""
        uid, version = body["metadata"]["uid"], int(body["metadata"]["resourceVersion"])
        if version <= self._versions.get(uid, 0):
            return False
        self._versions[uid] = version
        return True

    def _subject(self, number: int | None) -> Json:
        item = self._world.experiment if number is None else self._world.trials.get(number, self._world.experiment)
        metadata = item.metadata
        return {
            "apiVersion": item.api_version,
            "kind": item.kind,
            "name": metadata.name,
            "namespace": metadata.namespace,
            "uid": metadata.uid,
        }


def _at_version_of(known: _Record, body: Json) -> _Record:
    """Return a record as of the version that the API server has it in."""
    metadata = known.metadata.model_copy(update={"resource_version": body["metadata"]["resourceVersion"]})
    return known.model_copy(update={"metadata": metadata})


def _as_unended(run: Run) -> Run:
    return replace(run, state=RunState.ACTIVE, end=None) if run.state is RunState.ENDED else run


def _reports_known_of(trial: Trial | None, attempt: int) -> int:
    """Return the number of the last report of a run that the Trial keeps."""
    known = () if trial is None else trial.status.observations
    return max((observation.sequence for observation in known if observation.attempt == attempt), default=0)


def _whole(model: type[TrialStatus] | type[ExperimentStatus], status: TrialStatus | ExperimentStatus) -> Json:
    """Return a status as a merge patch that also removes what the new one no longer has."""
    absent = {field.alias or name: None for name, field in model.model_fields.items()}
    return {**absent, **status.to_json()}


def known_fields(body: Json) -> Json:
    """Return an object of ours as its model takes it."""
    return {key: body[key] for key in ("apiVersion", "kind", "metadata", "spec", "status") if key in body}
