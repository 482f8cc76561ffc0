"""`podium validate`: say what is wrong with manifests, or what they ask for."""

import math
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from podium_contract.algorithms import AshaScheduler, HalvingScheduler, HyperbandScheduler, PopulationScheduler
from podium_contract.experiment import Experiment, ExperimentSpec
from podium_contract.manifest import ManifestError, load_experiment
from podium_operator.cli.exit_codes import EXIT_INVALID
from podium_suggestion.rungs import rung_budgets


def command(
    manifests: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Experiments, as YAML or JSON.")],
) -> None:
    """Check manifests: every fault with its place, its rule, what it got and the remedy. Exit code 2 when there is one."""
    out, err = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False, soft_wrap=True)
    is_valid = True
    for path in manifests:
        prefix = f"{path}: " if len(manifests) > 1 else ""
        try:
            experiment = load_experiment(path)
        except ManifestError as error:
            is_valid = False
            for fault in error.faults:
                err.print(f"{'' if fault.path == str(path) else prefix}{fault}", markup=False)
        else:
            out.print(f"{prefix}{summary(experiment)}", markup=False)
    if not is_valid:
        raise typer.Exit(EXIT_INVALID)


def summary(experiment: Experiment) -> str:
    """Return what an experiment asks for, in a line."""
    spec = experiment.spec
    conditional = sum(1 for parameter in spec.parameters if parameter.when)
    parameters = f"{len(spec.parameters)} parameters" + (f" ({conditional} conditional)" if conditional else "")
    objectives = ", ".join(f"{objective.goal} {objective.metric}" for objective in spec.objectives)
    scheduler = spec.scheduler.algorithm
    spend = "" if spec.scheduler.max is None else f" up to {spec.scheduler.resource} {spec.scheduler.max}"
    if isinstance(spec.scheduler, HalvingScheduler | AshaScheduler | HyperbandScheduler):
        ladder = rung_budgets(spec.scheduler.min, spec.scheduler.max, spec.scheduler.settings.reduction_factor)
        spend += f" in {len(ladder)} rungs ({', '.join(map(str, ladder))})"
    if isinstance(spec.scheduler, PopulationScheduler):
        spend += f" in steps of {spec.scheduler.interval} for {spec.scheduler.settings.population_size} members"
    return (
        f"{experiment.metadata.name} is valid: {objectives} over {parameters}, {_points(spec)}; "
        f"{spec.search.algorithm} × {scheduler}{spend}; "
        f"at most {spec.max_trials} trials, {spec.parallelism} at a time"
    )


def _points(spec: ExperimentSpec) -> str:
    """Return how large the space is: its points when all parameters are discrete, conditions left out of account."""
    sizes = [parameter.lattice_size for parameter in spec.parameters]
    continuous = sizes.count(None)
    if continuous:
        return f"{continuous} of them continuous"
    points = math.prod(size for size in sizes if size is not None)
    return f"{'at most ' if any(p.when for p in spec.parameters) else ''}{points} points"
