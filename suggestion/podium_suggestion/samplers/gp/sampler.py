"""Bayesian optimisation: a Gaussian process learns what came of the trials, and the most promising configuration is next.

The model covers mixed and conditional spaces as a whole (kernel.py). Each bound of the constraints has a model of its own.
Trials that still train are taken to turn out as predicted, so that parallel proposals keep apart. Hyperparameters are
fitted to the trials up to a number that grows in steps of a tenth, each time from the same start: a function of the
history alone, seldom computed anew.

Beyond a few hundred trials the model knows some of them only: the best, those nearest to the best one, the latest and an
even choice of the rest. So the time of an ask and the memory are bounded; the model is exact about the region that it
trusts, and keeps an idea of the whole.

Once the best loss has settled, every other trial asks for an improvement worth having: expected improvement alone would
polish the best to its last digit, blind to other branches and basins. The last trials of an experiment that runs one at
a time are spent on the lowest prediction: what exploring would find could not be followed up any more.
"""

from dataclasses import dataclass, replace

import numpy as np

from podium_contract.algorithms import GpSettings
from podium_contract.parameters import Assignment
from podium_suggestion.history import BoolArray, History, IntArray
from podium_suggestion.pareto import given_reference
from podium_suggestion.ranking import ranking
from podium_suggestion.samplers.gp.acquisition import (
    Acquisition,
    Promise,
    make_acquisition,
    upper_confidence_bound,
)
from podium_suggestion.samplers.gp.front import HypervolumeTerm
from podium_suggestion.samplers.gp.kernel import Embedding
from podium_suggestion.samplers.gp.landscape import Bound, Landscape, ModelTerm, Term
from podium_suggestion.samplers.gp.model import Fit, GaussianProcess, Hyperparameters
from podium_suggestion.samplers.gp.search import AcquisitionSearch
from podium_suggestion.samplers.gp.targets import comparable_losses, excesses, normal_scores, scalarised, scaled
from podium_suggestion.samplers.moves import first_untried
from podium_suggestion.samplers.prior import Mean, Prior, early, with_prior_mean
from podium_suggestion.samplers.sobol import SobolSampler
from podium_suggestion.space import FloatArray, Space

_MOST_POINTS = 300
"""Trials that the model knows at most."""
_MOST_FITTED = 100
"""Trials that hyperparameters are fitted to at most."""
_MOST_PENDING = 100
"""Trials in progress that the model believes in at most: the latest."""
_FIT_GROWTH = 1.1
_FIT_STEPS = 40
_WORTHWHILE = 0.05
"""Improvement, in standard deviations of the losses, that every other trial wants once the best has settled."""
_SETTLED_SHARE = 0.01
"""The best has settled when for `_SETTLED_TRIALS` it has improved by less than this, of the way from the upper quartile."""
_SETTLED_TRIALS = 5
_IMPROVEMENTS = ("ei", "log-ei")
"""Acquisitions that with several objectives are the improvement of the front's hypervolume; others are of one loss."""
_INCUMBENTS = 5
"""Best trials of which candidates are mutations."""


@dataclass(frozen=True)
class _Data:
    """Trials and what the model is to predict of them, those to learn from first: the best lead."""

    rows: IntArray
    units: FloatArray
    """Encoded points, shape (n, dimension)."""
    losses: FloatArray
    """Losses, or normal scores of places in the ranking; shape (n, m): several columns have a model each."""
    by_rank: bool
    """Whether losses are scores of a ranking that has the constraints in it."""
    mean: Mean | None = None
    """What earlier experiments lead to expect; of the whole data alone."""

    def take(self, chosen: IntArray) -> "_Data":
        return _Data(self.rows[chosen], self.units[chosen], self.losses[chosen], self.by_rank)


class GpSampler:
    """Models the trials once enough can be ranked; until then a Sobol sequence lays the ground."""

    def __init__(
        self, space: Space, settings: GpSettings, seed: int, max_trials: int, prior: Prior | None = None
    ) -> None:
        self._space = space
        self._prior = prior
        self._last_exploring = max_trials - int(settings.closing_share * max_trials)
        self._settings = settings
        self._startup = SobolSampler(space, seed)
        self._embedding = Embedding(space)
        self._search = AcquisitionSearch(space)
        self._fitted: dict[int, tuple[bytes, Hyperparameters]] = {}
        """The latest fit of each model, and to what: a cache."""

    def propose(self, history: History, number: int, rng: np.random.Generator) -> Assignment:
        order = ranking(history, places=_MOST_POINTS)
        enough = self._settings.startup_trials
        mean = self._mean(history, order)
        if len(order) < (enough if mean is None else early(enough)) or not len(self._embedding.matters):
            return self._startup.propose(history, number, rng)
        data = replace(self._data(history, order, rng, is_one_loss=mean is not None), mean=mean)
        pending = np.setdiff1d(np.flatnonzero(history.pending & history.configured), order)[-_MOST_PENDING:]
        # Several greedy proposals at a time would be one and the same.
        is_closing = number > self._last_exploring and not len(pending)
        margin = _WORTHWHILE if number % 2 == 0 and _has_settled(history, data) else 0.0
        landscape = self._landscape(history, data, history.units[pending], margin, is_closing=is_closing)
        candidates = self._search.best_first(landscape.score, landscape.slope, data.units[:_INCUMBENTS], rng)
        return self._space.from_unit(np.nan_to_num(first_untried(history, candidates)))

    def _mean(self, history: History, order: IntArray) -> Mean | None:
        """Return the prior mean that earlier experiments give."""
        if self._prior is None or len(order) < early(self._settings.startup_trials):
            return None
        return self._prior.mean(history.units[order])

    def _data(self, history: History, order: IntArray, rng: np.random.Generator, *, is_one_loss: bool) -> _Data:
        """Return the ranked trials, best first, then the failed ones with the worst loss of the others.

        Several objectives become one loss where that is asked for, and where the acquisition is of one loss only.
        """
        losses = comparable_losses(history, order)
        by_rank = losses is None
        if losses is None:
            losses = normal_scores(np.arange(len(order)))[:, None]
        elif losses.shape[1] > 1 and (is_one_loss or self._settings.acquisition not in _IMPROVEMENTS):
            losses = scalarised(losses, rng.dirichlet(np.ones(losses.shape[1])))[:, None]
        if losses.shape[1] == 1:
            by_loss = np.lexsort([losses[:, 0], history.violations[order] > 0.0])
            order, losses = order[by_loss], losses[by_loss]
        failed = np.setdiff1d(np.flatnonzero(history.failed & history.configured), order)
        rows = np.concatenate([order, failed])
        losses = np.vstack([losses, np.tile(losses.max(axis=0), (len(failed), 1))])
        return _Data(rows, history.units[rows], losses, by_rank)

    # --- models ------------------------------------------------------------------------------------------------

    def _landscape(
        self, history: History, data: _Data, pending: FloatArray, margin: float, *, is_closing: bool
    ) -> Landscape:
        """Return what to climb; `margin` is the least improvement that counts."""
        known, early = data.take(self._selection(data, _MOST_POINTS)), self._early(history, data)
        bounds = [] if data.by_rank else self._bounds(history, known, early, pending)
        is_feasible = np.concatenate([history.violations[known.rows] == 0.0, np.ones(len(pending), dtype=np.bool_)])
        for bound in bounds:
            is_feasible[len(known.rows) :] &= bound.is_kept(pending)
        if not bounds:
            is_feasible[:] = True
        terms: list[Term] = [bound.term for bound in bounds]
        if not is_feasible.any():
            return Landscape(terms)
        if data.losses.shape[1] > 1:
            return Landscape([*terms, self._front_term(history, known, early, pending, is_feasible)])
        chosen = self._hyperparameters(0, early.units, self._outputs(early.losses[:, 0]), may_bend=True)
        targets = chosen.targets(self._outputs(known.losses[:, 0]))
        objective = with_prior_mean(data.mean, self._embedding, chosen, known.units, targets).believing(pending)
        # Believed losses count: where a trial is pending there is nothing left to gain.
        best = float(objective.fitted[is_feasible].min()) - margin
        acquisition = _lowest_mean if is_closing else self._acquisition(best, is_bounded=bool(bounds))
        return Landscape([*terms, ModelTerm(objective, acquisition)])

    def _front_term(
        self, history: History, known: _Data, early: _Data, pending: FloatArray, is_feasible: BoolArray
    ) -> HypervolumeTerm:
        """Return the improvement of the feasible trials' front, pending ones among them as they are believed to be."""
        given = given_reference(history.objectives)
        processes = []
        for index, losses in enumerate(known.losses.T):
            outputs = self._outputs(early.losses[:, index])
            chosen = self._hyperparameters(index, early.units, outputs, may_bend=True)
            # On the scale of the losses, of which a reference far beyond the worst is to leave something to be seen.
            edges = np.minimum(given[[index]], 2.0 * losses.max() - losses.min()) if np.isfinite(given[index]) else []
            targets = chosen.targets(self._outputs(np.concatenate([losses, edges])))
            given[index] = targets[-1] if len(edges) else np.inf
            process = GaussianProcess(self._embedding, chosen, known.units, targets[: len(losses)])
            processes.append(process.believing(pending))
        fitted = np.column_stack([process.fitted for process in processes])[is_feasible]
        # Where none is stated, what is bad in one objective still counts for being good in another.
        reference = np.where(np.isfinite(given), given, fitted.max(axis=0))
        return HypervolumeTerm(processes, fitted, reference)

    def _acquisition(self, best: float, *, is_bounded: bool) -> Acquisition:
        settings = self._settings
        # Only logarithms multiply with the chance of being feasible; that of EI has the same optimum.
        name = "log-ei" if is_bounded and settings.acquisition == "ei" else settings.acquisition
        return make_acquisition(name, best, settings.exploration, settings.margin)

    def _bounds(self, history: History, known: _Data, early: _Data, pending: FloatArray) -> list[Bound]:
        models = []
        pairs = zip(excesses(history, known.rows), excesses(history, early.rows), strict=True)
        for index, (excess, early_excess) in enumerate(pairs, start=known.losses.shape[1]):
            chosen = self._hyperparameters(index, early.units, early_excess.values)
            process = GaussianProcess(self._embedding, chosen, known.units, excess.targets)
            models.append(Bound(process.believing(pending), excess.limit))
        return models

    def _hyperparameters(
        self, index: int, units: FloatArray, losses: FloatArray, *, may_bend: bool = False
    ) -> Hyperparameters:
        """Return those of model `index`: the objectives' models are the first."""
        key = units.tobytes() + losses.tobytes()
        if index not in self._fitted or self._fitted[index][0] != key:
            bending = may_bend and self._settings.output_warping == "power"
            fit = Fit(self._embedding, units, losses, bending=bending, warping=self._settings.input_warping)
            self._fitted[index] = key, fit.best(Hyperparameters.typical(self._embedding), _FIT_STEPS)
        return self._fitted[index][1]

    def _outputs(self, losses: FloatArray) -> FloatArray:
        """Return losses brought to a common scale, shape (n,), or their ranks' normal scores."""
        if self._settings.output_warping == "rank":
            return normal_scores(np.unique(losses, return_inverse=True)[1])
        return scaled(losses)

    # --- which trials they know --------------------------------------------------------------------------------

    def _early(self, history: History, data: _Data) -> _Data:
        """Return what hyperparameters are fitted to: of the first trials, up to a number that changes seldom."""
        last = np.sort(data.rows)[_fitted_count(len(data.rows)) - 1]
        first = np.flatnonzero(data.rows <= last)
        if data.losses.shape[1] > 1:  # fronts change with every trial, so the first are ranked among themselves
            ranked = ranking(history, places=_MOST_FITTED, among=np.sort(data.rows[first]))
            places = np.full(history.rows, history.rows)
            places[ranked] = np.arange(len(ranked))
            first = first[np.argsort(places[data.rows[first]], kind="stable")]
        early = data.take(first)
        return early.take(self._selection(early, _MOST_FITTED))

    def _selection(self, data: _Data, most: int) -> IntArray:
        """Return which trials a model of limited size is to know, ascending, shape (k,)."""
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


def _has_settled(history: History, data: _Data) -> bool:
    """Answer whether the best feasible loss has settled; weights drawn anew for several objectives leave none that could."""
    kept = data.by_rank | (history.violations[data.rows] == 0.0)
    return history.loss.shape[1] == 1 and bool(kept.any()) and has_settled(data.rows[kept], data.losses[kept, 0])


def has_settled(rows: IntArray, losses: FloatArray) -> bool:
    """Answer whether the latest trials have improved the best loss by next to nothing.

    `rows` are the trials' places in time, `losses` theirs, shape (n,) each.
    """
    best, upper = float(losses.min()), float(np.quantile(losses, 0.75))
    as_good = rows[losses <= best + _SETTLED_SHARE * (upper - best)]
    return int((rows > as_good.min()).sum()) >= _SETTLED_TRIALS


def _lowest_mean(mean: FloatArray, deviation: FloatArray) -> Promise:
    return upper_confidence_bound(mean, deviation, exploration=0.0)


def _fitted_count(count: int) -> int:
    """Return to how many of so many trials hyperparameters are fitted: the largest number of a slow growth."""
    fitted = 1
    while (more := max(fitted + 1, int(fitted * _FIT_GROWTH))) <= count:
        fitted = more
    return fitted
