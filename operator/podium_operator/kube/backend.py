"""The Kubernetes backend: every trial's run a pod, every record an object of the API server.

It keeps a copy of one experiment's Trials and pods. The copy begins with a listing and follows watch events, which may come
late, twice or out of order: an older version of an object never replaces a newer one.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

import httpx

from podium_contract.conditions import Reason
from podium_contract.experiment import Experiment, ExperimentStatus, LogMetrics, PrometheusMetrics, SdkMetrics
from podium_contract.names import LABEL_ATTEMPT, LABEL_TRIAL, experiment_key
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
from podium_operator.core.ports import BackendError
from podium_operator.kube.api import Json, KubernetesApi, KubernetesError
from podium_operator.kube.pods import (
    claim_of,
    owner_reference,
    pod_of,
    run_of,
    stop_patch,
    termination_message_of,
)
from podium_operator.metrics import Metrics
from podium_operator.metrics_sources import LogReader, Reader, final_reports, reader_for
from podium_operator.scraping import SCRAPE_TIMEOUT_SECONDS, Inbox, fetch_page

SCRAPE_INTERVAL_SECONDS = 5.0


@dataclass
class LivePod:
    """A trial's latest pod, and what has been read of its metrics."""

    pod: Json
    reader: Reader
    inbox: Inbox = field(default_factory=Inbox)
    log_length: int = 0
    is_read_to_the_end: bool = False


class KubeBackend:
    """Runs one experiment's trials as pods."""

    def __init__(
        self, experiment: Experiment, api: KubernetesApi, clock: Callable[[], datetime], metrics: Metrics
    ) -> None:
        self._api = api
        self._own_metrics = metrics
        self._changed_at: float | None = None
        self._clock = clock
        self._world = World(experiment)
        self._container = trial_container(experiment.spec.trial.template, experiment.spec.trial.container)["name"]
        self._pods: dict[int, LivePod] = {}
        self._refused: dict[int, Run] = {}
        """Runs whose pods the API server refused: ended before they began."""
        self._versions: dict[str, int] = {}
        self._removed: set[str] = set()
        self._changed = asyncio.Event()
        self._last_scrape: datetime | None = None
        self._has_claim = False
        self._client = httpx.AsyncClient(timeout=SCRAPE_TIMEOUT_SECONDS, trust_env=False)

    @property
    def key(self) -> str:
        metadata = self._world.experiment.metadata
        return experiment_key(metadata.namespace, metadata.name, metadata.uid)

    async def open(self) -> None:
        """List what exists: watch events that came before are contained in it, later ones follow."""
        metadata = self._world.experiment.metadata
        for trial in await self._api.trials_of(metadata.namespace, metadata.name):
            self.see_trial(trial)
        for pod in await self._api.pods_of(metadata.namespace, metadata.name):
            self.see_pod(pod)

    async def close(self) -> None:
        await self._client.aclose()

    # --- what the watch tells

    def see_experiment(self, experiment: Experiment) -> None:
        """Take over the spec; the status is this process's own."""
        known = self._world.experiment
        self._world.experiment = known.model_copy(update={"spec": experiment.spec, "metadata": experiment.metadata})
        self._note_change()

    def see_trial(self, body: Json, *, deleted: bool = False) -> None:
        if deleted or not self._is_news(body):
            return  # a Trial that a person deleted is forgotten when the operator starts next
        self._world.put_trial(Trial.model_validate(_known_fields(body)))
        self._note_change()

    def see_pod(self, body: Json, *, deleted: bool = False) -> None:
        labels, name = body["metadata"]["labels"], body["metadata"]["name"]
        number, attempt = int(labels[LABEL_TRIAL]), int(labels[LABEL_ATTEMPT])
        live = self._pods.get(number)
        if deleted:
            if live is not None and live.pod["metadata"]["name"] == name:
                del self._pods[number]
            self._note_change()
            return
        if name in self._removed or not self._is_news(body):
            return
        if live is None or int(live.pod["metadata"]["labels"][LABEL_ATTEMPT]) < attempt:
            trial = self._world.trials.get(number)
            step = trial.status.step if trial else 0
            self._pods[number] = LivePod(body, reader_for(self._metrics, attempt, after_step=step))
        elif live.pod["metadata"]["name"] == name:
            live.pod = body
        self._note_change()

    def _note_change(self) -> None:
        """Something has changed: the next pass need not wait for the clock."""
        self._changed_at = self._changed_at or time.monotonic()
        self._changed.set()

    # --- the backend's protocol

    async def observe(self) -> World:
        now = self._clock()
        if self._changed_at is not None:
            self._own_metrics.count_wait(time.monotonic() - self._changed_at)
            self._changed_at = None
        runs = {number: run_of(live.pod, self._container, now) for number, live in self._pods.items()}
        await self._read_metrics(runs, now)
        self._world.runs = {**runs, **self._refused}
        reports = {number: live.inbox.hand_out() for number, live in self._pods.items()}
        self._world.reports = {number: observations for number, observations in reports.items() if observations}
        return self._world

    async def perform(self, action: Action) -> None:
        try:
            await self._do(action)
        except KubernetesError as fault:
            raise BackendError(str(fault)) from fault
        except (httpx.HTTPError, OSError, TimeoutError) as fault:
            raise BackendError(f"the API server does not answer: {fault!r}") from fault

    def acknowledge(self) -> None:
        for live in self._pods.values():
            live.inbox.acknowledge()

    async def wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)
        self._changed.clear()

    # --- deeds

    async def _do(self, action: Action) -> None:
        match action:
            case CreateTrial(trial):
                await self._create_trial(trial)
            case WriteTrial(number, status):
                await self._write_trial(number, status)
            case StartRun(trial, attempt):
                await self._start(trial, attempt)
            case StopRun(number, attempt, reason, _):
                await self._stop(number, attempt, reason)
            case RemoveRun(number, attempt):
                await self._remove(number, attempt)
            case WriteExperiment(status):
                await self._write_experiment(status)
            case Announce(reason, message, number, warning):
                await self._api.emit(self._subject(number), reason, message, warning=warning)

    async def _create_trial(self, trial: Trial) -> None:
        metadata = self._world.experiment.metadata
        body = trial.to_json()
        body.pop("status", None)
        body["metadata"] = {
            "name": trial.metadata.name,
            "namespace": metadata.namespace,
            "labels": trial.metadata.labels,
            "ownerReferences": [owner_reference("Experiment", metadata.name, metadata.uid)],
        }
        created = await self._api.create_trial(metadata.namespace, body)
        if created is not None:
            self.see_trial(created)

    async def _write_trial(self, number: int, status: TrialStatus) -> None:
        trial = self._world.trials[number]
        body = await self._api.write_status(
            trial.metadata.namespace, "trials", trial.metadata.name, _whole(TrialStatus, status)
        )
        if body is not None:
            self._is_news(body)
            self._world.put_trial(trial.model_copy(update={"status": status}))

    async def _write_experiment(self, status: ExperimentStatus) -> None:
        experiment = self._world.experiment
        metadata = experiment.metadata
        await self._api.write_status(metadata.namespace, "experiments", metadata.name, _whole(ExperimentStatus, status))
        self._world.experiment = experiment.model_copy(update={"status": status})

    async def _start(self, trial: Trial, attempt: int) -> None:
        number, namespace = trial.spec.number, self._world.experiment.metadata.namespace
        stored = self._world.trials.get(number, trial)
        known = trial.model_copy(update={"metadata": stored.metadata})
        await self._ensure_claim()
        try:
            pod = await self._api.create_pod(namespace, pod_of(self._world.experiment, known, attempt))
        except KubernetesError as fault:
            if not fault.is_final:
                raise
            end = End(EndKind.FAILED, Reason.START_FAILED, str(fault), self._clock())
            self._refused[number] = Run(number, attempt, RunState.ENDED, created=self._clock(), end=end)
            self._changed.set()
            return
        if pod is not None:
            self.see_pod(pod)

    async def _ensure_claim(self) -> None:
        claim = claim_of(self._world.experiment)
        if claim is not None and not self._has_claim:
            await self._api.create_claim(self._world.experiment.metadata.namespace, claim)
        self._has_claim = True

    async def _stop(self, number: int, attempt: int, reason: Reason) -> None:
        live = self._pods.get(number)
        if live is None or int(live.pod["metadata"]["labels"][LABEL_ATTEMPT]) != attempt:
            return
        metadata = live.pod["metadata"]
        await self._api.patch_pod(metadata["namespace"], metadata["name"], stop_patch(reason))

    async def _remove(self, number: int, attempt: int) -> None:
        self._refused.pop(number, None)
        live = self._pods.get(number)
        if live is None or int(live.pod["metadata"]["labels"][LABEL_ATTEMPT]) != attempt:
            return
        metadata = live.pod["metadata"]
        await self._api.delete_pod(metadata["namespace"], metadata["name"])
        self._removed.add(metadata["name"])
        del self._pods[number]

    # --- metrics

    @property
    def _metrics(self) -> SdkMetrics | PrometheusMetrics | LogMetrics:
        return self._world.experiment.spec.trial.metrics

    async def _read_metrics(self, runs: dict[int, Run], now: datetime) -> None:
        """Scrape all active pods at once when the interval has passed, and every ended one a last time."""
        interval = self._metrics.scrape_interval_seconds or SCRAPE_INTERVAL_SECONDS
        is_due = self._last_scrape is None or (now - self._last_scrape).total_seconds() >= interval
        if is_due:
            self._last_scrape = now
        active = [self._pods[n] for n, run in runs.items() if run.state is RunState.ACTIVE and is_due]
        ended = [
            live
            for n, run in runs.items()
            if run.state is RunState.ENDED and not (live := self._pods[n]).is_read_to_the_end
        ]
        await asyncio.gather(*(self._scrape(live) for live in active), *(self._read_last(live) for live in ended))

    async def _scrape(self, live: LivePod) -> None:
        source, address = self._metrics, live.pod.get("status", {}).get("podIP")
        if isinstance(source, LogMetrics):
            await self._read_log(live)
            return
        if address is None:
            return
        path = source.path if isinstance(source, PrometheusMetrics) else "/metrics"
        host = f"[{address}]" if ":" in address else address
        began = time.monotonic()
        page = await fetch_page(self._client, f"http://{host}:{source.port}{path}")
        self._own_metrics.count_scrape("ok" if page is not None else "error", time.monotonic() - began)
        if page is not None:
            live.inbox.take(live.reader.read(page))

    async def _read_last(self, live: LivePod) -> None:
        await self._read_log(live)
        if isinstance(live.reader, LogReader):
            live.inbox.take(live.reader.finish())
        live.inbox.take(final_reports(self._metrics, termination_message_of(live.pod, self._container)))
        live.is_read_to_the_end = True

    async def _read_log(self, live: LivePod) -> None:
        if isinstance(live.reader, LogReader):
            metadata = live.pod["metadata"]
            log = await self._api.log_of(metadata["namespace"], metadata["name"], self._container)
            live.inbox.take(live.reader.read(log[live.log_length :]))
            live.log_length = len(log)

    # --- helpers

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


def _whole(model: type[TrialStatus] | type[ExperimentStatus], status: TrialStatus | ExperimentStatus) -> Json:
    """Return a status as a merge patch that also removes what the new one no longer has."""
    absent = {field.alias or name: None for name, field in model.model_fields.items()}
    return {**absent, **status.to_json()}


def _known_fields(body: Json) -> Json:
    return {key: body[key] for key in ("apiVersion", "kind", "metadata", "spec", "status") if key in body}
