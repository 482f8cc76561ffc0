"""What the dashboards and the alert rules ask Prometheus."""

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

from builders.chart import CHART

ALERTS = CHART / "files" / "alerts.yaml"
_SERIES = re.compile(r"\b(?:podium|process)_[a-z_]+\b|\bup\b")


def dashboards() -> dict[str, dict[str, Any]]:
    """The dashboards as Grafana imports them, by name."""
    paths = sorted((CHART / "dashboards").glob("*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def panel_queries() -> dict[str, str]:
    """Every panel's expressions, by dashboard, panel and letter."""
    return {
        f"{name}: {panel['title']} #{panel['id']}{target['refId']}": target["expr"]
        for name, dashboard in dashboards().items()
        for panel in dashboard["panels"]
        for target in panel["targets"]
    }


def variable_queries() -> dict[str, tuple[str, str]]:
    """Every dashboard variable's series selector and label, by dashboard and name."""
    found = {}
    for name, dashboard in dashboards().items():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"]).groups()  # type: ignore[union-attr]  # another form fails the test
                found[f"{name}: ${variable['name']}"] = (selector, label)
    return found


def alerts() -> dict[str, dict[str, Any]]:
    """The alert rules by name."""
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def series_in(expression: str) -> set[str]:
    """The names of the series that an expression reads."""
    return set(_SERIES.findall(re.sub(r'"[^"]*"', '""', expression)))


def filled_in(expression: str, variables: Mapping[str, str]) -> str:
    """Return an expression as Grafana sends it: `$name` replaced."""
    for name, value in variables.items():
        expression = expression.replace(f"${name}", value)
    assert "$" not in expression, f"a variable without a value: {expression}"
    return expression
