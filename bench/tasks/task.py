"""What a benchmark task is: a space, what training a configuration leads to and costs, and the best that there is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
from pydantic import TypeAdapter

from podium_contract.experiment import Constraint, Objective
from podium_contract.parameters import Assignment, Parameter
from podium_suggestion.pareto import growing_hypervolume
from podium_suggestion.space import FloatArray, Space

Group = Literal[
    "continuous",
    "mixed",
    "conditional",
    "architecture",
    "training",
    "unseen",
    "unseen-training",
    "multi-objective",
    "constrained",
    "schedule",
]
SINGLE_OBJECTIVE: tuple[Group, ...] = ("continuous", "mixed", "conditional", "architecture", "training")
State = tuple[float, ...]
"""What a checkpoint holds, where training depends on more than the configuration and the step."""
_TYPICAL_DRAWS = 2_000
_TIMED_DRAWS = 300


@dataclass(frozen=True)
class Step:
    """What one step of training led to."""

    metrics: dict[str, float]
    seconds: float = 1.0
    state: State = ()


Advance = Callable[[Assignment, int, State], Step]
"""Trains a configuration by one step, the n-th (from 1), from the state after the one before (empty before the first)."""


@dataclass(frozen=True)
class Task:
    """A problem for tuners."""

    name: str
    group: Group
    about: str
    parameters: list[Parameter]
    advance: Advance
    optimum: float
    """The least loss that a feasible configuration has; of several objectives, the hypervolume of the whole front."""
    budget: int
    """Evaluations in full."""
    steps: int = 1
    objectives: tuple[Objective, ...] = (Objective(metric="loss", goal="minimize"),)
    constraints: tuple[Constraint, ...] = ()
    reference: tuple[float, ...] = ()
    """The point up to which the hypervolume of several objectives is measured, as losses."""
    all_losses: FloatArray | None = None
    """Losses of every configuration, where they can be counted, shape (n,)."""

    @property
    def is_multi_objective(self) -> bool:
        return len(self.objectives) > 1

    def evaluate(self, assignment: Assignment) -> Step:
        """Train a configuration in full; its seconds are those of all steps."""
        seconds, step = 0.0, Step({})
        for number in range(1, self.steps + 1):
            step = self.advance(assignment, number, step.state)
            seconds += step.seconds
        return replace(step, seconds=seconds)

    def in_full(self) -> Self:
        """Return the task whose only step is the whole training."""
        if self.steps == 1:
            return self
        return replace(self, steps=1, advance=lambda assignment, _, __: self.evaluate(assignment))

    def losses(self, metrics: dict[str, float]) -> list[float]:
        """Return the objectives' values as losses: lower is better, infinite where there is no finite value."""
        signed = (
            metrics[each.metric] if each.goal == "minimize" else -metrics[each.metric] for each in self.objectives
        )
        return [value if np.isfinite(value) else float("inf") for value in signed]

    def excesses(self, metrics: dict[str, float]) -> list[float]:
        """Return by how much each bound is exceeded; at most 0 where it is kept."""
        excesses = []
        for each in self.constraints:
            value = metrics[each.metric]
            below = [] if each.min is None else [each.min - value]
            above = [] if each.max is None else [value - each.max]
            excesses += [excess if np.isfinite(excess) else float("inf") for excess in (*below, *above)]
        return excesses

    # --- how good is good --------------------------------------------------------------------------------------

    def regrets(self, losses: FloatArray, excesses: FloatArray) -> FloatArray:
        """Return how far the best so far is from the optimum after each evaluation, shape (n,).

        `losses` has the shape (n, objectives) and `excesses` (n,), the largest of each evaluation. 0 is the optimum (all of
        the front's hypervolume) and 1 a typical random configuration (no hypervolume at all). Infinite while nothing is
        feasible.
        """
        feasible = np.where((excesses <= 0.0)[:, np.newaxis], losses, np.inf)
        if self.is_multi_objective:
            return np.asarray(1.0 - growing_hypervolume(feasible, self.reference) / self.optimum)
        return self.regret(np.minimum.accumulate(feasible[:, 0]))

    def regret(self, loss: FloatArray) -> FloatArray:
        """Return normalised losses of one objective: 0 at the optimum, 1 for a typical random configuration."""
        return np.asarray((loss - self.optimum) / (self.typical - self.optimum))

    @cached_property
    def typical(self) -> float:
        """The median loss of random feasible configurations; of one objective."""
        if self.all_losses is not None:
            return float(np.median(self.all_losses))
        rng, space = np.random.default_rng(0), Space(self.parameters)
        steps = (self.evaluate(space.sample(rng)) for _ in range(_TYPICAL_DRAWS))
        losses = [
            self.losses(step.metrics)[0] for step in steps if max(self.excesses(step.metrics), default=0.0) <= 0.0
        ]
        return float(np.median(losses))

    @cached_property
    def mean_seconds(self) -> float:
        """The mean length of a full training of a random configuration."""
        rng, space = np.random.default_rng(0), Space(self.parameters)
        return float(np.mean([self.evaluate(space.sample(rng)).seconds for _ in range(_TIMED_DRAWS)]))


# --- spaces in few words --------------------------------------------------------------------------------------


def space_of(*parameters: dict[str, Any]) -> list[Parameter]:
    """Return parameters, checked as a manifest's are."""
    return TypeAdapter(list[Parameter]).validate_python(parameters)


def real(name: str, low: float, high: float, scale: str = "linear", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "float", "min": low, "max": high, "scale": scale, **more}


def whole(name: str, low: int, high: int, scale: str = "linear", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "int", "min": low, "max": high, "scale": scale, **more}


def choice(name: str, *values: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "categorical", "values": list(values), **more}


def ordinal(name: str, *values: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "ordinal", "values": list(values), **more}


def loss_of(function: Callable[[Assignment], float]) -> Advance:
    """Return the training of one step that leads to a function's value."""
    return lambda assignment, _, __: Step({"loss": float(function(assignment))})


def vector(assignment: Assignment, names: Sequence[str] | None = None) -> FloatArray:
    """Return values in the order of their names, or of those given, shape (n,)."""
    return np.array([assignment[name] for name in names or sorted(assignment)], dtype=np.float64)
