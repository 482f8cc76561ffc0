"""How alike data sets are, by features that experiments state of theirs."""

from collections.abc import Mapping, Sequence

import numpy as np

from podium_suggestion.space import FloatArray

_LEAST_SPREAD = float(np.log(2.0))
"""Among data sets that are nearly the same in a feature, a factor of two is still as far as one standard deviation."""


def similarities(own: Mapping[str, float], others: Sequence[Mapping[str, float]]) -> FloatArray:
    """Return how alike other data sets are to one's own, shape (n,): exp(-d), and 0 where no feature is shared.

    d is the root mean square, over the features that both state, of the difference of log(1 + feature) in standard
    deviations of that feature over all data sets: what has twice the rows is as far off at a hundred as at a million.
    """
    names, stated = sorted(own), [own, *others]
    table = np.array([features.get(name, np.nan) for features in stated for name in names], dtype=np.float64)
    table = table.reshape(len(stated), len(names))
    logs = np.log1p(table)
    is_shared = np.isfinite(logs)
    filled = np.where(is_shared, logs, 0.0)
    counts = is_shared.sum(axis=0)
    means = filled.sum(axis=0) / np.maximum(counts, 1)
    variances = (np.where(is_shared, logs - means, 0.0) ** 2).sum(axis=0) / np.maximum(counts, 1)
    spreads = np.maximum(np.sqrt(variances), _LEAST_SPREAD)
    squares = np.where(is_shared[1:], ((filled[1:] - filled[0]) / spreads) ** 2, 0.0)
    shared = is_shared[1:].sum(axis=1)
    return np.where(shared > 0, np.exp(-np.sqrt(squares.sum(axis=1) / np.maximum(shared, 1))), 0.0)
