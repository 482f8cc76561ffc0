"""Ladders of budgets, and the classic bracket that climbs one. Integers only.

The textbook count of rungs, floor(log(max / min) / log(eta)), loses one to rounding: log(243) / log(3) is 4.999... in
floating point. Here budgets are multiplied, never logged.
"""

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
    size = full_bracket_size(budgets, eta) if trials is None else trials
    rungs = []
    for budget in budgets:
        rungs.append(Rung(size, budget))
        size = survivors(size, eta)
    return Bracket(tuple(rungs))
