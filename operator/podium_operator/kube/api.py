"""The Kubernetes API as Podium uses it: the only file that imports the client. JSON in and out."""

import asyncio
import json
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from kubernetes.aio import client, config
from kubernetes.aio.dynamic import DynamicClient

from podium_contract.names import GROUP, LABEL_EXPERIMENT, MANAGED_BY, VERSION

Json = dict[str, Any]

LEASE_SECONDS = 15
"""How long a replica that fell silent still counts as the one that acts."""

_MERGE = "application/merge-patch+json"
_CONFLICT, _NOT_FOUND, _INVALID, _FORBIDDEN = 409, 404, 422, 403


class KubernetesError(RuntimeError):
    """The API server refused, or did not answer; `is_final` says whether asking again is pointless."""

    def __init__(self, message: str, *, is_final: bool) -> None:
        super().__init__(message)
        self.is_final = is_final


class KubernetesApi:
    """What the operator asks of the API server. Use it in an `async with` statement."""

    async def __aenter__(self) -> Self:
        try:
            config.load_incluster_config()
        except config.ConfigException:
            await config.load_kube_config()
        self._client = client.ApiClient()
        self._dynamic = await DynamicClient(self._client)
        self._core = client.CoreV1Api(self._client)
        self._custom = client.CustomObjectsApi(self._client)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self._client.close()

    # --- reading

    async def trials_of(self, namespace: str, experiment: str) -> list[Json]:
        """Return an experiment's Trials, as they are now."""
        answer = await self._custom.list_namespaced_custom_object(
            GROUP, VERSION, namespace, "trials", label_selector=f"{LABEL_EXPERIMENT}={experiment}"
        )
        return list(answer["items"])

    async def pods_of(self, namespace: str, experiment: str) -> list[Json]:
        """Return an experiment's pods, as they are now."""
        answer = await self._core.list_namespaced_pod(namespace, label_selector=f"{LABEL_EXPERIMENT}={experiment}")
        return [self._json(pod) for pod in answer.items]

    async def log_of(self, namespace: str, pod: str, container: str) -> str:
        """Return what a pod's container has printed so far; empty while it has no log."""
        try:
            text: str = await self._core.read_namespaced_pod_log(pod, namespace, container=container)
        except client.ApiException:
            return ""
        return text or ""

    # --- writing: what exists already is left as it is, and what is gone already is gone

    async def create_trial(self, namespace: str, trial: Json) -> Json | None:
        """Create a Trial; None when there is one of its name."""
        create = self._custom.create_namespaced_custom_object(GROUP, VERSION, namespace, "trials", trial)
        created: Json | None = await self._created(create)
        return created

    async def create_pod(self, namespace: str, pod: Json) -> Json | None:
        """Create a pod; None when there is one of its name. A refusal by admission is final."""
        # Not through the typed client: it refuses what the API server takes, a quantity that is a number for one.
        pods = await self._dynamic.resources.get(api_version="v1", kind="Pod")
        created = await self._created(pods.create(body=pod, namespace=namespace))
        body: Json | None = None if created is None else created.to_dict()
        return body

    async def create_claim(self, namespace: str, claim: Json) -> None:
        await self._created(self._core.create_namespaced_persistent_volume_claim(namespace, claim))

    async def write_status(self, namespace: str, plural: str, name: str, status: Json) -> Json | None:
        """Merge a status; returns the object, or None when it is gone."""
        patch = self._custom.patch_namespaced_custom_object_status(
            GROUP, VERSION, namespace, plural, name, {"status": status}, _content_type=_MERGE
        )
        written: Json | None = await self._unless_gone(patch)
        return written

    async def patch_pod(self, namespace: str, name: str, patch: Json) -> None:
        await self._unless_gone(self._core.patch_namespaced_pod(name, namespace, patch, _content_type=_MERGE))

    async def delete_pod(self, namespace: str, name: str) -> None:
        await self._unless_gone(self._core.delete_namespaced_pod(name, namespace))

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
        with suppress(client.ApiException):
            await self._core.create_namespaced_event(namespace, event)

    # --- the lease: of several replicas, one acts

    async def acquire_lease(self, namespace: str | None, name: str, identity: str) -> None:
        """Return once this process holds the lease; at once when there is none to hold."""
        while namespace is not None and not await self._renew_lease(namespace, name, identity):  # noqa: ASYNC110
            await asyncio.sleep(LEASE_SECONDS / 4)  # no event of ours tells when another lets go

    async def hold_lease(self, namespace: str | None, name: str, identity: str) -> None:
        """Renew the lease for as long as it can be; raises KubernetesError when another process has taken it."""
        while namespace is not None:
            await asyncio.sleep(LEASE_SECONDS / 3)
            try:
                held = await self._renew_lease(namespace, name, identity)
            except (client.ApiException, OSError, TimeoutError):
                continue  # the API server is away for everybody; whoever comes first afterwards holds it
            if not held:
                raise KubernetesError("another replica acts now", is_final=True)

    async def _renew_lease(self, namespace: str, name: str, identity: str) -> bool:
        """Try to take or renew the lease; answers whether this process holds it."""
        now = datetime.now(UTC)
        spec = {
            "holderIdentity": identity,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        }
        leases = client.CoordinationV1Api(self._client)
        try:
            lease = self._json(await leases.read_namespaced_lease(name, namespace))
        except client.ApiException as fault:
            if fault.status != _NOT_FOUND:
                raise
            body = {"metadata": {"name": name, "namespace": namespace}, "spec": spec}
            return await self._created(leases.create_namespaced_lease(namespace, body)) is not None
        held = lease["spec"]
        if held.get("holderIdentity") not in (None, "", identity) and held.get("renewTime"):
            age = now - datetime.fromisoformat(held["renewTime"])
            if age.total_seconds() < LEASE_SECONDS:
                return False
        try:
            await leases.replace_namespaced_lease(name, namespace, {**lease, "spec": {**held, **spec}})
        except client.ApiException as fault:
            if fault.status == _CONFLICT:
                return False
            raise
        return True

    # --- faults

    async def _created(self, call: Any) -> Any:
        try:
            return await call
        except client.ApiException as fault:
            if fault.status == _CONFLICT:
                return None
            raise _error(fault) from fault

    async def _unless_gone(self, call: Any) -> Any:
        try:
            return await call
        except client.ApiException as fault:
            if fault.status == _NOT_FOUND:
                return None
            raise _error(fault) from fault

    def _json(self, model: Any) -> Json:
        data: Json = self._client.sanitize_for_serialization(model)
        return data


def _error(fault: Any) -> KubernetesError:
    try:
        message = json.loads(fault.body)["message"]
    except (ValueError, KeyError, TypeError):
        message = str(fault.reason)
    return KubernetesError(f"the API server refuses: {message}", is_final=fault.status in (_INVALID, _FORBIDDEN, 400))
