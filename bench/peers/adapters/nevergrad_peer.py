"""Nevergrad: NGOpt, differential evolution and the (1+1) evolution strategy; it knows no conditions."""

import math
import warnings
from importlib.metadata import version
from typing import Any

import nevergrad as ng

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

_OPTIMIZERS = {"ngopt": "NGOpt", "de": "DE", "oneplusone": "OnePlusOne"}


class NevergradPeer:
    """An optimizer of a dictionary; several objectives are its own multi-objective mode, constraints its own as well."""

    version = version("nevergrad")

    def __init__(self, setting: Setting) -> None:
        if setting.scheduler:
            raise NotOffered("Nevergrad has no schedulers")
        warnings.simplefilter("ignore")
        self._setting = setting
        space = ng.p.Dict(**{parameter["name"]: _variable(parameter) for parameter in setting.parameters})
        space.random_state.seed(setting.seed)
        optimizer = ng.optimizers.registry[_OPTIMIZERS[setting.method]]
        self._optimizer = optimizer(parametrization=space, budget=setting.trials, num_workers=setting.workers)
        if setting.objectives > 1:
            self._optimizer.num_objectives = setting.objectives
        self._asked: list[Any] = []
        self._worst = 0.0

    def ask(self) -> tuple[int, Parameters]:
        candidate = self._optimizer.ask()
        self._asked.append(candidate)
        chosen = {each["name"]: decoded(each, candidate.value[each["name"]]) for each in self._setting.parameters}
        return len(self._asked) - 1, only_active(self._setting.parameters, chosen)

    def report(self, trial: int, step: int, loss: float) -> str:
        del trial, step, loss
        return "go"

    def tell(self, trial: int, losses: list[float], excesses: list[float], seconds: float) -> None:
        del seconds
        finite = [value for value in losses if math.isfinite(value)]
        self._worst = max([self._worst, *map(abs, finite)])
        told = [value if math.isfinite(value) else 10 * self._worst + 1 for value in losses]
        loss = told if len(told) > 1 else told[0]
        if self._setting.constraints:
            self._optimizer.tell(self._asked[trial], loss, [max(excess, 0.0) for excess in excesses])
        else:
            self._optimizer.tell(self._asked[trial], loss)

    def load(self, assignments: list[Parameters], losses: list[float]) -> None:
        for assignment, loss in zip(assignments, losses, strict=True):
            values = {each["name"]: encoded(each, assignment[each["name"]]) for each in self._setting.parameters}
            self._optimizer.tell(self._optimizer.parametrization.spawn_child(new_value=values), loss)


def _variable(parameter: Parameter) -> Any:
    low, high = parameter.get("min", 0), parameter.get("max", 0)
    match parameter["type"], parameter.get("scale", "linear"):
        case "categorical", _:
            return ng.p.Choice(list(range(len(parameter["values"]))))
        case "ordinal", _:
            return ng.p.TransitionChoice(list(range(len(parameter["values"]))))
        case "float", "logit":
            return ng.p.Scalar(lower=logit(low), upper=logit(high))
        case "float", "log":
            return ng.p.Log(lower=low, upper=high)
        case "int", "log":
            return ng.p.Log(lower=low, upper=high).set_integer_casting()
    if parameter["type"] == "float" and parameter.get("step") is None:
        return ng.p.Scalar(lower=low, upper=high)
    return ng.p.Scalar(lower=0, upper=len(lattice_of(parameter) or []) - 1).set_integer_casting()


if __name__ == "__main__":
    serve(NevergradPeer)
