"""The figures of a report. Each function draws one question's answer, and says in words what it shows."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from podium_contract.experiment import Objective
from podium_contract.lifecycle import FINAL, Phase
from podium_contract.parameters import CategoricalParameter, OrdinalParameter, Parameter
from podium_operator.report.facts import (
    FloatArray,
    Stretch,
    best_so_far,
    curve_of,
    encoded,
    final_values,
    front_growth,
    importance_of,
    lineage_of,
    trial_span,
)
from podium_operator.results import Results
from podium_suggestion.space import Column, Space

# Okabe and Ito's palette: told apart by people with any kind of colour vision.
PHASE_COLOURS = {
    Phase.SUCCEEDED: "#009E73",
    Phase.PRUNED: "#0072B2",
    Phase.PAUSED: "#56B4E9",
    Phase.RUNNING: "#F0E442",
    Phase.PENDING: "#999999",
    Phase.KILLED: "#CC79A7",
    Phase.FAILED: "#D55E00",
}
_BEST = "#222222"
_INK = "#444444"
_HALO = [withStroke(linewidth=2.5, foreground="white")]
"""Keeps a label legible on top of lines."""
_STYLE: dict[str, Any] = {
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "figure.dpi": 110,
    "savefig.dpi": 150,
    "svg.hashsalt": "podium",
}
_MOST_TICK_LABEL = 14
_FARTHEST = 1e100
"""Where values beyond it are drawn: axes compute with differences of larger ones, which overflow."""
_MOST_SCHEDULES = 8
"""Parameters whose schedules are drawn, in order of the manifest."""


@dataclass(frozen=True)
class Drawing:
    """A figure with its name and what it shows in words."""

    name: str
    title: str
    words: str
    figure: Figure


def drawings(results: Results) -> list[Drawing]:
    """Return every figure that the results have something for."""
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]  # its keys are typed one by one
        made = (draw(results) for draw in _FIGURES)
        return [drawing for drawing in made if drawing is not None]


def draw_history(results: Results) -> Drawing | None:
    """Draw every trial's final value by number, and the best so far."""
    objective = results.experiment.spec.objectives[0]
    values = final_values(results, objective.metric)
    if not values:
        return None
    figure, axes = _canvas()
    for phase, colour in PHASE_COLOURS.items():
        numbers = [trial.number for trial in results.trials if trial.phase is phase and trial.number in values]
        if numbers:
            axes.scatter(
                numbers, _drawable(values[n] for n in numbers), s=22, color=colour, label=phase.lower(), zorder=3
            )
    numbers = sorted(values)
    best = best_so_far([values[n] for n in numbers], maximize=objective.goal == "maximize")
    axes.step(numbers, _drawable(best), where="post", color=_BEST, linewidth=1.6, label="best so far", zorder=2)
    without = [trial.number for trial in results.trials if trial.number not in values and trial.phase in FINAL]
    if without:
        top = axes.get_xaxis_transform()
        axes.scatter(
            without,
            [1.0] * len(without),
            marker="x",
            s=22,
            color=PHASE_COLOURS[Phase.FAILED],
            transform=top,
            clip_on=False,
            label="no value",
        )
    _label(axes, "trial", _metric_label(objective))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _clip_outliers(axes.set_ylim, _drawable(values.values()), maximize=objective.goal == "maximize")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=5)
    words = f"{len(values)} trials; the best {objective.metric} is {best[-1]:.5g}."
    if without:
        words += f" Crosses: {len(without)} trials that ended without a usable value."
    return Drawing("history", "Optimisation history", words, figure)


def draw_curves(results: Results) -> Drawing | None:
    """Draw the learning curves, coloured by how the trials ended."""
    spec = results.experiment.spec
    objective = spec.objectives[0]
    curves = [curve_of(trial, objective.metric) for trial in results.trials]
    curves = [replace(curve, values=tuple(_drawable(curve.values))) for curve in curves if curve.values]
    if not any(len(curve.steps) > 1 for curve in curves):
        return None
    figure, axes = _canvas()
    alpha = float(np.clip(30 / len(curves), 0.15, 0.8))
    for curve in curves:
        colour = PHASE_COLOURS[curve.phase]
        axes.plot(curve.steps, curve.values, color=colour, alpha=alpha, linewidth=1.1)
        axes.plot(curve.steps[-1:], curve.values[-1:], "o", color=colour, markersize=3, alpha=min(1.0, alpha * 2))
    leaders = [standing.trial for standing in results.experiment.status.best[:1]]
    for curve in (curve for curve in curves if curve.number in leaders):
        axes.plot(curve.steps, curve.values, color=_BEST, linewidth=2.2, zorder=5)
        axes.annotate(
            f"trial {curve.number}",
            (curve.steps[-1], curve.values[-1]),
            color=_BEST,
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
        )
    for rung in results.experiment.status.rungs:
        axes.axvline(rung.budget, color=_INK, linewidth=0.5, linestyle=":", zorder=0)
    if results.experiment.status.rungs:
        axes.set_xscale("log", base=2)
        axes.set_xticks([rung.budget for rung in results.experiment.status.rungs])
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    _label(axes, spec.scheduler.resource, _metric_label(objective))
    everything = np.concatenate([curve.values for curve in curves])
    _clip_outliers(axes.set_ylim, everything, maximize=objective.goal == "maximize")
    phases = {curve.phase for curve in curves}
    handles = [Line2D([], [], color=c, label=p.lower()) for p, c in PHASE_COLOURS.items() if p in phases]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=5)
    return Drawing(
        "curves", "Learning curves", f"{len(curves)} trials by how they ended; dotted lines are rungs.", figure
    )


def draw_parallel_coordinates(results: Results) -> Drawing | None:
    """Draw each configuration as a line through its parameters, coloured by value; dotted where it skips inactive ones."""
    spec = results.experiment.spec
    objective = spec.objectives[0]
    values = final_values(results, objective.metric)
    trials = [trial for trial in results.trials if trial.number in values]
    if len(trials) < 2 or len(spec.parameters) < 2:
        return None
    columns = Space(spec.parameters).columns
    points = encoded(spec, trials)
    losses = np.array([values[trial.number] for trial in trials]) * (-1.0 if objective.goal == "maximize" else 1.0)
    ranks = np.argsort(np.argsort(losses)) / max(len(losses) - 1, 1)
    figure, axes = _canvas(width=max(7.5, 1.05 * len(columns)))
    colours = mpl.colormaps["viridis"]
    alpha = float(np.clip(30 / len(trials), 0.25, 0.8))
    for index in np.argsort(-ranks):
        style = {"color": colours(ranks[index]), "alpha": 0.9 if ranks[index] < 0.1 else alpha, "linewidth": 1.0}
        active = np.flatnonzero(np.isfinite(points[index]))
        axes.plot(points[index], marker=".", markersize=4, **style)
        for left, right in _bridges(active):
            axes.plot([left, right], points[index, [left, right]], linestyle=":", **style)
    for position, column in enumerate(columns):
        axes.axvline(position, color=_INK, linewidth=0.6, zorder=0)
        for unit, text in _axis_labels(column):
            axes.annotate(
                text,
                (position, unit),
                xytext=(3, 0),
                textcoords="offset points",
                fontsize=7,
                va="center",
                zorder=6,
                path_effects=_HALO,
            )
    axes.set_xticks(range(len(columns)), [column.parameter.name for column in columns], rotation=30, ha="right")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_ylim(-0.05, 1.05)
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, 1), colours)
    bar = figure.colorbar(scale, ax=axes, fraction=0.025, pad=0.02, ticks=[0, 1])
    bar.ax.set_yticklabels(["best", "worst"])
    words = "One line a trial, darker is better."
    if np.isnan(points).any():
        words += " Dotted stretches skip parameters that are inactive."
    return Drawing("parameters", "Configurations", words, figure)


def draw_importance(results: Results) -> Drawing | None:
    """Draw how much each parameter matters."""
    importance = importance_of(results)
    if importance is None:
        return None
    figure, axes = _canvas(height=0.9 + 0.28 * len(importance.names))
    names, shares = importance.names[::-1], importance.shares[::-1]
    bars = axes.barh(names, shares, color="#0072B2", height=0.65)
    axes.bar_label(bars, [f"{share:.0%}" for share in shares], padding=3, color=_INK)
    axes.set_xlim(0, max(shares) * 1.15)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    words = (
        f"Permutation importance in a random forest of {importance.trials} trials: "
        f"{importance.names[0]} explains most of the differences. What longer training explains is taken out."
    )
    return Drawing("importance", "What matters", words, figure)


def draw_front(results: Results) -> Drawing | None:
    """Draw two objectives against each other, with the Pareto front."""
    spec = results.experiment.spec
    if len(spec.objectives) < 2:
        return None
    first, second = spec.objectives[:2]
    across, up = final_values(results, first.metric), final_values(results, second.metric)
    both = sorted(across.keys() & up.keys())
    if not both:
        return None
    across, up = (dict(zip(both, _drawable(values[n] for n in both), strict=True)) for values in (across, up))
    front = {standing.trial for standing in results.experiment.status.best}
    figure, axes = _canvas()
    others = [number for number in both if number not in front]
    axes.scatter(
        [across[n] for n in others], [up[n] for n in others], s=18, color="#999999", label="dominated or infeasible"
    )
    chosen = sorted((n for n in both if n in front), key=lambda n: across[n])
    is_whole = len(spec.objectives) == 2
    line = "o-" if is_whole else "o"  # seen from one side, a front of more dimensions is no line
    axes.plot(
        [across[n] for n in chosen], [up[n] for n in chosen], line, color=_BEST, label="Pareto front", linewidth=1
    )
    for number in chosen:
        axes.annotate(str(number), (across[number], up[number]), xytext=(4, 4), textcoords="offset points", fontsize=7)
    for objective, draw in ((first, axes.axvline), (second, axes.axhline)):
        if objective.reference is not None:
            draw(objective.reference, color="#999999", linewidth=1, linestyle=":")
    _label(axes, _metric_label(first), _metric_label(second))
    for objective, values, set_limits in ((first, across, axes.set_xlim), (second, up, axes.set_ylim)):
        kept = [values[number] for number in chosen]
        if objective.reference is not None:
            kept.append(objective.reference)
        everything = np.array([*values.values()])
        _clip_outliers(set_limits, everything, maximize=objective.goal == "maximize", kept=kept)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
    words = f"{len(chosen)} of {len(both)} trials are not dominated."
    if not is_whole:
        words += f" Seen by the first two of {len(spec.objectives)} objectives."
    if any(objective.reference is not None for objective in (first, second)):
        words += " Dotted: the stated reference."
    return Drawing("front", "Pareto front", words, figure)


def draw_hypervolume(results: Results) -> Drawing | None:
    """Draw how much the front of several objectives dominates, trial by trial."""
    growth = front_growth(results)
    if growth is None or not 0 < growth.volumes[-1] < np.inf:
        return None
    shares = growth.volumes / growth.volumes[-1]
    figure, axes = _canvas()
    numbers = [1, *growth.numbers, len(results.trials)]
    axes.step(numbers, [0.0, *shares, 1.0], where="post", color=_BEST, linewidth=1.6)
    axes.set_ylim(0.0, 1.05)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _label(axes, "trial", "hypervolume, share of the last")
    half, most = (growth.numbers[int(np.argmax(shares >= share))] for share in (0.5, 0.99))
    point = ", ".join(
        f"{objective.metric} {value:.4g}"
        for objective, value in zip(results.experiment.spec.objectives, growth.reference, strict=True)
    )
    words = (
        f"What the front dominates, measured from {point}: {growth.volumes[-1]:.5g} in the end, half of it by trial "
        f"{half}, 99 % by trial {most}."
    )
    return Drawing("hypervolume", "Hypervolume", words, figure)


def draw_rungs(results: Results) -> Drawing | None:
    """Draw how many trials each rung saw, and how many it passed on."""
    spec, rungs = results.experiment.spec, results.experiment.status.rungs
    if not rungs:
        return None
    figure, axes = _canvas(height=0.9 + 0.42 * len(rungs))
    names = [
        f"{spec.scheduler.resource} {rung.budget}" + (f" ({rung.bracket})" if rung.bracket else "") for rung in rungs
    ]
    axes.barh(names, [rung.reached for rung in rungs], color="#0072B2", height=0.6, label="reached it")
    axes.barh(names, [rung.promoted for rung in rungs], color="#009E73", height=0.6, label="went on")
    for position, rung in enumerate(rungs):
        axes.annotate(
            f"{rung.promoted} of {rung.reached}",
            (rung.reached, position),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set_xlim(0, max(rung.reached for rung in rungs) * 1.2 + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _label(axes, "trials", "")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    return Drawing("rungs", "Rungs", "Trials that reached each rung, and of those the ones that were promoted.", figure)


def draw_population(results: Results) -> Drawing | None:
    """Draw who was cloned from whom, and the schedule of each parameter that emerged on the way to the best trial."""
    if all(trial.parent is None for trial in results.trials):
        return None
    spec = results.experiment.spec
    best = results.experiment.status.best[:1]
    lineage = lineage_of(results.trials, best[0].trial) if best else []
    columns = [column for column in Space(spec.parameters).columns if _has_changed(column, lineage)][:_MOST_SCHEDULES]
    places = len({trial.bracket for trial in results.trials})
    heights = [0.9 + 0.22 * places, *[1.5] * len(columns)]
    figure = Figure(figsize=(7.5, sum(heights) + 0.6), layout="constrained")
    tree, *schedules = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    _draw_lineage(tree, results, lineage)
    for axes, column in zip(schedules, columns, strict=True):
        _draw_schedule(axes, column, results, lineage)
    (schedules or [tree])[-1].set_xlabel(spec.scheduler.resource)
    tree.xaxis.set_major_locator(MaxNLocator(integer=True))
    descent = " → ".join(str(stretch.trial.number) for stretch in lineage)
    clones = sum(trial.parent is not None for trial in results.trials)
    words = f"{clones} clones in {places} places."
    if lineage:
        words += f" Dark: the way to the best trial, over the trials {descent}."
        words += "".join(f" {column.parameter.name}: {_course(column, lineage)}." for column in columns)
    return Drawing("population", "Lineage and schedule", words, figure)


def _has_changed(column: Column, lineage: Sequence[Stretch]) -> bool:
    name = column.parameter.name
    return len({repr(stretch.trial.parameters.get(name)) for stretch in lineage}) > 1


def _course(column: Column, lineage: Sequence[Stretch]) -> str:
    """Return a parameter's values on a lineage in words, repeated ones told once: "0.1, 0.08, 0.064"."""
    values = [_short(stretch.trial.parameters.get(column.parameter.name, "-")) for stretch in lineage]
    return ", ".join(value for value, before in zip(values, [None, *values], strict=False) if value != before)


def _draw_lineage(axes: Axes, results: Results, lineage: Sequence[Stretch]) -> None:
    """Draw a bar for each trial in its place, and a line from the parent's to the clone's where one was made."""
    places = {trial.number: trial.bracket for trial in results.trials}
    on_the_way = {stretch.trial.number: stretch for stretch in lineage}
    for trial in results.trials:
        span = trial_span(trial)
        axes.plot(
            [span.start, span.end],
            [trial.bracket] * 2,
            color=PHASE_COLOURS[trial.phase],
            linewidth=4,
            alpha=0.5,
            solid_capstyle="butt",
        )
        if trial.parent is not None and trial.parent.trial in places:
            colour, width = (_BEST, 1.8) if trial.number in on_the_way else (_INK, 0.6)
            ends = [places[trial.parent.trial], trial.bracket]
            axes.plot([span.start] * 2, ends, color=colour, linewidth=width, alpha=0.8, zorder=4)
    for stretch in lineage:
        axes.plot([stretch.start, stretch.end], [stretch.trial.bracket] * 2, color=_BEST, linewidth=1.8, zorder=4)
    axes.set_ylabel("place")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.invert_yaxis()


def _draw_schedule(axes: Axes, column: Column, results: Results, lineage: Sequence[Stretch]) -> None:
    """Draw a parameter's value over the steps: everybody's thin, the best trial's lineage dark."""
    name = column.parameter.name
    for trial in results.trials:
        if name in trial.parameters:
            span = trial_span(trial)
            height = float(column.to_unit([trial.parameters[name]])[0])
            axes.plot([span.start, span.end], [height] * 2, color=PHASE_COLOURS[trial.phase], linewidth=1, alpha=0.5)
    steps = [step for stretch in lineage for step in (stretch.start, stretch.end)]
    heights = [
        float(column.to_unit([stretch.trial.parameters[name]])[0]) if name in stretch.trial.parameters else np.nan
        for stretch in lineage
        for _ in range(2)
    ]
    axes.plot(steps, heights, color=_BEST, linewidth=2, zorder=4)
    axes.set_ylim(-0.05, 1.05)
    axes.set_yticks(*zip(*_axis_labels(column), strict=True))
    axes.set_ylabel(_short(name))


_FIGURES: tuple[Callable[[Results], Drawing | None], ...] = (
    draw_history,
    draw_front,
    draw_hypervolume,
    draw_curves,
    draw_population,
    draw_rungs,
    draw_parallel_coordinates,
    draw_importance,
)


def _bridges(active: NDArray[np.intp]) -> list[tuple[int, int]]:
    """Return the pairs of neighbours among active columns that have inactive ones between them."""
    return [(int(left), int(right)) for left, right in pairwise(active) if right - left > 1]


def _canvas(width: float = 7.5, height: float = 3.8) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def _metric_label(objective: Objective) -> str:
    better = "higher" if objective.goal == "maximize" else "lower"
    return f"{objective.metric} ({better} is better)"


def _drawable(values: Iterable[float]) -> FloatArray:
    return np.clip(np.fromiter(values, dtype=np.float64), -_FARTHEST, _FARTHEST)


def _clip_outliers(
    set_limits: Callable[[float, float], object], values: FloatArray, *, maximize: bool, kept: Sequence[float] = ()
) -> None:
    """Let diverged trials leave the picture rather than flatten it.

    The view spans from the best to the worse 90 %, and to the worst of those that have to be `kept` in it.
    """
    sign = -1.0 if maximize else 1.0
    losses = sign * values
    best, worst = losses.min(), losses.max()
    bulk = max([np.quantile(losses, 0.9), *(sign * value for value in kept)])
    if best != bulk and worst - bulk > bulk - best:
        margin = 0.08 * (bulk - best)
        set_limits(*sorted(sign * bound for bound in (best - margin, bulk + 3 * margin)))


def _axis_labels(column: Column) -> list[tuple[float, str]]:
    parameter: Parameter = column.parameter
    if isinstance(parameter, CategoricalParameter | OrdinalParameter):
        return [
            (float(unit), _short(value))
            for unit, value in zip(column.to_unit(parameter.values), parameter.values, strict=True)
        ]
    return [(0.0, _short(column.from_unit(0.0))), (1.0, _short(column.from_unit(1.0)))]


def _short(value: object) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _MOST_TICK_LABEL else f"{text[: _MOST_TICK_LABEL - 1]}…"
