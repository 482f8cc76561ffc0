"""A kernel of sums: correlations of functions that add up, each of one parameter alone.

A loss that is a sum of one function per parameter is learnt from far fewer trials than one in which everything interacts,
and many losses nearly are such sums (Hutter, Hoos and Leyton-Brown, "An efficient approach for assessing hyperparameter
importance", ICML 2014). The correlation is the mean over the k parameters of Matérn-5/2 functions of D_i / g_i^2, where
D_i is the squared distance for parameter i (kernel.py) and g_i the length scale of its function (Duvenaud, Nickisch and
Rasmussen, "Additive Gaussian processes", NeurIPS 2011, first order).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from podium_suggestion.history import IntArray
from podium_suggestion.samplers.gp.kernel import Embedding, matern, squared_distances
from podium_suggestion.space import FloatArray

_SQRT_5 = float(np.sqrt(5.0))
_KEY_BASE = float(np.pi)
"""Powers of this weigh the coordinates of a parameter, so that no two of its values have one sum."""


@dataclass(frozen=True)
class Sums:
    """How much of the signal is a sum, and of which functions."""

    share: float
    """Between 0, everything interacts, and 1, nothing does."""
    lengths: FloatArray
    """Length scales of the functions, shape (k,), for the parameters that matter."""


def sum_distances(embedding: Embedding, coordinates: FloatArray) -> FloatArray:
    """Return sqrt(5 D_i) per parameter and pair of rows of coordinates, shape (k, pairs) from (n, coordinates)."""
    upper = _upper(len(coordinates))
    squares = [squares[upper] for squares in embedding.squares_by_parameter(coordinates, coordinates)]
    return np.asarray(_SQRT_5 * np.sqrt(np.array(squares)))


@lru_cache(maxsize=8)
def _upper(count: int) -> tuple[IntArray, IntArray]:
    """Return the rows and columns of the pairs among so many points, shape (pairs,) each."""
    return np.triu_indices(count, 1)


class SumsAmong:
    """Correlations among some points: those in which everything interacts mixed with those of sums."""

    def __init__(self, sums: Sums, distances: FloatArray, product: FloatArray) -> None:
        """Take `sum_distances` and the correlations where everything interacts, shape (n, n)."""
        self._share = sums.share
        self._distances = distances
        self._upper = _upper(len(product))
        total = np.zeros(distances.shape[1])
        self._by_length = np.empty_like(distances)
        """Derivatives of the mixed correlations by the logarithms of the lengths, shape (k, pairs)."""
        for place, scaled in enumerate(distances / sums.lengths[:, None]):
            decay = np.exp(-scaled)
            square = scaled**2 / 3.0
            total += (1.0 + scaled + square) * decay
            self._by_length[place] = square * (1.0 + scaled) * decay
        self._by_length *= sums.share / len(sums.lengths)
        self._gap = self._matrix(total / len(sums.lengths) - product[self._upper])
        self.mixed = product + sums.share * self._gap
        """Correlations, shape (n, n)."""

    def slope(self, by_correlation: FloatArray) -> FloatArray:
        """Return what changes with log(share / (1 - share)) and with each length's logarithm, shape (1 + k,).

        `by_correlation` is twice the derivative by the correlations, symmetric, shape (n, n).
        """
        by_share = 0.5 * self._share * (1.0 - self._share) * float((by_correlation * self._gap).sum())
        return np.concatenate([[by_share], self._by_length @ by_correlation[self._upper]])

    def by_coordinates(self, by_correlation: FloatArray, embedding: Embedding, coordinates: FloatArray) -> FloatArray:
        """Return what changes with the coordinates, shape (n, coordinates)."""
        distances = np.where(self._distances > 0.0, self._distances, 1.0)
        by_square = -5.0 * self._by_length * by_correlation[self._upper] / distances**2
        matrices = [self._matrix(pairs) for pairs in by_square]
        moved = [
            matrices[place].sum(axis=1) * values - matrices[place] @ values
            for place, values in zip(embedding.place, coordinates.T, strict=True)
        ]
        return np.array(moved).T

    def _matrix(self, pairs: FloatArray) -> FloatArray:
        """Return the symmetric matrix of values for the pairs, shape (n, n) from (pairs,), 0 on the diagonal."""
        count = round((1.0 + np.sqrt(1.0 + 8.0 * len(pairs))) / 2.0)
        matrix = np.zeros((count, count))
        matrix[self._upper] = pairs
        return matrix + matrix.T


def sums_across(embedding: Embedding, left: FloatArray, right: FloatArray, lengths: FloatArray) -> FloatArray:
    """Return correlations between rows of coordinates, shape (n, m) from (n, coordinates) and (m, coordinates)."""
    total = np.zeros((len(left), len(right)))
    for length, own in zip(lengths, embedding.coordinates, strict=True):
        # Values repeat among candidates: on lattices, and wherever a mutation left a parameter alone.
        keys = left[:, own] @ _KEY_BASE ** np.arange(len(own))
        _, first, which = np.unique(keys, return_index=True, return_inverse=True)
        scaled = np.sqrt(squared_distances(left[first][:, own], right[:, own]))
        scaled *= _SQRT_5 / length
        decay = np.exp(-scaled)
        decay *= (scaled / 3.0 + 1.0) * scaled + 1.0
        total += decay[which]
    return total / len(lengths)


def sums_about(
    embedding: Embedding, point: FloatArray, others: FloatArray, lengths: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the correlations of one row of coordinates with others, shape (m,), and minus their derivatives by D_i.

    The derivatives are given for every coordinate of parameter i, shape (m, coordinates).
    """
    squares = embedding.by_parameter((point - others) ** 2)[:, embedding.matters]
    values, slopes = matern(squares / lengths**2)
    return values.mean(axis=1), (slopes / (len(lengths) * lengths**2))[:, embedding.place]
