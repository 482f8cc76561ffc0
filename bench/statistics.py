"""What runs add up to: regrets, ranks with their confidence, and who is better than whom.

Shapes: scores are (tasks, seeds, methods), lower is better, infinite where a run found nothing usable.
"""

from dataclasses import dataclass
from math import comb

import numpy as np
from scipy.stats import rankdata

from podium_suggestion.space import FloatArray

_DRAWS = 2_000
_TIE = 1e-9
"""Scores that differ by less are equal: the same configuration, found by two tuners."""


@dataclass(frozen=True)
class Estimate:
    """A mean, and the interval that holds 95 % of its bootstrap draws."""

    mean: float
    low: float
    high: float


def ranks(scores: FloatArray) -> FloatArray:
    """Return each method's place among all on the same task and seed, 1 is best, ties shared; shape as given."""
    rounded = np.round(scores / _TIE) * _TIE
    return np.asarray(rankdata(rounded, axis=-1))


def mean_ranks(scores: FloatArray, seed: int = 0) -> list[Estimate]:
    """Return each method's mean rank over tasks and seeds; tasks are drawn anew with their seeds drawn anew within."""
    places = ranks(scores)
    tasks, seeds, _ = places.shape
    rng = np.random.default_rng(seed)
    task = rng.integers(tasks, size=(_DRAWS, tasks, 1))
    each = rng.integers(seeds, size=(_DRAWS, tasks, seeds))
    draws = places[task, each].mean(axis=(1, 2))
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    return [Estimate(*map(float, row)) for row in zip(places.mean(axis=(0, 1)), low, high, strict=True)]


def clipped_mean(scores: FloatArray) -> FloatArray:
    """Return the mean over seeds, shape (tasks, methods), of scores that count as 1 at most.

    1 is a typical random configuration, so runs that have found nothing, or a disaster, weigh no more than that.
    """
    return np.asarray(np.minimum(scores, 1.0).mean(axis=1))


def wins(scores: FloatArray, baseline: FloatArray) -> FloatArray:
    """Return the share of seeds in which each method is better than a baseline, shape (tasks, methods); ties count half.

    `baseline` has the shape (tasks, seeds).
    """
    both = np.nan_to_num(scores, posinf=1e300), np.nan_to_num(baseline, posinf=1e300)[:, :, np.newaxis]
    better = (both[0] < both[1] - _TIE).astype(float) + 0.5 * (np.abs(both[0] - both[1]) <= _TIE)
    return np.asarray(better.mean(axis=1))


def is_worse(scores: FloatArray, baseline: FloatArray) -> bool:
    """Answer whether a method is worse than a baseline on a task beyond chance: one-sided sign test at 5 %.

    Both have the shape (seeds,).
    """
    worse, better = int((scores > baseline + _TIE).sum()), int((scores < baseline - _TIE).sum())
    decided = worse + better
    if decided == 0:
        return False
    tail = sum(comb(decided, count) for count in range(worse, decided + 1)) / 2**decided
    return bool(tail <= 0.05)
