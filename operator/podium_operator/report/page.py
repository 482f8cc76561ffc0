"""The report: one HTML page that needs nothing else, the figures as PNGs, and the record as CSV files."""

import base64
import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from podium_contract.experiment import ExperimentSpec
from podium_contract.lifecycle import Phase
from podium_contract.template import value_text
from podium_contract.wire import TrialRecord
from podium_operator.report.facts import MIN_TRIALS_FOR_IMPORTANCE, final_values
from podium_operator.report.figures import PHASE_COLOURS, Drawing, drawings
from podium_operator.results import Results


@dataclass(frozen=True)
class Cell:
    """One cell of the trials' table: what is shown, and what it is sorted by."""

    text: str
    sort: str
    colour: str | None = None


def write_report(results: Results, folder: Path) -> list[Path]:
    """Write the page, a PNG per figure and two CSV files; returns their paths, the page first."""
    folder.mkdir(parents=True, exist_ok=True)
    made = drawings(results)
    images = {drawing.name: _png(drawing.figure) for drawing in made}
    page = folder / "report.html"
    page.write_text(_page(results, made, images), encoding="utf-8")
    paths = [page]
    for name, image in images.items():
        paths.append(folder / f"{name}.png")
        paths[-1].write_bytes(image)
    for name, rows in (("trials", trial_rows(results)), ("observations", observation_rows(results))):
        paths.append(folder / f"{name}.csv")
        with paths[-1].open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
    return paths


def trial_rows(results: Results) -> list[list[str]]:
    """Return a heading and a row a trial: number, phase, values, parameters, reason."""
    spec = results.experiment.spec
    names = [parameter.name for parameter in spec.parameters]
    finals = {metric: final_values(results, metric) for metric in spec.metric_names}
    rows = [["trial", "phase", "step", *spec.metric_names, *names, "origin", "reason", "message"]]
    for trial in results.trials:
        values = [_number(finals[metric].get(trial.number)) for metric in spec.metric_names]
        parameters = [value_text(trial.parameters[name]) if name in trial.parameters else "" for name in names]
        step = str(trial.observations[-1].step) if trial.observations else ""
        rows.append(
            [str(trial.number), trial.phase, step, *values, *parameters, trial.origin, trial.reason, trial.message]
        )
    return rows


def observation_rows(results: Results) -> list[list[str]]:
    """Return a heading and a row a report, one column a metric."""
    metrics = sorted({name for t in results.trials for o in t.observations for name in o.metrics})
    rows = [["trial", "step", "attempt", "seconds", *metrics]]
    for trial in results.trials:
        for observation in trial.observations:
            seconds = "" if observation.seconds is None else f"{observation.seconds:.3f}"
            values = [_number(observation.metrics.get(metric)) for metric in metrics]
            rows.append([str(trial.number), str(observation.step), str(observation.attempt), seconds, *values])
    return rows


def _page(results: Results, made: list[Drawing], images: dict[str, bytes]) -> str:
    experiment = results.experiment
    environment = Environment(
        loader=PackageLoader("podium_operator.report", "."), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("page.html.j2").render(
        name=experiment.metadata.name,
        lead=_lead(experiment.spec),
        tiles=_tiles(results),
        is_single=len(experiment.spec.objectives) == 1,
        best=_best(results),
        drawings=[{"title": d.title, "words": d.words, "png": base64.b64encode(images[d.name]).decode()} for d in made],
        missing=_missing(results, {drawing.name for drawing in made}),
        trials=_trials(results),
    )


def _lead(spec: ExperimentSpec) -> str:
    objectives = " and ".join(f"{objective.goal} {objective.metric}" for objective in spec.objectives)
    return f"{objectives}, by {spec.search.algorithm} × {spec.scheduler.algorithm} (seed {spec.search.seed})"


def _tiles(results: Results) -> list[dict[str, str]]:
    experiment = results.experiment
    status, cost = experiment.status, experiment.status.cost
    tiles = []
    if status.best_value is not None:
        tiles.append({"label": f"best {experiment.spec.objectives[0].metric}", "value": _number(status.best_value)})
    tiles.append({"label": "trials", "value": str(status.trials.total)})
    ended = (Phase.SUCCEEDED, Phase.PRUNED, Phase.FAILED)
    tiles += [{"label": phase.lower(), "value": str(len(results.ended(phase)))} for phase in ended]
    if cost.full_steps:
        saved = 1 - cost.steps / cost.full_steps
        label = f"saved: {cost.steps} of {cost.full_steps} {experiment.spec.scheduler.resource}s"
        tiles.append({"label": label, "value": f"{saved:.0%}"})
    tiles.append({"label": "training time of all trials", "value": f"{cost.trial_seconds:.0f} s"})
    return tiles


def _best(results: Results) -> dict[str, Any]:
    spec = results.experiment.spec
    names = [parameter.name for parameter in spec.parameters]
    rows = [
        [
            str(standing.trial),
            *(_number(standing.metrics.get(metric)) for metric in spec.metric_names),
            "" if standing.step is None else str(standing.step),
            *(_shown(standing.parameters[name]) if name in standing.parameters else "" for name in names),
        ]
        for standing in results.experiment.status.best
    ]
    return {"headings": ["trial", *spec.metric_names, spec.scheduler.resource, *names], "rows": rows}


def _trials(results: Results) -> dict[str, Any]:
    heading, *rows = trial_rows(results)
    best = {standing.trial for standing in results.experiment.status.best}
    kept = [index for index, name in enumerate(heading) if name not in ("origin", "reason")]
    return {
        "headings": [heading[index] for index in kept],
        "rows": [
            {"is_best": trial.number in best, "cells": [_cell(heading[index], row[index], trial) for index in kept]}
            for trial, row in zip(results.trials, rows, strict=True)
        ],
    }


def _cell(heading: str, text: str, trial: TrialRecord) -> Cell:
    return Cell(_rounded(text), text, PHASE_COLOURS[trial.phase] if heading == "phase" else None)


def _missing(results: Results, drawn: set[str]) -> list[str]:
    if "importance" in drawn:
        return []
    usable = len(final_values(results, results.experiment.spec.objectives[0].metric))
    words = f"it takes {MIN_TRIALS_FOR_IMPORTANCE} usable trials that differ, and there are {usable}"
    return [f"Parameter importance is not shown: {words}."]


def _png(figure: Figure) -> bytes:
    image = io.BytesIO()
    figure.savefig(image, format="png", metadata={"Software": "Podium"})
    return image.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else value_text(value)


def _rounded(text: str) -> str:
    try:
        return f"{float(text):.4g}" if "." in text else text
    except ValueError:
        return text
