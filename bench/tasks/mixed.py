"""Spaces of floats, whole numbers, ordered and unordered choices at once."""

import numpy as np

from bench.tasks.continuous import hartmann_6, shifts
from bench.tasks.task import Task, choice, loss_of, ordinal, real, space_of, vector, whole
from podium_contract.parameters import Assignment


def mixed_tasks() -> list[Task]:
    return [_network(), _ackley(), _hartmann()]


def _network() -> Task:
    """Learning rate and batch size trade off, one of the choices is best, and a third of it does not matter."""

    def loss(a: Assignment) -> float:
        trade_off = (np.log10(a["lr"]) + 2.5 - 0.5 * np.log2(a["batch"] / 64)) ** 2
        shape = 0.05 * (a["depth"] - 7) ** 2 + (np.log2(a["width"] / 256) / 3) ** 2 + 4 * (a["dropout"] - 0.3) ** 2
        choices = {"relu": 0.3, "gelu": 0.0, "tanh": 0.8, "silu": 0.15}[a["activation"]]
        return float(trade_off + shape + choices)

    parameters = space_of(
        real("lr", 1e-5, 1.0, "log"),
        ordinal("batch", 16, 32, 64, 128, 256),
        whole("depth", 1, 12),
        whole("width", 8, 1024, "log"),
        real("dropout", 0.0, 0.9, step=0.1),
        choice("activation", "relu", "gelu", "tanh", "silu"),
        choice("bias", True, False),
        real("clip", 0.1, 10.0, "log"),
    )
    return Task("mixed-network-8d", "mixed", "a made-up network's settings", parameters, loss_of(loss), 0.0, 60)


def _ackley() -> Task:
    """Ackley's function of three floats and two whole numbers, moved and tilted by two choices that interact."""
    names, shift = ["x0", "x1", "x2"], shifts(3, -3, 3)
    penalty = {("a", "u"): 0.5, ("a", "v"): 2.0, ("b", "u"): 2.5, ("b", "v"): 0.0, ("c", "u"): 1.0, ("c", "v"): 1.5}

    def loss(a: Assignment) -> float:
        distances = np.concatenate([vector(a, names) - shift, [a["n"] - 6.0, (a["m"] - 30.0) / 10]])
        bowl = 1 - np.exp(-0.2 * np.sqrt((distances**2).mean()))
        waves = np.exp(1.0) - np.exp(np.cos(2 * np.pi * distances).mean())
        return float(20 * bowl + waves + penalty[a["left"], a["right"]])

    parameters = space_of(
        *(real(name, -3, 3) for name in names),
        whole("n", 1, 9),
        whole("m", 10, 100, step=10),
        choice("left", "a", "b", "c"),
        choice("right", "u", "v"),
    )
    return Task("mixed-ackley-7d", "mixed", _ackley.__doc__ or "", parameters, loss_of(loss), 0.0, 60)


def _hartmann() -> Task:
    """Hartmann's function of six, with which parameter plays which part chosen by a category of four."""
    names = [f"x{index}" for index in range(6)]
    turns = {"north": 0, "east": 1, "south": 2, "west": 3}

    def loss(a: Assignment) -> float:
        values = np.array([*vector(a, names[:4]), a["x4"] / 20, a["x5"] / 20])
        turn = turns[a["turn"]]
        return (1.0 - 0.1 * turn) * hartmann_6(np.roll(values, turn))

    parameters = space_of(
        *(real(name, 0, 1) for name in names[:4]),
        whole("x4", 0, 20),
        whole("x5", 0, 20),
        choice("turn", *turns),
    )
    # The lattice of x4 and x5 keeps the optimum of the function itself out of reach; this is the best there is on it.
    return Task(
        "mixed-hartmann-7d", "mixed", _hartmann.__doc__ or "", parameters, loss_of(loss), -3.3141948122022504, 60
    )
