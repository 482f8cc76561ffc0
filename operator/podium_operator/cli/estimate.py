"""`podium estimate`: what an experiment will spend, and how many trials a time budget affords."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from podium_contract.algorithms import AshaScheduler, HalvingScheduler
from podium_contract.experiment import ExperimentSpec
from podium_contract.manifest import load_experiment
from podium_operator.cli.pace import SIMULATED_TRIALS, simulated_steps
from podium_suggestion.rungs import Bracket, bracket_plan

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
    if seconds is not None and not step_seconds:
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
    if isinstance(spec.scheduler, HalvingScheduler | AshaScheduler):
        bracket = _full_bracket(spec)
        console.print(
            f"one full bracket: {bracket.steps_from_scratch} from scratch, "
            f"{bracket.steps_resumed} resumed from checkpoints, {bracket.steps_in_full} in full"
        )
        console.print(_bracket_table(bracket, spec.scheduler.resource))
    if step_seconds:
        duration = estimate.steps * step_seconds / min(spec.parallelism, estimate.trials)
        console.print(f"about {duration:.0f} s with {spec.parallelism} at a time, start-up of the trials left out")
    if seconds is not None and step_seconds:
        affordable = trials_within(estimate, seconds, step_seconds, spec.parallelism)
        console.print(f"{budget} afford about {affordable} trials ({spec.scheduler.algorithm})")


def estimate_of(spec: ExperimentSpec) -> Estimate:
    """Return the expected spend of an experiment, by simulating its scheduler on made-up learning curves."""
    assert spec.scheduler.max is not None
    sample = min(spec.max_trials, SIMULATED_TRIALS)
    steps_per_trial = simulated_steps(spec, sample) / sample
    return Estimate(spec.max_trials, steps_per_trial * spec.max_trials, spec.max_trials * spec.scheduler.max)


def trials_within(estimate: Estimate, seconds: float, step_seconds: float, parallelism: int) -> int:
    """Return how many trials fit into a time, at the estimate's steps per trial."""
    return int(seconds * parallelism / (estimate.steps / estimate.trials * step_seconds))


def parse_duration(text: str) -> float:
    """Return seconds of a text such as 90s, 30m, 2h or 1d; raises typer.BadParameter."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?\s*", text)
    if match is None:
        raise typer.BadParameter(f"a duration is a number with s, m, h or d, got '{text}'; write 90s, 30m or 2h")
    return float(match[1]) * _UNITS[match[2] or "s"]


def _full_bracket(spec: ExperimentSpec) -> Bracket:
    scheduler = spec.scheduler
    assert isinstance(scheduler, HalvingScheduler | AshaScheduler)
    return bracket_plan(scheduler.min, scheduler.max, scheduler.settings.reduction_factor)


def _bracket_table(bracket: Bracket, resource: str) -> Table:
    table = Table(box=None, padding=(0, 2))
    for heading in ("trials", resource, "cost of the rung"):
        table.add_column(heading, justify="right")
    for rung in bracket.rungs:
        table.add_row(str(rung.trials), str(rung.budget), str(rung.trials * rung.budget))
    return table
