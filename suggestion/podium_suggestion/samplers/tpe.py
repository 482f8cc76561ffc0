"""The tree-structured Parzen estimator: draws where good trials are dense, and tries the draw least like the others.

Trials are divided into the best few and the rest; l and g are the densities of each. Of some draws from l the one with the
largest l/g is proposed, which is the one of largest expected improvement (Bergstra et al., "Algorithms for hyper-parameter
optimization", NeurIPS 2011). One joint density per part finds interactions (Falkner et al., "BOHB", ICML 2018); the
better of the good trials weigh more (Watanabe, "Tree-structured Parzen estimator", 2023).
"""

import numpy as np

from podium_contract.algorithms import TpeSettings
from podium_contract.parameters import Assignment
from podium_suggestion.fidelity import ranking_at_highest
from podium_suggestion.history import History, IntArray
from podium_suggestion.ranking import ranking
from podium_suggestion.samplers.moves import first_untried
from podium_suggestion.samplers.parzen import Parzen
from podium_suggestion.samplers.prior import Beliefs, Prior, early
from podium_suggestion.samplers.sobol import SobolSampler
from podium_suggestion.space import FloatArray, Space

_GOOD_SHARE = 0.1
_MOST_GOOD = 25
"""The best of how many trials are good: a tenth, rounded up, until the model of the good ones needs no more."""
_MOST_OTHERS = 2_000
"""Kernels of the others' density at most: of more trials that many are drawn, for no finer picture is needed."""


class TpeSampler:
    """Models good and other trials once enough can be ranked; until then a Sobol sequence lays the ground.

    Pending and failed trials count among the others: the first so that parallel proposals keep apart, the second because
    nobody wants to go back there.
    """

    def __init__(self, space: Space, settings: TpeSettings, seed: int, prior: Prior | None = None) -> None:
        self._space = space
        self._settings = settings
        self._prior = prior
        self._startup = SobolSampler(space, seed)

    def propose(self, history: History, number: int, rng: np.random.Generator) -> Assignment:
        is_refined = self._settings.fidelity == "refined"
        enough = self._settings.startup_trials
        order = ranking(history, places=_MOST_GOOD) if is_refined else ranking_at_highest(history, enough)
        beliefs = self._beliefs(history, order)
        if len(order) < (enough if beliefs is None else early(enough)):
            return self._startup.propose(history, number, rng)
        good = order[: min(int(np.ceil(_GOOD_SHARE * len(order))), _MOST_GOOD)]
        others = _others(history, order[len(good) :], rng)
        candidates, scores = self._scored(history, good, others, rng, beliefs)
        best_first = candidates[np.argsort(-scores, kind="stable")]
        return self._space.from_unit(first_untried(history, best_first))

    def _scored(
        self, history: History, good: IntArray, others: IntArray, rng: np.random.Generator, beliefs: Beliefs | None
    ) -> tuple[FloatArray, FloatArray]:
        """Return draws from the good trials' density, shape (n, dimension), and their scores log(l/g), shape (n,).

        Earlier experiments add draws of their own, and their scores as far as they are trusted.
        """
        of_good = self._density(history.units[good], _weights_by_rank(len(good)))
        of_others = self._density(history.units[others], np.ones(len(others)))
        candidates = of_good.sample(rng, self._settings.candidates)
        if beliefs is not None:
            candidates = beliefs.with_own_draws(candidates, rng)
        scores = of_good.log_density(candidates) - of_others.log_density(candidates)
        return candidates, scores if beliefs is None else scores + beliefs.log_ratio(candidates)

    def _beliefs(self, history: History, order: IntArray) -> Beliefs | None:
        if self._prior is None or len(order) < early(self._settings.startup_trials):
            return None
        return self._prior.beliefs(history.units[order])

    def _density(self, points: FloatArray, weights: FloatArray) -> Parzen:
        settings = self._settings
        return Parzen(self._space, points, weights, settings.prior_weight, joint=settings.multivariate)


def _others(history: History, ranked: IntArray, rng: np.random.Generator) -> IntArray:
    """Return the rows of the others among the ranked trials, and of all pending and failed ones, ascending.

    Trials that are not ranked have come to no rung that tells anything of them: they are neither good nor bad.
    """
    apart = np.flatnonzero((history.pending | history.failed) & history.configured)
    rows = np.union1d(ranked, apart)
    if len(rows) <= _MOST_OTHERS:
        return rows
    return np.sort(rng.choice(rows, _MOST_OTHERS, replace=False))


def _weights_by_rank(count: int) -> FloatArray:
    """Return weights of the good trials, best first, shape (count,), 1 on average: log(count + 1) - log(rank).

    These are the recombination weights of evolution strategies (Hansen, "The CMA evolution strategy: a tutorial", 2016).
    """
    weights = np.log(count + 1.0) - np.log(np.arange(1.0, count + 1.0))
    return np.asarray(weights / weights.mean())
