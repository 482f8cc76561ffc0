#!/usr/bin/env python3
"""Writes the Grafana dashboards into the chart: `scripts/dashboards.py --write`, or `--check` in CI.

Every panel is a title, a sentence on how to read it, and queries; what Grafana needs besides is the same for all of them.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "helm" / "podium" / "dashboards"
COLUMNS = 24
"""Of Grafana's grid."""
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

Json = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """One PromQL expression, and what its lines are called."""

    expression: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One picture. `unit` is Grafana's: s, short, percentunit, ops, bytes, dthms (a duration in words)."""

    title: str
    description: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    unit: str = "short"
    width: int = 12
    height: int = 8
    is_stacked: bool = False


@dataclass(frozen=True)
class Variable:
    """A choice at the top of a dashboard: the values of a label."""

    name: str
    expression: str
    has_all: bool = False


@dataclass(frozen=True)
class Dashboard:
    """One page of Grafana."""

    name: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    panels: tuple[Panel, ...]
    since: str = "now-3h"


def stat(title: str, description: str, expression: str, unit: str = "short", legend: str = "") -> Panel:
    """One number, or one for each series with a legend."""
    return Panel(title, description, (Query(expression, legend),), "stat", unit, width=4, height=4)


def quantiles(histogram: str, by: str = "", selector: str = "") -> tuple[Query, ...]:
    """The median and the slowest hundredth of a histogram, apart by a label if given."""
    labels = f"le, {by}" if by else "le"
    suffix = f" {{{{{by}}}}}" if by else ""
    return tuple(
        Query(
            f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}_bucket{selector}[$__rate_interval])))",
            name + suffix,
        )
        for share, name in ((0.5, "median"), (0.99, "99 %"))
    )


# --- one experiment -------------------------------------------------------------------------------------------

_ONE = '{namespace="$namespace", experiment="$experiment"}'
_ONE_TRIALS = '{namespace="$namespace", experiment="$experiment", metric=~"$metric"}'

EXPERIMENT = Dashboard(
    name="experiment",
    title="Podium / Experiment",
    description="One experiment: how good it is, what it tries, and what the scheduler saves.",
    variables=(
        Variable("namespace", "label_values(podium_experiment_trials, namespace)"),
        Variable("experiment", 'label_values(podium_experiment_trials{namespace="$namespace"}, experiment)'),
        Variable("metric", f"label_values(podium_trial_metric{_ONE}, metric)", has_all=True),
    ),
    panels=(
        stat("Best so far", "The first objective's value of the best trial.", f"podium_experiment_best_value{_ONE}"),
        stat("Trials", "Trials made so far.", f"sum(podium_experiment_trials{_ONE})"),
        stat("Training now", "Trials that hold a pod.", f'podium_experiment_trials{_ONE[:-1]}, phase="Running"}}'),
        stat("GPU time used", "GPU seconds of all its runs.", f"podium_experiment_gpu_seconds_total{_ONE}", "dthms"),
        stat(
            "Saved",
            "Share of the steps that training every trial in full would have taken, and that were not needed.",
            f"1 - podium_experiment_steps_total{_ONE} / podium_experiment_full_steps{_ONE}",
            "percentunit",
        ),
        stat(
            "Failed",
            "Trials that failed: see their conditions (kubectl describe trial).",
            f'podium_experiment_trials{_ONE[:-1]}, phase="Failed"}}',
        ),
        Panel(
            "Best so far",
            "Flat for long? The search has converged, or the space is too small.",
            (Query(f"podium_experiment_best_value{_ONE}", "{{metric}}"),),
        ),
        Panel(
            "Trials by phase",
            "Paused trials wait at a rung for promotion; pruned ones were not worth more.",
            (Query(f"podium_experiment_trials{_ONE}", "{{phase}}"),),
            is_stacked=True,
        ),
        Panel(
            "Learning curves",
            "What the trials that train now report, one line per trial.",
            (Query(f"podium_trial_metric{_ONE_TRIALS}", "{{trial}} {{metric}}"),),
            width=COLUMNS,
            height=10,
        ),
        Panel(
            "Rungs",
            "Trials that reached each rung of the ladder, and how many went on from there.",
            (
                Query(f"sum by (budget) (podium_experiment_rung_reached{_ONE})", "{{budget}} reached"),
                Query(f"sum by (budget) (podium_experiment_rung_promoted{_ONE})", "{{budget}} promoted"),
            ),
            kind="bargauge",
        ),
        Panel(
            "Progress of the trials",
            "Steps that the trials which train now have reached.",
            (Query(f"podium_trial_step{_ONE}", "{{trial}}"),),
        ),
        Panel(
            "GPU time",
            "Used, and saved against training every trial in full.",
            (
                Query(f"podium_experiment_gpu_seconds_total{_ONE}", "used"),
                Query(f"podium_experiment_gpu_seconds_saved{_ONE}", "saved"),
            ),
            unit="dthms",
        ),
        Panel(
            "Steps",
            "Trained, and what training every trial in full would have taken.",
            (
                Query(f"podium_experiment_steps_total{_ONE}", "trained"),
                Query(f"podium_experiment_full_steps{_ONE}", "in full"),
            ),
        ),
    ),
)

# --- the fleet ------------------------------------------------------------------------------------------------

_WHERE = '{namespace=~"$namespace"}'

FLEET = Dashboard(
    name="fleet",
    title="Podium / Fleet",
    description="Every experiment: who trains what, on how many GPUs, and what ends how.",
    variables=(Variable("namespace", "label_values(podium_experiment_trials, namespace)", has_all=True),),
    panels=(
        stat(
            "Experiments",
            "Experiments with a trial that trains.",
            f'count(sum by (namespace, experiment) (podium_experiment_trials{_WHERE[:-1]}, phase="Running"}}) > 0)'
            " or vector(0)",
        ),
        stat(
            "Training now", "Trials that hold a pod.", f'sum(podium_experiment_trials{_WHERE[:-1]}, phase="Running"}})'
        ),
        stat(
            "Waiting for a pod",
            "Trials that are due and have none: for long, the cluster has no room.",
            f'sum(podium_experiment_trials{_WHERE[:-1]}, phase="Pending"}})',
        ),
        stat(
            "GPU time used",
            "GPU seconds of all runs.",
            f"sum(podium_experiment_gpu_seconds_total{_WHERE})",
            unit="dthms",
        ),
        stat(
            "GPU time saved",
            "Against training every trial in full.",
            f"sum(podium_experiment_gpu_seconds_saved{_WHERE})",
            unit="dthms",
        ),
        stat(
            "Failed, last hour",
            "Trials that failed.",
            f'sum(increase(podium_operator_trials_ended_total{_WHERE[:-1]}, phase="Failed"}}[1h])) or vector(0)',
        ),
        Panel(
            "Training, by experiment",
            "Trials that hold a pod.",
            (
                Query(
                    f'sum by (namespace, experiment) (podium_experiment_trials{_WHERE[:-1]}, phase="Running"}})',
                    "{{namespace}}/{{experiment}}",
                ),
            ),
            is_stacked=True,
        ),
        Panel(
            "GPUs in use, by namespace",
            "GPU seconds per second, accounted when a run ends.",
            (Query(f"sum by (namespace) (rate(podium_experiment_gpu_seconds_total{_WHERE}[15m]))", "{{namespace}}"),),
            is_stacked=True,
        ),
        Panel(
            "Verdicts",
            "What the suggestion service decides, per minute: trials started, promoted, stopped.",
            (Query("sum by (verdict) (rate(podium_suggestion_trials_total[$__rate_interval])) * 60", "{{verdict}}"),),
        ),
        Panel(
            "Ends of trials",
            "Per minute, by reason.",
            (
                Query(
                    f"sum by (reason) (rate(podium_operator_trials_ended_total{_WHERE}[$__rate_interval])) * 60",
                    "{{reason}}",
                ),
            ),
            is_stacked=True,
        ),
        Panel(
            "Trials by phase",
            "Over all experiments.",
            (Query(f"sum by (phase) (podium_experiment_trials{_WHERE})", "{{phase}}"),),
            width=COLUMNS,
            is_stacked=True,
        ),
    ),
)

# --- the operator's own health --------------------------------------------------------------------------------

HEALTH = Dashboard(
    name="health",
    title="Podium / Operator health",
    description="Whether Podium itself keeps up: passes, scrapes, exchanges with the suggestion service.",
    variables=(),
    panels=(
        stat(
            "Operator pods that answer",
            "One acts, the others stand by.",
            'sum(up{job="podium-operator"}) or vector(0)',
        ),
        stat(
            "Suggestion pods that answer",
            "Without one, trials go on, and nothing new is decided.",
            'sum(up{job="podium-suggestion"}) or vector(0)',
        ),
        stat(
            "Leaders",
            "Must be 1 for each release.",
            "sum by (namespace, release) (podium_operator_leader)",
            legend="{{namespace}}/{{release}}",
        ),
        stat(
            "Failed scrapes",
            "Share of the scrapes of trial pods that got no answer.",
            'sum(rate(podium_operator_scrapes_total{outcome!="ok"}[5m])) / sum(rate(podium_operator_scrapes_total[5m]))',
            "percentunit",
        ),
        stat(
            "Failed exchanges",
            "Share of the exchanges with the suggestion service that failed.",
            '(sum(rate(podium_suggestion_advice_total{outcome!~"ok|unknown"}[5m])) or vector(0))'
            " / sum(rate(podium_suggestion_advice_total[5m]))",
            "percentunit",
        ),
        stat(
            "Store errors, last hour",
            "Reads and writes refused.",
            "sum(increase(podium_suggestion_store_errors_total[1h]))",
        ),
        Panel(
            "Pass",
            "Seconds that one pass over an experiment takes.",
            quantiles("podium_operator_reconcile_seconds"),
            unit="s",
        ),
        Panel(
            "Queue",
            "Seconds from a change to the pass that sees it.",
            quantiles("podium_operator_queue_seconds"),
            unit="s",
        ),
        Panel(
            "Scrapes",
            "Scrapes of trial pods a second, by how they ended.",
            (Query("sum by (outcome) (rate(podium_operator_scrapes_total[$__rate_interval]))", "{{outcome}}"),),
            unit="ops",
        ),
        Panel("Scrape", "Seconds that one scrape takes.", quantiles("podium_operator_scrape_seconds"), unit="s"),
        Panel(
            "Advice, as the operator sees it",
            "Seconds from request to answer, the network included.",
            quantiles("podium_operator_advice_seconds"),
            unit="s",
        ),
        Panel(
            "Advice, by search",
            "Seconds that the suggestion service takes.",
            quantiles("podium_suggestion_advice_seconds", by="search"),
            unit="s",
        ),
        Panel(
            "Memory",
            "Of the processes.",
            (Query('process_resident_memory_bytes{job=~"podium-.*"}', "{{job}} {{pod}}"),),
            unit="bytes",
        ),
        Panel(
            "CPU",
            "Cores in use.",
            (Query('rate(process_cpu_seconds_total{job=~"podium-.*"}[$__rate_interval])', "{{job}} {{pod}}"),),
        ),
    ),
)

DASHBOARDS = (EXPERIMENT, FLEET, HEALTH)


# --- as Grafana wants it --------------------------------------------------------------------------------------


def grafana(dashboard: Dashboard) -> Json:
    """Return the dashboard as Grafana imports it."""
    return {
        "uid": f"podium-{dashboard.name}",
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["podium"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": dashboard.since, "to": "now"},
        "templating": {"list": [_datasource_variable(), *map(_variable, dashboard.variables)]},
        "links": [
            {"type": "dashboards", "title": "Podium", "tags": ["podium"], "asDropdown": True, "includeVars": True}
        ],
        "panels": [
            _panel(number, panel, place) for number, (panel, place) in enumerate(_placed(dashboard.panels), start=1)
        ],
    }


def _placed(panels: Iterable[Panel]) -> Iterator[tuple[Panel, Json]]:
    """Yield the panels with their places, row by row from the left."""
    x = y = row = 0
    for panel in panels:
        if x + panel.width > COLUMNS:
            x, y, row = 0, y + row, 0
        yield panel, {"x": x, "y": y, "w": panel.width, "h": panel.height}
        x, row = x + panel.width, max(row, panel.height)


def _panel(number: int, panel: Panel, place: Json) -> Json:
    custom = {"fillOpacity": 40, "stacking": {"mode": "normal"}} if panel.is_stacked else {}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "custom": custom}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}} if panel.kind == "timeseries" else {},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _DATASOURCE,
                "expr": query.expression,
                "legendFormat": query.legend,
                "instant": panel.kind != "timeseries",
                "range": panel.kind == "timeseries",
            }
            for index, query in enumerate(panel.queries)
        ],
    }


def _datasource_variable() -> Json:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _variable(variable: Variable) -> Json:
    return {
        "name": variable.name,
        "type": "query",
        "datasource": _DATASOURCE,
        "query": {"query": variable.expression, "refId": variable.name},
        "definition": variable.expression,
        "refresh": 2,
        "sort": 1,
        "includeAll": variable.has_all,
        "multi": variable.has_all,
        **({"allValue": ".+", "current": {"text": "All", "value": "$__all"}} if variable.has_all else {}),
    }


# --- the command ----------------------------------------------------------------------------------------------


def files() -> dict[Path, str]:
    """Return what each file should hold."""
    return {
        FOLDER / f"{dashboard.name}.json": json.dumps(grafana(dashboard), indent=1) + "\n" for dashboard in DASHBOARDS
    }


def main() -> int:
    """Write the files, or check that they are what they should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", action="store_true", help="write the files")
    mode.add_argument("--check", action="store_true", help="exit with 1 when a file is not what it should be")
    expected = files()
    if parser.parse_args().write:
        FOLDER.mkdir(exist_ok=True)
        for path, text in expected.items():
            path.write_text(text, encoding="utf-8")
        return 0
    stale = [path.name for path, text in expected.items() if not path.exists() or path.read_text("utf-8") != text]
    if stale:
        sys.stderr.write(f"out of date: {', '.join(stale)}; run scripts/dashboards.py --write\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
