"""Standard functions of two to ten continuous parameters, moved off the centre where the centre would be favoured.

Definitions and optima: Surjanovic and Bingham, "Virtual library of simulation experiments", sfu.ca/~ssurjano.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.tasks.task import Group, Task, loss_of, real, space_of, vector
from podium_suggestion.space import FloatArray

_GOLDEN = (5**0.5 - 1) / 2


def shifts(dimension: int, low: float, high: float) -> FloatArray:
    """Return a point of a box, shape (dimension,), off its axes, diagonals and centre: where optima are moved to."""
    return np.asarray(low + (high - low) * (0.15 + 0.7 * ((np.arange(dimension) * _GOLDEN + 0.3) % 1.0)))


def branin(x: FloatArray) -> float:
    bowl = x[1] - 5.1 / (4 * np.pi**2) * x[0] ** 2 + 5 / np.pi * x[0] - 6
    return float(bowl**2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(x[0]) + 10)


_DEPTHS = np.array([1.0, 1.2, 3.0, 3.2])
_SHAPE_3 = np.array([[3, 10, 30], [0.1, 10, 35], [3, 10, 30], [0.1, 10, 35]])
_CENTRES_3 = 1e-4 * np.array([[3689, 1170, 2673], [4699, 4387, 7470], [1091, 8732, 5547], [381, 5743, 8828]])
_SHAPE_6 = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
_CENTRES_6 = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann_3(x: FloatArray) -> float:
    return -float(_DEPTHS @ np.exp(-(_SHAPE_3 * (x - _CENTRES_3) ** 2).sum(axis=1)))


def hartmann_6(x: FloatArray) -> float:
    return -float(_DEPTHS @ np.exp(-(_SHAPE_6 * (x - _CENTRES_6) ** 2).sum(axis=1)))


def rosenbrock(x: FloatArray) -> float:
    return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())


def ackley(x: FloatArray) -> float:
    waves = np.exp(np.cos(2 * np.pi * x).mean())
    return float(20 * (1 - np.exp(-0.2 * np.sqrt((x**2).mean()))) + np.e - waves)


def rastrigin(x: FloatArray) -> float:
    return float((10 + x**2 - 10 * np.cos(2 * np.pi * x)).sum())


def levy(x: FloatArray) -> float:
    w = 1 + x / 4  # the optimum, usually at 1, is at 0
    middle = ((w[:-1] - 1) ** 2 * (1 + 10 * np.sin(np.pi * w[:-1] + 1) ** 2)).sum()
    last = (w[-1] - 1) ** 2 * (1 + np.sin(2 * np.pi * w[-1]) ** 2)
    return float(np.sin(np.pi * w[0]) ** 2 + middle + last)


def styblinski_tang(x: FloatArray) -> float:
    return float((x**4 - 16 * x**2 + 5 * x).sum() / 2)


def ellipsoid(x: FloatArray) -> float:
    """Return a quadratic whose axes differ in length by 100 and are turned against the parameters'."""
    weights = 100 ** (np.arange(len(x)) / max(len(x) - 1, 1))
    return float(weights @ (_rotation(len(x)) @ x) ** 2)


def _rotation(dimension: int) -> FloatArray:
    rotation, _ = np.linalg.qr(np.random.default_rng(dimension).standard_normal((dimension, dimension)))
    return np.asarray(rotation)


def _names(dimension: int) -> list[str]:
    return [f"x{index:02}" for index in range(dimension)]


def box_task(
    name: str,
    function: Callable[[FloatArray], float],
    box: list[tuple[float, float]],
    optimum: float,
    budget: int,
    shift: FloatArray | float = 0.0,
    group: Group = "continuous",
) -> Task:
    """Return the task of minimising a function on a box; `shift` is where its origin lies."""
    axes: list[dict[str, Any]] = [
        real(axis, low, high) for axis, (low, high) in zip(_names(len(box)), box, strict=True)
    ]
    return Task(
        name=name,
        group=group,
        about=f"{function.__name__.replace('_', ' ')} in {len(box)} dimensions",
        parameters=space_of(*axes),
        advance=loss_of(lambda chosen: function(vector(chosen) - shift)),
        optimum=optimum,
        budget=budget,
    )


def continuous_tasks() -> list[Task]:
    return [
        box_task("branin-2d", branin, [(-5, 10), (0, 15)], 0.397887357729739, 40),
        box_task("hartmann-3d", hartmann_3, [(0, 1)] * 3, -3.862779787332660, 40),
        box_task("rastrigin-3d", rastrigin, [(-5.12, 5.12)] * 3, 0.0, 60, shifts(3, -5.12, 5.12)),
        box_task("rosenbrock-4d", rosenbrock, [(-2, 2)] * 4, 0.0, 60),
        box_task("ackley-5d", ackley, [(-15, 25)] * 5, 0.0, 60, shifts(5, -15, 25)),
        box_task("styblinski-5d", styblinski_tang, [(-5, 5)] * 5, -39.166165703771419 * 5, 60),
        box_task("hartmann-6d", hartmann_6, [(0, 1)] * 6, -3.322368011415513, 60),
        box_task("levy-8d", levy, [(-10, 10)] * 8, 0.0, 80, shifts(8, -10, 10)),
        box_task("ellipsoid-10d", ellipsoid, [(-5, 5)] * 10, 0.0, 80, shifts(10, -5, 5)),
    ]
