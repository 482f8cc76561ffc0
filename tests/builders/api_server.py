"""The generated CRDs on a real API server, under an API group of their own: other suites' objects stay as they are."""

import copy
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from podium_contract.crd import experiment_crd, trial_crd
from podium_contract.names import VERSION

Manifest = dict[str, Any]


@dataclass(frozen=True)
class ApiServer:
    """Judges objects of the CRDs as `kubectl apply --validate=strict` would, and keeps those that it is given."""

    group: str
    namespace: str
    objects: Any

    def refusal(self, manifest: Manifest, plural: str = "experiments") -> str | None:
        """Return why the server refuses an object, or None when it would take it; nothing is stored."""
        return self._refusal_of(
            self.objects.create_namespaced_custom_object, plural, self._own(manifest), dry_run="All"
        )

    def create(self, manifest: Manifest, plural: str = "experiments") -> Manifest:
        created: Manifest = self.objects.create_namespaced_custom_object(
            self.group, VERSION, self.namespace, plural, self._own(manifest), field_validation="Strict"
        )
        return created

    def edit_refusal(self, name: str, change: Manifest, plural: str = "experiments") -> str | None:
        """Return why the server refuses a merge patch, or None when it would take it; nothing is stored."""
        return self._refusal_of(
            self.objects.patch_namespaced_custom_object, plural, name, change, dry_run="All", _content_type=MERGE_PATCH
        )

    def write_status(self, name: str, status: Manifest, plural: str = "experiments") -> Manifest:
        """Write an object's status, and return what the server keeps of it; a field that it would drop is an error."""
        kept: Manifest = self.objects.patch_namespaced_custom_object_status(
            self.group,
            VERSION,
            self.namespace,
            plural,
            name,
            {"status": status},
            field_validation="Strict",
            _content_type=MERGE_PATCH,
        )["status"]
        return kept

    def is_serving(self, plural: str) -> bool:
        try:
            self.objects.list_namespaced_custom_object(self.group, VERSION, self.namespace, plural)
        except ApiException:
            return False
        return True

    def _own(self, manifest: Manifest) -> Manifest:
        return {**manifest, "apiVersion": f"{self.group}/{VERSION}"}

    def _refusal_of(self, call: Any, plural: str, *arguments: Any, **options: Any) -> str | None:
        try:
            call(self.group, VERSION, self.namespace, plural, *arguments, field_validation="Strict", **options)
        except ApiException as refused:
            return str(json.loads(refused.body)["message"])
        return None


MERGE_PATCH = "application/merge-patch+json"


@contextmanager
def serving_crds() -> Iterator[ApiServer]:
    """Install the generated CRDs under a group of this test's own, and remove them in the end."""
    config.load_kube_config()
    group = f"{secrets.token_hex(4)}.podium.test"
    crds = client.ApiextensionsV1Api()
    names = []
    try:
        for crd in (experiment_crd(), trial_crd()):
            own = copy.deepcopy(crd)
            own["spec"]["group"] = group
            own["metadata"]["name"] = f"{own['spec']['names']['plural']}.{group}"
            crds.create_custom_resource_definition(own)
            names.append(own["metadata"]["name"])
        server = ApiServer(group, "default", client.CustomObjectsApi())
        _wait_until_served(server)
        yield server
    finally:
        for name in names:
            crds.delete_custom_resource_definition(name)


def _wait_until_served(server: ApiServer, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not all(map(server.is_serving, ("experiments", "trials"))):
        assert time.monotonic() < end, f"{server.group} is not served within {seconds:g} s"
        time.sleep(0.2)
