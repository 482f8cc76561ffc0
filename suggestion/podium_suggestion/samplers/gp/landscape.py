"""What a point promises in all: improvement by the objectives' models, and feasibility by the constraints' models.

Everything is added up in logarithms, as if the models were independent: log-EI and the logarithm of each bound's chance to
be kept make the logarithm of the constrained expected improvement (Gardner et al., "Bayesian optimization with inequality
constraints", ICML 2014).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from podium_suggestion.samplers.gp.acquisition import Acquisition, log_probability_of_improvement
from podium_suggestion.samplers.gp.model import GaussianProcess
from podium_suggestion.space import BoolArray, FloatArray


@dataclass(frozen=True)
class Bound:
    """A model of how far a metric is beyond its bound, and the prediction at which the bound is just kept."""

    process: GaussianProcess
    limit: float

    def is_kept(self, units: FloatArray) -> BoolArray:
        """Answer where the bound is more likely kept than not, shape (n,) from encoded points, shape (n, dimension)."""
        return np.asarray(self.process.predict(units)[0] <= self.limit)

    @property
    def term(self) -> "ModelTerm":
        """Return the logarithm of the chance that it is kept."""
        return ModelTerm(
            self.process, lambda mean, deviation: log_probability_of_improvement(mean, deviation, self.limit)
        )


class Term(Protocol):
    """A logarithm, or what is added up with others as if it were one."""

    def score(self, units: FloatArray) -> FloatArray:
        """Return the values at points, shape (k,) from (k, dimension)."""

    def slope(self, point: FloatArray) -> tuple[float, FloatArray]:
        """Return the value at a point and its derivatives by the coordinates, shape (dimension,)."""


@dataclass(frozen=True)
class ModelTerm:
    """A model and what its predictions are worth."""

    process: GaussianProcess
    acquisition: Acquisition

    def score(self, units: FloatArray) -> FloatArray:
        return self.acquisition(*self.process.predict(units)).value

    def slope(self, point: FloatArray) -> tuple[float, FloatArray]:
        mean, deviation, by_mean, by_deviation = self.process.predict_with_slope(point)
        promise = self.acquisition(np.array([mean]), np.array([deviation]))
        return float(promise.value[0]), promise.by_mean[0] * by_mean + promise.by_deviation[0] * by_deviation


class Landscape:
    """The sum of terms, as a function of encoded points."""

    def __init__(self, terms: Sequence[Term]) -> None:
        self._terms = terms

    def score(self, units: FloatArray) -> FloatArray:
        return np.asarray(sum(term.score(units) for term in self._terms))

    def slope(self, point: FloatArray) -> tuple[float, FloatArray]:
        value, by_coordinate = 0.0, np.zeros(len(point))
        for term in self._terms:
            part, by_part = term.slope(point)
            value += part
            by_coordinate += by_part
        return value, by_coordinate
