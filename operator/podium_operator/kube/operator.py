"""The operator's life: one loop per Experiment, begun when it is first seen and ended when it is gone."""

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
from pydantic import ValidationError

from podium_contract.conditions import Condition, ConditionType, Reason, set_condition
from podium_contract.experiment import Experiment
from podium_contract.lifecycle import FINAL
from podium_contract.manifest import faults_of
from podium_contract.names import LABEL_EXPERIMENT_UID
from podium_contract.wire import Advice, AdviceRequest
from podium_operator.advisors.http import HttpAdvisor
from podium_operator.core.actions import Announce, WriteTrial
from podium_operator.core.loop import Loop, Pass
from podium_operator.core.outcome import has_ended, is_expired
from podium_operator.core.ports import BackendError, UnknownExperimentError
from podium_operator.kube.api import Json, KubernetesApi, KubernetesError
from podium_operator.kube.backend import KubeBackend, known_fields
from podium_operator.metrics import AdviceOutcome, Metrics
from podium_operator.scraping import SCRAPE_TIMEOUT_SECONDS

_log = logging.getLogger("podium")
_RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0)
_LOOKING_SECONDS = 1.0
"""How often an experiment is looked at without news: deadlines pass, and grace periods."""
_RESTING_SECONDS = 30.0
"""The same of a finished one; a change of its spec wakes it at once."""
_LISTING_SECONDS = 300.0
"""How often everything is listed anew: what the watch has missed (deletions while it was broken) is found then."""


@dataclass
class _Seat:
    """One Experiment under care."""

    namespace: str
    name: str
    generation: int
    backend: KubeBackend
    task: "asyncio.Task[None]"


class _TimedAdvisor:
    """The suggestion service, with every exchange timed and counted."""

    def __init__(self, advisor: HttpAdvisor, metrics: Metrics) -> None:
        self._advisor = advisor
        self._metrics = metrics

    async def advise(self, request: AdviceRequest) -> Advice:
        outcome: AdviceOutcome = "unavailable"
        began = time.monotonic()
        try:
            advice = await self._advisor.advise(request)
            outcome = "ok"
        except UnknownExperimentError:
            outcome = "unknown"
            raise
        finally:
            self._metrics.count_advice(outcome, time.monotonic() - began)
        return advice


class Operator:
    """Looks after every Experiment that the watch shows it."""

    def __init__(self, api: KubernetesApi, advisor: HttpAdvisor, metrics: Metrics) -> None:
        self._api = api
        self._advisor = advisor
        self._metrics = metrics
        self._seats: dict[str, _Seat] = {}
        """By the Experiment's uid: one that is made anew under an old name is another."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        self._client = httpx.AsyncClient(timeout=SCRAPE_TIMEOUT_SECONDS, trust_env=False, limits=limits)

    async def close(self) -> None:
        """Leave every experiment as it is; the next process takes over."""
        for seat in list(self._seats.values()):
            await _end(seat)
        self._seats.clear()
        await self._client.aclose()

    # --- what the watch shows

    async def see_experiment(self, body: Json, *, deleted: bool) -> None:
        """Begin, inform or end the loop of an Experiment."""
        metadata = body["metadata"]
        if deleted or metadata.get("deletionTimestamp") is not None:
            await self._forget(metadata["uid"])
            return
        seat = self._seats.get(metadata["uid"])
        if seat is not None and seat.generation == metadata["generation"]:
            seat.backend.see_experiment(body, None)
            return
        try:
            experiment = Experiment.model_validate(known_fields(body))
        except ValidationError as error:
            if seat is None:
                await self._refuse(body, _told(error, body))
                return
            seat.generation = metadata["generation"]
            seat.backend.see_experiment(body, None)
            await self._warn(seat, _told(error, body))
            return
        if seat is not None:
            seat.generation = metadata["generation"]
            seat.backend.see_experiment(body, experiment)
            return
        backend = KubeBackend(experiment, self._api, self._client, _now, self._metrics)
        task = asyncio.create_task(self._care_for(experiment, backend))
        self._seats[metadata["uid"]] = _Seat(
            metadata["namespace"], metadata["name"], metadata["generation"], backend, task
        )

    def see_trial(self, body: Json, *, deleted: bool) -> None:
        seat = self._seat_of(body)
        if seat is not None:
            seat.backend.see_trial(body, deleted=deleted)

    def see_pod(self, body: Json, *, deleted: bool) -> None:
        seat = self._seat_of(body)
        if seat is not None:
            seat.backend.see_pod(body, deleted=deleted)

    # --- one experiment

    async def _care_for(self, experiment: Experiment, backend: KubeBackend) -> None:
        """Drive one experiment until it is deleted; a fault is told and tried again, ever more patiently."""
        name = f"{experiment.metadata.namespace}/{experiment.metadata.name}"
        loop = Loop(backend, _TimedAdvisor(self._advisor, self._metrics), _now)
        failures = 0
        listed_at: float | None = None
        while True:
            try:
                if listed_at is None or time.monotonic() - listed_at >= _LISTING_SECONDS:
                    if not await backend.open():
                        await self._forget(experiment.metadata.uid)
                        return
                    listed_at = time.monotonic()
                with self._metrics.reconciling():
                    step = await loop.step()
                failures = 0
                self._show(step)
                if is_expired(step.world.experiment, _now()):
                    await backend.remove_trials()
                await backend.wait(_pause_after(step))
                continue
            except (BackendError, KubernetesError) as fault:
                _log.warning("%s: %s", name, fault)
            except asyncio.CancelledError:
                raise
            except Exception:  # noqa: BLE001  (a defect in one experiment must not end the others)
                _log.exception("%s: a pass failed; it is tried again", name)
            listed_at = None  # what has failed may come of a copy that is out of date
            await asyncio.sleep(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])
            failures += 1

    async def _forget(self, uid: str) -> None:
        """End the loop of an Experiment that goes; what it owns goes by garbage collection, its history here."""
        seat = self._seats.pop(uid, None)
        if seat is not None:
            await _end(seat)
            self._metrics.forget(seat.namespace, seat.name)
            await self._advisor.forget(seat.backend.key)

    def _show(self, step: Pass) -> None:
        experiment = step.world.experiment
        if step.fault:
            _log.warning("%s/%s: %s", experiment.metadata.namespace, experiment.metadata.name, step.fault)
        namespace, name = experiment.metadata.namespace, experiment.metadata.name
        self._metrics.show(namespace, name, experiment.spec.objectives[0].metric, experiment.status)
        for action in step.plan.actions:
            if isinstance(action, WriteTrial) and action.status.phase in FINAL:
                self._metrics.count_end(namespace, name, action.status.phase, action.status.reason)

    async def _warn(self, seat: _Seat, message: str) -> None:
        """Tell of an edit that makes no sense: the experiment goes on by its last spec that did."""
        _log.warning("%s/%s goes on as it was: %s", seat.namespace, seat.name, message)
        with suppress(BackendError):
            await seat.backend.perform(Announce(Reason.INVALID_SPEC, f"it goes on as it was: {message}", warning=True))

    async def _refuse(self, body: Json, message: str) -> None:
        """Tell what the API server could not check."""
        metadata = body["metadata"]
        known = tuple(Condition.model_validate(c) for c in body.get("status", {}).get("conditions", ()))
        failed = Condition(type=ConditionType.FAILED, status="True", reason=Reason.INVALID_SPEC, message=message)
        conditions, changed = set_condition(known, failed, _now())
        if not changed:
            return
        _log.warning("%s/%s is refused: %s", metadata["namespace"], metadata["name"], message)
        status = {"phase": ConditionType.FAILED, "conditions": [condition.to_json() for condition in conditions]}
        for pause in _RETRY_SECONDS:
            with suppress(KubernetesError):
                await self._api.write_status(metadata["namespace"], "experiments", metadata["name"], status)
                return
            await asyncio.sleep(pause)

    def _seat_of(self, body: Json) -> _Seat | None:
        return self._seats.get((body["metadata"].get("labels") or {}).get(LABEL_EXPERIMENT_UID, ""))


def _told(error: ValidationError, body: Json) -> str:
    """Return what is wrong with an Experiment, in the words that `podium validate` uses."""
    return "; ".join(map(str, faults_of(error, body)))


async def _end(seat: _Seat) -> None:
    if seat.task is not asyncio.current_task():  # it may be the one that found the Experiment gone
        seat.task.cancel()
        with suppress(asyncio.CancelledError):
            await seat.task
    await seat.backend.close()


def _pause_after(step: Pass) -> float:
    """Return how long to wait for news: not at all after a change, for it may have made room for another."""
    if step.plan.actions and step.advice is not None:
        return 0.02
    if has_ended(step.world.experiment.status) and not step.world.runs:
        return _RESTING_SECONDS
    return _LOOKING_SECONDS


def _now() -> datetime:
    return datetime.now(UTC)
