"""`podium estimate`: what an experiment will spend, and how many trials a time budget affords."""

import contextlib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table

from podium_contract.algorithms import (
    SCHEDULERS,
    AshaScheduler,
    GridSearch,
    HalvingScheduler,
    HyperbandScheduler,
    MedianScheduler,
    PopulationScheduler,
    Scheduler,
    algorithm_name,
)
from podium_contract.experiment import ExperimentSpec
from podium_contract.manifest import load_experiment
from podium_contract.parameters import FloatParameter, IntParameter
from podium_suggestion.rungs import Bracket, bracket_plan, hyperband_brackets

SIMULATED_STEPS = 27
"""How often a simulated trial is judged at most."""
_SCHEDULER: TypeAdapter[Scheduler] = TypeAdapter(Scheduler)
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Estimate:
    """What an experiment is expected to spend, in steps of its resource."""

    trials: int
    steps: float
    """With its scheduler, promotions resumed from checkpoints."""
    full_steps: int
    """When every trial is trained in full."""

    @property
    def saved(self) -> float:
        return 1.0 - self.steps / self.full_steps


def command(
    manifest: Annotated[Path, typer.Argument(metavar="FILE", help="An Experiment, as YAML or JSON.")],
    step_seconds: Annotated[
        float | None, typer.Option(min=0.0, help="How long one step takes, to tell times.", show_default=False)
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="A time budget, such as 90s, 30m or 2h: how many trials fit.", show_default=False)
    ] = None,
) -> None:
    """Tell what an experiment will spend under each scheduler, before spending it."""
    seconds = None if budget is None else parse_duration(budget)
    if step_seconds is not None and not 0.0 < step_seconds < math.inf:
        raise typer.BadParameter(f"a step takes some time, got {step_seconds:g}", param_hint="--step-seconds")
    if seconds is not None and step_seconds is None:
        raise typer.BadParameter("--budget needs --step-seconds: how long one step takes", param_hint="--budget")
    spec = load_experiment(manifest).spec
    console = Console(highlight=False, soft_wrap=True)
    if spec.scheduler.max is None:
        console.print("Without scheduler.max a trial's length is its own: nothing to estimate. Give scheduler.max.")
        return
    estimate = estimate_of(spec)
    resource = f"{spec.scheduler.resource}s"
    console.print(
        f"{spec.scheduler.algorithm}: about {estimate.steps:.0f} {resource} for {estimate.trials} trials, "
        f"{estimate.full_steps} in full: {estimate.saved:.0%} saved"
    )
    console.print(_comparison(spec, estimate))
    for title, brackets in _full_brackets(spec).items():
        console.print(
            f"{title}: {sum(bracket.steps_from_scratch for bracket in brackets)} from scratch, "
            f"{sum(bracket.steps_resumed for bracket in brackets)} resumed from checkpoints, "
            f"{sum(bracket.steps_in_full for bracket in brackets)} in full"
        )
        for bracket in brackets:
            console.print(_bracket_table(bracket, spec.scheduler.resource))
    if step_seconds:
        duration = estimate.steps * step_seconds / min(spec.parallelism, estimate.trials)
        console.print(f"about {duration:.0f} s with {spec.parallelism} at a time, start-up of the trials left out")
    if seconds is not None and step_seconds:
        affordable = trials_within(estimate, seconds, step_seconds, spec.parallelism)
        console.print(f"{budget} afford about {affordable} trials ({spec.scheduler.algorithm})")


def estimate_of(spec: ExperimentSpec) -> Estimate:
    """Return the expected spend of an experiment, by simulating its scheduler on made-up learning curves.

    A population needs no simulation: whoever holds a place, its steps are trained once.
    """
    assert spec.scheduler.max is not None
    if isinstance(spec.scheduler, PopulationScheduler):
        steps = spec.scheduler.settings.population_size * spec.scheduler.max
        return Estimate(spec.max_trials, steps, spec.max_trials * spec.scheduler.max)
    from podium_operator.cli.pace import SIMULATED_TRIALS, simulated_steps  # noqa: PLC0415  (brings the whole engine)

    coarse, scale = _coarsened(spec)
    trials = most_trials(spec)
    sample = min(trials, SIMULATED_TRIALS)
    steps, made = simulated_steps(coarse, sample)
    if made < sample:
        trials = made  # with its conditions the space has no more points
    steps_per_trial = steps / made * scale
    return Estimate(trials, steps_per_trial * trials, trials * spec.scheduler.max)


def most_trials(spec: ExperimentSpec) -> int:
    """Return how many trials there can be: `maxTrials`, or fewer where a finite space or a grid has fewer points.

    Conditions are left out of account.
    """
    each = spec.search.settings.points_per_parameter if isinstance(spec.search, GridSearch) else None
    points = 1
    for parameter in spec.parameters:
        is_range = isinstance(parameter, FloatParameter | IntParameter)
        sizes = [size for size in (parameter.lattice_size, each if is_range else None) if size is not None]
        if not sizes:
            return spec.max_trials
        points *= min(sizes)
    return min(points, spec.max_trials)


def _coarsened(spec: ExperimentSpec) -> tuple[ExperimentSpec, float]:
    """Return an experiment whose trials are judged not too often, and how many steps one of its steps stands for.

    A ladder judges at its rungs only; median stopping judges at every step, and a thousand would take minutes to simulate.
    """
    scheduler = spec.scheduler
    if not isinstance(scheduler, MedianScheduler) or scheduler.max <= SIMULATED_STEPS:
        return spec, 1.0
    scale = scheduler.max / SIMULATED_STEPS
    interval = max(1, round(scheduler.settings.interval / scale))
    coarse = scheduler.model_copy(
        update={
            "min": min(max(1, round(scheduler.min / scale)), SIMULATED_STEPS - 1),
            "max": SIMULATED_STEPS,
            "settings": scheduler.settings.model_copy(update={"interval": interval}),
        }
    )
    return spec.model_copy(update={"scheduler": coarse}), scale


def alternatives(spec: ExperimentSpec) -> list[ExperimentSpec]:
    """Return the experiment under every scheduler, the own one as it is, others with its budgets and their defaults.

    A population is no alternative to the others, nor they to it: it finds a schedule where they find a configuration.
    """
    own = spec.scheduler
    specs = []
    for scheduler in SCHEDULERS:
        name = algorithm_name(scheduler)
        if name == own.algorithm:
            specs.append(spec)
            continue
        if issubclass(scheduler, PopulationScheduler) or isinstance(own, PopulationScheduler):
            continue
        bounds = {"max": own.max} if name == "none" else {"min": getattr(own, "min", 1), "max": own.max}
        with contextlib.suppress(ValidationError):  # trained for one step only, there is nothing to judge early
            other = _SCHEDULER.validate_python({"algorithm": name, "resource": own.resource, **bounds})
            specs.append(spec.model_copy(update={"scheduler": other}))
    return specs


def trials_within(estimate: Estimate, seconds: float, step_seconds: float, parallelism: int) -> int:
    """Return how many trials fit into a time, at the estimate's steps per trial."""
    return int(seconds * parallelism / (estimate.steps / estimate.trials * step_seconds))


def parse_duration(text: str) -> float:
    """Return seconds of a text such as 90s, 30m, 2h or 1d; raises typer.BadParameter."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?\s*", text)
    if match is None:
        raise typer.BadParameter(f"a duration is a number with s, m, h or d, got '{text}'; write 90s, 30m or 2h")
    return float(match[1]) * _UNITS[match[2] or "s"]


def _comparison(spec: ExperimentSpec, own: Estimate) -> Table:
    table = Table(box=None, padding=(0, 2))
    table.add_column("scheduler")
    for heading in (f"{spec.scheduler.resource}s", "saved"):
        table.add_column(heading, justify="right")
    for other in alternatives(spec):
        estimate = own if other is spec else estimate_of(other)
        name = other.scheduler.algorithm + (" (this one)" if other is spec else "")
        table.add_row(name, f"{estimate.steps:.0f}", f"{estimate.saved:.0%}")
    return table


def _full_brackets(spec: ExperimentSpec) -> dict[str, tuple[Bracket, ...]]:
    """Return what a scheduler with a ladder runs when nothing cuts it short, under its name; empty for one without."""
    scheduler = spec.scheduler
    match scheduler:
        case HalvingScheduler() | AshaScheduler():
            plan = bracket_plan(scheduler.min, scheduler.max, scheduler.settings.reduction_factor)
            return {"one full bracket": (plan,)}
        case HyperbandScheduler():
            brackets = hyperband_brackets(scheduler.min, scheduler.max, scheduler.settings.reduction_factor)
            trials = sum(bracket.rungs[0].trials for bracket in brackets)
            return {f"one full round of {trials} trials": brackets}
    return {}


def _bracket_table(bracket: Bracket, resource: str) -> Table:
    table = Table(box=None, padding=(0, 2))
    for heading in ("trials", resource, "cost of the rung"):
        table.add_column(heading, justify="right")
    for rung in bracket.rungs:
        table.add_row(str(rung.trials), str(rung.budget), str(rung.trials * rung.budget))
    return table
