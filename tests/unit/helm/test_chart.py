"""What the chart makes of values, rendered without a cluster."""

import json
from typing import Any

import pytest
import yaml

from builders.chart import CHART, NAMESPACE, ROOT, helm, helm_binary, render, template
from builders.tools import needs

pytestmark = needs(helm_binary(), "helm is neither on the PATH nor built by the test cluster")

POSTGRESQL = {"suggestion": {"store": {"kind": "postgresql", "postgresql": {"existingSecret": "database"}}}}
TWO_NAMESPACES = {"watch": {"namespaces": ["vision", "speech"]}}
EVERYTHING: dict[str, Any] = {
    **TWO_NAMESPACES,
    **POSTGRESQL,
    "image": {"registry": "registry.example/team", "pullSecrets": ["pull"]},
    "operator": {
        "replicas": 3,
        "env": [{"name": "EXTRA", "value": "1"}],
        "priorityClassName": "high",
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "topologySpreadConstraints": [{"maxSkew": 1}],
        "podAnnotations": {"note": "x"},
        "podLabels": {"team": "ml"},
        "serviceAccount": {"annotations": {"owner": "ml"}},
    },
    "networkPolicy": {"metricsFrom": [{"namespaceSelector": {}}], "trials": {"enabled": True}},
    "monitoring": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "podMonitor": {"enabled": True},
        "prometheusRule": {"enabled": True},
        "dashboards": {"enabled": True, "annotations": {"grafana_folder": "Podium"}},
    },
}
VALUES = {"defaults": {}, "postgresql": POSTGRESQL, "two-namespaces": TWO_NAMESPACES, "everything": EVERYTHING}


def rules_of(role: dict[str, Any]) -> set[tuple[str, str, str]]:
    """Every (API group, resource, verb) that a role grants."""
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_lint_finds_nothing_to_complain_about(values: dict[str, Any]) -> None:
    answer = helm("lint", "--strict", "--quiet", str(CHART), values=values)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_every_object_is_named_once_and_labelled(values: dict[str, Any]) -> None:
    objects = render(values)
    identities = [
        (item["kind"], item["metadata"].get("namespace", NAMESPACE), item["metadata"]["name"]) for item in objects
    ]
    assert len(set(identities)) == len(identities)
    for item in objects:
        if item["kind"] != "CustomResourceDefinition":
            assert item["metadata"]["labels"]["app.kubernetes.io/part-of"] == "podium"


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("component", ["operator", "suggestion"])
def test_pods_keep_the_restricted_standard(values: dict[str, Any], component: str) -> None:
    objects = render(values)
    pod, container = objects.pod(component), objects.container(component)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert all(set(volume) <= {"name", "secret", "emptyDir", "persistentVolumeClaim"} for volume in pod["volumes"])


@pytest.mark.parametrize("component", ["operator", "suggestion"])
def test_pods_have_probes_requests_and_a_memory_limit(component: str) -> None:
    container = render().container(component)
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)
    assert set(container["resources"]["requests"]) == {"cpu", "memory"}
    assert set(container["resources"]["limits"]) == {"memory"}


def test_only_the_operator_gets_a_token_of_the_api_server() -> None:
    objects = render()
    assert objects.pod("operator")["automountServiceAccountToken"] is True
    assert objects.pod("suggestion")["automountServiceAccountToken"] is False
    assert all(account["automountServiceAccountToken"] is False for account in objects.of("ServiceAccount"))


def test_operator_finds_the_suggestion_service_and_its_token() -> None:
    objects = render()
    service = objects.one("Service", "-suggestion")["metadata"]["name"]
    environment = objects.environment("operator")
    assert environment["PODIUM_SUGGESTION_URL"] == f"http://{service}.{NAMESPACE}.svc:8080"
    for component in ("operator", "suggestion"):
        path = objects.environment(component)["PODIUM_TOKEN_FILE"]
        mounts = {mount["name"]: mount["mountPath"] for mount in objects.container(component)["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in objects.pod(component)["volumes"]}
        assert path == f"{mounts['token']}/{volumes['token']['secret']['items'][0]['path']}"
        assert volumes["token"]["secret"]["secretName"] == objects.one("Secret")["metadata"]["name"]


def test_an_existing_token_is_used_and_none_is_made() -> None:
    objects = render({"token": {"existingSecret": "ours", "key": "podium"}})
    assert objects.of("Secret") == []
    (token,) = (volume for volume in objects.pod("operator")["volumes"] if volume["name"] == "token")
    assert token["secret"] == {"secretName": "ours", "items": [{"key": "podium", "path": "token"}]}


# --- settings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("component", "settings"),
    [
        ("operator", "operator/podium_operator/kube/settings.py"),
        ("suggestion", "suggestion/podium_suggestion/settings.py"),
    ],
)
def test_every_variable_that_the_chart_sets_is_read(component: str, settings: str) -> None:
    text = (ROOT / settings).read_text(encoding="utf-8")
    assert [name for name in render().environment(component) if f'"{name}"' not in text] == []


# --- CRDs -----------------------------------------------------------------------------------------------------


def test_the_chart_ships_exactly_the_generated_crds() -> None:
    generated = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "crds").glob("*.yaml")}
    shipped = {path.name: path.read_text(encoding="utf-8") for path in (CHART / "files" / "crds").glob("*.yaml")}
    assert shipped == generated, "run make crds"


def test_crds_are_kept_at_uninstall_and_otherwise_as_generated() -> None:
    kept = render().of("CustomResourceDefinition")
    assert [crd["metadata"].pop("annotations") for crd in kept] == [{"helm.sh/resource-policy": "keep"}] * 2
    generated = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    assert sorted(kept, key=lambda crd: str(crd["metadata"]["name"])) == generated
    assert render({"crds": {"keep": False}}).of("CustomResourceDefinition") == kept
    assert render({"crds": {"install": False}}).of("CustomResourceDefinition") == []


# --- rights ---------------------------------------------------------------------------------------------------


def test_whole_cluster_means_a_cluster_role() -> None:
    objects = render()
    assert objects.environment("operator")["PODIUM_NAMESPACES"] == ""
    binding = objects.one("ClusterRoleBinding")
    assert binding["roleRef"]["name"] == objects.one("ClusterRole", "-operator")["metadata"]["name"]
    assert binding["subjects"] == [
        {
            "kind": "ServiceAccount",
            "namespace": NAMESPACE,
            "name": objects.pod("operator")["serviceAccountName"],
        }
    ]


def test_a_list_of_namespaces_means_a_role_in_each_and_no_cluster_role() -> None:
    objects = render({**TWO_NAMESPACES, "rbac": {"aggregate": False}})
    assert objects.environment("operator")["PODIUM_NAMESPACES"] == "vision,speech"
    assert objects.of("ClusterRole") == objects.of("ClusterRoleBinding") == []
    for kind in ("Role", "RoleBinding"):
        places = {item["metadata"].get("namespace", NAMESPACE) for item in objects.of(kind)}
        assert places == {"vision", "speech", NAMESPACE}


def test_both_modes_grant_the_same_rights() -> None:
    (cluster_role,) = (role for role in render().of("ClusterRole") if role["metadata"]["name"].endswith("-operator"))
    roles = [role for role in render(TWO_NAMESPACES).of("Role") if "namespace" in role["metadata"]]
    assert [role["rules"] for role in roles] == [cluster_role["rules"]] * 2


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_operator_reads_no_secrets_and_grants_itself_nothing(values: dict[str, Any]) -> None:
    objects = render(values)
    granted = {grant for kind in ("Role", "ClusterRole") for role in objects.of(kind) for grant in rules_of(role)}
    assert {group for group, _, _ in granted} == {"", "podium.dev", "coordination.k8s.io"}
    assert not {resource for _, resource, _ in granted} & {"secrets", "configmaps", "pods/exec", "nodes", "*"}
    assert "*" not in {verb for _, _, verb in granted}


def test_users_of_a_namespace_may_use_experiments() -> None:
    objects = render()
    view, edit = objects.one("ClusterRole", "-view"), objects.one("ClusterRole", "-edit")
    assert view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert rules_of(view) == {
        ("podium.dev", kind, verb) for kind in ("experiments", "trials") for verb in ("get", "list", "watch")
    }
    assert ("podium.dev", "experiments", "create") in rules_of(edit)
    assert ("podium.dev", "trials", "create") not in rules_of(edit)


# --- the store ------------------------------------------------------------------------------------------------


def test_sqlite_lives_on_a_claim_that_outlives_the_release() -> None:
    objects = render()
    claim = objects.one("PersistentVolumeClaim")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert "storageClassName" not in claim["spec"]
    (mount,) = (mount for mount in objects.container("suggestion")["volumeMounts"] if mount["name"] == "store")
    assert objects.environment("suggestion")["PODIUM_STORE_URL"] == f"sqlite:///{mount['mountPath']}/podium.db"


def test_a_file_never_has_two_owners() -> None:
    assert render().one("Deployment", "-suggestion")["spec"]["strategy"] == {"type": "Recreate"}
    answer = template({"suggestion": {"replicas": 2}})
    assert answer.returncode != 0
    assert "/suggestion/replicas" in answer.stderr


def test_a_claim_of_the_users_own_is_used_and_none_is_made() -> None:
    objects = render({"suggestion": {"store": {"sqlite": {"existingClaim": "ours"}}}})
    assert objects.of("PersistentVolumeClaim") == []
    (store,) = (volume for volume in objects.pod("suggestion")["volumes"] if volume["name"] == "store")
    assert store["persistentVolumeClaim"] == {"claimName": "ours"}


def test_an_empty_storage_class_is_not_the_default_one() -> None:
    objects = render({"suggestion": {"store": {"sqlite": {"storageClassName": ""}}}})
    assert objects.one("PersistentVolumeClaim")["spec"]["storageClassName"] == ""


def test_postgresql_comes_by_secret_and_needs_no_volume() -> None:
    objects = render(POSTGRESQL)
    assert objects.environment("suggestion")["PODIUM_STORE_URL"] == {"secretKeyRef": {"name": "database", "key": "url"}}
    assert objects.of("PersistentVolumeClaim") == []
    assert {volume["name"] for volume in objects.pod("suggestion")["volumes"]} == {"token", "tmp"}


# --- the network ----------------------------------------------------------------------------------------------


def test_only_the_operator_reaches_the_suggestion_service() -> None:
    objects = render()
    policy = objects.one("NetworkPolicy", "-suggestion")["spec"]
    labels = objects.one("Deployment", "-operator")["spec"]["template"]["metadata"]["labels"]
    (rule,) = policy["ingress"]
    (peer,) = rule["from"]
    assert peer["podSelector"]["matchLabels"].items() <= labels.items()
    assert "namespaceSelector" not in peer
    assert rule["ports"] == [{"protocol": "TCP", "port": "http"}]


def test_the_suggestion_service_reaches_nothing_but_its_database() -> None:
    assert "egress" not in render().one("NetworkPolicy", "-suggestion")["spec"]
    names, database = render(POSTGRESQL).one("NetworkPolicy", "-suggestion")["spec"]["egress"]
    assert {port["port"] for port in names["ports"]} == {53}
    assert database["ports"] == [{"protocol": "TCP", "port": 5432}]


def test_trial_pods_are_protected_where_asked_for() -> None:
    assert [item for item in render(TWO_NAMESPACES).of("NetworkPolicy") if "namespace" in item["metadata"]] == []
    objects = render({**TWO_NAMESPACES, "networkPolicy": {"trials": {"enabled": True}}})
    policies = [item for item in objects.of("NetworkPolicy") if "namespace" in item["metadata"]]
    assert [policy["metadata"]["namespace"] for policy in policies] == ["vision", "speech"]
    (rule,) = policies[0]["spec"]["ingress"]
    (peer,) = rule["from"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": NAMESPACE}


def test_protecting_trials_of_the_whole_cluster_needs_their_namespaces() -> None:
    answer = template({"networkPolicy": {"trials": {"enabled": True}}})
    assert answer.returncode != 0
    assert "networkPolicy.trials.namespaces" in answer.stderr


# --- the rest -------------------------------------------------------------------------------------------------


def test_one_replica_may_be_drained_and_three_lose_one_at_a_time() -> None:
    assert render().of("PodDisruptionBudget") == []
    assert render({"operator": {"replicas": 3}}).one("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_pods_go_where_they_are_told() -> None:
    objects = render(EVERYTHING)
    pod = objects.pod("operator")
    for field in ("priorityClassName", "nodeSelector", "tolerations", "affinity", "topologySpreadConstraints"):
        assert pod[field] == EVERYTHING["operator"][field]
    metadata = objects.one("Deployment", "-operator")["spec"]["template"]["metadata"]
    assert metadata["annotations"] == {"note": "x"}
    assert metadata["labels"]["team"] == "ml"
    assert pod["imagePullSecrets"] == [{"name": "pull"}]
    assert objects.environment("operator")["EXTRA"] == "1"


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ({}, "podium-operator:0.1.0"),
        ({"image": {"registry": "registry.example/team/"}}, "registry.example/team/podium-operator:0.1.0"),
        ({"operator": {"image": {"tag": "dev"}}}, "podium-operator:dev"),
        (
            {"operator": {"image": {"tag": "dev", "digest": "sha256:" + "0" * 64}}},
            "podium-operator@sha256:" + "0" * 64,
        ),
    ],
    ids=["version", "registry", "tag", "digest"],
)
def test_image_names(values: dict[str, Any], image: str) -> None:
    assert render(values).container("operator")["image"] == image


def test_the_chart_installs_the_version_of_the_project() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    (version,) = (
        line.split('"')[1]
        for line in (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
        if line.startswith("version = ")
    )
    assert chart["appVersion"] == chart["version"] == version


def test_openshift_chooses_the_user_itself() -> None:
    objects = render({"podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}})
    assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(objects.pod("operator")["securityContext"])


BAD_VALUES: list[tuple[dict[str, Any], str]] = [
    ({"typo": 1}, "typo"),
    ({"watch": {"namespaces": "vision"}}, "/watch/namespaces"),
    ({"watch": {"namespaces": ["Vision"]}}, "/watch/namespaces/0"),
    ({"operator": {"replicas": -1}}, "/operator/replicas"),
    ({"operator": {"replica": 1}}, "replica"),
    ({"operator": {"image": {"digest": "latest"}}}, "/operator/image/digest"),
    ({"operator": {"resources": {"limits": {"memory": "lots"}}}}, "/operator/resources/limits/memory"),
    ({"operator": {"env": [{"value": "1"}]}}, "/operator/env/0"),
    ({"suggestion": {"store": {"kind": "mysql"}}}, "/suggestion/store/kind"),
    ({"suggestion": {"store": {"kind": "postgresql"}}}, "existingSecret"),
    ({"suggestion": {"store": {"sqlite": {"accessModes": ["ReadWriteMany"]}}}}, "accessModes"),
    ({"token": {"existingSecret": "Not A Name"}}, "/token/existingSecret"),
    ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
    ({"networkPolicy": {"postgresqlPort": 0}}, "/networkPolicy/postgresqlPort"),
    ({"monitoring": {"serviceMonitor": {"interval": "often"}}}, "/monitoring/serviceMonitor/interval"),
]


@pytest.mark.parametrize(("values", "place"), BAD_VALUES, ids=[json.dumps(values) for values, _ in BAD_VALUES])
def test_bad_values_are_refused_by_their_place(values: dict[str, Any], place: str) -> None:
    answer = template(values)
    assert answer.returncode != 0
    assert place in answer.stderr


def test_every_default_is_known_to_the_schema() -> None:
    """A value without a rule would be refused as unknown; one without a default would be undocumented."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert set(schema["properties"]) - {"global"} == set(values)
