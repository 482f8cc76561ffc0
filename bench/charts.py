"""Charts, as SVG: how regret falls, who ranks where, what an ask costs, and what schedulers reach in which time."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench import fidelity, search, statistics
from bench.latency import Timing
from bench.tabulation import counted
from bench.tasks import Group

_OURS, _PEERS = "-", "--"
_TRACES: dict[Group, str] = {"training": "fidelity.svg", "unseen-training": "fidelity-unseen.svg"}
_LEAST_SHOWN = 1e-4
"""Of regrets on a logarithmic scale, which has no room for 0."""


def draw_all(folder: Path, found: search.Found, curves: fidelity.Found, timings: dict[str, list[Timing]]) -> list[Path]:
    """Draw what there are results for, and return the files."""
    mpl.use("svg")
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    with plt.rc_context(
        {"svg.hashsalt": "podium", "font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
    ):
        if found.regrets:
            drawn += [_regret(found, folder / "regret.svg"), _ranks(found, folder / "ranks.svg")]
        drawn += [
            _traces(family, folder / _TRACES[group]) for group, family in curves.families().items() if family.runs
        ]
        drawn += [_latency(each, space, folder / f"latency-{space}.svg") for space, each in timings.items()]
    return drawn


def _regret(found: search.Found, path: Path) -> Path:
    groups = found.groups()
    colours = _colours(found.methods)
    figure, axes = plt.subplots(2, -(-len(groups) // 2), figsize=(11, 6), squeeze=False)
    for (group, tasks), axis in zip(groups.items(), axes.flat, strict=False):
        for name, means in found.curves(tasks).items():
            shown = np.maximum(means, _LEAST_SHOWN)
            axis.plot(np.linspace(0, 1, len(means) + 1)[1:], shown, _style(name), color=colours[name], label=name)
        axis.set(
            title=f"{group} ({len(tasks)} tasks)", yscale="log", xlabel="share of the budget", ylabel="mean regret"
        )
    return _finish(figure, list(axes.flat), path)


def _ranks(found: search.Found, path: Path) -> Path:
    groups = {group: found.scores(tasks) for group, tasks in found.groups().items()}
    drawable = {group: scores for group, scores in groups.items() if scores is not None}
    colours = _colours(found.methods)
    figure, axes = plt.subplots(2, -(-len(drawable) // 2), figsize=(11, 6), squeeze=False)
    for (group, scores), axis in zip(drawable.items(), axes.flat, strict=False):
        estimates = statistics.mean_ranks(scores.full)
        order = np.argsort([-each.mean for each in estimates])
        for height, place in enumerate(order):
            each, name = estimates[place], scores.methods[place]
            axis.plot([each.low, each.high], [height, height], color=colours[name], linewidth=2)
            axis.plot(each.mean, height, "o", color=colours[name])
        axis.set_yticks(range(len(order)), [scores.methods[place] for place in order])
        axis.set(title=f"{group}, {counted(len(scores.seeds), 'seed')}", xlabel="mean rank, 95 %")
    return _finish(figure, list(axes.flat), path, with_legend=False)


def _traces(found: fidelity.Found, path: Path) -> Path:
    tasks = sorted({task for task, _ in found.runs})
    colours = _colours(found.methods)
    size = (3.6 * len(tasks), 2.6 * len(found.workers))
    figure, axes = plt.subplots(len(found.workers), len(tasks), figsize=size, squeeze=False)
    for row, workers in enumerate(found.workers):
        for column, task in enumerate(tasks):
            shares, medians = found.traces(task, workers)
            axis = axes[row, column]
            for name, regrets in medians.items():
                axis.plot(shares, np.minimum(regrets, 1.0), _style(name), color=colours[name], label=name)
            title = f"{task}, {counted(workers, 'worker')}"
            axis.set(title=title, xscale="log", xlabel="share of the time", ylabel="median regret")
    return _finish(figure, list(axes.flat), path)


def _latency(timings: Sequence[Timing], space: str, path: Path) -> Path:
    names = sorted({timing.method for timing in timings}, key=lambda name: (":" in name, name))
    colours = _colours(names)
    figure, axis = plt.subplots(figsize=(6, 4))
    for name in names:
        points = sorted((each.trials, each.median) for each in timings if each.method == name and each.milliseconds)
        if points:
            axis.plot(*zip(*points, strict=True), f"o{_style(name)}", color=colours[name], label=name)
    axis.set(
        title=f"ten parameters ({space})", xscale="log", yscale="log", xlabel="finished trials", ylabel="ms per ask"
    )
    return _finish(figure, [axis], path)


def _colours(names: Sequence[str]) -> dict[str, object]:
    palette = mpl.colormaps["tab20"].colors  # type: ignore[attr-defined]  # a listed colour map has its colours
    return {name: palette[(2 * index + index // 10) % 20] for index, name in enumerate(names)}


def _style(name: str) -> str:
    return _PEERS if ":" in name else _OURS


def _finish(figure: Figure, axes: Sequence[Axes], path: Path, *, with_legend: bool = True) -> Path:
    used = [axis for axis in axes if axis.has_data()]
    for axis in axes:
        axis.set_visible(axis.has_data())
    if with_legend and used:
        labels = {
            label: handle for axis in used for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            labels.values(),
            labels.keys(),
            loc="outside lower center",
            ncols=max(1, int(figure.get_figwidth() / 1.8)),
            frameon=False,
        )
    figure.set_layout_engine("constrained")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path
