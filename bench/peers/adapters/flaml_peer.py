"""FLAML: BlendSearch (local searches among global ones) and CFO (one local search at a time, begun anew where it ends)."""

import math
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from flaml import tune
from flaml.tune.searcher.blendsearch import CFO, BlendSearch

from bench.peers.protocol import (
    NotOffered,
    Parameter,
    Parameters,
    Setting,
    decoded,
    holds,
    is_active,
    lattice_of,
    logit,
    serve,
)

_SEARCHERS = {"blend": BlendSearch, "cfo": CFO}
_ATTEMPTS = 100
"""How often FLAML's own loop asks again after a suggestion that is none, as when a local search has just ended."""


class FlamlPeer:
    """A searcher, asked and told. A parent of other parameters is a choice between dictionaries that hold them."""

    version = version("flaml")

    def __init__(self, setting: Setting) -> None:
        if setting.objectives > 1 or setting.constraints or setting.scheduler:
            raise NotOffered("FLAML is measured with one objective, without constraints and schedulers")
        warnings.simplefilter("ignore")
        self._parameters = setting.parameters
        self._searcher = _SEARCHERS[setting.method](
            metric="loss", mode="min", space=_space(setting.parameters), seed=setting.seed
        )
        self._asked: dict[int, dict[str, Any]] = {}
        self._attempts = 0

    def ask(self) -> tuple[int, Parameters] | None:
        for _ in range(_ATTEMPTS):
            self._attempts += 1
            config = self._searcher.suggest(str(self._attempts))
            if config:
                self._asked[self._attempts] = config
                return self._attempts, self._chosen(dict(_flat(config)))
        return None

    def report(self, trial: int, step: int, loss: float) -> str:
        del trial, step, loss
        return "go"

    def tell(self, trial: int, losses: list[float], excesses: list[float], seconds: float) -> None:
        del excesses
        result = {"loss": losses[0], "config": self._asked[trial], "time_total_s": seconds}
        self._searcher.on_trial_complete(str(trial), result, error=not math.isfinite(losses[0]))

    def load(self, assignments: list[Parameters], losses: list[float]) -> None:
        del assignments, losses
        raise NotOffered("FLAML's searchers learn from their own trials alone")

    def _chosen(self, values: dict[str, Any]) -> Parameters:
        chosen: Parameters = {}
        for parameter in self._parameters:
            if is_active(parameter, chosen):
                chosen[parameter["name"]] = decoded(parameter, values[parameter["name"]])
        return chosen


def _space(parameters: list[Parameter]) -> dict[str, Any]:
    """Return the parameters without conditions, each with those that depend on it nested under its values."""
    return {each["name"]: _node(each, parameters) for each in parameters if not each.get("when")}


def _node(parameter: Parameter, parameters: list[Parameter]) -> Any:
    name = parameter["name"]
    children = [each for each in parameters if name in each.get("when", {})]
    if any(len(child["when"]) > 1 for child in children):
        raise NotOffered("FLAML's choices nest under one parent, and a parameter here has two")
    if not children:
        return _leaf(parameter)
    branches = []
    for position, value in enumerate(lattice_of(parameter) or []):
        below = [child for child in children if holds(child["when"][name], value)]
        branches.append({name: position, **{child["name"]: _node(child, parameters) for child in below}})
    return tune.choice(branches)


def _leaf(parameter: Parameter) -> Any:
    low, high = parameter.get("min", 0), parameter.get("max", 0)
    match parameter["type"], parameter.get("scale", "linear"):
        case "categorical" | "ordinal", _:
            return tune.choice(list(range(len(parameter["values"]))), order=parameter["type"] == "ordinal")
        case "float", "logit":
            return tune.uniform(logit(low), logit(high))
        case "float", "log":
            return tune.loguniform(low, high)
        case "int", "log":
            return tune.lograndint(low, high + 1)
    if parameter["type"] == "float" and parameter.get("step") is None:
        return tune.uniform(low, high)
    return tune.randint(0, len(lattice_of(parameter) or []))


def _flat(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the values of a configuration, out of the choices that they are nested in."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value)
        else:
            yield name, value


if __name__ == "__main__":
    serve(FlamlPeer)
