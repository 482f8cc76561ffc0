"""A multilayer perceptron in numpy: small, exact to resume, and started in a tenth of a second.

Everything that training changes (weights, optimiser moments, random state, epoch) is in the object, so a pickled copy goes
on bit for bit as the original would have.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from podium_trial.data import Dataset, Part, Task

FloatArray = NDArray[np.float64]
Optimizer = Literal["sgd", "adam", "rmsprop"]
Activation = Literal["relu", "tanh", "gelu"]

_EPSILON = 1e-8
_BELOW_ONE = 0.999999
_GELU = np.sqrt(2.0 / np.pi)


@dataclass(frozen=True)
class NetworkSettings:
    """Hyperparameters; the defaults are those of common text books and libraries."""

    layers: int = 1
    """Hidden layers."""
    width: int = 64
    """Units of the first hidden layer."""
    taper: float = 1.0
    """Width of each further layer relative to the one before."""
    activation: Activation = "relu"
    optimizer: Optimizer = "sgd"
    lr: float = 0.01
    momentum: float = 0.9
    """Of sgd."""
    nesterov: bool = False
    """Of sgd: look ahead along the momentum (Sutskever et al., 2013)."""
    beta1: float = 0.9
    """Of adam (Kingma and Ba, 2015)."""
    beta2: float = 0.999
    """Of adam; of rmsprop: the decay of its mean square (Tieleman and Hinton, 2012)."""
    batch: int = 32
    weight_decay: float = 0.0
    """Decoupled from the gradient (Loshchilov and Hutter, 2019); relative to the learning rate."""
    dropout: float = 0.0
    """Share of hidden units left out in each batch (Srivastava et al., 2014)."""
    lr_decay: float = 1.0
    """Factor by which the learning rate shrinks each epoch."""

    def __post_init__(self) -> None:
        check_range("layers", self.layers, 0, 16)
        check_range("width", self.width, 1, 65_536)
        check_range("taper", self.taper, 0.0, 16.0)
        check_range("lr", self.lr, 0.0)
        check_range("momentum", self.momentum, 0.0, 1.0)
        check_range("beta1", self.beta1, 0.0, _BELOW_ONE)
        check_range("beta2", self.beta2, 0.0, _BELOW_ONE)
        check_range("batch", self.batch, 1)
        check_range("weight_decay", self.weight_decay, 0.0)
        check_range("dropout", self.dropout, 0.0, _BELOW_ONE)
        check_range("lr_decay", self.lr_decay, 0.0, 1.0)


def check_range(name: str, value: float, low: float, high: float = math.inf) -> None:
    """Raise ValueError unless a hyperparameter lies in its range."""
    if not low <= value <= high:
        bounds = f"between {low:g} and {high:g}" if high < math.inf else f"at least {low:g}"
        raise ValueError(f"{name} must be {bounds}, got {value:g}; correct it")


class Network:
    """A perceptron for classification (softmax, cross entropy) or regression (squared error)."""

    def __init__(self, settings: NetworkSettings, data: Dataset, seed: int) -> None:
        self.epoch = 0
        self._settings = settings
        self._task = data.task
        self._rng = np.random.default_rng(seed)
        widths = [max(2, round(settings.width * settings.taper**layer)) for layer in range(settings.layers)]
        sizes = [data.train.features.shape[1], *widths, data.outputs]
        gain = 1.0 if settings.activation == "tanh" else 2.0
        # He et al. (2015) for rectifiers, Glorot and Bengio (2010) otherwise.
        self._weights = [
            self._rng.normal(0.0, np.sqrt(gain / inputs), (inputs, outputs)) for inputs, outputs in pairwise(sizes)
        ]
        self._biases = [np.zeros(outputs) for outputs in sizes[1:]]
        self._first, self._second = self._zeros()
        self._updates = 0

    @property
    def size(self) -> int:
        """Number of weights and biases."""
        return sum(parameter.size for parameter in self._parameters())

    def adjust(self, settings: NetworkSettings) -> None:
        """Go on with other settings: those of a clone differ from its parent's.

        Another optimiser starts without moments. Raises ValueError for another shape, which the weights cannot take.
        """
        for name in ("layers", "width", "taper"):
            old, new = getattr(self._settings, name), getattr(settings, name)
            if old != new:
                raise ValueError(f"{name} must stay as it was in training, got {new:g} after {old:g}; do not vary it")
        if settings.optimizer != self._settings.optimizer:
            self._first, self._second, self._updates = *self._zeros(), 0
        self._settings = settings

    def shape(self) -> tuple[int, int]:
        """Return the number of columns and of outputs."""
        return self._weights[0].shape[0], self._weights[-1].shape[1]

    def train_epoch(self, part: Part) -> float:
        """Pass once over the rows in random order; returns the mean training loss."""
        rows, losses = self._rng.permutation(len(part.targets)), []
        batch = min(self._settings.batch, len(rows))
        for start in range(0, len(rows) - batch + 1, batch):
            chosen = rows[start : start + batch]
            losses.append(self._train_batch(part.features[chosen], part.targets[chosen]))
        self.epoch += 1
        return float(np.mean(losses))

    def outputs(self, features: FloatArray) -> FloatArray:
        """Return class scores of shape (n, classes), or predictions of shape (n, 1)."""
        hidden = features
        with np.errstate(over="ignore", invalid="ignore"):  # a diverging trial reports NaN; it needs no warning
            for weights, biases in zip(self._weights[:-1], self._biases[:-1], strict=True):
                hidden = _activate(hidden @ weights + biases, self._settings.activation)
            return np.asarray(hidden @ self._weights[-1] + self._biases[-1])

    def _train_batch(self, features: FloatArray, targets: FloatArray) -> float:
        sums, inputs, masks = [], [features], []
        hidden = features
        with np.errstate(over="ignore", invalid="ignore"):
            for weights, biases in zip(self._weights[:-1], self._biases[:-1], strict=True):
                total = hidden @ weights + biases
                mask = self._dropout_mask(total.shape)
                hidden = _activate(total, self._settings.activation) * mask
                sums.append(total)
                masks.append(mask)
                inputs.append(hidden)
            loss, slope = loss_and_slope(hidden @ self._weights[-1] + self._biases[-1], targets, self._task)
            gradients: list[FloatArray] = []
            for layer in reversed(range(len(self._weights))):
                gradients[:0] = [inputs[layer].T @ slope, slope.sum(axis=0)]
                if layer:
                    through = _derivative(sums[layer - 1], self._settings.activation) * masks[layer - 1]
                    slope = slope @ self._weights[layer].T * through
            self._update(gradients)
        return loss

    def _dropout_mask(self, shape: tuple[int, ...]) -> FloatArray:
        keep = 1.0 - self._settings.dropout
        if keep >= 1.0:
            return np.ones(shape)
        return np.asarray((self._rng.random(shape) < keep) / keep)

    def _update(self, gradients: list[FloatArray]) -> None:
        settings = self._settings
        self._updates += 1
        lr = settings.lr * settings.lr_decay**self.epoch
        for index, (parameter, gradient) in enumerate(zip(self._parameters(), gradients, strict=True)):
            decay = settings.weight_decay * parameter if parameter.ndim > 1 else 0.0
            np.subtract(parameter, lr * (self._direction(index, gradient) + decay), out=parameter)

    def _direction(self, index: int, gradient: FloatArray) -> FloatArray:
        settings, first, second = self._settings, self._first[index], self._second[index]
        if settings.optimizer == "sgd":
            first *= settings.momentum
            first += gradient
            return gradient + settings.momentum * first if settings.nesterov else first
        second *= settings.beta2
        second += (1.0 - settings.beta2) * gradient**2
        if settings.optimizer == "rmsprop":
            return np.asarray(gradient / (np.sqrt(second) + _EPSILON))
        first *= settings.beta1
        first += (1.0 - settings.beta1) * gradient
        unbiased = first / (1.0 - settings.beta1**self._updates)
        return np.asarray(unbiased / (np.sqrt(second / (1.0 - settings.beta2**self._updates)) + _EPSILON))

    def _zeros(self) -> tuple[list[FloatArray], list[FloatArray]]:
        """Return the optimiser's two moments of each parameter at the start."""
        return [np.zeros_like(p) for p in self._parameters()], [np.zeros_like(p) for p in self._parameters()]

    def _parameters(self) -> list[FloatArray]:
        """Weights and biases, layer by layer: the order of the gradients."""
        return [array for pair in zip(self._weights, self._biases, strict=True) for array in pair]


def loss_and_slope(outputs: FloatArray, targets: FloatArray, task: Task) -> tuple[float, FloatArray]:
    """Return the mean loss and its gradient with respect to the outputs, shape (n, outputs).

    Cross entropy of class scores, or squared error of predictions.
    """
    count = len(targets)
    if task == "regression":
        error = outputs[:, 0] - targets
        return float(np.mean(error**2)), 2.0 * error[:, None] / count
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    log_shares = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows, classes = np.arange(count), targets.astype(int)
    slope = np.exp(log_shares)
    slope[rows, classes] -= 1.0
    return float(-log_shares[rows, classes].mean()), slope / count


def _activate(total: FloatArray, activation: Activation) -> FloatArray:
    match activation:
        case "relu":
            return np.maximum(total, 0.0)
        case "tanh":
            return np.tanh(total)
        case "gelu":
            return np.asarray(0.5 * total * (1.0 + np.tanh(_GELU * (total + 0.044715 * total**3))))


def _derivative(total: FloatArray, activation: Activation) -> FloatArray:
    match activation:
        case "relu":
            return np.asarray(total > 0.0, dtype=np.float64)
        case "tanh":
            return np.asarray(1.0 - np.tanh(total) ** 2)
        case "gelu":
            inner = np.tanh(_GELU * (total + 0.044715 * total**3))
            steepness = _GELU * (1.0 + 3.0 * 0.044715 * total**2)
            return np.asarray(0.5 * (1.0 + inner) + 0.5 * total * (1.0 - inner**2) * steepness)
