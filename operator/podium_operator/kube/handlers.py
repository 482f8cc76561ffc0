"""kopf's part: it watches, and each event goes to the operator. The only file that imports kopf.

Events, not kopf's change handlers: those keep annotations and finalizers on the users' objects. Podium's loop is
level-triggered and needs only to hear that something is there, has changed, or is gone.
"""

from typing import Any

import kopf

from podium_contract.names import GROUP, LABEL_MANAGED_BY, MANAGED_BY, VERSION
from podium_operator.kube.operator import Operator


def registry_for(operator: Operator) -> kopf.OperatorRegistry:
    """Return kopf's registry with Podium's three handlers."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**details: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**details) or kopf.login_with_kubeconfig(**details)

    @kopf.on.startup(registry=registry)
    def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        settings.scanning.disabled = True
        settings.watching.server_timeout = 600
        # Nothing of an event is lost by leaving at once: the next process lists what there is.
        settings.queueing.idle_timeout = 1.0
        settings.queueing.exit_timeout = 0.1

    @kopf.on.event(GROUP, VERSION, "experiments", registry=registry)
    async def experiment(event: kopf.RawEvent, **_: Any) -> None:
        await operator.see_experiment(dict(event["object"]), deleted=event["type"] == "DELETED")

    @kopf.on.event(GROUP, VERSION, "trials", registry=registry)
    def trial(event: kopf.RawEvent, **_: Any) -> None:
        operator.see_trial(dict(event["object"]), deleted=event["type"] == "DELETED")

    @kopf.on.event("v1", "pods", labels={LABEL_MANAGED_BY: MANAGED_BY}, registry=registry)
    def pod(event: kopf.RawEvent, **_: Any) -> None:
        operator.see_pod(dict(event["object"]), deleted=event["type"] == "DELETED")

    return registry


async def watch(operator: Operator, namespaces: tuple[str, ...]) -> None:
    """Watch until cancelled: the namespaces, or the whole cluster when there are none."""
    await kopf.operator(
        registry=registry_for(operator), standalone=True, namespaces=namespaces, clusterwide=not namespaces
    )
