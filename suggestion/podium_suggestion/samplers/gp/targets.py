"""What the model is to predict: losses brought to a shape that a Gaussian process can learn, lower is better.

Where the samplers' ranking is the order of the losses, the losses themselves are modelled, bent if need be, and for each
bound of the constraints how far its metric is beyond it. Where it is not (trials of several budgets), only the order can
be trusted, and the quantiles of the normal distribution stand for the places in it, the constraints included.

Several objectives have a model each, and the front's hypervolume counts (front.py). Where there can be but one model,
they become one loss by weights that are drawn anew for each trial, so that the proposals spread along the Pareto front
(Knowles, "ParEGO", IEEE Transactions on Evolutionary Computation 10, 2006).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from podium_suggestion.history import History, IntArray
from podium_suggestion.space import FloatArray

_NORMAL_QUARTILES = 1.0 / float(ndtri(0.75) - ndtri(0.25))
_NEARLY_ZERO = 1e-5
"""Powers this close to 0 are taken by the first terms of their series: the plain formula cancels there."""
_SMALLEST = 1e-12
"""Losses whose spread is below this, relative to their size, are all the same."""
_SURE = 10.0
"""Standard deviations that a bound is taken to be away where nothing has ever come near it."""
_AUGMENTATION = 0.05
"""What the weighted sum adds to the weighted maximum, so that weakly dominated points lose (Knowles, 2006)."""


def comparable_losses(history: History, order: IntArray) -> FloatArray | None:
    """Return the ranked trials' losses, shape (k, objectives), in the ranking's order; None where they may not be compared.

    That is where the order of the feasible ones is not that of their losses, since some were trained for longer.
    """
    losses = history.loss[order]
    if not np.isfinite(losses).all():
        return None
    is_feasible = history.violations[order] == 0.0
    return losses if losses.shape[1] > 1 or (np.diff(losses[is_feasible, 0]) >= 0.0).all() else None


@dataclass(frozen=True)
class Excess:
    """By how much a metric is beyond a bound, trial by trial, shape (n,) each."""

    values: FloatArray
    """0 at the bound, negative within; drawn in far from it."""

    @property
    def targets(self) -> FloatArray:
        return standardised(self.values)

    @property
    def limit(self) -> float:
        """Return the target that stands for the bound; beyond all targets where they are all the same."""
        spread = float(self.values.std())
        if not self.targets.any():
            return float(np.where(self.values[0] <= 0.0, _SURE, -_SURE))
        return -float(self.values.mean()) / spread


def excesses(history: History, rows: IntArray) -> list[Excess]:
    """Return for each bound of the constraints how the trials keep it; a metric that is missing breaks its bound."""
    latest = [history.latest(row + 1) for row in rows.tolist()]
    kept: list[Excess] = []
    for constraint in history.constraints:
        values = np.array([values.get(constraint.metric, np.nan) for values in latest])
        if constraint.max is not None:
            kept.append(_excess(values - constraint.max))
        if constraint.min is not None:
            kept.append(_excess(constraint.min - values))
    return kept


def _excess(beyond: FloatArray) -> Excess:
    usable = beyond[np.isfinite(beyond)]
    scale = float(np.median(np.abs(usable))) if len(usable) else 1.0
    values = np.arcsinh(usable / scale) if scale > 0.0 else np.sign(usable)
    filled = np.full(len(beyond), max(float(values.max(initial=0.0)), 1.0))
    filled[np.isfinite(beyond)] = values
    return Excess(filled)


def scalarised(losses: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the augmented Chebyshev distance from the best of each objective, shape (k,) from (k, objectives)."""
    lowest = losses.min(axis=0)
    extents = losses.max(axis=0) - lowest
    shares = (losses - lowest) / np.where(extents > 0.0, extents, 1.0) * weights
    return np.asarray(shares.max(axis=1) + _AUGMENTATION * shares.sum(axis=1))


def normal_scores(places: IntArray) -> FloatArray:
    """Return the normal distribution's quantiles at places in an order, shape (k,): the lowest place the lowest."""
    if not len(places):
        return np.empty(0)
    return standardised(ndtri((places + 0.5) / (places.max() + 1.0)))


def scaled(losses: FloatArray) -> FloatArray:
    """Return finite losses about their median, in units of their quartiles' spread, shape (k,): outliers change neither."""
    scale = float(np.abs(losses).max(initial=0.0))
    if scale == 0.0:
        return np.zeros_like(losses)
    shares = losses / scale  # whose differences do not overflow
    low, middle, high = np.quantile(shares, [0.25, 0.5, 0.75])
    spread = _NORMAL_QUARTILES * float(high - low)
    if spread < _SMALLEST:
        return standardised(losses)
    return np.asarray((shares - middle) / spread)


def standardised(losses: FloatArray) -> FloatArray:
    """Return losses of zero mean and unit variance, shape (k,); zeros where there is no spread to speak of."""
    if not len(losses):
        return losses
    scale = float(np.abs(losses).max())
    if scale == 0.0:
        return np.zeros_like(losses)
    shares = losses / scale  # whose squares do not overflow
    spread = float(shares.std())
    if spread < _SMALLEST:
        return np.zeros_like(losses)
    return np.asarray((shares - shares.mean()) / spread)


def bend(losses: FloatArray, power: float) -> tuple[FloatArray, FloatArray]:
    """Return losses about 0 bent by Yeo and Johnson's transformation, and the derivatives by the power, shape (n,) each.

    Power 1 leaves them as they are; lower ones, down to -1, draw in those above 0 and spread those below.
    Yeo and Johnson, "A new family of power transformations to improve normality or symmetry", Biometrika 87, 2000.
    """
    above, above_by_power = _box_cox(np.log1p(np.maximum(losses, 0.0)), power)
    below, below_by_power = _box_cox(np.log1p(np.maximum(-losses, 0.0)), 2.0 - power)
    return above - below, above_by_power + below_by_power


def _box_cox(logs: FloatArray, power: float) -> tuple[FloatArray, FloatArray]:
    """Return (exp(power x) - 1) / power of logarithms x, and the derivatives by the power."""
    if abs(power) < _NEARLY_ZERO:
        return logs + 0.5 * power * logs**2, 0.5 * logs**2 + power * logs**3 / 3.0
    bent = np.expm1(power * logs) / power
    return bent, (logs * np.exp(power * logs) - bent) / power
