"""CMA-ES: a Gaussian that learns where, how far and along which directions to search, restarted when it has converged.

Hansen, "The CMA evolution strategy: a tutorial", 2016; restarts as in IPOP (Auger and Hansen, CEC 2005) and BIPOP (Hansen,
GECCO 2009). The state is a function of the history alone: a generation is the next `population` trials by number, and
the state is what the generations so far, taken in that order, make of the first one. Workers need not wait for each
other: whoever asks gets a point of the latest state, and a generation may hold points of an earlier one, or a manifest's
own, because the update takes points of any origin once their length is bounded (Hansen, "Injecting external solutions
into CMA-ES", 2011). Trials that are still on their way when most of their generation has ended are left out until they
end, so a straggler holds up nothing.

On a lattice the sampling deviation never falls so low that neighbouring values die out (after Hamano et al., "CMA-ES with
margin", GECCO 2022).
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import ndtri

from podium_contract.algorithms import CmaesSettings
from podium_contract.parameters import Assignment
from podium_suggestion.history import History, IntArray
from podium_suggestion.ranking import levels, ranking
from podium_suggestion.samplers.moves import reflected
from podium_suggestion.samplers.sobol import SobolSampler
from podium_suggestion.space import FloatArray, Space

_CONVERGED = 1e-5
"""Deviation on the unit cube below which a continuous parameter has converged."""
_CONVERGED_CELLS = 0.2
"""The same for a lattice, in cells."""
_MOST_CONDITION = 1e14
"""Condition number of the covariance beyond which its directions are rounding errors."""
_MOST_POPULATION = 10_000
_RESTART = 1
"""Keeps the random numbers of a restart apart from those of the trial at which it happens."""


@dataclass(frozen=True)
class Gaussian:
    """The search distribution, and the paths by which it learns; n is the dimension."""

    mean: FloatArray
    """Shape (n,)."""
    step: float
    covariance: FloatArray
    """Shape (n, n)."""
    step_path: FloatArray
    """Shape (n,): the sum of recent steps of the mean, as if the covariance were the identity."""
    covariance_path: FloatArray
    """Shape (n,): the sum of recent steps of the mean."""
    generations: int = 0

    @classmethod
    def around(cls, mean: FloatArray, step: float) -> "Gaussian":
        n = len(mean)
        return cls(mean, step, np.eye(n), np.zeros(n), np.zeros(n))

    @cached_property
    def axes(self) -> tuple[FloatArray, FloatArray]:
        """The lengths, shape (n,), and directions, in columns, shape (n, n), of the covariance's principal axes."""
        squares, directions = np.linalg.eigh(self.covariance)
        return np.sqrt(np.maximum(squares, 1e-300)), directions

    @property
    def deviations(self) -> FloatArray:
        """Standard deviations of the coordinates, shape (n,)."""
        return np.asarray(self.step * np.sqrt(np.diag(self.covariance)))

    def whitened(self, steps: FloatArray) -> FloatArray:
        """Return C^(-1/2) steps, shape (k, n) for both."""
        lengths, directions = self.axes
        return np.asarray((steps @ directions / lengths) @ directions.T)

    def learnt(self, points: FloatArray, population: int) -> "Gaussian":
        """Return the distribution after a generation: the better of its points, best first, shape (k, n), k <= population.

        Equations (9) to (50) of the tutorial, with the lengths of steps bounded as for injected points.
        """
        n = len(self.mean)
        rates = Rates.of(n, population, len(points))
        steps = (points - self.mean) / self.step
        lengths = np.linalg.norm(self.whitened(steps), axis=1)
        longest = np.sqrt(n) + 2.0 * n / (n + 2.0)
        steps = steps * np.minimum(1.0, longest / np.maximum(lengths, 1e-300))[:, None]
        shift = rates.weights @ steps
        white = self.whitened(shift[None])[0] * np.sqrt(rates.effective)
        white = white * min(1.0, (np.sqrt(n) + 2.0) / max(float(np.linalg.norm(white)), 1e-300))
        step_path = (1 - rates.path) * self.step_path + np.sqrt(rates.path * (2 - rates.path)) * white
        length = float(np.linalg.norm(step_path))
        expected = np.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n**2))
        settled = np.sqrt(1 - (1 - rates.path) ** (2 * (self.generations + 1)))
        is_steady = length / settled < (1.4 + 2 / (n + 1)) * expected
        pull = np.sqrt(rates.covariance_path * (2 - rates.covariance_path) * rates.effective) * shift
        path = (1 - rates.covariance_path) * self.covariance_path + (pull if is_steady else 0.0)
        lost = 0.0 if is_steady else rates.one * rates.covariance_path * (2 - rates.covariance_path)
        covariance = (
            (1 - rates.one - rates.many + lost) * self.covariance
            + rates.one * np.outer(path, path)
            + rates.many * (steps.T * rates.weights) @ steps
        )
        growth = np.exp(min(1.0, rates.path / rates.damping * (length / expected - 1)))
        return Gaussian(
            mean=np.clip(self.mean + self.step * shift, 0.0, 1.0),
            step=min(self.step * float(growth), 1.0),
            covariance=(covariance + covariance.T) / 2.0,
            step_path=step_path,
            covariance_path=path,
            generations=self.generations + 1,
        )


@dataclass(frozen=True)
class Rates:
    """Weights and learning rates of one generation, table 1 of the tutorial without negative weights."""

    weights: FloatArray
    """Of the points that count, best first."""
    effective: float
    """How many equally weighted points the weights are worth (mu_eff)."""
    path: float
    damping: float
    covariance_path: float
    one: float
    many: float

    @classmethod
    def of(cls, n: int, population: int, points: int) -> "Rates":
        """Return those of a generation of `population` trials in `n` dimensions, of which `points` are good enough."""
        weights = np.log((population + 1) / 2) - np.log(np.arange(1.0, max(population // 2, 1) + 1.0))
        weights = weights[:points] / weights[:points].sum()
        effective = float(1.0 / (weights**2).sum())
        path = (effective + 2) / (n + effective + 5)
        one = 2 / ((n + 1.3) ** 2 + effective)
        return cls(
            weights=weights,
            effective=effective,
            path=path,
            damping=1 + 2 * max(0.0, np.sqrt((effective - 1) / (n + 1)) - 1) + path,
            covariance_path=(4 + effective / n) / (n + 4 + 2 * effective / n),
            one=one,
            many=min(1 - one, 2 * (0.25 + effective + 1 / effective - 2) / ((n + 2) ** 2 + effective)),
        )


@dataclass(frozen=True)
class Run:
    """Where the search stands: the state after a number of generations."""

    gaussian: Gaussian
    population: int
    """Trials of the coming generation."""
    first: int
    """Number of its first trial."""
    best: float = np.inf
    """The least loss since the last restart."""
    stale: int = 0
    """Generations since it was found."""
    is_local: bool = False
    """Whether it is one of BIPOP's small runs."""
    enlarged: int = 0
    """Restarts with a doubled population so far."""
    spent: tuple[int, int] = (0, 0)
    """Trials of earlier large and small runs."""
    began: int = 0
    """Number of this run's first trial."""


class CmaesSampler:
    """Samples from the Gaussian that the generations so far have shaped; before any, a Sobol sequence lays the ground."""

    def __init__(self, space: Space, settings: CmaesSettings, seed: int) -> None:
        self._space = space
        self._settings = settings
        self._seed = seed
        self._startup = SobolSampler(space, seed)
        self._population = settings.population or 4 + int(3 * np.log(space.dimension))
        self._checkpoint: _Checkpoint | None = None

    def propose(self, history: History, number: int, rng: np.random.Generator) -> Assignment:
        run = self.state(history)
        if run is None:
            return self._startup.propose(history, number, rng)
        return self._space.from_unit(self._sampled(run, rng))

    def state(self, history: History) -> Run | None:
        """Return where the search stands; None before enough of the start-up trials have ended."""
        run, is_settled = self._resumed(history), True
        if run is None:
            run, is_settled = self._begun(history), not history.pending[: self._settings.startup_trials].any()
        while run is not None and _is_over(history, run):
            is_settled = is_settled and not history.pending[_generation(run)].any()
            run = self._advanced(history, run)
            if is_settled:
                self._checkpoint = _Checkpoint(history, history.revision, levels(history), run)
        return run

    def _resumed(self, history: History) -> Run | None:
        """Return the state at the last checkpoint, unless something has changed in the generations before."""
        known = self._checkpoint
        if known is None or known.history is not history or known.levels != levels(history):
            return None
        changed = history.changed_since(known.revision)
        if changed and min(changed) < known.run.first:
            return None
        self._checkpoint = replace(known, revision=history.revision)
        return known.run

    def _begun(self, history: History) -> Run | None:
        """Return the state after the start-up trials, half of which at least must have ended."""
        count = self._settings.startup_trials
        if history.rows < count or history.pending[:count].sum() > count / 2:
            return None
        order = _ranked(history, np.arange(count))
        mean = history.units[order[0]] if len(order) else np.full(self._space.dimension, 0.5)
        gaussian = Gaussian.around(mean, self._settings.initial_step)
        return Run(gaussian, self._population, first=count + 1, began=count + 1)

    def _advanced(self, history: History, run: Run) -> Run:
        """Return the state after the coming generation, in which at least one trial has ended."""
        rows = np.arange(history.rows)[_generation(run)]
        order = _ranked(history, rows)
        gaussian = run.gaussian
        if len(order):
            gaussian = gaussian.learnt(history.units[order[: run.population // 2]], run.population)
        least = float(history.loss[order, 0].min()) if len(order) else np.inf
        advanced = replace(
            run,
            gaussian=gaussian,
            first=run.first + run.population,
            best=min(run.best, least),
            stale=0 if least < run.best else run.stale + 1,
        )
        if self._settings.restarts == "none" or not self._is_done(advanced, several=len(history.objectives) > 1):
            return advanced
        return self._restarted(advanced)

    def _is_done(self, run: Run, *, several: bool) -> bool:
        """Answer whether a run has converged, lost its way, or stopped making progress."""
        gaussian, n = run.gaussian, self._space.dimension
        lengths, _ = gaussian.axes
        if (lengths[-1] / lengths[0]) ** 2 > _MOST_CONDITION or (gaussian.deviations < self._tolerances(run)).all():
            return True
        return not several and run.stale > 10 + 30 * n / run.population

    def _restarted(self, run: Run) -> Run:
        """Return a new run from a random point: large and wide, or, where large ones have had more trials, small."""
        rng = np.random.default_rng([self._seed, run.first, _RESTART])
        mean, initial = rng.random(self._space.dimension), self._settings.initial_step
        large, small = run.spent
        used = run.first - run.began
        spent = (large, small + used) if run.is_local else (large + used, small)
        anew = Run(Gaussian.around(mean, initial), self._population, run.first, spent=spent, began=run.first)
        doubled = self._population * 2**run.enlarged
        if self._settings.restarts == "bipop" and run.enlarged and spent[1] < spent[0]:
            share = (doubled / self._population / 2) ** (rng.random() ** 2)
            narrow = initial * 10 ** (-2 * rng.random())
            small_one = replace(anew, population=int(self._population * share), is_local=True, enlarged=run.enlarged)
            return replace(small_one, gaussian=Gaussian.around(mean, narrow))
        return replace(anew, population=min(2 * doubled, _MOST_POPULATION), enlarged=run.enlarged + 1)

    def _sampled(self, run: Run, rng: np.random.Generator) -> FloatArray:
        """Return a full point, shape (dimension,)."""
        gaussian = run.gaussian
        lengths, directions = gaussian.axes
        point = gaussian.mean + gaussian.step * (directions @ (lengths * rng.standard_normal(len(lengths))))
        missing = np.maximum(self._least_deviations(run) ** 2 - gaussian.deviations**2, 0.0)
        return reflected(point + np.sqrt(missing) * rng.standard_normal(len(point)))

    def _least_deviations(self, run: Run) -> FloatArray:
        """Return the deviations at which one value in `population` per lattice leaves its cell, shape (n,); else 0."""
        chance = 1.0 / (run.population * self._space.dimension)
        return np.asarray(self._cells(run) / (-2.0 * ndtri(chance / 2.0)))

    def _tolerances(self, run: Run) -> FloatArray:
        cells = self._cells(run)
        return np.where(cells > 0.0, _CONVERGED_CELLS * cells, _CONVERGED)

    def _cells(self, run: Run) -> FloatArray:
        """Return the widths of the lattices' cells at the mean, shape (n,); 0 where a parameter is continuous."""
        widths = np.zeros(self._space.dimension)
        for position, column in enumerate(self._space.columns):
            if column.size is not None:
                cell = column.cell(run.gaussian.mean[position])
                widths[position] = column.edge(cell + 1.0) - column.edge(cell)
        return widths


@dataclass(frozen=True)
class _Checkpoint:
    """The state after generations in which nothing is left to end: a cache, for the history gives it again."""

    history: History
    revision: int
    levels: list[int]
    run: Run


def _generation(run: Run) -> slice:
    """Return the rows of the coming generation."""
    return slice(run.first - 1, run.first - 1 + run.population)


def _is_over(history: History, run: Run) -> bool:
    """Answer whether the coming generation has been proposed in full, and half of it at least has ended."""
    rows = _generation(run)
    return history.rows >= rows.stop and int(history.pending[rows].sum()) <= run.population / 2


def _ranked(history: History, rows: IntArray) -> IntArray:
    """Return those of ascending rows that can be ranked and whose configuration is known, best first."""
    return ranking(history, among=rows[np.isfinite(history.units[rows]).all(axis=1)])
