"""Where to start: few configurations, of which every earlier experiment would have found one good.

Greedily the configuration is added that lowers most the loss of the portfolio's best on an earlier experiment, on average
over them, each with the weight of its similarity (Wistuba, Schilling and Schmidt-Thieme, "Sequential model-free
hyperparameter tuning", ICDM 2015; Feurer et al., "Auto-sklearn 2.0", 2022). What a configuration would have come to
elsewhere is told by its nearest neighbours there.
"""

from collections.abc import Sequence

import numpy as np

from podium_suggestion.space import FloatArray, Space
from podium_suggestion.transfer.inheritance import Source

_UNLIKE = 0.1
"""Share of a range by which two configurations differ in some parameter, lest the portfolio is one configuration."""
_MOST_CANDIDATES = 20
"""Per experiment: its best ones, unlike each other."""
_NEIGHBOURS = 3
_SAME = 1e-9
"""Squared distances below this are those of one configuration."""


def portfolio(space: Space, sources: Sequence[Source], size: int) -> list[tuple[int, int]]:
    """Return at most `size` configurations as (source, trial) positions, the most useful first."""
    units = [space.to_unit_many([trial.parameters for trial in source.trials]) for source in sources]
    candidates = [
        (index, row) for index, source in enumerate(sources) for row in _unlike_rows(space, units[index], source)
    ]
    if not candidates:
        return []
    points = np.array([units[index][row] for index, row in candidates])
    scores = [np.array([trial.score for trial in source.trials]) for source in sources]
    expected = np.array([_expected(space, points, *known) for known in zip(units, scores, strict=True)])
    weights = np.array([source.similarity for source in sources])
    chosen = _greedy(expected, weights, size, _is_alike(space, points))
    return [candidates[position] for position in chosen]


def _greedy(expected: FloatArray, weights: FloatArray, size: int, is_alike: FloatArray) -> list[int]:
    """Return columns of expected losses, shape (sources, candidates), whose minimum over columns is least on average."""
    chosen: list[int] = []
    best = np.full(len(expected), np.inf)
    is_left = np.ones(expected.shape[1], dtype=np.bool_)
    while is_left.any() and len(chosen) < size:
        totals = weights @ np.minimum(best[:, None], expected)
        # Where nothing more is to be gained, the next best on average is the better guess.
        order = np.lexsort((weights @ expected, totals))
        position = int(order[is_left[order]][0])
        chosen.append(position)
        best = np.minimum(best, expected[:, position])
        is_left &= ~is_alike[position].astype(np.bool_)
    return chosen


def _unlike_rows(space: Space, units: FloatArray, source: Source) -> list[int]:
    """Return the rows of an experiment's best trials that differ from each other, best first."""
    worst = max(trial.score for trial in source.trials)
    kept: list[int] = []
    for row, trial in enumerate(source.trials):
        if len(kept) == _MOST_CANDIDATES or (trial.score >= worst and kept):
            break
        if not kept or (_differences(space, units[[row]], units[kept]).max(axis=2) >= _UNLIKE).all():
            kept.append(row)
    return kept


def _expected(space: Space, points: FloatArray, units: FloatArray, scores: FloatArray) -> FloatArray:
    """Return the mean scores of points' nearest trials, nearer ones weighing more, shape (k,) from (k, dimension)."""
    squares = (_differences(space, points, units) ** 2).mean(axis=2) + _SAME
    nearest = np.argsort(squares, axis=1, kind="stable")[:, :_NEIGHBOURS]
    weights = 1.0 / np.take_along_axis(squares, nearest, axis=1)
    return np.asarray((weights * scores[nearest]).sum(axis=1) / weights.sum(axis=1))


def _is_alike(space: Space, points: FloatArray) -> FloatArray:
    return np.asarray(_differences(space, points, points).max(axis=2) < _UNLIKE, dtype=np.float64)


def _differences(space: Space, left: FloatArray, right: FloatArray) -> FloatArray:
    """Return how far configurations differ by parameter, from 0 to 1, shape (n, k, dimension)."""
    differences = np.abs(left[:, None, :] - right[None, :, :])
    is_there = ~np.isnan(left)[:, None, :], ~np.isnan(right)[None, :, :]
    for position, column in enumerate(space.columns):
        if not column.is_ordered:
            differences[..., position] = differences[..., position] > 0.0
    differences = np.where(is_there[0] & is_there[1], differences, 1.0)
    return np.where(~is_there[0] & ~is_there[1], 0.0, differences)
