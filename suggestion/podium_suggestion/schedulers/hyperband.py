"""Hyperband (Li et al., 2018, "Hyperband: a novel bandit-based approach to hyperparameter optimization", JMLR 18).

How early losses tell late ones is not known beforehand, so Hyperband hedges: a round is one bracket of successive halving
for each rung of the ladder, from many trials that begin at the lowest rung to a few that are trained in full at once, each
bracket of about the same cost. Rounds follow one another until `maxTrials` is reached. The last round is seldom whole: what
is left is then shared out among its brackets in proportion to their sizes, so that it hedges like the others. With fewer
trials than one round takes, that is the only one.

`asynchronous: true` runs the brackets side by side, each by the rule of ASHA; a new trial joins the bracket that is the
furthest behind its share (Li et al., 2020, "asynchronous Hyperband").
"""

from podium_contract.algorithms import HyperbandScheduler
from podium_suggestion.history import History
from podium_suggestion.rungs import hyperband_brackets, rung_budgets, shares
from podium_suggestion.schedulers.asha import Asha
from podium_suggestion.schedulers.base import Scheduler
from podium_suggestion.schedulers.halving import Halving, Opening
from podium_suggestion.schedulers.wording import Wording


def make_hyperband(settings: HyperbandScheduler, wording: Wording, max_trials: int) -> Scheduler:
    """Return Hyperband in the form that the settings ask for."""
    eta = settings.settings.reduction_factor
    budgets = rung_budgets(settings.min, settings.max, eta)
    starts = [bracket.rungs[0] for bracket in hyperband_brackets(settings.min, settings.max, eta)]
    if settings.settings.asynchronous:
        chooser = _ByShare(tuple(start.trials for start in starts))
        return Asha(budgets, eta, wording, finishes_best=False, bracket_of=chooser.next_bracket)
    rounds = Rounds(tuple(Opening(start.trials, start.budget) for start in starts), max_trials)
    return Halving(budgets, eta, wording, rounds.opening_of)


class Rounds:
    """Brackets 0, 1 ... of all rounds, one after another."""

    def __init__(self, openings: tuple[Opening, ...], max_trials: int) -> None:
        """`openings` are those of a whole round."""
        self._openings = openings
        self._max_trials = max_trials

    def opening_of(self, bracket: int) -> Opening:
        """Return how a bracket begins."""
        round_, place = divmod(bracket, len(self._openings))
        sizes = [opening.size for opening in self._openings]
        left = self._max_trials - round_ * sum(sizes)
        if 0 < left < sum(sizes):
            sizes = list(shares(left, sizes))
        return Opening(sizes[place], self._openings[place].budget)


class _ByShare:
    """Chooses brackets so that after any number of trials each has had its share, to within one."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self._sizes = sizes

    def next_bracket(self, history: History) -> int:
        """Return the bracket that is the furthest behind; of equals the one of the most trials."""
        brackets, whole = history.bracket[history.known].tolist(), sum(self._sizes)
        behind = [
            (len(brackets) + 1) * size - whole * brackets.count(bracket) for bracket, size in enumerate(self._sizes)
        ]
        return behind.index(max(behind))
