"""Tree-structured spaces: which parameters exist depends on others."""

import numpy as np

from bench.tasks.task import Task, choice, loss_of, real, space_of, whole
from podium_contract.parameters import Assignment


def conditional_tasks() -> list[Task]:
    return [_optimizers(), _jenatton(), _layers(), _models()]


def _optimizers() -> Task:
    """Three optimisers with parameters of their own: the best one is hard to set, the second best easy."""

    def loss(a: Assignment) -> float:
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

    parameters = space_of(
        real("lr", 1e-5, 1.0, "log"),
        whole("depth", 1, 12),
        choice("optimizer", "sgd", "adam", "rmsprop"),
        real("momentum", 0.0, 1.0, when={"optimizer": ["sgd"]}),
        real("beta2", 0.5, 0.9999, "logit", when={"optimizer": ["adam"]}),
        choice("schedule", "constant", "cosine"),
        real("warmup", 0.0, 1.0, when={"schedule": ["cosine"]}),
    )
    return Task("optimizers-7d", "conditional", _optimizers.__doc__ or "", parameters, loss_of(loss), 0.0, 60)


def _jenatton() -> Task:
    """The binary tree of Jenatton et al., "Bayesian optimization with tree-structured dependencies", 2017, off centre."""
    leaves = {"x4": (0.1, "r8", 0.37), "x5": (0.2, "r8", -0.42), "x6": (0.3, "r9", 0.61), "x7": (0.4, "r9", -0.28)}

    def loss(a: Assignment) -> float:
        (leaf,) = leaves.keys() & a.keys()
        offset, shared, centre = leaves[leaf]
        return float((a[leaf] - centre) ** 2 + offset + a[shared])

    parameters = space_of(
        choice("x1", "left", "right"),
        choice("x2", "left", "right", when={"x1": ["left"]}),
        choice("x3", "left", "right", when={"x1": ["right"]}),
        real("x4", -1, 1, when={"x2": ["left"]}),
        real("x5", -1, 1, when={"x2": ["right"]}),
        real("x6", -1, 1, when={"x3": ["left"]}),
        real("x7", -1, 1, when={"x3": ["right"]}),
        real("r8", 0, 1, when={"x1": ["left"]}),
        real("r9", 0, 1, when={"x1": ["right"]}),
    )
    return Task("jenatton-tree-9d", "conditional", _jenatton.__doc__ or "", parameters, loss_of(loss), 0.1, 40)


def _layers() -> Task:
    """One to four layers, each with a width, and a dropout that matters where the layer is wide."""
    best_width, best_dropout = (7.0, 8.0, 6.5, 5.0), (0.1, 0.35, 0.2, 0.4)

    def loss(a: Assignment) -> float:
        total = {1: 1.2, 2: 0.5, 3: 0.0, 4: 0.25}[a["layers"]] + (np.log10(a["lr"]) + 3) ** 2 / 2
        for layer in range(a["layers"]):
            width, dropout = np.log2(a[f"width{layer}"]), a[f"dropout{layer}"]
            total += 0.08 * (width - best_width[layer]) ** 2 + width / 4 * (dropout - best_dropout[layer]) ** 2
        return float(total)

    layers = [
        axis
        for layer in range(4)
        for axis in (
            whole(f"width{layer}", 4, 512, "log", when={"layers": {"min": layer + 1}}),
            real(f"dropout{layer}", 0.0, 0.8, when={"layers": {"min": layer + 1}}),
        )
    ]
    parameters = space_of(real("lr", 1e-5, 1e-1, "log"), whole("layers", 1, 4), *layers)
    # Widths are whole: of the third layer, 91 is the nearest to 2 ** 6.5.
    least = 0.08 * (np.log2(91) - 6.5) ** 2
    return Task("layers-10d", "conditional", _layers.__doc__ or "", parameters, loss_of(loss), float(least), 80)


def _models() -> Task:
    """Five kinds of models with spaces of different sizes, one of them with a kernel that has parameters of its own."""

    def loss(a: Assignment) -> float:
        match a["model"]:
            case "svm":
                cost = 0.05 * (np.log10(a["C"]) - 1.5) ** 2
                if a["kernel"] == "rbf":
                    return float(cost + 0.15 * (np.log10(a["gamma"]) + 2.2 + 0.5 * (np.log10(a["C"]) - 1.5)) ** 2)
                return float(0.25 + cost + 0.03 * (a["degree"] - 3) ** 2)
            case "forest":
                return float(0.12 + 0.6 * (a["features"] - 0.4) ** 2 + 0.03 * (np.log2(a["leaf"]) - 1) ** 2)
            case "boosting":
                trade_off = np.log10(a["rate"]) + np.log2(a["trees"] / 200) / 3 + 1.2
                return float(0.04 + 0.3 * trade_off**2 + 0.02 * (a["depth"] - 4) ** 2)
            case "linear":
                return float(0.4 + 0.02 * (np.log10(a["penalty"]) + 1) ** 2)
        return float(0.3 + 0.04 * (np.log2(a["neighbours"]) - 3) ** 2)

    parameters = space_of(
        choice("model", "svm", "forest", "boosting", "linear", "neighbours"),
        real("C", 1e-3, 1e3, "log", when={"model": ["svm"]}),
        choice("kernel", "rbf", "poly", when={"model": ["svm"]}),
        real("gamma", 1e-5, 1e1, "log", when={"kernel": ["rbf"]}),
        whole("degree", 2, 6, when={"kernel": ["poly"]}),
        real("features", 0.05, 1.0, when={"model": ["forest"]}),
        whole("leaf", 1, 64, "log", when={"model": ["forest"]}),
        real("rate", 1e-3, 1.0, "log", when={"model": ["boosting"]}),
        whole("trees", 10, 1000, "log", when={"model": ["boosting"]}),
        whole("depth", 1, 10, when={"model": ["boosting"]}),
        real("penalty", 1e-4, 1e2, "log", when={"model": ["linear"]}),
        whole("neighbours", 1, 100, "log", when={"model": ["neighbours"]}),
    )
    return Task("models-12d", "conditional", _models.__doc__ or "", parameters, loss_of(loss), 0.0, 60)
