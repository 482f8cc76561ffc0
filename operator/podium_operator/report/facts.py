"""What the figures show, as plain numbers: learning curves, the best so far, encoded parameters, importance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from podium_contract.experiment import ExperimentSpec
from podium_contract.lifecycle import Phase
from podium_contract.wire import TrialRecord
from podium_operator.results import Results
from podium_suggestion.pareto import front_of, given_reference, growing_hypervolume
from podium_suggestion.space import Space

FloatArray = NDArray[np.float64]

MIN_TRIALS_FOR_IMPORTANCE = 20
"""With fewer usable trials an importance would be a guess."""


@dataclass(frozen=True)
class Curve:
    """One trial's values of a metric by step; only finite ones."""

    number: int
    phase: Phase
    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Importance:
    """How much each parameter explains of the differences between trials."""

    names: tuple[str, ...]
    shares: tuple[float, ...]
    """Of the explained difference, adding up to 1, largest first."""
    trials: int


def curve_of(trial: TrialRecord, metric: str) -> Curve:
    """Return a trial's learning curve, as far as verdicts were built on it."""
    points = [
        (observation.step, observation.metrics[metric])
        for observation in trial.observations
        if metric in observation.metrics
        and np.isfinite(observation.metrics[metric])
        and (trial.judged_step is None or observation.step <= trial.judged_step)
    ]
    return Curve(trial.number, trial.phase, tuple(s for s, _ in points), tuple(v for _, v in points))


def final_values(results: Results, metric: str) -> dict[int, float]:
    """Return each trial's last finite value of a metric, by trial number; trials without one are left out."""
    curves = (curve_of(trial, metric) for trial in results.trials)
    return {curve.number: curve.values[-1] for curve in curves if curve.values}


def best_so_far(values: Sequence[float], *, maximize: bool) -> FloatArray:
    """Return the running best, shape (n,)."""
    accumulate = np.maximum if maximize else np.minimum
    return np.asarray(accumulate.accumulate(np.asarray(values, dtype=np.float64)))


@dataclass(frozen=True)
class FrontGrowth:
    """How the front of several objectives grew, trial by trial."""

    numbers: tuple[int, ...]
    """Usable trials, ascending; those that break a constraint are none."""
    volumes: FloatArray
    """Hypervolume of the trials up to each, shape (n,)."""
    reference: tuple[float, ...]
    """What volumes are measured from, by objective: as stated, else the front's worst value and a tenth of its range."""


def front_growth(results: Results) -> FrontGrowth | None:
    """Return how the hypervolume grew; None without several objectives and a usable trial."""
    spec = results.experiment.spec
    values = {metric: final_values(results, metric) for metric in spec.metric_names}
    numbers = sorted(set.intersection(*(set(by_trial) for by_trial in values.values())))
    numbers = [n for n in numbers if all(bound.violation(values[bound.metric][n]) == 0 for bound in spec.constraints)]
    if len(spec.objectives) < 2 or not numbers:
        return None
    losses = np.array([[each.loss(values[each.metric][n]) for each in spec.objectives] for n in numbers])
    front = front_of(losses)
    stated = given_reference(spec.objectives)
    reference = np.where(np.isfinite(stated), stated, front.max(axis=0) + 0.1 * np.ptp(front, axis=0))
    shown = tuple(each.loss(float(bound)) for each, bound in zip(spec.objectives, reference, strict=True))
    with np.errstate(over="ignore", invalid="ignore"):  # a diverged trial's volume may be infinite
        volumes = growing_hypervolume(losses, reference)
    return FrontGrowth(tuple(numbers), volumes, shown)


def encoded(spec: ExperimentSpec, trials: Sequence[TrialRecord]) -> FloatArray:
    """Return the trials' parameters in the unit cube, shape (trials, parameters), NaN where inactive."""
    space = Space(spec.parameters)
    return np.array([space.to_unit(trial.parameters) for trial in trials]).reshape(len(trials), space.dimension)


@dataclass(frozen=True)
class Stretch:
    """The steps that one trial contributes to a lineage: after `start`, up to and with `end`."""

    trial: TrialRecord
    start: int
    end: int


def lineage_of(trials: Sequence[TrialRecord], number: int) -> list[Stretch]:
    """Return how a trial came to be what it is: its ancestors' steps up to each cloning, then its own; oldest first."""
    by_number = {trial.number: trial for trial in trials}
    stretches: list[Stretch] = []
    trial, end = by_number.get(number), None
    while trial is not None:
        own = trial_span(trial)
        stretches.append(Stretch(trial, own.start, own.end if end is None else end))
        parent, end = trial.parent, own.start
        trial = by_number.get(parent.trial) if parent is not None else None
    return stretches[::-1]


def trial_span(trial: TrialRecord) -> Stretch:
    """Return the steps that a trial has trained itself."""
    start = 0 if trial.parent is None else trial.parent.step
    return Stretch(trial, start, max([start, *(observation.step for observation in trial.observations)]))


def importance_of(results: Results) -> Importance | None:
    """Return permutation importances under a random forest (Breiman, 2001), or None when there is too little to tell.

    The forest learns the ranks of the first objective's values, so that one diverged trial does not drown the rest. It
    is told how long each trial trained as well, so that what mere training explains is not put down to a parameter.
    """
    from scipy.stats import rankdata  # noqa: PLC0415  (a second of start-up that no other command needs)
    from sklearn.ensemble import RandomForestRegressor  # noqa: PLC0415
    from sklearn.inspection import permutation_importance  # noqa: PLC0415

    spec = results.experiment.spec
    values = final_values(results, spec.objectives[0].metric)
    trials = [trial for trial in results.trials if trial.number in values]
    if len(trials) < MIN_TRIALS_FOR_IMPORTANCE:
        return None
    lengths = np.log1p([curve_of(trial, spec.objectives[0].metric).steps[-1] for trial in trials])
    features = np.column_stack([np.nan_to_num(encoded(spec, trials), nan=-1.0), lengths])
    ranks = rankdata([values[trial.number] for trial in trials])
    forest = RandomForestRegressor(n_estimators=64, min_samples_leaf=2, random_state=0).fit(features, ranks)
    found = permutation_importance(forest, features, ranks, n_repeats=8, random_state=0).importances_mean
    shares = np.maximum(found[:-1], 0.0)
    if shares.sum() <= 0:
        return None
    shares /= shares.sum()
    names = [parameter.name for parameter in Space(spec.parameters).parameters]
    order = np.argsort(-shares)
    return Importance(tuple(names[i] for i in order), tuple(float(shares[i]) for i in order), len(trials))
