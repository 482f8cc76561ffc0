"""scikit-optimize: its Gaussian process and its random forest; it knows no conditions."""

import math
import warnings
from importlib.metadata import version
from typing import Any

from skopt import Optimizer
from skopt.space import Categorical, Integer, Real

from bench.peers.protocol import NotOffered, Parameter, Parameters, Setting, lattice_of, logit, only_active, serve


class ScikitOptimizePeer:
    """An optimizer, asked and told; pending trials are told the least loss so far, its constant liar."""

    version = version("scikit-optimize")

    def __init__(self, setting: Setting) -> None:
        if setting.objectives > 1 or setting.constraints or setting.scheduler:
            raise NotOffered("scikit-optimize has one objective, no constraints and no schedulers")
        warnings.simplefilter("ignore")
        self._parameters = setting.parameters
        self._optimizer = Optimizer(
            [_dimension(parameter) for parameter in setting.parameters],
            base_estimator={"gp": "GP", "forest": "RF"}[setting.method],
            n_initial_points=10,
            random_state=setting.seed,
        )
        self._asked: list[list[Any]] = []
        self._worst = 0.0

    def ask(self) -> tuple[int, Parameters]:
        point = self._optimizer.ask()
        self._asked.append(point)
        named = {each["name"]: _value(each, value) for each, value in zip(self._parameters, point, strict=True)}
        return len(self._asked) - 1, only_active(self._parameters, named)

    def report(self, trial: int, step: int, loss: float) -> str:
        del trial, step, loss
        return "go"

    def tell(self, trial: int, losses: list[float], excesses: list[float], seconds: float) -> None:
        del excesses, seconds
        loss = losses[0] if math.isfinite(losses[0]) else self._worst
        self._worst = max(self._worst, loss)
        self._optimizer.tell(self._asked[trial], loss)

    def load(self, assignments: list[Parameters], losses: list[float]) -> None:
        points = [[_encoded(each, assignment[each["name"]]) for each in self._parameters] for assignment in assignments]
        self._optimizer.tell(points, losses)


def _dimension(parameter: Parameter) -> Any:
    low, high = parameter.get("min", 0), parameter.get("max", 0)
    prior = "log-uniform" if parameter.get("scale") == "log" else "uniform"
    match parameter["type"]:
        case "categorical":
            return Categorical([str(index) for index in range(len(parameter["values"]))])
        case "float" if parameter.get("scale") == "logit":
            return Real(logit(low), logit(high))
        case "float" if parameter.get("step") is None:
            return Real(low, high, prior=prior)
        case "int" if parameter.get("step") is None:
            return Integer(low, high, prior=prior)
    return Integer(0, len(lattice_of(parameter) or []) - 1)


def _value(parameter: Parameter, value: Any) -> Any:
    if parameter["type"] == "int" and parameter.get("step") is None:
        return int(value)
    values = lattice_of(parameter)
    if values is not None:
        return values[int(value)]
    number = 1 / (1 + math.exp(-float(value))) if parameter.get("scale") == "logit" else float(value)
    return min(max(number, parameter["min"]), parameter["max"])


def _encoded(parameter: Parameter, value: Any) -> Any:
    if parameter["type"] == "int" and parameter.get("step") is None:
        return value
    values = lattice_of(parameter)
    if values is not None:
        index = values.index(value)
        return str(index) if parameter["type"] == "categorical" else index
    return logit(value) if parameter.get("scale") == "logit" else value


if __name__ == "__main__":
    serve(ScikitOptimizePeer)
