"""What the chart ships for Prometheus and Grafana: well formed, in step with its source, and about series that exist."""

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from builders.chart import CHART, RELEASE, ROOT, helm_binary, render
from builders.dashboards import ALERTS, alerts, dashboards, panel_queries, series_in, variable_queries
from builders.tools import needs
from podium_contract.reports import metrics_page
from podium_contract.trial import Observation
from podium_operator.metrics import Metrics as OperatorMetrics
from podium_suggestion.metrics import Metrics as SuggestionMetrics

ALERTS_TEST = Path(__file__).with_name("alerts_test.yaml")
needs_helm = needs(helm_binary(), "helm is neither on the PATH nor built by the test cluster")
needs_promtool = needs(shutil.which("promtool"), "promtool comes with Prometheus")
PANELS = [(name, panel) for name, dashboard in dashboards().items() for panel in dashboard["panels"]]


def names_on(page: str) -> set[str]:
    """The names of the series that a metrics page declares, with those that a histogram stands for."""
    declared = [line.split()[2:4] for line in page.splitlines() if line.startswith("# TYPE ")]
    suffixes = {"histogram": ("_bucket", "_sum", "_count")}
    return {name + suffix for name, kind in declared for suffix in suffixes.get(kind, ("",))}


def exported() -> set[str]:
    """The series of everything that Prometheus scrapes."""
    report = Observation(attempt=1, step=1, metrics={"loss": 0.5})
    pages = (metrics_page([report], {}), SuggestionMetrics().page().decode(), OperatorMetrics().page().decode())
    return {"up"}.union(*map(names_on, pages))


def test_dashboards_are_in_step_with_their_source() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "dashboards.py"), "--check"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_there_is_a_dashboard_for_one_experiment_for_all_and_for_podium_itself() -> None:
    assert set(dashboards()) == {"experiment", "fleet", "health"}
    assert len({dashboard["uid"] for dashboard in dashboards().values()}) == 3


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=[f"{name}: {panel['title']}" for name, panel in PANELS])
def test_panels_say_how_they_are_read_and_ask_the_chosen_source(name: str, panel: dict[str, Any]) -> None:
    assert name
    assert panel["description"].endswith((".", "?"))
    assert panel["targets"]
    for part in (panel, *panel["targets"]):
        assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("name", dashboards())
def test_panels_neither_overlap_nor_stick_out(name: str) -> None:
    places = [panel["gridPos"] for panel in dashboards()[name]["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in itertools.combinations(places, 2):
        is_beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        is_above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert is_beside or is_above, (one, other)


def test_queries_and_alerts_read_series_that_are_exported() -> None:
    asked = {
        **panel_queries(),
        **{place: selector for place, (selector, _) in variable_queries().items()},
        **{name: rule["expr"] for name, rule in alerts().items()},
    }
    unknown = {
        place: sorted(missing) for place, expression in asked.items() if (missing := series_in(expression) - exported())
    }
    assert unknown == {}


@pytest.mark.parametrize("name", alerts())
def test_alerts_say_how_bad_it_is_and_what_it_means(name: str) -> None:
    rule = alerts()[name]
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert set(rule["annotations"]) == {"summary", "description"}
    assert rule["for"]


def test_every_series_of_podium_is_documented() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    families = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in exported()}
    own = {name for name in families if name.startswith("podium_") and not name.endswith("_created")}
    assert sorted(name for name in own if f"`{name}`" not in page) == []


def test_every_alert_is_explained() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    assert [name for name in alerts() if f"`{name}`" not in page] == []


@needs_promtool
def test_alerts_fire_when_they_should_and_only_then() -> None:
    answer = subprocess.run(["promtool", "test", "rules", ALERTS_TEST], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_the_situations_cover_every_alert() -> None:
    text = ALERTS_TEST.read_text(encoding="utf-8")
    assert [name for name in alerts() if name not in text] == []


@needs_helm
def test_nothing_of_the_prometheus_operator_is_made_unless_asked_for() -> None:
    kinds = {item["kind"] for item in render()}
    assert not kinds & {"ServiceMonitor", "PodMonitor", "PrometheusRule", "ConfigMap"}


@needs_helm
def test_dashboards_and_rules_arrive_as_they_are() -> None:
    objects = render({"monitoring": {"prometheusRule": {"enabled": True}, "dashboards": {"enabled": True}}})
    assert objects.one("PrometheusRule")["spec"] == yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
    shipped = {
        Path(file).stem.removeprefix("podium-"): json.loads(text)
        for item in objects.of("ConfigMap")
        for file, text in item["data"].items()
    }
    assert shipped == dashboards()
    assert all(item["metadata"]["labels"]["grafana_dashboard"] == "1" for item in objects.of("ConfigMap"))


@needs_helm
def test_monitors_select_the_services_and_the_trial_pods() -> None:
    enabled = {"enabled": True, "labels": {"release": "prometheus"}}
    values = {"monitoring": {"serviceMonitor": enabled, "podMonitor": enabled}, "watch": {"namespaces": ["vision"]}}
    objects = render(values)
    for component in ("operator", "suggestion"):
        monitor, service = objects.one("ServiceMonitor", component), objects.one("Service", component)
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        assert {"targetLabel": "release", "replacement": RELEASE} in monitor["spec"]["endpoints"][0]["relabelings"]
    trials = objects.one("PodMonitor")["spec"]
    assert trials["namespaceSelector"] == {"matchNames": ["vision"]}
    assert trials["selector"]["matchLabels"] == {"app.kubernetes.io/managed-by": "podium"}


def test_plain_scrape_configuration_names_the_jobs_that_the_queries_use() -> None:
    text = (ROOT / "docs" / "prometheus.yaml").read_text(encoding="utf-8")
    jobs = {job["job_name"]: job for job in yaml.safe_load(text)["scrape_configs"]}
    assert set(jobs) == {"podium", "podium-trial"}
    labels = {rule.get("target_label") for rule in jobs["podium"]["relabel_configs"]}
    assert {"job", "namespace", "release"} <= labels, "the labels that alerts tell releases apart by"
    assert (CHART / "files" / "alerts.yaml").exists()
