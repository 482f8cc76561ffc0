"""Problems of two and three objectives whose Pareto front, and so its hypervolume, is known.

ZDT: Zitzler, Deb and Thiele, "Comparison of multiobjective evolutionary algorithms", 2000. DTLZ: Deb, Thiele, Laumanns and
Zitzler, "Scalable test problems for evolutionary multi-objective optimization", 2005.
"""

from collections.abc import Callable

import numpy as np

from bench.tables import load_table
from bench.tasks.task import Step, Task, real, space_of, vector
from podium_contract.experiment import Objective
from podium_contract.parameters import Assignment
from podium_suggestion.pareto import hypervolume
from podium_suggestion.space import FloatArray

_BUDGET = 100
_ZDT_REFERENCE = (1.1, 6.0)
"""Wide enough that random configurations count: at a typical one the second objective is about 5."""
_DTLZ_REFERENCE = (2.5, 2.5, 2.5)


def multi_objective_tasks() -> list[Task]:
    return [
        _zdt("zdt1-6d", lambda f1, g: g * (1 - np.sqrt(f1 / g)), 5.6 + 2 / 3),
        _zdt("zdt2-6d", lambda f1, g: g * (1 - (f1 / g) ** 2), 5.6 + 1 / 3),
        _zdt("zdt3-6d", _zdt3, _zdt3_volume()),
        _dtlz2(),
        _network_size(),
    ]


def _zdt(name: str, second: Callable[[float, float], float], volume: float) -> Task:
    def advance(chosen: Assignment, _: int, __: object) -> Step:
        x = vector(chosen)
        g = 1 + 9 * float(x[1:].mean())
        return Step({"f1": float(x[0]), "f2": float(second(float(x[0]), g))})

    return Task(
        name=name,
        group="multi-objective",
        about=f"{name[:4].upper()}: two objectives of six parameters",
        parameters=space_of(*(real(f"x{index}", 0, 1) for index in range(6))),
        advance=advance,
        optimum=volume,
        budget=_BUDGET,
        objectives=_minimized("f1", "f2"),
        reference=_ZDT_REFERENCE,
    )


def _zdt3(f1: float, g: float) -> float:
    return float(g * (1 - np.sqrt(f1 / g) - f1 / g * np.sin(10 * np.pi * f1)))


def _zdt3_volume() -> float:
    """Return the hypervolume of the front, which is in five pieces, from points of it a hundred-thousandth apart."""
    f1 = np.linspace(0.0, 1.0, 100_001)
    least = np.minimum.accumulate(1 - np.sqrt(f1) - f1 * np.sin(10 * np.pi * f1))
    return float(np.trapezoid(_ZDT_REFERENCE[1] - least, f1) + (_ZDT_REFERENCE[0] - 1.0) * (6.0 - least[-1]))


def _dtlz2() -> Task:
    """DTLZ2 with three objectives of six parameters: the front is an eighth of the unit sphere."""

    def advance(chosen: Assignment, _: int, __: object) -> Step:
        x = vector(chosen)
        radius = 1 + float(((x[2:] - _DISTANCES) ** 2).sum())
        first, second = np.pi / 2 * x[:2]
        values = np.cos(first) * np.cos(second), np.cos(first) * np.sin(second), np.sin(first)
        return Step({f"f{n}": float(radius * value) for n, value in enumerate(values, start=1)})

    return Task(
        name="dtlz2-6d",
        group="multi-objective",
        about=_dtlz2.__doc__ or "",
        parameters=space_of(*(real(f"x{index}", 0, 1) for index in range(6))),
        advance=advance,
        optimum=float(np.prod(_DTLZ_REFERENCE)) - np.pi / 6,
        budget=_BUDGET,
        objectives=_minimized("f1", "f2", "f3"),
        reference=_DTLZ_REFERENCE,
    )


_DISTANCES: FloatArray = np.array([0.31, 0.72, 0.44, 0.63])
"""Where the front is, off the usual centre."""


def _network_size() -> Task:
    """Real trainings of a network on digits: little error, and few weights."""
    table = load_table("network-digits")
    losses = np.column_stack([table.column("error")[:, -1], table.column("weights")[:, -1]])
    reference = (0.3, 10_000.0)

    def advance(chosen: Assignment, _: int, __: object) -> Step:
        row = table.row(chosen)
        metrics = {name: float(table.column(name)[row, -1]) for name in ("error", "weights")}
        return Step(metrics, float(table.seconds[row].sum()))

    return Task(
        name="network-digits-size",
        group="multi-objective",
        about=_network_size.__doc__ or "",
        parameters=table.parameters,
        advance=advance,
        optimum=hypervolume(losses[np.isfinite(losses).all(axis=1)], reference),
        budget=_BUDGET,
        objectives=_minimized("error", "weights"),
        reference=reference,
    )


def _minimized(*metrics: str) -> tuple[Objective, ...]:
    return tuple(Objective(metric=metric, goal="minimize") for metric in metrics)
