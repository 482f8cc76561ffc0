"""Whether Podium does what it was meant to, read from the results that there are: one line for each aim.

An aim of which there are no results says so, and a figure is never a guess: seeds and cells are told with it.
"""

from collections.abc import Iterator

import numpy as np

from bench import fidelity, latency, search, statistics
from bench.search import Scores
from bench.tabulation import Figures, counted, number
from bench.tasks import SINGLE_OBJECTIVE, Group

_OURS = "auto"
_WITHIN = 0.5
"""Of a rank: how far behind the first `auto` may be in a group."""
_PAIRS = 0.9
_BUSY = 0.95
_MILLISECONDS = 20.0
_RANDOM = "random"
_TIMES = (("tpe", "optuna:tpe", 2), ("gp", "optuna-gp:gp", 5), ("forest", "smac:forest-anew", 4))
"""Podium's sampler, the peer's, and how many times as long the peer's is to take."""

Line = tuple[str, str]
"""An aim, and what the results say of it."""


def table(
    found: search.Found,
    curves: fidelity.Found,
    population: fidelity.Found,
    timings: dict[str, list[latency.Timing]],
) -> Figures:
    """Return a line for each aim; the methods of `found` are compared all at once."""
    figures = Figures("what was aimed at", ["aim", "holds?"])
    groups = {group: tasks for group, tasks in found.groups().items() if group in SINGLE_OBJECTIVE}
    scores = found.scores([task for tasks in groups.values() for task in tasks])
    lines = [
        *_ranks(scores, groups),
        _never_worse(found),
        *_feasible(found),
        *_schedulers(curves),
        _population(population),
    ]
    for aim, says in [*lines, *_times(timings)]:
        figures.add(aim, says)
    return figures


def _ranks(scores: Scores | None, groups: dict[Group, list[str]]) -> Iterator[Line]:
    first, close = f"{_OURS} first in mean rank", f"{_OURS} in every group first or within {_WITHIN} of a rank"
    if scores is None or _OURS not in scores.methods or len(scores.methods) < 2:
        yield from ((first, "no results"), (close, "no results"))
        return
    of_what = f"of {len(scores.methods)} methods, {counted(len(scores.seeds), 'seed')}"
    gaps = {when: gap_to_first(scores, when) for when in ("half", "full")}
    yield first, f"{_verdict(max(gap for gap, _ in gaps.values()) <= 0)}: {_behind(gaps)}; {of_what}"
    parts = {group: scores.on(tasks) for group, tasks in groups.items()}
    far = [
        f"{gap:.2f} behind {name} on {group} at {when} budget"
        for group, part in parts.items()
        for when in ("half", "full")
        for gap, name in [gap_to_first(part, when)]
        if gap > _WITHIN
    ]
    yield close, f"{_verdict(not far)}{': ' + ', '.join(far) if far else ''}"


def gap_to_first(scores: Scores, when: str) -> tuple[float, str]:
    """Return by how much `auto`'s mean rank is behind the best other method's (negative: ahead), and whose that is."""
    means = statistics.ranks(scores.half if when == "half" else scores.full).mean(axis=(0, 1))
    by_name = dict(zip(scores.methods, means, strict=True))
    own = by_name.pop(_OURS)
    rival = min(by_name, key=lambda name: by_name[name])
    return float(own - by_name[rival]), rival


def _behind(gaps: dict[str, tuple[float, str]]) -> str:
    return ", ".join(f"{_distance(gap)} {name} at {when} budget" for when, (gap, name) in gaps.items())


def _distance(gap: float) -> str:
    if gap == 0:
        return "level with"
    return f"{abs(gap):.2f} {'behind' if gap > 0 else 'ahead of'}"


def _never_worse(found: search.Found) -> Line:
    aim = f"{_OURS} never worse than random search"
    if not any({_OURS, _RANDOM} <= set(runs) for runs in found.regrets.values()):
        return aim, "no results"
    worse = search.worse_than_random(found, _OURS)
    return aim, f"{_verdict(not worse)} by the sign test{': ' + ', '.join(worse) if worse else ''}"


def _feasible(found: search.Found, rival: str = "optuna:tpe") -> Iterator[Line]:
    first: dict[str, tuple[float, float]] = {}
    as_good: dict[str, tuple[float, float]] = {}
    for task in found.groups().get("constrained", []):
        excess, regrets = found.excess[task], found.regrets[task]
        seeds = sorted(set(excess.get(_OURS, {})) & set(excess.get(rival, {})))
        if not seeds:
            continue
        pairs = [[search.first_feasible(excess[name][seed]) for name in (_OURS, rival)] for seed in seeds]
        first[task] = _medians(pairs)
        ends = {seed: float(regrets[rival][seed][-1]) for seed in seeds}
        pairs = [[search.reached(regrets[name][seed], ends[seed]) for name in (_OURS, rival)] for seed in seeds]
        as_good[task] = _medians(pairs)
    yield _counts(f"{_OURS} feasible no later than {rival} (median of shared seeds)", first)
    yield _counts(f"{_OURS} as good as {rival} ends within the constraints, no later than it", as_good)


def _medians(pairs: list[list[float]]) -> tuple[float, float]:
    own, other = np.median(np.array(pairs), axis=0)
    return float(own), float(other)


def _counts(aim: str, pairs: dict[str, tuple[float, float]]) -> Line:
    if not pairs:
        return aim, "no results"
    told = ", ".join(
        f"{task} {search.evaluations(own)} against {search.evaluations(other)}" for task, (own, other) in pairs.items()
    )
    return aim, f"{_verdict(all(own <= other for own, other in pairs.values()))}: {told}"


def _schedulers(curves: fidelity.Found) -> Iterator[Line]:
    """Yield the aims of multi-fidelity: rank by number of workers, and the rest of Podium's method that ranks best."""
    for workers in curves.workers:
        aim, scores = f"multi-fidelity: Podium first with {workers} workers", curves.scores(workers)
        if scores is None or len(scores.methods) < 2:
            yield aim, "no results"
            continue
        means = statistics.mean_ranks(scores.full)
        place = int(np.argmin([each.mean for each in means]))
        first = scores.methods[place]
        interval = f"{means[place].mean:.2f} ({means[place].low:.2f}-{means[place].high:.2f})"
        extent = f"{counted(len(scores.seeds), 'seed')}, {counted(len(scores.tasks), 'task')}"
        yield aim, f"{_verdict(':' not in first)}: {first} {interval}, {extent}"
    for name in [name for name in curves.methods if name.startswith(f"{_OURS}+")]:
        yield _wins(curves, name)
        yield _halved(curves, name)
        yield _busy(curves, name)
        yield _milliseconds(curves, name)


def _wins(curves: fidelity.Found, name: str) -> Line:
    aim = f"{name}: {_PAIRS:.0%} of paired seeds better than random in every cell"
    shares = {cell: share for cell, share in fidelity.win_shares(curves, name).items() if not np.isnan(share)}
    if not shares:
        return aim, "no results"
    below = [
        f"{task} with {workers} {share:.2f}" for (task, workers), share in sorted(shares.items()) if share < _PAIRS
    ]
    return aim, f"{_verdict(not below)}, in {len(shares) - len(below)} of {len(shares)} cells" + (
        f"; not {', '.join(below)}" if below else ""
    )


def _halved(curves: fidelity.Found, name: str) -> Line:
    """Compare the time to random search's level with that of the peer which is there first, cell by cell."""
    aim = f"{name}: random's level in half the best peer's time"
    peers = [other for other in curves.methods if ":" in other]
    halved, cells = 0, 0
    for cell in curves.cells:
        own = fidelity.share_of_time(curves.runs[cell], name)
        others = [fidelity.share_of_time(curves.runs[cell], other) for other in peers]
        known = [share for share in others if not np.isnan(share)]
        if np.isnan(own) or not known:
            continue
        cells += 1
        halved += np.isfinite(own) and own <= min(known) / 2
    return aim, f"{_verdict(halved == cells)}, in {halved} of {cells} cells" if cells else "no results"


def _busy(curves: fidelity.Found, name: str) -> Line:
    aim = f"{name}: workers busy {_BUSY:.0%}"
    runs = {cell: each[name].values() for cell, each in curves.runs.items() if name in each}
    if not runs:
        return aim, "no results"
    least = {cell: min(run.busy_share for run in each) for cell, each in runs.items()}
    (task, workers), share = min(least.items(), key=lambda item: item[1])
    return aim, f"{_verdict(share >= _BUSY)}: {share:.1%} at least, on {task} with {workers}"


def _milliseconds(curves: fidelity.Found, name: str) -> Line:
    aim = f"{name}: at most {_MILLISECONDS:g} ms a trial"
    by_workers = {
        workers: [
            run.decision_ms_per_trial
            for (_, count), each in curves.runs.items()
            if count == workers
            for run in each.get(name, {}).values()
        ]
        for workers in curves.workers
    }
    medians = {workers: float(np.median(each)) for workers, each in by_workers.items() if each}
    if not medians:
        return aim, "no results"
    told = ", ".join(f"{median:.1f} with {workers}" for workers, median in medians.items())
    return aim, f"{_verdict(max(medians.values()) <= _MILLISECONDS)}: median {told} workers"


def _population(found: fidelity.Found) -> Line:
    aim = "population-based training beats fixed rates"
    told = {
        name: min(shares)
        for name in found.methods
        if name != _RANDOM
        and (shares := [each for each in fidelity.win_shares(found, name).values() if not np.isnan(each)])
    }
    if not told:
        return aim, "no results"
    words = ", ".join(f"{name} in {share:.0%} of paired seeds" for name, share in told.items())
    return aim, f"{_verdict(min(told.values()) > _PAIRS)}: {words}"


def _times(timings: dict[str, list[latency.Timing]]) -> Iterator[Line]:
    """Yield how an ask of Podium's compares with the peer's, by means: a fit at every eighth ask is in them."""
    for own, other, times in _TIMES:
        aim = f"an ask of {own} takes 1/{times} of {other}'s"
        shares = {
            (space, trials): means[own, trials] / means[other, trials]
            for space, each in timings.items()
            for means in [{(timing.method, timing.trials): timing.mean for timing in each if timing.milliseconds}]
            for trials in sorted({timing.trials for timing in each})
            if (own, trials) in means and (other, trials) in means
        }
        told = ", ".join(
            f"{number(share, 2)} at {trials} trials ({space})" for (space, trials), share in shares.items()
        )
        yield aim, f"{_verdict(max(shares.values()) <= 1 / times)}: {told}" if shares else "no results"


def _verdict(holds: bool) -> str:
    return "yes" if holds else "no"
