"""Hyperopt: its TPE, with conditions as nested choices; and its annealing."""

import math
import warnings
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
from hyperopt import JOB_STATE_DONE, STATUS_FAIL, STATUS_OK, Trials, anneal, hp, tpe
from hyperopt.base import Domain

from bench.peers.protocol import (
    NotOffered,
    Parameter,
    Parameters,
    Setting,
    decoded,
    encoded,
    holds,
    lattice_of,
    logit,
    serve,
)


class HyperoptPeer:
    """Trials in memory, to which suggestions are added and of which some are finished."""

    version = version("hyperopt")

    def __init__(self, setting: Setting) -> None:
        if setting.objectives > 1 or setting.constraints or setting.scheduler:
            raise NotOffered("Hyperopt has one objective, no constraints and no schedulers")
        warnings.simplefilter("ignore")
        self._parameters = setting.parameters
        self._suggest = {"tpe": partial(tpe.suggest, n_startup_jobs=10), "anneal": anneal.suggest}[setting.method]
        self._rng = np.random.default_rng(setting.seed)
        self._domain = Domain(lambda _: 0.0, _space(setting.parameters))
        self._trials = Trials()
        self._documents: dict[int, dict[str, Any]] = {}

    def ask(self) -> tuple[int, Parameters]:
        number = self._trials.new_trial_ids(1)[0]
        self._trials.refresh()
        (document,) = self._suggest([number], self._domain, self._trials, int(self._rng.integers(2**31 - 1)))
        self._trials.insert_trial_docs([document])
        self._trials.refresh()
        self._documents[number] = next(each for each in self._trials._dynamic_trials if each["tid"] == number)  # noqa: SLF001
        return number, self._chosen(document["misc"]["vals"])

    def report(self, trial: int, step: int, loss: float) -> str:
        del trial, step, loss
        return "go"

    def tell(self, trial: int, losses: list[float], excesses: list[float], seconds: float) -> None:
        del excesses, seconds
        document = self._documents[trial]
        is_ok = math.isfinite(losses[0])
        document["result"] = {"status": STATUS_OK, "loss": losses[0]} if is_ok else {"status": STATUS_FAIL}
        document["state"] = JOB_STATE_DONE
        self._trials.refresh()

    def load(self, assignments: list[Parameters], losses: list[float]) -> None:
        documents = []
        for number, (assignment, loss) in enumerate(zip(assignments, losses, strict=True)):
            values = {name: [encoded(self._named(name), value)] for name, value in assignment.items()}
            misc = {
                "tid": number,
                "cmd": ("domain_attachment", "FMinIter_Domain"),
                "workdir": None,
                "idxs": {name: [number] for name in values},
                "vals": values,
            }
            (document,) = self._trials.new_trial_docs([number], [None], [{"status": STATUS_OK, "loss": loss}], [misc])
            documents.append({**document, "state": JOB_STATE_DONE})
        self._trials.insert_trial_docs(documents)
        self._trials.refresh()

    def _named(self, name: str) -> Parameter:
        return next(parameter for parameter in self._parameters if parameter["name"] == name)

    def _chosen(self, values: dict[str, list[Any]]) -> Parameters:
        """Read a suggestion; a parameter under several branches has a label for each, of which one is used."""
        chosen: Parameters = {}
        for label, found in values.items():
            if found:
                name = label.split("@")[0]
                chosen[name] = decoded(self._named(name), found[0])
        return chosen


def _space(parameters: list[Parameter]) -> list[Any]:
    """Return the parameters without conditions, each with those that depend on it nested under its values."""
    return [_node(parameter, parameters, "") for parameter in parameters if not parameter.get("when")]


def _node(parameter: Parameter, parameters: list[Parameter], path: str) -> Any:
    children = [each for each in parameters if parameter["name"] in each.get("when", {})]
    if any(len(child["when"]) > 1 for child in children):
        raise NotOffered("Hyperopt's choices nest under one parent, and a parameter here has two")
    label = parameter["name"] + path
    if not children:
        return _leaf(parameter, label)
    branches = []
    for position, value in enumerate(lattice_of(parameter) or []):
        below = [child for child in children if holds(child["when"][parameter["name"]], value)]
        branches.append([position, *(_node(child, parameters, f"{path}@{position}") for child in below)])
    return hp.choice(label, branches)


def _leaf(parameter: Parameter, label: str) -> Any:
    low, high = parameter.get("min", 0), parameter.get("max", 0)
    match parameter["type"], parameter.get("scale", "linear"):
        case "categorical", _:
            return hp.choice(label, list(range(len(parameter["values"]))))
        case "ordinal", _:
            return hp.quniform(label, -0.5, len(parameter["values"]) - 0.5, 1)
        case "float", "logit":
            return hp.uniform(label, logit(low), logit(high))
        case "float", "log":
            return hp.loguniform(label, math.log(low), math.log(high))
        case "int", "log":
            return hp.qloguniform(label, math.log(low), math.log(high), 1)
    if parameter["type"] == "float" and parameter.get("step") is None:
        return hp.uniform(label, low, high)
    return hp.quniform(label, -0.5, len(lattice_of(parameter) or []) - 0.5, 1)


if __name__ == "__main__":
    serve(HyperoptPeer)
