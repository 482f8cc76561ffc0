"""What earlier experiments tell a model: where good configurations lay, trusted as far as one's own results bear it out.

Each earlier experiment (a source) has models of its own, over the parameters shared with it, of the normal scores of its
trials; losses themselves are on other scales. A source is trusted by the rank correlation of what it predicts with how
this experiment's trials ranked, half at first and less and less as they become many:

    trust = similarity * max((e tau + 1) / (e + 2), 0) * 20 / (20 + n),

where n is the number of ranked trials, e the evidence and tau the agreement: over all pairs of trials, in the order of
their ranks, e is the sum of |difference of predictions| / n, and tau the sum of the differences over the sum of their
absolute values. Pairs that a source takes to be alike thus say nothing for or against it. A source that misleads is
dropped after a few trials, and one that helps fades once the experiment knows better. (Weights by agreement in ranks:
Feurer, Letham, Hutter and Bakshy, "Practical transfer learning for Bayesian optimization", 2018, and Wistuba, Schilling
and Schmidt-Thieme, "Two-stage transfer surrogate model", ECML 2016.)

A Gaussian process takes the trusted predictions as its prior mean and learns what is left; its own data thus always prevail
where there are any. A TPE adds the sources' log(l/g) to its own, and some of its candidates are drawn from their l.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from podium_suggestion.history import IntArray
from podium_suggestion.samplers.gp.kernel import Embedding
from podium_suggestion.samplers.gp.model import Fit, GaussianProcess, Hyperparameters
from podium_suggestion.samplers.moves import completed
from podium_suggestion.samplers.parzen import Parzen
from podium_suggestion.space import FloatArray, Space
from podium_suggestion.transfer.inheritance import Source

_FIRST_TRUST, _DOUBT = 0.5, 2.0
"""A source's agreement before any evidence, and the evidence that weighs as much."""
_LEAST_TRUST = 0.1
"""What is trusted less is left out altogether."""
_FADING = 20.0
"""Ranked trials of the experiment's own at which trust has halved."""
_MOST_COMPARED = 200
"""Ranked trials that predictions are compared with, evenly chosen of more."""
_GOOD_SHARE = 0.15
_LEAST_GOOD = 2
_FIT_STEPS = 40
_CENTRE = 0.5
"""Stands for a value that a source's trial does not have, of a parameter that is always active here."""


class _Task:
    """The models of one source, over the shared parameters alone; built when they are first asked."""

    def __init__(self, space: Space, source: Source) -> None:
        self.similarity = source.similarity
        self._space = Space([space.parameters[space.index[name]] for name in source.shared])
        self.columns: IntArray = np.array([space.index[p.name] for p in self._space.parameters], dtype=np.int64)
        self._units = self._space.to_unit_many([trial.parameters for trial in source.trials])
        self._scores = np.array([trial.score for trial in source.trials])

    def scores(self, units: FloatArray) -> FloatArray:
        """Return predicted normal scores at points of the whole space, shape (n,) from (n, dimension)."""
        return self._process.predict(self._filled(units[:, self.columns]))[0]

    def score_with_slope(self, point: FloatArray) -> tuple[float, FloatArray]:
        """Return the prediction at one point of the whole space and its derivatives, shape (dimension,)."""
        mean, _, by_shared, _ = self._process.predict_with_slope(self._filled(point[None, self.columns])[0])
        slope = np.zeros(len(point))
        slope[self.columns] = by_shared
        return mean, slope

    def log_ratio(self, units: FloatArray) -> FloatArray:
        """Return log(l/g) at points of the whole space, shape (n,) from (n, dimension): high where good trials lay."""
        return self._log_ratio(units[:, self.columns])

    def draw(self, points: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Return full points whose shared coordinates are drawn where good trials lay, shape (n, dimension) for both."""
        drawn = points.copy()
        drawn[:, self.columns] = completed(self._good.sample(rng, len(points)), rng)
        return drawn

    @cached_property
    def score_spread(self) -> float:
        """How much predictions differ over the source's own trials."""
        return max(float(self._process.fitted.std()), 1e-9)

    @cached_property
    def ratio_spread(self) -> float:
        return max(float(self._log_ratio(self._units).std()), 1e-9)

    @cached_property
    def _process(self) -> GaussianProcess:
        embedding = Embedding(self._space)
        start = Hyperparameters.typical(embedding)
        units = self._filled(self._units)
        if len(units) > 1 and len(embedding.matters):
            fit = Fit(embedding, units, self._scores, bending=False, warping=False)
            start = fit.best(start, _FIT_STEPS)
        return GaussianProcess(embedding, start, units, self._scores)

    def _filled(self, units: FloatArray) -> FloatArray:
        is_unconditional = np.array([not parameter.when for parameter in self._space.parameters])
        return np.where(np.isnan(units) & is_unconditional, _CENTRE, units)

    def _log_ratio(self, shared: FloatArray) -> FloatArray:
        return self._good.log_density(shared) - self._others.log_density(shared)

    @cached_property
    def _good(self) -> Parzen:
        return self._density(slice(0, self._good_count))

    @cached_property
    def _others(self) -> Parzen:
        return self._density(slice(self._good_count, None))

    @property
    def _good_count(self) -> int:
        return max(int(np.ceil(_GOOD_SHARE * len(self._units))), min(_LEAST_GOOD, len(self._units)))

    def _density(self, rows: slice) -> Parzen:
        points = self._units[rows]
        return Parzen(self._space, points, np.ones(len(points)), prior_weight=1.0)


@dataclass(frozen=True)
class Mean:
    """What the trusted sources predict together, as a function of encoded points; 0 on average at one's own trials."""

    tasks: Sequence[_Task]
    factors: FloatArray
    offset: float

    def __call__(self, units: FloatArray) -> FloatArray:
        """Return predictions, shape (n,) from (n, dimension)."""
        total = np.full(len(units), -self.offset)
        for task, factor in zip(self.tasks, self.factors, strict=True):
            total += factor * task.scores(units)
        return total

    def with_slope(self, point: FloatArray) -> tuple[float, FloatArray]:
        """Return the prediction at a point and its derivatives, shape (dimension,)."""
        value, slope = -self.offset, np.zeros(len(point))
        for task, factor in zip(self.tasks, self.factors, strict=True):
            mean, by_unit = task.score_with_slope(point)
            value += factor * mean
            slope += factor * by_unit
        return value, slope


@dataclass(frozen=True)
class Beliefs:
    """What the trusted sources tell a TPE."""

    space: Space
    tasks: Sequence[_Task]
    trusts: FloatArray

    def log_ratio(self, units: FloatArray) -> FloatArray:
        """Return the mean of log(l/g) over the sources, each times its trust, shape (n,) from (n, dimension)."""
        parts = [trust * task.log_ratio(units) for task, trust in zip(self.tasks, self.trusts, strict=True)]
        return np.asarray(sum(parts) / len(parts))

    def with_own_draws(self, points: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Return encoded points and, for each source, as many more as it is trusted, from where its good ones lay."""
        batches = [points]
        for task, trust in zip(self.tasks, self.trusts, strict=True):
            count = int(np.ceil(trust * len(points) / len(self.tasks)))
            batches.append(self.space.encode(task.draw(completed(points[:count], rng), rng)))
        return np.concatenate(batches)


class Prior:
    """The sources of an experiment's warm start, as its samplers see them."""

    def __init__(self, space: Space, sources: Sequence[Source]) -> None:
        self._space = space
        self._tasks = [_Task(space, source) for source in sources]

    def mean(self, ranked: FloatArray) -> Mean | None:
        """Return a prior mean, given one's own encoded points, best first, shape (n, dimension); None without trust."""
        tasks, trusts = self._trusted(ranked, lambda task, units: task.scores(units) / task.score_spread)
        if not tasks:
            return None
        factors = trusts**2 / trusts.sum()
        offset = float(Mean(tasks, factors, 0.0)(ranked).mean()) if len(ranked) else 0.0
        return Mean(tasks, factors, offset)

    def beliefs(self, ranked: FloatArray) -> Beliefs | None:
        """Return what a TPE is told, given one's own encoded points, best first; None without trust."""
        tasks, trusts = self._trusted(ranked, lambda task, units: -task.log_ratio(units) / task.ratio_spread)
        return Beliefs(self._space, tasks, trusts) if tasks else None

    def _trusted(
        self, ranked: FloatArray, predict: Callable[[_Task, FloatArray], FloatArray]
    ) -> tuple[list[_Task], FloatArray]:
        """Return the sources that are trusted, and how far, shape (k,)."""
        compared = _some(ranked)
        trusts = np.array([trust(task.similarity, predict(task, compared), len(ranked)) for task in self._tasks])
        chosen = np.flatnonzero(trusts > _LEAST_TRUST)
        return [self._tasks[position] for position in chosen], trusts[chosen]


def early(startup_trials: int) -> int:
    """Return how many results a model with a trusted prior begins with: half of what it would need without one."""
    return (startup_trials + 1) // 2


def trust(similarity: float, predictions: FloatArray, count: int) -> float:
    """Return how far a source is trusted, from 0 to 1.

    `predictions`, shape (k,), are of the experiment's own trials, best first, in standard deviations, lower is better;
    `count` is how many of these trials there are.
    """
    first, second = np.triu_indices(len(predictions), k=1)
    differences = predictions[second] - predictions[first]
    evidence = float(np.abs(differences).sum()) / max(len(predictions), 1)
    agreement = float(differences.sum()) / max(len(predictions), 1)
    confidence = (agreement + _DOUBT * _FIRST_TRUST) / (evidence + _DOUBT)
    return similarity * max(confidence, 0.0) * _FADING / (_FADING + count)


def with_prior_mean(
    mean: Mean | None, embedding: Embedding, hyperparameters: Hyperparameters, units: FloatArray, targets: FloatArray
) -> GaussianProcess:
    """Return the process given data, about a prior mean if there is one."""
    if mean is None:
        return GaussianProcess(embedding, hyperparameters, units, targets)
    return Informed(embedding, hyperparameters, units, targets, mean)


class Informed(GaussianProcess):
    """A posterior about a prior mean: the process is that of the targets' differences from it."""

    def __init__(
        self,
        embedding: Embedding,
        hyperparameters: Hyperparameters,
        units: FloatArray,
        targets: FloatArray,
        mean: Mean,
    ) -> None:
        super().__init__(embedding, hyperparameters, units, targets - mean(units))
        self._mean = mean

    @property
    def fitted(self) -> FloatArray:
        return super().fitted + self._mean(self._units)

    def predict(self, units: FloatArray) -> tuple[FloatArray, FloatArray]:
        difference, deviation = super().predict(units)
        return difference + self._mean(units), deviation

    def predict_with_slope(self, point: FloatArray) -> tuple[float, float, FloatArray, FloatArray]:
        difference, deviation, by_difference, by_deviation = super().predict_with_slope(point)
        value, slope = self._mean.with_slope(point)
        return difference + value, deviation, by_difference + slope, by_deviation

    def believing(self, units: FloatArray) -> GaussianProcess:
        if not len(units):
            return self
        known = np.concatenate([self._targets + self._mean(self._units), self.predict(units)[0]])
        points = np.vstack([self._units, units])
        return Informed(self._embedding, self._hyperparameters, points, known, self._mean)


def _some(ranked: FloatArray) -> FloatArray:
    if len(ranked) <= _MOST_COMPARED:
        return ranked
    return ranked[np.linspace(0, len(ranked) - 1, _MOST_COMPARED).round().astype(np.int64)]
