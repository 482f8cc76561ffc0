"""HEBO: evolution over a Pareto front of acquisition functions, on a warped Gaussian process or a random forest.

It knows no conditions.
"""

import warnings
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import torch
from hebo.design_space.design_space import DesignSpace
from hebo.optimizers.hebo import HEBO

from bench.peers.protocol import (
    NotOffered,
    Parameter,
    Parameters,
    Setting,
    decoded,
    encoded,
    lattice_of,
    logit,
    only_active,
    serve,
)


class HeboPeer:
    """An optimizer, asked and told in rows of a data frame; it leaves out losses that are not finite."""

    version = version("hebo")

    def __init__(self, setting: Setting) -> None:
        if setting.objectives > 1 or setting.constraints or setting.scheduler:
            raise NotOffered("HEBO is measured with one objective, without constraints and schedulers")
        warnings.simplefilter("ignore")
        np.random.seed(setting.seed)  # noqa: NPY002  (the generator that HEBO draws from)
        torch.manual_seed(setting.seed)
        self._parameters = setting.parameters
        space = DesignSpace().parse([_variable(parameter) for parameter in setting.parameters])
        self._optimizer = HEBO(space, model_name=setting.method, scramble_seed=setting.seed)
        self._asked: list[pd.DataFrame] = []

    def ask(self) -> tuple[int, Parameters]:
        row = self._optimizer.suggest()
        self._asked.append(row)
        chosen = {each["name"]: decoded(each, row[each["name"]].item()) for each in self._parameters}
        return len(self._asked) - 1, only_active(self._parameters, chosen)

    def report(self, trial: int, step: int, loss: float) -> str:
        del trial, step, loss
        return "go"

    def tell(self, trial: int, losses: list[float], excesses: list[float], seconds: float) -> None:
        del excesses, seconds
        self._optimizer.observe(self._asked[trial], np.array([losses]))

    def load(self, assignments: list[Parameters], losses: list[float]) -> None:
        rows = [
            {each["name"]: encoded(each, known[each["name"]]) for each in self._parameters} for known in assignments
        ]
        self._optimizer.observe(pd.DataFrame(rows), np.array(losses)[:, np.newaxis])


def _variable(parameter: Parameter) -> dict[str, Any]:
    """Return HEBO's word for a parameter: choices and lattices are counted from 0."""
    name, low, high = parameter["name"], parameter.get("min", 0), parameter.get("max", 0)
    match parameter["type"], parameter.get("scale", "linear"):
        case "categorical", _:
            return {"name": name, "type": "cat", "categories": list(range(len(parameter["values"])))}
        case "float", "logit":
            return {"name": name, "type": "num", "lb": logit(low), "ub": logit(high)}
        case "int", "log":
            return {"name": name, "type": "pow_int", "lb": low, "ub": high}
        case "float", scale if parameter.get("step") is None:
            return {"name": name, "type": "pow" if scale == "log" else "num", "lb": low, "ub": high}
    return {"name": name, "type": "int", "lb": 0, "ub": len(lattice_of(parameter) or []) - 1}


if __name__ == "__main__":
    serve(HeboPeer)
