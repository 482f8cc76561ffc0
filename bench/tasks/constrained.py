"""Problems whose best configuration lies where bounds are nearly broken."""

from collections.abc import Callable

import numpy as np

from bench.tables import load_table
from bench.tasks.task import Step, Task, real, space_of
from podium_contract.experiment import Constraint, Objective
from podium_contract.parameters import Assignment, Parameter

Problem = Callable[[Assignment], tuple[float, list[float]]]
"""The loss of a configuration, and the constraint functions' values, which are to be at most 0."""


def constrained_tasks() -> list[Task]:
    return [
        _task("gramacy-2d", "a plane within two curved bounds (Gramacy et al., 2016)", _GRAMACY, gramacy, 0.599788, 40),
        _task("spring-3d", "the lightest spring (Arora, 1989)", _SPRING, spring, 0.012665233, 60),
        _task("vessel-4d", "the cheapest pressure vessel, of plates in sixteenths", _VESSEL, vessel, 6059.714335, 80),
        _small_network(),
    ]


_GRAMACY = space_of(real("x0", 0, 1), real("x1", 0, 1))


def gramacy(a: Assignment) -> tuple[float, list[float]]:
    x, y = a["x0"], a["x1"]
    waves = 1.5 - x - 2 * y - 0.5 * np.sin(2 * np.pi * (x**2 - 2 * y))
    return x + y, [float(waves), x**2 + y**2 - 1.5]


_SPRING = space_of(real("wire", 0.05, 2.0, "log"), real("coil", 0.25, 1.3), real("turns", 2.0, 15.0))


def spring(a: Assignment) -> tuple[float, list[float]]:
    wire, coil, turns = a["wire"], a["coil"], a["turns"]
    bending = (4 * coil**2 - wire * coil) / (12_566 * (coil * wire**3 - wire**4)) if coil != wire else np.inf
    return (turns + 2) * coil * wire**2, [
        1 - coil**3 * turns / (71_785 * wire**4),
        float(bending + 1 / (5_108 * wire**2) - 1),
        1 - 140.45 * wire / (coil**2 * turns),
        (wire + coil) / 1.5 - 1,
    ]


_VESSEL = space_of(
    real("shell", 0.0625, 6.1875, step=0.0625),
    real("head", 0.0625, 6.1875, step=0.0625),
    real("radius", 10.0, 200.0),
    real("length", 10.0, 200.0),
)


def vessel(a: Assignment) -> tuple[float, list[float]]:
    shell, head, radius, length = a["shell"], a["head"], a["radius"], a["length"]
    cost = (
        0.6224 * shell * radius * length
        + 1.7781 * head * radius**2
        + 3.1661 * shell**2 * length
        + 19.84 * shell**2 * radius
    )
    volume = np.pi * radius**2 * length + 4 / 3 * np.pi * radius**3
    return cost, [0.0193 * radius - shell, 0.00954 * radius - head, 1 - volume / 1_296_000]


def _task(name: str, about: str, parameters: list[Parameter], problem: Problem, optimum: float, budget: int) -> Task:
    def advance(chosen: Assignment, _: int, __: object) -> Step:
        loss, bounds = problem(chosen)
        return Step({"loss": float(loss)} | {f"g{n}": float(bound) for n, bound in enumerate(bounds, start=1)})

    middle = {parameter.name: parameter.min for parameter in parameters}  # type: ignore[union-attr]  # all are numeric
    count = len(problem(middle)[1])
    return Task(
        name=name,
        group="constrained",
        about=about,
        parameters=parameters,
        advance=advance,
        optimum=optimum,
        budget=budget,
        constraints=tuple(Constraint(metric=f"g{n}", max=0.0) for n in range(1, count + 1)),
    )


def _small_network() -> Task:
    """Real trainings of a network on digits: the least log loss with at most 2 000 weights and a second of training."""
    table = load_table("network-digits")
    most_weights, most_seconds = 2_000.0, float(np.median(table.seconds.sum(axis=1)))
    losses, seconds = table.column("log_loss")[:, -1], table.seconds.sum(axis=1)
    is_feasible = (table.column("weights")[:, -1] <= most_weights) & (seconds <= most_seconds)

    def advance(chosen: Assignment, _: int, __: object) -> Step:
        row = table.row(chosen)
        spent = float(seconds[row])
        metrics = {"loss": float(losses[row]), "weights": float(table.column("weights")[row, -1]), "seconds": spent}
        return Step(metrics, spent)

    return Task(
        name="network-digits-small",
        group="constrained",
        about="real trainings of a network on digits: least log loss with few weights, in half of the usual time",
        parameters=table.parameters,
        advance=advance,
        optimum=float(np.nanmin(losses[is_feasible])),
        budget=60,
        objectives=(Objective(metric="loss", goal="minimize"),),
        constraints=(Constraint(metric="weights", max=most_weights), Constraint(metric="seconds", max=most_seconds)),
        all_losses=losses[is_feasible & np.isfinite(losses)],
    )
