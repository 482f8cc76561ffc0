"""A Gaussian process whose function changes with time, as PB2 needs it (Parker-Holder et al., 2020; Bogunovic et al., 2016).

What values are good depends on how far training is. The covariance of two segments of training is therefore

    k(z, z') = s^2 exp(-|x - x'|^2 / 2 l^2) exp(-(c - c')^2 / 2 m^2) (1 - w)^(|t - t'| / 2)

with x the values in the unit cube, c the loss at which the segment began, and t its time, counted in segments: older
segments tell less, the less the larger the forgetting rate w. The signal's variance s^2 is the one of largest likelihood in
closed form, y' K^-1 y / n; l, m, w and the noise are those of a fixed list of combinations that explain the data best: a
hundred segments take some ten milliseconds, and the same data give the same model.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from podium_suggestion.space import FloatArray

_COMBINATIONS = 32
_LENGTH, _CONTEXT_LENGTH, _FORGETTING, _NOISE = (0.1, 1.0), (0.5, 10.0), (0.005, 0.5), (0.01, 1.0)
"""Ranges of l, m, w and the noise's variance relative to the signal's, each searched on a log scale."""


@dataclass(frozen=True)
class Segments:
    """Segments of training, or candidates for one: n of d values each."""

    values: FloatArray
    """In the unit cube, shape (n, d)."""
    context: FloatArray
    """Standardised loss at the beginning, shape (n,)."""
    time: FloatArray
    """At the end, counted in segments, shape (n,)."""

    def __len__(self) -> int:
        return len(self.time)

    def and_also(self, other: "Segments") -> "Segments":
        return Segments(
            np.concatenate([self.values, other.values]),
            np.concatenate([self.context, other.context]),
            np.concatenate([self.time, other.time]),
        )


@dataclass(frozen=True)
class Kernel:
    """How alike two segments are."""

    length: float
    context_length: float
    forgetting: float
    noise: float

    def between(self, left: Segments, right: Segments) -> FloatArray:
        """Return correlations, shape (len(left), len(right))."""
        squared = ((left.values[:, None, :] - right.values[None, :, :]) ** 2).sum(axis=2)
        apart = (left.context[:, None] - right.context[None, :]) ** 2
        lapse = np.abs(left.time[:, None] - right.time[None, :])
        exponent = squared / (2 * self.length**2) + apart / (2 * self.context_length**2)
        return np.asarray(np.exp(-exponent) * (1.0 - self.forgetting) ** (lapse / 2))


class Bandit:
    """The process, given what segments have gained."""

    def __init__(self, segments: Segments, gains: FloatArray) -> None:
        """Condition on gains, shape (n,), of mean about 0; n is at least 1."""
        self._segments = segments
        self._gains = gains
        fits = [(_fit(kernel, segments, gains), kernel) for kernel in _kernels()]
        (_, self._variance), self.kernel = max(fits, key=lambda fit: fit[0][0])

    def bound(self, candidates: Segments, pending: Segments, exploration: float) -> FloatArray:
        """Return upper confidence bounds of the gain, shape (len(candidates),).

        Pending segments narrow the bound where they are, but as nobody knows what they will gain, they leave the mean as it
        is (Desautels et al., 2014, "GP-BUCB"): so clones that are made together keep apart.
        """
        mean, _ = self._posterior(candidates, self._segments, self._gains)
        known = self._segments.and_also(pending)
        _, deviation = self._posterior(candidates, known, np.zeros(len(known)))
        width = np.sqrt(0.2 + np.log1p(0.4 * float(candidates.time.max())))  # the paper's c1 and c2, kept positive
        return np.asarray(mean + exploration * width * deviation)

    def _posterior(self, candidates: Segments, known: Segments, gains: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return mean and standard deviation at the candidates, shape (n,) each, given gains of what is known."""
        factor = cho_factor(self.kernel.between(known, known) + self.kernel.noise * np.eye(len(known)), lower=True)
        across = self.kernel.between(candidates, known)
        mean = across @ cho_solve(factor, gains)
        explained = np.einsum("ij,ji->i", across, cho_solve(factor, across.T))
        # Rounding may explain a little more than all there is.
        return mean, np.sqrt(self._variance * np.maximum(1.0 - explained, 0.0))


def _fit(kernel: Kernel, segments: Segments, gains: FloatArray) -> tuple[float, float]:
    """Return the log-likelihood at the signal's best variance, up to a constant, and that variance."""
    correlation = kernel.between(segments, segments) + kernel.noise * np.eye(len(segments))
    factor = cho_factor(correlation, lower=True)
    variance = max(float(gains @ cho_solve(factor, gains)) / len(gains), 1e-12)
    log_determinant = 2.0 * float(np.log(np.diag(factor[0])).sum())
    return -0.5 * (len(gains) * np.log(variance) + log_determinant), variance


@cache
def _kernels() -> tuple[Kernel, ...]:
    """Return the combinations that are tried: well spread points of the box of their logarithms."""
    from scipy.stats import qmc  # noqa: PLC0415  (half a second of start-up, of every command)

    points = qmc.Sobol(4, scramble=False).random(_COMBINATIONS)
    low, high = np.log(np.array([_LENGTH, _CONTEXT_LENGTH, _FORGETTING, _NOISE]).T)
    return tuple(Kernel(*map(float, values)) for values in np.exp(low + points * (high - low)))
