"""Population-based bandits: PBT whose clones get values that a model chooses (Parker-Holder et al., 2020, NeurIPS 33).

Who is replaced by a clone of whom is decided as in population-based training. What the clone tries is not a perturbation but
the values of the largest upper confidence bound of the gain in the next segment, under a Gaussian process over all segments
that members have trained so far (see bandit). The gain of a segment is how far its loss fell, standardised among the
segments that ended at the same step: so a segment is measured by its contemporaries, whatever the scale of the loss is by
then. Segments that others are training count as pending.

The model chooses floats, ints and ordinals that are mutable and active in the parent. As in the paper, categorical ones are
no part of it: they stay, or are drawn anew with `resampleProbability`, and what becomes active thereby is drawn as well.
Until `2 + d` segments of d such parameters are known, clones are perturbed as in PBT.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from podium_contract.algorithms import Pb2Scheduler
from podium_contract.lifecycle import FINAL
from podium_contract.parameters import Assignment, CategoricalParameter
from podium_contract.trial import Parent
from podium_suggestion.history import History, IntArray, TrialHistory
from podium_suggestion.schedulers.bandit import Bandit, Segments
from podium_suggestion.schedulers.explore import Perturbation, Perturbing, explore
from podium_suggestion.schedulers.pbt import Pbt
from podium_suggestion.schedulers.wording import Wording
from podium_suggestion.space import FloatArray, Space

_MOST_SEGMENTS = 100
"""Segments that the model remembers, the latest ones: older ones are as good as forgotten."""
_CANDIDATES = 512
_NEARBY = 0.1
"""Half of the candidates are drawn around the parent, with this standard deviation in the unit cube."""
_FARTHEST = 3.0
"""Standard deviations beyond which a value tells no more: one diverged member shall not flatten the others."""
_FIRST_FACTORS = (0.8, 1.2)


@dataclass(frozen=True)
class _Segment:
    """A segment that a member has trained: from one comparison to the next."""

    row: int
    end: int
    before: float
    """Loss at its beginning."""
    after: float


class BanditExplorer:
    """Chooses the values of a clone by the gain that they promise."""

    def __init__(self, space: Space, settings: Pb2Scheduler) -> None:
        wanted = settings.settings
        self._space = space
        self._interval = settings.interval
        self._maximum = settings.max
        self._exploration = wanted.exploration
        names = [p.name for p in space.parameters if not isinstance(p, CategoricalParameter)]
        self._modelled = [name for name in names if wanted.mutable is None or name in wanted.mutable]
        categories = [p.name for p in space.parameters if p.name not in names]
        mutable = [name for name in categories if wanted.mutable is None or name in wanted.mutable]
        self._at_first = Perturbing(space, Perturbation(_FIRST_FACTORS, wanted.resample_probability, wanted.mutable))
        self._categories = Perturbation((1.0,), wanted.resample_probability, mutable)

    def explore(self, history: History, parent: Parent, until: int, rng: np.random.Generator) -> Assignment:
        before = history.trials[parent.trial].assignment
        columns = np.array([self._space.index[name] for name in self._modelled if name in before], dtype=np.int64)
        known = sorted(self._known(history), key=lambda segment: (segment.end, segment.row))[-_MOST_SEGMENTS:]
        if not len(columns) or len(known) < 2 + len(columns):
            return self._at_first.explore(history, parent, until, rng)
        contexts = _among_contemporaries(known, np.array([segment.before for segment in known]))
        gains = _among_contemporaries(known, np.array([segment.before - segment.after for segment in known]))
        segments = self._segments(history, [(s.row, s.end) for s in known], contexts, columns)
        pending = self._pending(history)
        waiting = self._segments(history, pending, np.zeros(len(pending)), columns)
        values = self._candidates(history, parent, columns, rng)
        context = _context(known, parent.step, float(history.at(parent.step)[parent.trial - 1]))
        candidates = Segments(values, np.full(len(values), context), np.full(len(values), until / self._interval))
        bounds = Bandit(segments, gains).bound(candidates, waiting, self._exploration)
        return self._assignment(before, columns, values[int(np.argmax(bounds))], rng)

    # --- what is known ------------------------------------------------------------------------------------------

    def _known(self, history: History) -> Iterator[_Segment]:
        """Yield the segments that members have trained, with usable losses at the beginning and the end."""
        for number, trial in history.trials.items():
            steps, losses = history.curve(number)
            if not len(steps):
                continue
            start, before = self._beginning(history, trial, int(steps[0]), float(losses[0]))
            while (end := min((start // self._interval + 1) * self._interval, self._maximum)) <= trial.step:
                after = float(losses[np.searchsorted(steps, end, side="right") - 1])
                if np.isfinite(before) and steps[0] < end:
                    yield _Segment(number - 1, end, before, after)
                start, before = end, after
                if end == self._maximum:
                    break

    def _beginning(self, history: History, trial: TrialHistory, first_step: int, first: float) -> tuple[int, float]:
        """Return where a trial began, and its loss there: a clone's is its parent's; at the very start, its first report."""
        if trial.parent is None or trial.parent.trial not in history.trials:
            return (first_step - 1) // self._interval * self._interval, first
        return trial.parent.step, history.loss_at(trial.parent.trial, trial.parent.step)

    def _pending(self, history: History) -> list[tuple[int, int]]:
        """Return rows and ends of the segments that are being trained, or about to be."""
        is_training = history.pending & ~history.in_phase(*FINAL) & (history.step < history.target)
        return [(int(row), int(history.target[row])) for row in np.flatnonzero(is_training)]

    def _segments(
        self, history: History, places: list[tuple[int, int]], contexts: FloatArray, columns: IntArray
    ) -> Segments:
        rows = np.array([row for row, _ in places], dtype=np.int64)
        values = np.nan_to_num(history.units[rows][:, columns], nan=0.5).reshape(len(places), len(columns))
        return Segments(values, contexts, np.array([end / self._interval for _, end in places], dtype=np.float64))

    # --- what to try --------------------------------------------------------------------------------------------

    def _candidates(self, history: History, parent: Parent, columns: IntArray, rng: np.random.Generator) -> FloatArray:
        """Return points of the cube, shape (n, len(columns)): half anywhere, half around the parent, itself included."""
        here = history.units[parent.trial - 1][columns]
        anywhere = rng.random((_CANDIDATES // 2, len(columns)))
        nearby = np.clip(here + _NEARBY * rng.standard_normal((_CANDIDATES // 2 - 1, len(columns))), 0.0, 1.0)
        points = np.concatenate([here[None, :], nearby, anywhere])
        for position, column in enumerate(columns):
            points[:, position] = self._space.columns[column].encode(points[:, position])
        return points

    def _assignment(
        self, before: Assignment, columns: IntArray, values: FloatArray, rng: np.random.Generator
    ) -> Assignment:
        chosen = {
            self._space.columns[column].parameter.name: self._space.columns[column].from_unit(float(value))
            for column, value in zip(columns.tolist(), values.tolist(), strict=True)
        }
        # Chosen values may switch conditions of others, and so may categories: explore keeps both consistent.
        return explore(self._space, {**before, **chosen}, self._categories, rng)


def _among_contemporaries(known: list[_Segment], values: FloatArray) -> FloatArray:
    """Return values of segments, shape (n,), standardised among those that ended at the same step."""
    ends = np.array([segment.end for segment in known])
    standardised = np.empty(len(known))
    for end in np.unique(ends):
        standardised[ends == end] = _standardised(values[ends == end], values[ends == end])
    return standardised


def _context(known: list[_Segment], step: int, loss: float) -> float:
    """Return how a loss at a step stands among those with which segments ended there; 0 where none did."""
    losses = np.array([segment.after for segment in known if segment.end == step])
    return float(_standardised(np.array([loss]), losses)[0]) if len(losses) else 0.0


def _standardised(values: FloatArray, among: FloatArray) -> FloatArray:
    """Return values by mean and standard deviation of others, within 3; one that is not finite is as bad as the worst."""
    finite = among[np.isfinite(among)]
    if not len(finite):
        return np.zeros(len(values))
    scale = float(np.abs([*finite, *values[np.isfinite(values)]]).max()) or 1.0
    shares = finite / scale  # whose squares do not overflow
    spread = float(shares.std()) or 1.0
    scores = np.nan_to_num((values / scale - shares.mean()) / spread, nan=-_FARTHEST, posinf=-_FARTHEST)
    return np.asarray(np.clip(scores, -_FARTHEST, _FARTHEST))


def make_pb2(settings: Pb2Scheduler, wording: Wording, space: Space, seed: int) -> Pbt:
    """Return population-based training whose clones are chosen by a bandit."""
    return Pbt(settings, wording, space, seed, BanditExplorer(space, settings))
