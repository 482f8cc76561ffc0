"""What every sampler is: a function of the history and a trial's number, with randomness handed in."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from podium_contract.parameters import Assignment
from podium_suggestion.history import History


@dataclass(frozen=True)
class Exhausted:
    """The sampler has nothing left to try."""

    reason: str
    """A sentence for a person: "the grid's 25 points have all been tried"."""


class Sampler(Protocol):
    """Proposes configurations. It keeps no state that the history does not determine (caches apart)."""

    def propose(self, history: History, number: int, rng: np.random.Generator) -> Assignment | Exhausted:
        """Return the configuration of trial `number`.

        `history` holds all earlier trials, those still training included: a model must count them as pending, or a batch
        gets one point several times. `rng` is seeded from (experiment seed, trial number): the same history and number
        give the same answer.
        """
        ...


def trial_rng(seed: int, number: int) -> np.random.Generator:
    """Return the generator of one trial's decisions."""
    return np.random.default_rng([seed, number])


@dataclass(frozen=True)
class Proposal:
    """A configuration, and where it comes from."""

    assignment: Assignment
    origin: str = ""
    """A clause for a person, beside the algorithm's name; empty when that says it all."""


class Explaining(ABC):
    """A sampler whose proposals are not all of one origin, and which tells the origin of each."""

    @abstractmethod
    def suggest(self, history: History, number: int, rng: np.random.Generator) -> Proposal | Exhausted:
        """Propose a configuration, as any sampler, with its origin."""

    def propose(self, history: History, number: int, rng: np.random.Generator) -> Assignment | Exhausted:
        proposal = self.suggest(history, number, rng)
        return proposal.assignment if isinstance(proposal, Proposal) else proposal


def suggest(sampler: Sampler, history: History, number: int, rng: np.random.Generator) -> Proposal | Exhausted:
    """Ask any sampler for a configuration with its origin."""
    if isinstance(sampler, Explaining):
        return sampler.suggest(history, number, rng)
    proposal = sampler.propose(history, number, rng)
    return proposal if isinstance(proposal, Exhausted) else Proposal(proposal)
