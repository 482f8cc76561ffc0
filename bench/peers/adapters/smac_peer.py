"""SMAC 3: its random forest (hyperparameter optimisation facade) and its Gaussian process (black-box facade).

By default SMAC fits its forest once and proposes eight configurations from it; with `forest-anew` it fits for each.
"""

import math
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import smac
from ConfigSpace import (
    CategoricalHyperparameter,
    Configuration,
    ConfigurationSpace,
    OrdinalHyperparameter,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)
from ConfigSpace.conditions import AndConjunction, InCondition
from smac.runhistory.dataclasses import TrialInfo, TrialValue
from smac.runhistory.enumerations import StatusType

from bench.peers.protocol import NotOffered, Parameter, Parameters, Setting, holds, lattice_of, logit, serve

_SEED = 0
"""The one seed of trials that SMAC takes to be deterministic."""
_FACADES = {
    "forest": smac.HyperparameterOptimizationFacade,
    "forest-anew": smac.HyperparameterOptimizationFacade,
    "gp": smac.BlackBoxFacade,
}


class SmacPeer:
    """A facade, asked and told. Conditions are ConfigSpace's; values are told apart by their position where they repeat."""

    version = version("smac")

    def __init__(self, setting: Setting) -> None:
        if setting.objectives > 1 or setting.constraints or setting.scheduler:
            raise NotOffered("SMAC is measured with one objective and without constraints")
        warnings.simplefilter("ignore")
        facade = _FACADES[setting.method]
        self._parameters = {parameter["name"]: parameter for parameter in setting.parameters}
        self._space = _space(setting.parameters)
        scenario = smac.Scenario(
            self._space,
            deterministic=True,
            n_trials=setting.trials,
            seed=setting.seed,
            output_directory=Path(tempfile.mkdtemp()),
        )
        selector = facade.get_config_selector(scenario, retrain_after=1) if setting.method == "forest-anew" else None
        self._smac = facade(scenario, _never_called, config_selector=selector, overwrite=True, logging_level=50)
        self._asked: list[TrialInfo] = []

    def ask(self) -> tuple[int, Parameters]:
        info = self._smac.ask()
        self._asked.append(info)
        return len(self._asked) - 1, self._chosen(info.config)

    def report(self, trial: int, step: int, loss: float) -> str:
        del trial, step, loss
        return "go"

    def tell(self, trial: int, losses: list[float], excesses: list[float], seconds: float) -> None:
        del excesses
        self._tell(self._asked[trial], losses[0], seconds)

    def load(self, assignments: list[Parameters], losses: list[float]) -> None:
        for assignment, loss in zip(assignments, losses, strict=True):
            self._tell(TrialInfo(self._configuration(assignment), seed=_SEED), loss, 1.0)

        self._smac._config_selector._initial_design_configs.clear()  # noqa: SLF001  (else it would begin with that)

    def _tell(self, info: TrialInfo, loss: float, seconds: float) -> None:
        status = StatusType.SUCCESS if math.isfinite(loss) else StatusType.CRASHED
        cost = loss if math.isfinite(loss) else float("inf")
        self._smac.tell(info, TrialValue(cost=cost, time=seconds, status=status), save=False)

    def _chosen(self, config: Configuration) -> Parameters:
        return {name: _value(self._parameters[name], config[name]) for name in self._parameters if name in config}

    def _configuration(self, assignment: Parameters) -> Configuration:
        values = {name: _position(self._parameters[name], value) for name, value in assignment.items()}
        return Configuration(self._space, values=values)


def _never_called(config: Configuration, seed: int = 0) -> float:
    """Stand where SMAC wants the function that it would call, were it not asked and told."""
    raise AssertionError((config, seed))


def _space(parameters: list[Parameter]) -> ConfigurationSpace:
    space = ConfigurationSpace(seed=0)
    known = {parameter["name"]: parameter for parameter in parameters}
    made = {name: _hyperparameter(parameter) for name, parameter in known.items()}
    space.add(*made.values())
    for name, parameter in known.items():
        conditions = [
            InCondition(made[name], made[parent], _positions(known[parent], condition))
            for parent, condition in parameter.get("when", {}).items()
        ]
        if conditions:
            space.add(conditions[0] if len(conditions) == 1 else AndConjunction(*conditions))
    return space


def _hyperparameter(parameter: Parameter) -> Any:
    """Return ConfigSpace's word for a parameter; choices and lattices by position, so that any value may be one."""
    name, is_log = parameter["name"], parameter.get("scale") == "log"
    match parameter["type"]:
        case "float" if parameter.get("step") is None and parameter.get("scale") == "logit":
            return UniformFloatHyperparameter(name, logit(parameter["min"]), logit(parameter["max"]))
        case "float" if parameter.get("step") is None:
            return UniformFloatHyperparameter(name, parameter["min"], parameter["max"], log=is_log)
        case "int" if parameter.get("step") is None:
            return UniformIntegerHyperparameter(name, parameter["min"], parameter["max"], log=is_log)
        case "categorical":
            return CategoricalHyperparameter(name, list(range(len(parameter["values"]))))
        case "ordinal":
            return OrdinalHyperparameter(name, list(range(len(parameter["values"]))))
    return UniformIntegerHyperparameter(name, 0, len(lattice_of(parameter) or []) - 1)


def _value(parameter: Parameter, value: Any) -> Any:
    if _is_by_position(parameter):
        return (lattice_of(parameter) or [])[int(value)]
    if parameter.get("scale") == "logit":
        return 1 / (1 + math.exp(-float(value)))
    return int(value) if parameter["type"] == "int" else min(max(float(value), parameter["min"]), parameter["max"])


def _position(parameter: Parameter, value: Any) -> Any:
    if _is_by_position(parameter):
        return (lattice_of(parameter) or []).index(value)
    return logit(value) if parameter.get("scale") == "logit" else value


def _positions(parent: Parameter, condition: Any) -> list[Any]:
    values = [value for value in lattice_of(parent) or [] if holds(condition, value)]
    return [_position(parent, value) for value in values]


def _is_by_position(parameter: Parameter) -> bool:
    return "values" in parameter or parameter.get("step") is not None


if __name__ == "__main__":
    serve(SmacPeer)
