"""Chooses who proposes each trial, by the space, the budget, the parallelism and the results so far, and says why.

A trial has a leader, which `leader` picks by the space and by how far the experiment has come, and a second with another
view of things, which has a turn now and then, and every other one where many trials run at a time or the leader is stuck.
The last part of the budget goes partly into small steps from the best trials: models place a trial well, but rarely at
the very bottom of a valley.

Where a scheduler stops trials early, they have places in an order to learn from, not losses, and an order that changes with
every promotion: fitted models cost more there than they find. A TPE, to which nothing is fitted, proposes every other trial.
The others explore, as a third does in BOHB (Falkner et al., 2018): what little training tells may mislead, and costs little.

To add a sampler, name it in `SAMPLERS` and say in `leader` or `second` when it is the one to ask.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from podium_contract.algorithms import AutoSettings, CmaesSettings, ForestSettings, GpSettings, TpeSettings
from podium_contract.parameters import Assignment
from podium_suggestion.history import History, IntArray
from podium_suggestion.ranking import ranking
from podium_suggestion.samplers.base import Exhausted, Explaining, Proposal, Sampler, suggest
from podium_suggestion.samplers.cmaes import CmaesSampler
from podium_suggestion.samplers.forest import ForestSampler
from podium_suggestion.samplers.gp import GpSampler
from podium_suggestion.samplers.gp.targets import comparable_losses
from podium_suggestion.samplers.moves import first_untried, log_uniform, neighbours
from podium_suggestion.samplers.prior import Prior
from podium_suggestion.samplers.sobol import SobolSampler
from podium_suggestion.samplers.tpe import TpeSampler
from podium_suggestion.space import Space

_OPENING = 6
"""Results that a Sobol sequence gathers before any model is asked."""
_SECOND_EVERY = 5
"""The second has every so manieth trial."""
_FEW_TRIALS = 200
"""Trials that a Gaussian process, which knows some of more than these only, is the best model of."""
_EXPLORING_EVERY = 2
"""Every so manieth trial follows no model where trials are stopped early."""
_MANY_TRIALS = 2_000
"""Trials beyond which a forest, which learns from a part of so many, is no longer the better model."""
_MANY_WORKERS = 8
"""Trials at a time from which proposals rest on guesses of what many pending ones bring, and two models guess better."""
_PATIENCE = 0.15
"""Share of the budget without a better trial after which a leader that does not look elsewhere itself, as a Gaussian process
does, shares with the second."""
_LEAST_PATIENCE = 8
_MOST_PLACES = 200
"""Places of the ranking that must be right with several objectives."""


class Closing:
    """Proposes small steps from the best trials."""

    _BEST = 3
    _NARROWEST, _WIDEST = 0.003, 0.1
    """A step's length is drawn between these, evenly by orders of magnitude."""
    _ATTEMPTS = 16

    def __init__(self, space: Space) -> None:
        self._space = space

    def propose(self, history: History, number: int, rng: np.random.Generator) -> Assignment:  # noqa: ARG002
        best = ranking(history, places=_MOST_PLACES)[: self._BEST]
        parent = history.units[best[min(rng.geometric(0.6), len(best)) - 1]]
        width = log_uniform(rng, self._NARROWEST, self._WIDEST)
        steps = neighbours(self._space, np.tile(parent, (self._ATTEMPTS, 1)), rng, width, changes=2.0)
        return self._space.from_unit(first_untried(history, steps))


@dataclass(frozen=True)
class Budget:
    """What is known of an experiment beforehand, the space apart."""

    trials: int
    parallelism: int
    prior: Prior | None = None
    """What earlier experiments tell."""


SAMPLERS: Mapping[str, Callable[[Space, int, Budget], Sampler]] = {
    "sobol": lambda space, seed, _: SobolSampler(space, seed),
    "gp": lambda space, seed, budget: GpSampler(
        space, GpSettings(startup_trials=_OPENING), seed, budget.trials, budget.prior
    ),
    "tpe": lambda space, seed, budget: TpeSampler(space, TpeSettings(), seed, budget.prior),
    "forest": lambda space, seed, _: ForestSampler(space, ForestSettings(), seed),
    "cmaes": lambda space, seed, _: CmaesSampler(space, CmaesSettings(), seed),
    "a small step": lambda space, *_: Closing(space),
}
"""Whom auto may ask, by the name under which it says so."""


@dataclass(frozen=True)
class Choice:
    """Who proposes a trial."""

    sampler: str
    why: str
    """A clause for a person, with the numbers that decided."""


def leader(space: Space, number: int) -> Choice:
    """Return who proposes most of the trials around a number."""
    if number <= _FEW_TRIALS:
        return Choice("gp", f"the first {_FEW_TRIALS} trials of {_kind(space)} are few enough to model each of them")
    if is_ordered(space):
        return Choice("cmaes", f"over {_FEW_TRIALS} trials of {_kind(space)} show the lie of the land")
    if number <= _MANY_TRIALS:
        return Choice("forest", f"over {_FEW_TRIALS} trials of {_kind(space)} are too many for a Gaussian process")
    return Choice("tpe", f"over {_MANY_TRIALS} trials of {_kind(space)} are too many for a forest")


def second(leading: str) -> str:
    """Return who has the leader's turn now and then."""
    return "forest" if leading in ("gp", "tpe") else "tpe"


def is_ordered(space: Space) -> bool:
    """Whether distances mean something along every parameter, and each is always active."""
    return not space.is_conditional and all(column.is_ordered for column in space.columns)


class AutoSampler(Explaining):
    """Asks for each trial the sampler that is to propose it."""

    def __init__(self, space: Space, settings: AutoSettings, budget: Budget, seed: int) -> None:
        self._space = space
        self._settings = settings
        self._budget = budget
        self._seed = seed
        self._samplers: dict[str, Sampler] = {}

    def suggest(self, history: History, number: int, rng: np.random.Generator) -> Proposal | Exhausted:
        choice = self.choice(history, number)
        proposal = suggest(self._sampler(choice.sampler), history, number, rng)
        return (
            proposal
            if isinstance(proposal, Exhausted)
            else Proposal(proposal.assignment, f"{choice.sampler}, {choice.why}")
        )

    def choice(self, history: History, number: int) -> Choice:
        """Return who is to propose trial `number`."""
        order = ranking(history, places=1)
        if len(order) < _OPENING:
            return Choice("sobol", f"as {len(order)} of the first {_OPENING} results are in")
        if number > self._closing_from and number % 2:
            return Choice(
                "a small step", f"as trial {number} is among the last {self._budget.trials - self._closing_from}"
            )
        turn = number // 2 if number > self._closing_from else number
        if comparable_losses(history, order) is None:
            if turn % _EXPLORING_EVERY == 0:
                return Choice("sobol", f"as one trial in {_EXPLORING_EVERY} explores where trials are stopped early")
            return Choice("tpe", "as trials of unequal training have an order, but no losses to compare")
        leading = leader(self._space, number)
        other = second(leading.sampler)
        why = self._why_second(history, order, leading.sampler) if turn % 2 == 0 else None
        if why is None and turn % _SECOND_EVERY == 0:
            why = f"for a second view beside {leading.sampler}"
        return Choice(leading.sampler, f"as {leading.why}") if why is None else Choice(other, why)

    def _why_second(self, history: History, order: IntArray, leading: str) -> str | None:
        """Return why the leader shares its trials evenly with the second now; None when it does not."""
        if self._budget.parallelism >= _MANY_WORKERS:
            return f"in turns with {leading}, as {self._budget.parallelism} trials run at a time"
        since = _trials_since(history, order[0])
        if leading != "gp" and since > max(_LEAST_PATIENCE, _PATIENCE * self._budget.trials):
            return f"as {leading} has found nothing better for {since} trials"
        return None

    @cached_property
    def _closing_from(self) -> int:
        """Number of the last trial before the closing part."""
        trials = self._budget.trials
        return trials - int(self._settings.closing_share * trials)

    def _sampler(self, name: str) -> Sampler:
        if name not in self._samplers:
            self._samplers[name] = SAMPLERS[name](self._space, self._seed, self._budget)
        return self._samplers[name]


def _kind(space: Space) -> str:
    kinds = "conditional" if space.is_conditional else "ordered" if is_ordered(space) else "mixed"
    return f"{space.dimension} {kinds} parameter{'s' if space.dimension > 1 else ''}"


def _trials_since(history: History, row: int) -> int:
    """Return how many trials have ended whose numbers are above that of a row."""
    return int(history.decided[row + 1 :].sum())
