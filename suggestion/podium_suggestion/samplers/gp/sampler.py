"""Bayesian optimisation: a Gaussian process learns what came of the trials, and the most promising configuration is next.

The model covers mixed and conditional spaces as a whole (kernel.py). Trials that still train are taken to turn out as
predicted, so that parallel proposals keep apart. Hyperparameters are fitted to the trials up to a number that grows in
steps of a tenth, each time from the same start: a function of the history alone, seldom computed anew.

Beyond a few hundred trials the model knows some of them only: the best, those nearest to the best one, the latest and an
even choice of the rest. So the time of an ask and the memory are bounded; the model is exact about the region that it
trusts, and keeps an idea of the whole.
"""

from dataclasses import dataclass

import numpy as np

from podium_contract.algorithms import GpSettings
from podium_contract.parameters import Assignment
from podium_suggestion.history import History, IntArray
from podium_suggestion.ranking import ranking
from podium_suggestion.samplers.gp.acquisition import make_acquisition
from podium_suggestion.samplers.gp.kernel import Embedding
from podium_suggestion.samplers.gp.model import Fit, GaussianProcess, Hyperparameters
from podium_suggestion.samplers.gp.search import AcquisitionSearch
from podium_suggestion.samplers.gp.targets import normal_scores, scaled, single_losses
from podium_suggestion.samplers.sobol import SobolSampler
from podium_suggestion.space import FloatArray, Space

_MOST_POINTS = 300
"""Trials that the model knows at most."""
_MOST_FITTED = 150
"""Trials that hyperparameters are fitted to at most."""
_MOST_PENDING = 100
"""Trials in progress that the model believes in at most: the latest."""
_FIT_GROWTH = 1.1
_FIT_STEPS = 40
_INCUMBENTS = 5
"""Best trials of which candidates are mutations."""


@dataclass(frozen=True)
class _Data:
    """Trials and what the model is to predict of them, best first."""

    rows: IntArray
    units: FloatArray
    """Encoded points, shape (n, dimension)."""
    losses: FloatArray
    """Losses, or normal scores of places; shape (n,)."""

    def take(self, chosen: IntArray) -> "_Data":
        return _Data(self.rows[chosen], self.units[chosen], self.losses[chosen])


class GpSampler:
    """Models the trials once enough can be ranked; until then a Sobol sequence lays the ground."""

    def __init__(self, space: Space, settings: GpSettings, seed: int) -> None:
        self._space = space
        self._settings = settings
        self._startup = SobolSampler(space, seed)
        self._embedding = Embedding(space)
        self._search = AcquisitionSearch(space)
        self._fitted: tuple[bytes, Hyperparameters] | None = None

    def propose(self, history: History, number: int, rng: np.random.Generator) -> Assignment:
        order = ranking(history)
        if len(order) < self._settings.startup_trials or not len(self._embedding.matters):
            return self._startup.propose(history, number, rng)
        data = self._data(history, order, rng)
        model = self._model(data)
        pending = np.setdiff1d(np.flatnonzero(history.pending), order)[-_MOST_PENDING:]
        pending = pending[np.isfinite(history.units[pending]).any(axis=1)]
        candidates = self._candidates(data, model, history.units[pending], rng)
        untried = (point for point in candidates if self._space.key(point) not in history.tried)
        return self._space.from_unit(np.nan_to_num(next(untried, candidates[0])))

    def _data(self, history: History, order: IntArray, rng: np.random.Generator) -> _Data:
        losses = single_losses(history, order, rng)
        if losses is None:
            losses = normal_scores(np.arange(len(order)))
        by_loss = np.argsort(losses, kind="stable")
        order, losses = order[by_loss], losses[by_loss]
        failed = np.setdiff1d(np.flatnonzero(history.failed), order)
        failed = failed[np.isfinite(history.units[failed]).any(axis=1)]
        rows = np.concatenate([order, failed])
        return _Data(rows, history.units[rows], np.concatenate([losses, np.full(len(failed), losses.max())]))

    def _model(self, data: _Data) -> GaussianProcess:
        known = data.take(self._selection(data, _MOST_POINTS))
        hyperparameters = self._hyperparameters(data)
        targets = hyperparameters.targets(self._outputs(known.losses))
        return GaussianProcess(self._embedding, hyperparameters, known.units, targets)

    def _hyperparameters(self, data: _Data) -> Hyperparameters:
        """Fit them to the first trials, up to a number that changes seldom."""
        early = data.rows <= np.sort(data.rows)[_fitted_count(len(data.rows)) - 1]
        data = data.take(np.flatnonzero(early))
        data = data.take(np.sort(self._selection(data, _MOST_FITTED)))
        losses = self._outputs(data.losses)
        key = data.units.tobytes() + losses.tobytes()
        if self._fitted is None or self._fitted[0] != key:
            bending = self._settings.output_warping == "power"
            fit = Fit(self._embedding, data.units, losses, bending=bending, warping=self._settings.input_warping)
            self._fitted = key, fit.best(Hyperparameters.typical(self._embedding), _FIT_STEPS)
        return self._fitted[1]

    def _outputs(self, losses: FloatArray) -> FloatArray:
        """Return losses brought to a common scale, shape (n,), or their ranks' normal scores."""
        if self._settings.output_warping == "rank":
            return normal_scores(np.unique(losses, return_inverse=True)[1])
        return scaled(losses)

    def _selection(self, data: _Data, most: int) -> IntArray:
        """Return which trials a model of limited size is to know, shape (k,)."""
        count = len(data.rows)
        if count <= most:
            return np.arange(count)
        share = most // 4
        chosen = np.arange(share)
        points = self._embedding(data.units)
        nearest = np.argsort(((points - points[0]) ** 2).sum(axis=1), kind="stable")
        latest = np.argsort(-data.rows, kind="stable")
        for preferred in (nearest, latest):
            fresh = preferred[~np.isin(preferred, chosen)]
            chosen = np.concatenate([chosen, fresh[:share]])
        rest = np.setdiff1d(np.arange(count), chosen)
        evenly = np.linspace(0, len(rest) - 1, most - len(chosen)).round().astype(np.int64)
        return np.sort(np.concatenate([chosen, rest[evenly]]))

    def _candidates(
        self, data: _Data, model: GaussianProcess, pending: FloatArray, rng: np.random.Generator
    ) -> FloatArray:
        settings = self._settings
        model = model.believing(pending)
        best = float(model.fitted.min())  # believed ones included: where one is pending there is nothing left to gain
        acquisition = make_acquisition(settings.acquisition, best, settings.exploration, settings.margin)

        def score(units: FloatArray) -> FloatArray:
            return acquisition(*model.predict(units)).value

        def slope(point: FloatArray) -> tuple[float, FloatArray]:
            mean, deviation, by_mean, by_deviation = model.predict_with_slope(point)
            promise = acquisition(np.array([mean]), np.array([deviation]))
            return float(promise.value[0]), promise.by_mean[0] * by_mean + promise.by_deviation[0] * by_deviation

        return self._search.best_first(score, slope, data.units[:_INCUMBENTS], rng)


def _fitted_count(count: int) -> int:
    """Return to how many of so many trials hyperparameters are fitted: the largest number of a slow growth."""
    fitted = 1
    while (more := max(fitted + 1, int(fitted * _FIT_GROWTH))) <= count:
        fitted = more
    return fitted
