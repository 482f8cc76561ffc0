"""What algorithms see: every trial of one experiment, with losses that are lower-is-better and never NaN.

The engine writes (`add`, `observe`, `settle`, `stop`), algorithms only read. The state is a function of the set of facts
written, not of their order. A loss is +inf where the reported value was NaN or infinite in the bad direction, where the
metric was missing, and for a failed trial: it ranks worst and is never best.

Rows of the array views are trials in order of their numbers: row i is trial number i + 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from podium_contract.experiment import Constraint, Objective
from podium_contract.lifecycle import FINAL, Phase
from podium_contract.parameters import Assignment
from podium_contract.trial import Observation, Parent
from podium_suggestion.space import FloatArray, Space


@dataclass
class TrialHistory:
    """One trial as the engine knows it."""

    number: int
    assignment: Assignment
    target: int | None = None
    bracket: int = 0
    parent: Parent | None = None
    origin: str = ""
    phase: Phase = Phase.PENDING
    reason: str = ""
    message: str = ""
    judged_step: int | None = None
    """Where a verdict stopped it; later reports decide nothing."""
    observations: dict[int, Observation] = field(default_factory=dict)
    """By step: of several reports the one of the latest attempt, then sequence."""

    @property
    def steps(self) -> list[int]:
        """Reported steps that count, ascending."""
        limit = self.judged_step
        return sorted(step for step in self.observations if limit is None or step <= limit)

    @property
    def step(self) -> int:
        """The last step that counts; 0 before the first report."""
        return max(self.steps, default=0)

    @property
    def is_at_rest(self) -> bool:
        """Whether it uses no slot: ended, or paused at its target. A trial paused short of it merely waits to resume."""
        if self.phase in FINAL:
            return True
        return self.phase is Phase.PAUSED and self.target is not None and self.step >= self.target


class History:
    """Everything known of one experiment's trials."""

    def __init__(self, space: Space, objectives: Sequence[Objective], constraints: Sequence[Constraint] = ()) -> None:
        self.space = space
        self.objectives = tuple(objectives)
        self.constraints = tuple(constraints)
        self.trials: dict[int, TrialHistory] = {}

    def __len__(self) -> int:
        return len(self.trials)

    # --- what the engine writes --------------------------------------------------------------------------------

    def add(self, trial: TrialHistory) -> None:
        """Add a trial; its number must be the next one or already be known."""
        self.trials.setdefault(trial.number, trial)

    def observe(self, number: int, observation: Observation) -> bool:
        """Record a report; returns whether it changed anything (False for one already known or outdated)."""
        known = self.trials[number].observations.get(observation.step)
        if known is not None and (known.attempt, known.sequence) >= (observation.attempt, observation.sequence):
            return False
        self.trials[number].observations[observation.step] = observation
        return True

    # --- what algorithms read ----------------------------------------------------------------------------------

    def losses(self, observation: Observation) -> FloatArray:
        """Return the objectives' losses of a report, shape (objectives,): lower is better, +inf for unusable values."""
        return np.array([_loss(objective, observation) for objective in self.objectives])

    def violation(self, observation: Observation) -> float:
        """Return by how much a report breaks the constraints in all: 0 when feasible, +inf when a metric is missing."""
        return sum(
            constraint.violation(observation.metrics.get(constraint.metric, float("nan")))
            for constraint in self.constraints
        )

    def curve(self, number: int) -> tuple[NDArray[np.int64], FloatArray]:
        """Return a trial's steps that count, shape (k,), ascending, and the first objective's losses, shape (k,)."""
        trial = self.trials[number]
        steps = trial.steps
        losses = [_loss(self.objectives[0], trial.observations[step]) for step in steps]
        return np.array(steps, dtype=np.int64), np.array(losses, dtype=np.float64)


def _loss(objective: Objective, observation: Observation) -> float:
    value = observation.metrics.get(objective.metric, float("nan"))
    loss = -value if objective.goal == "maximize" else value
    return float(loss) if np.isfinite(loss) else float("inf")
