"""Ladders of budgets, the classic bracket that climbs one, and Hyperband's rounds of brackets. Integers only.

The textbook count of rungs, floor(log(max / min) / log(eta)), loses one to rounding: log(243) / log(3) is 4.999... in
floating point. Here budgets are multiplied, never logged.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Rung:
    """One rung of a bracket: so many trials train up to so many steps."""

    trials: int
    budget: int


@dataclass(frozen=True)
class Bracket:
    """A bracket of successive halving, lowest rung first."""

    rungs: tuple[Rung, ...]

    @property
    def steps_from_scratch(self) -> int:
        """Steps it takes when every promotion trains from the first step again."""
        return sum(rung.trials * rung.budget for rung in self.rungs)

    @property
    def steps_resumed(self) -> int:
        """Steps it takes when every promotion resumes from its checkpoint."""
        below = (0, *(rung.budget for rung in self.rungs))
        return sum(rung.trials * (rung.budget - start) for rung, start in zip(self.rungs, below, strict=False))

    @property
    def steps_in_full(self) -> int:
        """Steps it would take to train every trial of the lowest rung up to the highest."""
        return self.rungs[0].trials * self.rungs[-1].budget


def rung_budgets(minimum: int, maximum: int, eta: int) -> tuple[int, ...]:
    """Return minimum * eta^k for k = 0, 1 ... below `maximum`, then `maximum`: 1, 3, 9, 27, 81 from 1 to 81 by 3."""
    if not (1 <= minimum < maximum and eta >= 2):
        raise ValueError(
            f"a ladder needs 1 <= min < max and a reduction factor of at least 2, got min={minimum}, max={maximum}, "
            f"reduction factor={eta}; correct them"
        )
    budgets = []
    budget = minimum
    while budget < maximum:
        budgets.append(budget)
        budget *= eta
    return (*budgets, maximum)


def survivors(trials: int, eta: int) -> int:
    """Return how many of a full rung's trials go on: one of `eta`, but at least one, so that a bracket has a winner."""
    return max(trials // eta, 1)


def full_bracket_size(budgets: tuple[int, ...], eta: int) -> int:
    """Return how many trials must start for exactly one to reach the top when every rung passes on one of `eta`."""
    return int(eta ** (len(budgets) - 1))


def bracket_plan(minimum: int, maximum: int, eta: int, trials: int | None = None) -> Bracket:
    """Return the bracket that `trials` trials (as many as leave one at the top, when absent) run through.

    bracket_plan(1, 81, 3) runs 81 trials for 1 step, 27 for 3, 9 for 9, 3 for 27 and 1 for 81.
    """
    budgets = rung_budgets(minimum, maximum, eta)
    return _climb(full_bracket_size(budgets, eta) if trials is None else trials, budgets, eta)


def hyperband_brackets(minimum: int, maximum: int, eta: int) -> tuple[Bracket, ...]:
    """Return the brackets of one round of Hyperband, the one of the most trials first (Li et al., 2018, algorithm 1).

    Of a ladder of K rungs bracket s = K - 1 ... 0 climbs the upper s + 1 and begins with ceil(K * eta^s / (s + 1)) trials,
    so that every bracket spends about the same. From 1 to 81 by 3: 81, 34, 15, 8 and 5 trials from 1, 3, 9, 27 and 81 steps.
    """
    budgets = rung_budgets(minimum, maximum, eta)
    rungs = len(budgets)
    return tuple(_climb(-(-rungs * eta**s // (s + 1)), budgets[rungs - 1 - s :], eta) for s in reversed(range(rungs)))


def shares(total: int, sizes: Sequence[int]) -> tuple[int, ...]:
    """Divide `total` in proportion to sizes, by largest remainders: of equal ones the earlier gets more."""
    whole = sum(sizes)
    parts = [total * size // whole for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda place: (-(total * sizes[place] % whole), place))
    for place in by_remainder[: total - sum(parts)]:
        parts[place] += 1
    return tuple(parts)


def _climb(size: int, budgets: Iterable[int], eta: int) -> Bracket:
    """Return the bracket in which `size` trials begin at the lowest of the budgets."""
    rungs = []
    for budget in budgets:
        rungs.append(Rung(size, budget))
        size = survivors(size, eta)
    return Bracket(tuple(rungs))
