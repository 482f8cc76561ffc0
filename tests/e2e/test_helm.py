"""The chart on a real cluster: installed, upgraded and uninstalled under restricted Pod Security, user data kept."""

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from builders.experiments import a_manifest, an_objective
from builders.forwarder import forwarding
from builders.postgres import a_postgres
from builders.release import EXPERIMENTS, NAME, Release, installed, kubectl, make_namespace, node_address, until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("KUBECONFIG" not in os.environ, reason="KUBECONFIG names no cluster"),
]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    with installed(tmp_path_factory.mktemp("store")) as release:
        yield release


def a_request(namespace: str, slots: int = 3) -> dict[str, Any]:
    """One exchange about an experiment that exists for the suggestion service only."""
    return {
        "experiment": f"{namespace}/stored/uid-1",
        "requestId": "request-1",
        "spec": a_manifest(objectives=[an_objective()])["spec"],
        "slots": slots,
        "complete": True,
    }


def test_every_pod_is_ready_where_pod_security_is_restricted(release: Release) -> None:
    for component in ("operator", "suggestion"):
        (pod,) = release.pods(component)
        (status,) = pod["status"]["containerStatuses"]
        assert status["ready"]
        assert status["restartCount"] == 0
    with pytest.raises(RuntimeError, match="violates PodSecurity"):
        release.kubectl("run", "careless", "--image=localhost/none", "--restart=Never")


def test_operator_reads_no_secrets(release: Release) -> None:
    rights = release.rights()
    print(rights)
    assert "secrets" not in rights
    assert "configmaps" not in rights
    assert "*.*" not in rights
    assert release.may("create", "trials.podium.dev")
    assert release.may("get", "pods/log")
    for verb in ("get", "list", "watch"):
        assert not release.may(verb, "secrets")


def test_operator_of_a_namespace_does_nothing_in_another(release: Release) -> None:
    for resource in ("experiments.podium.dev", "trials.podium.dev", "pods"):
        assert release.may("list", resource)
        assert not release.may("list", resource, namespace="default")


def test_service_answers_only_those_who_show_the_token(release: Release) -> None:
    url = f"/api/v1/namespaces/{release.namespace}/services/{NAME}-suggestion:http/proxy"
    assert kubectl("get", "--raw", f"{url}/readyz") == "ok"
    with pytest.raises(RuntimeError, match=r"unauthorized|Unauthorized|provide credentials"):
        kubectl("create", "--raw", f"{url}/v1/advise", "-f", "-", given=a_request(release.namespace))
    advice = release.ask("POST", "/v1/advise", a_request(release.namespace))
    assert [assignment["number"] for assignment in advice["assignments"]] == [1, 2, 3]


def test_upgrade_keeps_the_token_and_the_store(release: Release) -> None:
    token = release.token()
    advice = release.ask("POST", "/v1/advise", a_request(release.namespace))
    (before,) = release.pods("suggestion")
    values = release.values["suggestion"]
    release.install(suggestion={**values, "podAnnotations": {"upgrade": "1"}})
    (after,) = release.pods("suggestion")
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert release.token() == token
    assert release.ask("POST", "/v1/advise", a_request(release.namespace)) == advice


def test_upgrade_reaches_the_crds(release: Release) -> None:
    """Helm never upgrades a chart's crds/ folder; templates it does."""
    crd = "customresourcedefinition/experiments.podium.dev"
    kubectl("annotate", crd, "helm.sh/resource-policy-", "meta.helm.sh/release-name-")
    release.install()
    annotations = json.loads(kubectl("get", crd, "--output=json"))["metadata"]["annotations"]
    assert annotations["helm.sh/resource-policy"] == "keep"


def test_several_replicas_elect_one_and_may_be_drained_one_by_one(release: Release) -> None:
    release.install(operator={**release.values["operator"], "replicas": 2})
    assert len(release.pods("operator")) == 2
    assert release.get("poddisruptionbudget", f"{NAME}-operator")["spec"]["maxUnavailable"] == 1
    holder = until("a leader", lambda: release.get("lease", f"{NAME}-operator")["spec"].get("holderIdentity"))
    assert holder in {pod["metadata"]["name"] for pod in release.pods("operator")}
    release.install()


def test_uninstall_keeps_what_users_made(release: Release) -> None:
    experiment = a_manifest(name="kept", suspend=True)
    release.kubectl("create", "-f", "-", given=experiment)
    advice = release.ask("POST", "/v1/advise", a_request(release.namespace))
    release.uninstall()
    assert release.get(EXPERIMENTS, "kept")["spec"]["suspend"] is True
    assert release.get("persistentvolumeclaim", f"{NAME}-store")["status"]["phase"] == "Bound"
    gone = ("deployments", "services", "secrets", "roles", "rolebindings", "networkpolicies")
    left = release.get(",".join(gone), "--selector=app.kubernetes.io/part-of=podium")["items"]
    assert left == []
    release.install()
    assert release.ask("POST", "/v1/advise", a_request(release.namespace)) == advice


def test_nothing_writes_outside_its_volumes(release: Release) -> None:
    for component in ("operator", "suggestion"):
        with pytest.raises(RuntimeError, match="Read-only file system"):
            release.kubectl("exec", f"deployment/{NAME}-{component}", "--", "touch", "/opt/app/x")


def test_postgresql_by_secret_serves_several_replicas(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        folder = Path(urlsplit(stack.enter_context(a_postgres())).query.removeprefix("host="))
        address = node_address()
        try:
            port = stack.enter_context(forwarding(address, folder / ".s.PGSQL.5432"))
        except OSError as fault:
            pytest.skip(f"pods cannot reach this machine: {fault}")
        url = f"postgresql://podium@{address}:{port}/postgres"
        release = stack.enter_context(installed(tmp_path, url))
        advice = release.ask("POST", "/v1/advise", a_request(release.namespace))
        release.install(suggestion={**release.values["suggestion"], "replicas": 2})
        assert len(release.pods("suggestion")) == 2
        release.kubectl("delete", "pods", "--selector=app.kubernetes.io/component=suggestion")
        release.kubectl("rollout", "status", f"deployment/{NAME}-suggestion", "--timeout=60s")
        assert release.ask("POST", "/v1/advise", a_request(release.namespace)) == advice
        assert release.get("persistentvolumeclaims")["items"] == []


def test_operator_of_the_whole_cluster_reads_no_secrets_either() -> None:
    """Without pods: an operator for every namespace would run the experiments of other suites."""
    with unmanned() as release:
        for namespace in ("default", release.namespace):
            assert release.may("create", "trials.podium.dev", namespace)
            assert release.may("delete", "pods", namespace)
            for resource in ("secrets", "configmaps", "nodes"):
                assert not release.may("get", resource, namespace)
            assert not release.may("create", "pods/exec", namespace)
            assert not release.may("delete", "experiments.podium.dev", namespace)
            assert not release.may("delete", "persistentvolumeclaims", namespace)
        assert not release.may("get", "leases", "default")


@contextlib.contextmanager
def unmanned() -> Iterator[Release]:
    """The chart for the whole cluster, without a single pod."""
    namespace = f"podium-chart-{secrets.token_hex(3)}"
    make_namespace(namespace)
    store = {"sqlite": {"existingClaim": "none"}}
    values = {"operator": {"replicas": 0}, "suggestion": {"replicas": 0, "store": store}}
    release = Release(namespace, {"crds": {"install": False}, **values})
    try:
        release.install()
        yield release
    finally:
        release.uninstall()
        kubectl("delete", "namespace", namespace, "--wait=false")
