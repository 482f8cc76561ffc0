"""Objectives with a known optimum, over spaces as a manifest declares them: what search quality is measured on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from podium_contract.parameters import Assignment, Parameter
from podium_suggestion.space import FloatArray, Space


@dataclass(frozen=True)
class Toy:
    """A function to minimise."""

    name: str
    parameters: list[Parameter]
    loss: Callable[[Assignment], float]
    optimum: float
    """The least loss there is."""

    def regret(self, assignment: Assignment, typical: float) -> float:
        """Return how far a configuration is from the optimum: 0 there, 1 for a typical random one."""
        return (self.loss(assignment) - self.optimum) / typical

    def typical_regret(self, draws: int = 2000) -> float:
        """Return the median distance of a random configuration from the optimum."""
        rng, space = np.random.default_rng(0), Space(self.parameters)
        return float(np.median([self.loss(space.sample(rng)) for _ in range(draws)])) - self.optimum


def _toy(name: str, parameters: Sequence[object], loss: Callable[[Assignment], float], optimum: float = 0.0) -> Toy:
    return Toy(name, TypeAdapter(list[Parameter]).validate_python(parameters), loss, optimum)


def _box(dimension: int, low: float, high: float) -> list[dict[str, Any]]:
    return [{"name": f"x{index:02}", "type": "float", "min": low, "max": high} for index in range(dimension)]


def _vector(loss: Callable[[FloatArray], float]) -> Callable[[Assignment], float]:
    return lambda assignment: float(loss(np.array([assignment[name] for name in sorted(assignment)])))


def _sphere(x: FloatArray) -> float:
    return float(((x - 1.3) ** 2).sum())


def _branin(x: FloatArray) -> float:
    bowl = x[1] - 5.1 / (4 * np.pi**2) * x[0] ** 2 + 5 / np.pi * x[0] - 6
    return float(bowl**2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(x[0]) + 10)


def _rosenbrock(x: FloatArray) -> float:
    return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())


def _ackley(x: FloatArray) -> float:
    shifted = x - 3.7
    waves = np.exp(np.cos(2 * np.pi * shifted).mean())
    return float(20 * (1 - np.exp(-0.2 * np.sqrt((shifted**2).mean()))) + np.e - waves)


_HARTMANN_SHAPE = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
_HARTMANN_CENTRES = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def _hartmann(x: FloatArray) -> float:
    depths = np.array([1.0, 1.2, 3.0, 3.2])
    return -float(depths @ np.exp(-(_HARTMANN_SHAPE * (x - _HARTMANN_CENTRES) ** 2).sum(axis=1)))


def _levy(x: FloatArray) -> float:
    w = 1 + (x - 1) / 4
    inner = ((w[:-1] - 1) ** 2 * (1 + 10 * np.sin(np.pi * w[:-1] + 1) ** 2)).sum()
    last = (w[-1] - 1) ** 2 * (1 + np.sin(2 * np.pi * w[-1]) ** 2)
    return float(np.sin(np.pi * w[0]) ** 2 + inner + last)


def _mixed(a: Assignment) -> float:
    """Learning rate and batch size trade off, one of the choices is best, and a third of it does not matter."""
    trade_off = (np.log10(a["lr"]) + 2.5 - 0.5 * np.log2(a["batch"] / 64)) ** 2
    shape = 0.05 * (a["depth"] - 7) ** 2 + (np.log2(a["width"] / 256) / 3) ** 2 + 4 * (a["dropout"] - 0.3) ** 2
    choice = {"relu": 0.3, "gelu": 0.0, "tanh": 0.8, "silu": 0.15}[a["activation"]]
    return float(trade_off + shape + choice)


def _conditional(a: Assignment) -> float:
    """Three optimisers with parameters of their own: the best one is hard to set, the second best easy."""
    rate = np.log10(a["lr"])
    match a["optimizer"]:
        case "sgd":
            branch = 3 * (rate + 1.5) ** 2 + 40 * (a["momentum"] - 0.9) ** 2
        case "adam":
            branch = 0.3 + 0.5 * (rate + 3) ** 2 + (np.log10(1 - a["beta2"]) + 2.5) ** 2 / 4
        case _:
            branch = 0.8 + 0.5 * (rate + 3.5) ** 2
    schedule = 0.4 if a["schedule"] == "constant" else 2 * (a["warmup"] - 0.1) ** 2
    return float(branch + schedule + 0.02 * (a["depth"] - 6) ** 2)


def _architecture(a: Assignment) -> float:
    """Six operations in a chain, as in tables of architectures: each has a worth, and some pairs go well together."""
    worth = {"skip": 0.6, "conv3": 0.1, "conv5": 0.2, "pool": 0.8, "zero": 1.0}
    chain = [a[f"op{place}"] for place in range(6)]
    single = sum((1 + 0.3 * place) * worth[op] for place, op in enumerate(chain))
    pairs = sum(0.5 * ((left, right) == ("conv3", "skip")) - 0.4 * (left == right) for left, right in pairwise(chain))
    return float(single - pairs)


def _models(a: Assignment) -> float:
    """Two models of which one has a kernel with parameters of its own: conditions of conditions."""
    if a["model"] == "boosting":
        rate = np.log10(a["rate"]) + 1.2 + 0.4 * np.log2(a["trees"] / 100)
        return float(0.25 + rate**2 + 0.03 * (a["leaves"] - 12) ** 2 / 4)
    cost = (np.log10(a["cost"]) - 1) ** 2
    if a["kernel"] == "linear":
        return float(0.7 + 0.3 * cost)
    bend = 2 * (np.log10(a["width"]) + 2 + 0.5 * (np.log10(a["cost"]) - 1)) ** 2
    degree = 0.2 * abs(a["degree"] - 3) if a["kernel"] == "poly" else 0.15
    return float(degree + 0.3 * cost + bend)


_RATE = {"name": "lr", "type": "float", "min": 1e-5, "max": 1.0, "scale": "log"}
_MIXED = [
    _RATE,
    {"name": "batch", "type": "ordinal", "values": [16, 32, 64, 128, 256]},
    {"name": "depth", "type": "int", "min": 1, "max": 12},
    {"name": "width", "type": "int", "min": 8, "max": 1024, "scale": "log"},
    {"name": "dropout", "type": "float", "min": 0.0, "max": 0.9, "step": 0.1},
    {"name": "activation", "type": "categorical", "values": ["relu", "gelu", "tanh", "silu"]},
    {"name": "bias", "type": "categorical", "values": [True, False]},
    {"name": "clip", "type": "float", "min": 0.1, "max": 10.0, "scale": "log"},
]
_CONDITIONAL = [
    _RATE,
    {"name": "depth", "type": "int", "min": 1, "max": 12},
    {"name": "optimizer", "type": "categorical", "values": ["sgd", "adam", "rmsprop"]},
    {"name": "momentum", "type": "float", "min": 0.0, "max": 1.0, "when": {"optimizer": ["sgd"]}},
    {"name": "beta2", "type": "float", "min": 0.5, "max": 0.9999, "scale": "logit", "when": {"optimizer": ["adam"]}},
    {"name": "schedule", "type": "categorical", "values": ["constant", "cosine"]},
    {"name": "warmup", "type": "float", "min": 0.0, "max": 1.0, "when": {"schedule": ["cosine"]}},
]
_OPERATIONS = ["skip", "conv3", "conv5", "pool", "zero"]
_ARCHITECTURE = [{"name": f"op{place}", "type": "categorical", "values": _OPERATIONS} for place in range(6)]
_BOOSTING, _SVM = {"model": ["boosting"]}, {"model": ["svm"]}
_BENT = {"kernel": ["rbf", "poly"]}
_MODELS = [
    {"name": "model", "type": "categorical", "values": ["boosting", "svm"]},
    {"name": "rate", "type": "float", "min": 1e-3, "max": 1.0, "scale": "log", "when": _BOOSTING},
    {"name": "trees", "type": "int", "min": 10, "max": 1000, "scale": "log", "when": _BOOSTING},
    {"name": "leaves", "type": "int", "min": 2, "max": 64, "scale": "log", "when": _BOOSTING},
    {"name": "cost", "type": "float", "min": 1e-3, "max": 1e3, "scale": "log", "when": _SVM},
    {"name": "kernel", "type": "categorical", "values": ["linear", "rbf", "poly"], "when": _SVM},
    {"name": "width", "type": "float", "min": 1e-5, "max": 1.0, "scale": "log", "when": _BENT},
    {"name": "degree", "type": "int", "min": 2, "max": 6, "when": {"kernel": ["poly"]}},
]

TOYS = (
    _toy("sphere 5d", _box(5, -4, 6), _vector(_sphere)),
    _toy("branin 2d", [{**_box(1, -5, 10)[0]}, {**_box(2, 0, 15)[1]}], _vector(_branin), 0.39788735772973816),
    _toy("rosenbrock 5d", _box(5, -2, 2), _vector(_rosenbrock)),
    _toy("ackley 5d", _box(5, -15, 25), _vector(_ackley)),
    _toy("hartmann 6d", _box(6, 0, 1), _vector(_hartmann), -3.322368011415513),
    _toy("mixed 8d", _MIXED, _mixed),
    _toy("conditional 7d", _CONDITIONAL, _conditional),
    # Nothing was tuned on those below.
    _toy("levy 4d", _box(4, -10, 10), _vector(_levy)),
    _toy("rosenbrock 3d", _box(3, -2, 2), _vector(_rosenbrock)),
    _toy("ackley 3d", _box(3, -15, 25), _vector(_ackley)),
    _toy("nested 8d", _MODELS, _models),
    _toy("categorical 6d", _ARCHITECTURE, _architecture, 1.53),
)
