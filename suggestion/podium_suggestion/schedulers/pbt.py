"""Population-based training (Jaderberg et al., 2017, "Population based training of neural networks").

A population of trials trains side by side, in segments of `interval` steps. At the end of a segment a member rests and is
compared with the others at the same step. One of the worst share is stopped, and a clone of one of the best share takes its
place: a new trial that goes on from the other's checkpoint with perturbed values. So the values that win change while the
training goes on, and the lineage of the winner is the schedule that was found.

A place of the population is a number 0, 1 ..., kept as the trial's `bracket`; the latest trial of a place holds it.

Members do not wait for one another beyond what is needed. With n members compared at a step, m on their way to it, and w the
worst share of n + m:

- a member with w or more below it is safe whoever comes, and goes on at once; one with n + m - w or more above it is out;
- of the others, at most w at a time, each waits for those on their way, but no longer than until somebody has finished
  the next segment, or until no more members train than wait: so long a straggler may be. Then it is judged by who is there.

Members that are behind go first, so that with fewer slots than members these still march together.

A clone starts from the checkpoint at which its parent last rested. The parent may train on meanwhile: that checkpoint is
kept until the parent has begun the segment after the next (see podium_trial.checkpoints), and it is not promoted into that
one before the clone has reported. A place whose trial failed is filled by a clone as well, and by the search when nobody
is left to be cloned. If that was a clone itself, the next one starts from a later step: so clones that crash wherever they
start, each once per segment at most, hold up nobody, and use up few of the trials.
"""

from dataclasses import dataclass, replace

import numpy as np

from podium_contract.algorithms import PbtScheduler, PopulationScheduler, share_of
from podium_contract.experiment import RungStatus
from podium_contract.lifecycle import FINAL, Phase
from podium_contract.trial import Parent
from podium_contract.wire import Promote, Stop
from podium_suggestion.history import BoolArray, History, IntArray
from podium_suggestion.samplers.base import trial_rng
from podium_suggestion.samplers.combinations import all_configurations
from podium_suggestion.schedulers.base import AllInTurn, Clone, Start
from podium_suggestion.schedulers.explore import Explorer, Perturbation, Perturbing, told
from podium_suggestion.schedulers.wording import Wording
from podium_suggestion.space import Space

_SHOWN_COMPARISONS = 12
"""Comparisons told of in the status, at most: from that of the last member on, and the last ones when all is over."""


@dataclass(frozen=True)
class _Comparison:
    """The members that have finished a segment, at its last step. Rows are those of the history, best first."""

    step: int
    order: IntArray
    on_their_way: int
    """Members that will come."""
    worst: int
    """How many are the worst share once all have come."""

    @property
    def total(self) -> int:
        return len(self.order) + self.on_their_way

    def is_safe(self, row: int) -> bool:
        """Answer whether a member is outside the worst share, whoever comes."""
        return len(self.order) - 1 - self._place(row) >= self.worst

    def is_out(self, row: int) -> bool:
        """Answer whether a member is in the worst share, whoever comes."""
        return self._place(row) >= self.total - self.worst

    def _place(self, row: int) -> int:
        return int(np.flatnonzero(self.order == row)[0])


class Pbt(AllInTurn):
    """Replaces the worst members of a population by clones of the best."""

    def __init__(
        self, settings: PopulationScheduler, wording: Wording, space: Space, seed: int, explorer: Explorer
    ) -> None:
        wanted, all_of_them = settings.settings, all_configurations(space)
        self._size = wanted.population_size if all_of_them is None else min(wanted.population_size, all_of_them.size)
        self._interval, self._maximum = settings.interval, settings.max
        self._quantile = wanted.quantile
        self._explorer = explorer
        self._wording = wording
        self._seed = seed

    def start(self, history: History, number: int) -> Start:  # noqa: ARG002  (numbers are given in order)
        population = _Population(history, self._size, self._interval)
        place = (*population.unused, *population.vacant)[0]
        return Start(self._after(0), place)

    def judge(self, history: History, number: int, step: int) -> Stop | None:  # noqa: ARG002  (segments decide)
        return None

    def next_move(self, history: History, more_trials: bool) -> Promote | Clone | None:
        population = _Population(history, self._size, self._interval)
        if more_trials and population.unused:
            return None  # who has not begun is the furthest behind
        if more_trials:
            fillings = (self._fill(history, population, place) for place in population.vacant)
            clone = next((filling for filling in fillings if filling is not None), None)
            if clone is not None:
                return clone
        undecided = []
        for row in self._at_rest(history, population):
            comparison = self._comparison(history, population, int(history.target[row]))
            if comparison.is_safe(row) or comparison.is_out(row):
                return self._ruling(history, population, comparison, row, more_trials=more_trials)
            undecided.append((row, comparison))
        for row, comparison in undecided:
            is_overtaken = self._has_finished(history, population, self._after(comparison.step)).any()
            if is_overtaken or np.count_nonzero(history.pending) <= len(undecided):
                here = replace(comparison, on_their_way=0, worst=share_of(len(comparison.order), self._quantile))
                return self._ruling(history, population, here, row, more_trials=more_trials)
        return None

    def dismissals(self, history: History, more_trials: bool) -> tuple[Stop, ...]:  # noqa: ARG002  (whatever may come)
        """Stop whose place another holds: of a store that was lost the Trials tell of the clone, not of the verdict."""
        population = _Population(history, self._size, self._interval)
        return tuple(
            Stop(
                trial=int(row) + 1,
                step=int(history.step[row]),
                reason=f"trial {population.holders[history.bracket[row]] + 1} holds its place",
            )
            for row in np.flatnonzero(population.rests & ~population.holds)
        )

    def refusal(self, history: History) -> str | None:
        population = _Population(history, self._size, self._interval)
        is_anybody_left = population.is_alive.any() or history.in_phase(Phase.SUCCEEDED).any()
        if population.unused or (population.vacant and not is_anybody_left):
            return None
        return (
            f"the {self._size} places of the population are taken, and are trained up to "
            f"{self._wording.resource} {self._maximum}"
        )

    def rungs(self, history: History) -> tuple[RungStatus, ...]:
        population = _Population(history, self._size, self._interval)
        targets = history.target[population.is_alive]
        latest = max(self._maximum - (_SHOWN_COMPARISONS - 1) * self._interval, 0)
        statuses: list[RungStatus] = []
        step = int(targets.min()) if len(targets) else self._after(self._before(max(latest, 1)))
        while len(statuses) < _SHOWN_COMPARISONS:
            finished = self._has_finished(history, population, step)
            on_the_way = history.pending & (history.target == step)
            statuses.append(
                RungStatus(
                    budget=step,
                    running=int(np.count_nonzero(on_the_way)),
                    reached=int(np.count_nonzero(finished)),
                    promoted=int(np.count_nonzero(finished & (history.target > step))),
                )
            )
            if step == self._maximum:
                break
            step = self._after(step)
        return tuple(statuses)

    # --- who is compared with whom ------------------------------------------------------------------------------

    def _after(self, step: int) -> int:
        """Return the end of the segment that begins at a step."""
        return min((step // self._interval + 1) * self._interval, self._maximum)

    def _before(self, target: int) -> int:
        """Return the beginning of the segment that ends at a target."""
        return (target - 1) // self._interval * self._interval

    def _at_rest(self, history: History, population: "_Population") -> list[int]:
        """Return the rows of resting members whose checkpoint no clone still needs, the furthest behind first."""
        rows = np.flatnonzero(population.rests & population.holds)
        rows = rows[np.argsort(history.target[rows], kind="stable")]
        return [int(row) for row in rows if not population.is_awaited(int(row), int(history.target[row]))]

    def _has_finished(self, history: History, population: "_Population", step: int) -> BoolArray:
        """Answer who has trained a segment that ends at a step, whatever became of the trial since; not who failed."""
        here = (history.target == step) & (history.in_phase(Phase.PRUNED, Phase.SUCCEEDED) | population.rests)
        return np.asarray(
            (history.step >= step)
            & (population.inherited < step)
            & ~history.in_phase(Phase.FAILED, Phase.KILLED)
            & (here | (history.target > step))
        )

    def _comparison(self, history: History, population: "_Population", step: int) -> _Comparison:
        finished = self._has_finished(history, population, step)
        will_come = population.is_alive & ~finished & (population.inherited < step)
        on_their_way = len(population.unused) + int(np.count_nonzero(will_come))
        rows = np.flatnonzero(finished)
        losses = np.nan_to_num(history.at(step)[rows], nan=np.inf)
        order = rows[np.lexsort((losses, history.violations[rows]))]
        return _Comparison(step, order, on_their_way, share_of(len(rows) + on_their_way, self._quantile))

    # --- what follows -------------------------------------------------------------------------------------------

    def _ruling(
        self, history: History, population: "_Population", comparison: _Comparison, row: int, *, more_trials: bool
    ) -> Promote | Clone:
        """Return what becomes of a member that is safe or out."""
        rng = trial_rng(self._seed, history.rows + 1)
        worst = f"among the worst {comparison.worst} of {comparison.total}"
        if comparison.worst == 0:
            return self._promotion(history, comparison, row, f"is one of {comparison.total}, too few to replace any")
        if not comparison.is_out(row):
            return self._promotion(history, comparison, row, f"is not {worst}")
        if not more_trials:
            return self._promotion(history, comparison, row, f"is {worst}, but maxTrials leaves no room for a clone")
        source = self._source(history, population, comparison, rng)
        if source is None:
            return self._promotion(history, comparison, row, f"is {worst}, but nobody better is left to be cloned")
        clone = f"trial {history.rows + 1}, a clone of trial {source + 1}, takes its place"
        reason = f"{self._value(history, comparison, row)} is {worst}: {clone}"
        stop = Stop(trial=row + 1, step=int(history.step[row]), reason=reason)
        return self._clone(history, population, source, rng, place=int(history.bracket[row]), replaces=stop)

    def _fill(self, history: History, population: "_Population", place: int) -> Clone | None:
        """Return a clone for a place whose trial failed; None while nobody can be cloned from a later step than that."""
        failed_from = int(population.inherited[population.holders[place]])
        sources = np.flatnonzero(population.has_rested & population.is_alive)
        steps = [self._rested_at(history, population, int(row)) for row in sources]
        step = min((step for step in steps if step > failed_from), default=None)
        if step is None:
            return None
        rng = trial_rng(self._seed, history.rows + 1)
        source = self._source(history, population, self._comparison(history, population, step), rng)
        return None if source is None else self._clone(history, population, source, rng, place=place, replaces=None)

    def _source(
        self, history: History, population: "_Population", comparison: _Comparison, rng: np.random.Generator
    ) -> int | None:
        """Return one of the best share that is still there to be cloned, each with the same chance."""
        best = comparison.order[: max(share_of(len(comparison.order), self._quantile), 1)]
        is_usable = population.is_alive & population.has_rested & np.isfinite(history.loss[:, 0])
        candidates = best[is_usable[best] & np.isfinite(history.at(comparison.step)[best])]
        return int(rng.choice(candidates)) if len(candidates) else None

    def _clone(
        self,
        history: History,
        population: "_Population",
        source: int,
        rng: np.random.Generator,
        *,
        place: int,
        replaces: Stop | None,
    ) -> Clone:
        parent = Parent(trial=source + 1, step=self._rested_at(history, population, source))
        before = history.trials[parent.trial].assignment
        assignment = self._explorer.explore(history, parent, self._after(parent.step), rng)
        return Clone(
            parent=parent,
            assignment=assignment,
            start=Start(self._after(parent.step), place),
            origin=f"clone of trial {parent.trial} at {self._wording.resource} {parent.step}: {told(before, assignment)}",
            replaces=replaces,
        )

    def _rested_at(self, history: History, population: "_Population", row: int) -> int:
        """Return the step at which a member rests, or last rested."""
        target = int(history.target[row])
        return target if population.rests[row] else self._before(target)

    def _promotion(self, history: History, comparison: _Comparison, row: int, why: str) -> Promote:
        reason = f"{self._value(history, comparison, row)} {why}"
        return Promote(trial=row + 1, target=self._after(comparison.step), reason=reason)

    def _value(self, history: History, comparison: _Comparison, row: int) -> str:
        return self._wording.at(float(history.at(comparison.step)[row]), comparison.step)


def make_pbt(settings: PbtScheduler, wording: Wording, space: Space, seed: int) -> Pbt:
    """Return population-based training that perturbs."""
    wanted = settings.settings
    how = Perturbation(tuple(wanted.perturbation_factors), wanted.resample_probability, wanted.mutable)
    return Pbt(settings, wording, space, seed, Perturbing(space, how))


class _Population:
    """Who holds which place, as the history stands. Arrays have one row per trial number."""

    def __init__(self, history: History, size: int, interval: int) -> None:
        self.holders: IntArray = np.full(size, -1, dtype=np.int64)
        """Rows of the trials that hold the places; -1 where nobody has begun."""
        known = np.flatnonzero(history.known)
        self.holders[history.bracket[known]] = known  # of several the last, which has the highest number
        self.holds: BoolArray = np.isin(np.arange(history.rows), self.holders)
        is_lost = history.in_phase(Phase.FAILED, Phase.KILLED)
        self.unused = np.flatnonzero(self.holders < 0).tolist()
        """Places in which nobody has trained yet."""
        self.vacant = [place for place, row in enumerate(self.holders.tolist()) if row >= 0 and is_lost[row]]
        """Places whose trial failed or was deleted."""
        self.is_alive: BoolArray = self.holds & ~history.in_phase(*FINAL)
        self.inherited: IntArray = np.zeros(history.rows, dtype=np.int64)
        """Steps that clones began with."""
        self._awaited: dict[int, int] = {}
        for number, trial in history.trials.items():
            if trial.parent is not None:
                self._note_parent(number - 1, trial.parent, has_begun=bool(history.step[number - 1]))
        is_there = (history.target > 0) & (history.step >= history.target)
        self.rests: BoolArray = np.asarray(history.in_phase(Phase.PAUSED) & is_there)
        """Who waits at the end of a segment."""
        began = (history.target - 1) // interval * interval
        self.has_rested: BoolArray = np.asarray(self.rests | (began > self.inherited))
        """Who has a checkpoint of the end of a segment of its own."""

    def is_awaited(self, row: int, step: int) -> bool:
        """Answer whether a clone has yet to start from an earlier checkpoint than that of a member at `step`."""
        return self._awaited.get(row, step) < step

    def _note_parent(self, row: int, parent: Parent, *, has_begun: bool) -> None:
        self.inherited[row] = parent.step
        if self.is_alive[row] and not has_begun:
            self._awaited[parent.trial - 1] = min(self._awaited.get(parent.trial - 1, parent.step), parent.step)
