"""Real trainings, looked up step by step in tables; and a made-up training whose best learning rate changes as it goes."""

from collections.abc import Iterator, Mapping

import numpy as np

from bench.tables import Table, load_table, table_names
from bench.tasks.task import Group, State, Step, Task, real, space_of
from podium_contract.experiment import Objective
from podium_contract.parameters import Assignment

_OBJECTIVES = {
    "network-digits": "log_loss",
    "network-cancer": "log_loss",
    "linear-digits": "error",
    "boosting-diabetes": "rmse",
    "models-wine": "log_loss",
}
_UNSEEN = {"network-diabetes": "rmse", "boosting-cancer": "log_loss"}
"""Larger tables, made when samplers and schedulers were done; nothing is to be chosen by them."""
_BUDGET = 50


def training_tasks() -> list[Task]:
    """Return the tasks of the tables that there are."""
    return [*_tasks(_OBJECTIVES, "training"), *_tasks(_UNSEEN, "unseen-training")]


def _tasks(objectives: Mapping[str, str], group: Group) -> Iterator[Task]:
    known = table_names()
    return (training_task(load_table(name), metric, group) for name, metric in objectives.items() if name in known)


def training_task(table: Table, metric: str, group: Group = "training") -> Task:
    """Return the task of finding a table's best configuration; its best may be reached before the last step."""
    values = table.column(metric)

    def advance(chosen: Assignment, step: int, _: State) -> Step:
        row = table.row(chosen)
        return Step({metric: float(values[row, step - 1])}, float(table.seconds[row, step - 1]))

    final = values[:, -1]
    return Task(
        name=table.name,
        group=group,
        about=table.about.split(";")[0],
        parameters=table.parameters,
        advance=advance,
        optimum=float(np.nanmin(final)),
        budget=_BUDGET,
        steps=table.steps,
        objectives=(Objective(metric=metric, goal="minimize"),),
        all_losses=np.where(np.isfinite(final), final, np.nanmax(final)),
    )


def schedule_task(steps: int = 60) -> Task:
    """Return a training that wants large steps at first and small ones at the end: no constant rate does both.

    A parabola of curvature 1 descended with noise that grows with the rate, in expectation: the error e becomes
    (1 - lr)^2 e + 0.1 lr^2. The largest rates are best far from the optimum, the smallest near it.
    """

    def advance(chosen: Assignment, _: int, state: State) -> Step:
        error = state[0] if state else 1.0
        rate = chosen["lr"]
        error = (1 - rate) ** 2 * error + 0.1 * rate**2
        return Step({"loss": float(np.log10(error))}, 1.0, (error,))

    rates = np.logspace(-3, 0, 400)
    errors = 1.0
    for _ in range(steps):  # the best rate at each step minimises the error after it
        errors = float(np.min((1 - rates) ** 2 * errors + 0.1 * rates**2))
    return Task(
        name="schedule",
        group="schedule",
        about="a descent whose best learning rate falls as it goes: for population-based training",
        parameters=space_of(real("lr", 1e-3, 1.0, "log")),
        advance=advance,
        optimum=float(np.log10(errors)),
        budget=8,
        steps=steps,
    )
