"""How trials stand: the podium of one objective, or the Pareto front of several.

A trial stands by what its checkpoint is worth: the latest value of each metric, among the reports that count. A value
reached on a low rung is as real as one reached on a high rung, so trials are ranked by value whatever they cost;
of equal values the one trained longer comes first, then the earlier trial. Failed trials, values that are NaN or
infinite and trials that break a constraint do not stand at all.
"""

import heapq
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from podium_contract.experiment import ExperimentSpec, Standing
from podium_suggestion.history import History
from podium_suggestion.pareto import crowding_distances, non_dominated

PLACES = 3
"""Places on the podium of one objective."""
FRONT_PLACES = 20
"""Trials shown of a Pareto front; the most crowded ones are left out first."""


@dataclass(frozen=True)
class Result:
    """What a trial is worth."""

    number: int
    step: int
    losses: tuple[float, ...]
    """By objective, lower is better; all finite."""
    reaches_targets: bool

    @property
    def rank(self) -> tuple[float, int, int]:
        """Return the sort key of one objective, best first."""
        return self.losses[0], -self.step, self.number


def result_of(history: History, number: int) -> Result | None:
    """Return what a trial is worth; None when it does not stand."""
    row = number - 1
    losses = tuple(history.loss[row].tolist())
    if history.violations[row] > 0 or not all(map(math.isfinite, losses)):
        return None
    return Result(number, int(history.step[row]), losses, reaches_targets(history, history.latest(number)))


def reaches_targets(history: History, values: Mapping[str, float]) -> bool:
    """Answer whether values reach every target that the objectives have, within the constraints."""
    aims = [objective for objective in history.objectives if objective.target is not None]
    kept = all(bound.violation(values.get(bound.metric, math.nan)) == 0 for bound in history.constraints)
    return bool(aims) and kept and all(aim.is_reached_by(values.get(aim.metric, math.nan)) for aim in aims)


def best_of(results: Collection[Result], objectives: int) -> list[Result]:
    """Return the best results: three by rank, or with several objectives the Pareto front."""
    if objectives == 1:
        return heapq.nsmallest(PLACES, results, key=lambda result: result.rank)
    return pareto_front(results)


def pareto_front(results: Iterable[Result], places: int = FRONT_PLACES) -> list[Result]:
    """Return the results that no other beats in every objective, by the first objective; at most `places` of them."""
    ordered = sorted(results, key=lambda result: (result.losses, result.number))
    if not ordered:
        return []
    losses = np.array([result.losses for result in ordered])
    front = np.flatnonzero(non_dominated(losses))
    if len(front) > places:
        spread = crowding_distances(losses[front])
        widest = np.argsort(-spread, kind="stable")[:places]
        front = front[np.sort(widest)]
    return [ordered[index] for index in front]


def standings(history: History, spec: ExperimentSpec, best: Sequence[Result]) -> tuple[Standing, ...]:
    """Return results as the experiment's status shows them."""
    rows = []
    for result in best:
        trial = history.trials[result.number]
        latest = history.latest(result.number)
        metrics = {name: latest[name] for name in spec.metric_names}
        rows.append(Standing(trial=result.number, parameters=trial.assignment, metrics=metrics, step=result.step))
    return tuple(rows)
