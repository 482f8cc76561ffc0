"""The Kubernetes API as Podium uses it: the only file that imports the client. JSON in and out.

Requests are written out as paths. The client's generated methods turn every answer into objects, which costs more than all
the rest of a pass, and refuse what the API server takes.
"""

import asyncio
import codecs
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp
from kubernetes.aio import client, config

from podium_contract.names import GROUP, LABEL_EXPERIMENT_UID, MANAGED_BY, VERSION
from podium_operator.kube.lease import LEASE_SECONDS, holder_of, taken
from podium_operator.kube.logs import MAX_PIECE_BYTES

Json = dict[str, Any]

REQUEST_SECONDS = 15.0
"""An API server that has not answered by then is as good as away."""
PAGE_SIZE = 500
MAX_LOG_BYTES = 64 * 1024 * 1024
LOG_SECONDS = 60.0
"""So much of an ended container's log is read, for so long: a trial can neither fill nor hold up the operator."""
_CHUNK = 64 * 1024
_NO_LOG = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND)
"""A container that never began, or is gone: it has no log, and will have none."""

_JSON, _MERGE = "application/json", "application/merge-patch+json"
_OURS = f"/apis/{GROUP}/{VERSION}"


class KubernetesError(RuntimeError):
    """The API server refused, or did not answer (status 0)."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class KubernetesApi:
    """What the operator asks of the API server. Use it in an `async with` statement."""

    async def __aenter__(self) -> Self:
        try:
            config.load_incluster_config()
        except config.ConfigException:
            await config.load_kube_config()
        self._client = client.ApiClient()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self._client.close()

    # --- reading

    async def experiment(self, namespace: str, name: str) -> Json | None:
        """Return an Experiment as it is now; None when it is gone."""
        return await self._unless_gone("GET", _of_ours(namespace, "experiments", name))

    async def trials_of(self, namespace: str, experiment_uid: str) -> list[Json]:
        """Return an experiment's Trials, as they are now."""
        return [item async for item in self._list(_of_ours(namespace, "trials"), experiment_uid)]

    async def pods_of(self, namespace: str, experiment_uid: str) -> list[Json]:
        """Return an experiment's pods, as they are now."""
        return [item async for item in self._list(_of_core(namespace, "pods"), experiment_uid)]

    async def log_of(self, namespace: str, pod: str, container: str, since: str | None) -> str:
        """Return what a container has printed since a moment (of its own time stamps), each line with its time stamp.

        Empty while there is no log. The moment is taken to the second, so lines may come again.
        """
        query = [("container", container), ("timestamps", "true"), ("limitBytes", str(MAX_PIECE_BYTES))]
        if since is not None:
            query.append(("sinceTime", since))
        try:
            text = await self._ask("GET", f"{_of_core(namespace, 'pods', pod)}/log", query=query)
        except KubernetesError:
            return ""
        return text.decode(errors="replace")

    async def read_log(self, namespace: str, pod: str, container: str, take: Callable[[str], object]) -> bool:
        """Read all that a container has printed, piece by piece; what there is of it when it is gone or too long.

        Answers whether there is no more to be had; else it may be asked for again.
        """
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        query = [("container", container), ("limitBytes", str(MAX_LOG_BYTES))]
        request = await self._request("GET", f"{_of_core(namespace, 'pods', pod)}/log", query=query)
        began = time.monotonic()
        try:
            async with asyncio.timeout(LOG_SECONDS):
                response = (await self._client.call_api(*request)).response
                async with response:
                    if response.status >= HTTPStatus.BAD_REQUEST:
                        return response.status in _NO_LOG
                    async for piece in response.content.iter_chunked(_CHUNK):
                        take(decoder.decode(piece))
                    return True
        except (aiohttp.ClientError, OSError, TimeoutError):
            return time.monotonic() - began >= LOG_SECONDS  # as much as there is time for

    # --- writing: what exists already is left as it is, and what is gone already is gone

    async def create_trial(self, namespace: str, trial: Json) -> Json:
        """Create a Trial, and return it as it is: with what was there before when there is one of its name."""
        return await self._create(_of_ours(namespace, "trials"), trial)

    async def create_pod(self, namespace: str, pod: Json) -> Json:
        """Create a pod, and return it as it is: with what was there before when there is one of its name."""
        return await self._create(_of_core(namespace, "pods"), pod)

    async def create_claim(self, namespace: str, claim: Json) -> Json:
        """Create a PersistentVolumeClaim, and return the one of its name as it is."""
        return await self._create(_of_core(namespace, "persistentvolumeclaims"), claim)

    async def write_status(
        self, namespace: str, plural: str, name: str, status: Json, version: str | None = None
    ) -> Json | None:
        """Merge a status; returns the object, or None when it is gone.

        With a version it is refused when somebody else has written the object since.
        """
        patch: Json = {"status": status, **({"metadata": {"resourceVersion": version}} if version else {})}
        return await self._unless_gone(
            "PATCH", f"{_of_ours(namespace, plural, name)}/status", patch, content_type=_MERGE
        )

    async def patch_pod(self, namespace: str, name: str, patch: Json) -> Json | None:
        """Merge a patch into a pod; returns the pod, or None when it is gone."""
        return await self._unless_gone("PATCH", _of_core(namespace, "pods", name), patch, content_type=_MERGE)

    async def delete_pod(self, namespace: str, name: str) -> None:
        await self._unless_gone("DELETE", _of_core(namespace, "pods", name))

    async def delete_trial(self, namespace: str, name: str, uid: str) -> None:
        """Delete a Trial, with its pods; another one of its name stays."""
        try:
            await self._unless_gone("DELETE", _of_ours(namespace, "trials", name), {"preconditions": {"uid": uid}})
        except KubernetesError as fault:
            if fault.status != HTTPStatus.CONFLICT:
                raise

    async def emit(self, about: Json, reason: str, message: str, *, warning: bool) -> None:
        """Write an Event about an object; one that cannot be written is only news lost."""
        now = datetime.now(UTC).isoformat()
        namespace = about["namespace"]
        event = {
            "metadata": {"generateName": f"{about['name']}.", "namespace": namespace},
            "involvedObject": about,
            "reason": reason,
            "message": message[:1000],
            "type": "Warning" if warning else "Normal",
            "source": {"component": MANAGED_BY},
            "reportingComponent": f"{GROUP}/operator",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        with suppress(KubernetesError):
            await self._json("POST", _of_core(namespace, "events"), event)

    # --- the lease: of several replicas, one acts

    async def acquire_lease(self, namespace: str | None, name: str, identity: str) -> None:
        """Return once this process holds the lease; at once when there is none to hold."""
        while namespace is not None and not await self._take_lease(namespace, name, identity):  # noqa: ASYNC110
            await asyncio.sleep(LEASE_SECONDS / 4)  # no event of ours tells when another lets go

    async def hold_lease(self, namespace: str | None, name: str, identity: str) -> None:
        """Renew the lease for as long as it can be; returns when another process has taken it, and never without one."""
        if namespace is None:
            await asyncio.Event().wait()
            return
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            try:
                if not await self._take_lease(namespace, name, identity):
                    return
            except KubernetesError:
                continue  # the API server is away for everybody; whoever comes first afterwards holds it

    async def release_lease(self, namespace: str | None, name: str, identity: str) -> None:
        """Let another process take the lease at once."""
        if namespace is None:
            return
        with suppress(KubernetesError):
            lease = await self._json("GET", _lease(namespace, name))
            if lease["spec"].get("holderIdentity") == identity:
                free = {**lease, "spec": {**lease["spec"], "holderIdentity": ""}}
                await self._json("PUT", _lease(namespace, name), free)

    async def _take_lease(self, namespace: str, name: str, identity: str) -> bool:
        """Try to take or renew the lease; answers whether this process holds it."""
        now = datetime.now(UTC)
        lease = await self._unless_gone("GET", _lease(namespace, name))
        try:
            if lease is None:
                new = {"metadata": {"name": name, "namespace": namespace}, "spec": taken({}, identity, now)}
                await self._json("POST", _lease(namespace), new)
                return True
            if holder_of(lease["spec"], now) not in (None, identity):
                return False
            mine = {**lease, "spec": taken(lease["spec"], identity, now)}
            await self._json("PUT", _lease(namespace, name), mine)
        except KubernetesError as fault:
            if fault.status == HTTPStatus.CONFLICT:
                return False
            raise
        return True

    # --- requests

    async def _list(self, path: str, experiment_uid: str) -> AsyncIterator[Json]:
        query = [("labelSelector", f"{LABEL_EXPERIMENT_UID}={experiment_uid}"), ("limit", str(PAGE_SIZE))]
        token: str | None = ""
        while token is not None:
            page = await self._json("GET", path, query=[*query, *([("continue", token)] if token else [])])
            for item in page["items"]:
                yield item
            token = page["metadata"].get("continue") or None

    async def _create(self, path: str, body: Json) -> Json:
        try:
            return await self._json("POST", path, body)
        except KubernetesError as fault:
            if fault.status != HTTPStatus.CONFLICT:
                raise
        return await self._json("GET", f"{path}/{body['metadata']['name']}")

    async def _unless_gone(
        self, verb: str, path: str, body: Json | None = None, content_type: str = _JSON
    ) -> Json | None:
        try:
            return await self._json(verb, path, body, content_type=content_type)
        except KubernetesError as fault:
            if fault.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    async def _json(
        self,
        verb: str,
        path: str,
        body: Json | None = None,
        query: list[tuple[str, str]] | None = None,
        content_type: str = _JSON,
    ) -> Json:
        answer: Json = json.loads(await self._ask(verb, path, body, query, content_type))
        return answer

    async def _ask(
        self,
        verb: str,
        path: str,
        body: Json | None = None,
        query: list[tuple[str, str]] | None = None,
        content_type: str = _JSON,
    ) -> bytes:
        request = await self._request(verb, path, body, query, content_type)
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                response = await self._client.call_api(*request)
                answer: bytes = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as fault:
            raise KubernetesError(f"the API server does not answer: {fault!r}") from fault
        if response.status >= 400:
            raise KubernetesError(f"the API server refuses: {_message(answer)}", response.status)
        return answer

    async def _request(
        self,
        verb: str,
        path: str,
        body: Json | None = None,
        query: list[tuple[str, str]] | None = None,
        content_type: str = _JSON,
    ) -> tuple[Any, ...]:
        request: tuple[Any, ...] = await self._client.param_serialize(
            verb,
            path,
            query_params=query or [],
            header_params={"Accept": "application/json, */*", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        return request


def _message(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["message"])
    except (ValueError, KeyError, TypeError):
        return answer.decode(errors="replace")[:500]


def _of_ours(namespace: str, plural: str, name: str | None = None) -> str:
    return _path(_OURS, namespace, plural, name)


def _of_core(namespace: str, plural: str, name: str | None = None) -> str:
    return _path("/api/v1", namespace, plural, name)


def _lease(namespace: str, name: str | None = None) -> str:
    return _path("/apis/coordination.k8s.io/v1", namespace, "leases", name)


def _path(group: str, namespace: str, plural: str, name: str | None) -> str:
    return f"{group}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")
