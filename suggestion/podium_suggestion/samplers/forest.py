"""A random-forest surrogate: trees that disagree where little is known, and a search for the largest expected improvement.

As in SMAC (Hutter, Hoos and Leyton-Brown, "Sequential model-based optimization for general algorithm configuration", LION
2011): mean and variance over the trees and within their leaves, candidates from the whole space and from local search
around the best trials, and now and then a random trial. Trees are extremely randomised (Geurts et al., 2006), whose
random thresholds make the mean nearly continuous, and no bootstrap, so that the variance vanishes at the trials.

The forest models ranks, as normal scores, not losses: outliers, constraints, several objectives and budgets of unequal
length then need no care, because the ranking has taken it.
"""

from dataclasses import dataclass

import numpy as np

from podium_contract.algorithms import ForestSettings
from podium_contract.parameters import Assignment
from podium_suggestion.history import History, IntArray
from podium_suggestion.ranking import ranking
from podium_suggestion.samplers.gp.acquisition import log_expected_improvement
from podium_suggestion.samplers.gp.targets import normal_scores
from podium_suggestion.samplers.moves import first_untried, neighbours
from podium_suggestion.samplers.sobol import SobolSampler
from podium_suggestion.space import FloatArray, Space

_MOST_TRIALS = 800
"""Trials that the forest learns from at most: of more, the best half of them and a random half of the others."""
_MOST_PLACES = 1_000
"""Places of the ranking that must be right with several objectives."""
_RANDOM_CANDIDATES = 300
_STARTS = 10
"""Best trials from which local search sets out, and best candidates that each of its rounds follows."""
_STEPS_PER_START = 20
_WIDTHS = (0.15, 0.05, 0.02)
"""Steps of the rounds of local search, as shares of the parameters' ranges."""
_GUESSING_TREES = 8
"""Trees that guess what pending trials bring: a mean needs fewer than a deviation does."""
_ABSENT = -0.5
"""Feature of an ordered parameter that is inactive: outside the range, so that one threshold tells it apart."""
_MOST_ONE_HOT = 32
"""Values of a categorical parameter up to which each is a feature of its own."""
_SHARE_OF_FEATURES = 0.8
"""How many of the features each split of a tree chooses among."""
_LEAST_DEVIATION = 1e-6
"""Of a prediction: nothing is quite certain, and there is no division by zero."""


class ForestSampler:
    """Proposes the candidate from which the forest expects the largest improvement.

    Failed trials count as the worst. Pending ones count as trials that came out as the forest expects (fantasies), which
    leaves nothing to gain beside them, so that parallel proposals keep apart.
    """

    def __init__(self, space: Space, settings: ForestSettings, seed: int) -> None:
        self._space = space
        self._settings = settings
        self._startup = SobolSampler(space, seed)

    def propose(self, history: History, number: int, rng: np.random.Generator) -> Assignment:
        order = ranking(history, places=_MOST_PLACES)
        if len(order) < self._settings.startup_trials:
            return self._startup.propose(history, number, rng)
        if rng.random() < self._settings.random_share:
            return self._space.sample(rng)
        forest, best = self._model(history, order, rng)
        candidates, scores = self._searched(history.units[order[:_STARTS]], forest, best, rng)
        best_first = candidates[np.argsort(-scores, kind="stable")]
        return self._space.from_unit(first_untried(history, best_first))

    def _model(self, history: History, order: IntArray, rng: np.random.Generator) -> tuple["Forest", float]:
        """Return the forest that knows of pending trials too, and the score to improve upon."""
        rows, scores = training_set(history, order, rng)
        points, best = history.units[rows], float(scores.min())
        pending = np.flatnonzero(history.pending & history.configured)
        if len(pending):
            awaited = history.units[pending]
            guessing = Forest.fit(self._space, points, scores, min(_GUESSING_TREES, self._settings.trees), rng)
            fantasies, _ = guessing.predict(awaited)
            points, scores = np.concatenate([points, awaited]), np.concatenate([scores, fantasies])
        return Forest.fit(self._space, points, scores, self._settings.trees, rng), best

    def _searched(
        self, starts: FloatArray, forest: "Forest", best: float, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """Return candidates, encoded, shape (n, dimension), and the logarithms of their expected improvements, (n,)."""
        space = self._space
        drawn = space.encode(rng.random((_RANDOM_CANDIDATES, space.dimension)))
        candidates, scores = drawn, _scored(forest, drawn, best)
        for width in _WIDTHS:
            following = candidates[np.argsort(-scores, kind="stable")[:_STARTS]]
            origins = np.repeat(np.concatenate([starts, following]), _STEPS_PER_START, axis=0)
            near = neighbours(space, origins, rng, width, changes=2.0)
            candidates = np.concatenate([candidates, near])
            scores = np.concatenate([scores, _scored(forest, near, best)])
        return candidates, scores


def training_set(history: History, order: IntArray, rng: np.random.Generator) -> tuple[IntArray, FloatArray]:
    """Return rows to learn from, shape (n,), and their normal scores, shape (n,), the best one lowest.

    `order` is the ranking; failed trials share the last place.
    """
    failed = np.flatnonzero(history.failed & history.configured)
    rows = np.concatenate([order, failed])
    places = np.concatenate([np.arange(len(order)), np.full(len(failed), len(rows) - 1)])
    if len(rows) > _MOST_TRIALS:
        half = _MOST_TRIALS // 2
        others = half + rng.choice(len(rows) - half, half, replace=False)
        chosen = np.concatenate([np.arange(half), np.sort(others)])
        rows, places = rows[chosen], places[chosen]
    return rows, normal_scores(np.unique(_shared(history, rows, places), return_inverse=True)[1])


def _shared(history: History, rows: IntArray, places: IntArray) -> FloatArray:
    """Return places in which trials of equal losses, of one objective and equally feasible, share the first of theirs."""
    shared = places.astype(np.float64)
    same = np.zeros(len(rows), dtype=np.bool_)
    same[1:] = (history.loss[rows[1:]] == history.loss[rows[:-1]]).all(axis=1)
    same[1:] &= history.violations[rows[1:]] == history.violations[rows[:-1]]
    firsts = np.maximum.accumulate(np.where(same, 0, np.arange(len(rows))))
    return shared[firsts]


@dataclass(frozen=True)
class Forest:
    """A regression forest over encoded points."""

    space: Space
    trees: list[object]

    @classmethod
    def fit(
        cls, space: Space, points: FloatArray, targets: FloatArray, trees: int, rng: np.random.Generator
    ) -> "Forest":
        """Grow trees on encoded points, shape (n, dimension), and targets, shape (n,)."""
        from sklearn import config_context  # noqa: PLC0415  (a second of start-up that other samplers spare)
        from sklearn.tree import ExtraTreeRegressor  # noqa: PLC0415

        inputs = _features(space, points)
        # Checking a tree's settings takes almost as long as growing it, and so does a generator for each.
        draws = np.random.RandomState(rng.integers(2**31))
        with config_context(skip_parameter_validation=True):
            grown = [
                ExtraTreeRegressor(max_features=_SHARE_OF_FEATURES, min_samples_leaf=1, random_state=draws).fit(
                    inputs, targets, check_input=False
                )
                for _ in range(trees)
            ]
        return cls(space, [tree.tree_ for tree in grown])

    def predict(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return means and standard deviations at encoded points, shape (n,) each."""
        inputs = _features(self.space, points)
        leaves = [tree.apply(inputs) for tree in self.trees]  # type: ignore[attr-defined]  # scikit-learn is untyped
        means = np.array([tree.value[leaf, 0, 0] for tree, leaf in zip(self.trees, leaves, strict=True)])  # type: ignore[attr-defined]
        within = np.array([tree.impurity[leaf] for tree, leaf in zip(self.trees, leaves, strict=True)])  # type: ignore[attr-defined]
        return means.mean(axis=0), np.sqrt(np.maximum(within.mean(axis=0), 0.0) + means.var(axis=0))


def _features(space: Space, points: FloatArray) -> "np.typing.NDArray[np.float32]":
    """Return what trees split on, shape (n, features): choices as indicators, the inactive apart from every value."""
    blocks = []
    for position, column in enumerate(space.columns):
        units = points[:, position]
        if column.is_ordered or column.size is None or column.size > _MOST_ONE_HOT:
            blocks.append(np.where(np.isnan(units), _ABSENT, units)[:, None])
            continue
        cells = np.where(np.isnan(units), -1.0, column.cell(np.nan_to_num(units)))
        blocks.append((cells[:, None] == np.arange(column.size)).astype(np.float64))
    return np.ascontiguousarray(np.concatenate(blocks, axis=1), dtype=np.float32)


def _scored(forest: Forest, points: FloatArray, best: float) -> FloatArray:
    means, deviations = forest.predict(points)
    return log_expected_improvement(means, np.maximum(deviations, _LEAST_DEVIATION), best).value
