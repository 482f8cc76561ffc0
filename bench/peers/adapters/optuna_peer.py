"""Optuna: TPE (multivariate; grouped where the space is conditional), GP, CMA-ES and NSGA-II, with its pruners."""

import math
import warnings
from typing import Any

import optuna

from bench.peers.protocol import NotOffered, Parameter, Parameters, Setting, is_active, logit, serve

_VIOLATIONS = "excesses"


class OptunaPeer:
    """A study, asked define-by-run, so that conditional parameters are conditional to it as well."""

    version = optuna.__version__

    def __init__(self, setting: Setting) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore")
        self._setting = setting
        self._trials: dict[int, optuna.Trial] = {}
        self._study = optuna.create_study(
            directions=["minimize"] * setting.objectives, sampler=_sampler(setting), pruner=_pruner(setting)
        )

    def ask(self) -> tuple[int, Parameters]:
        trial = self._study.ask()
        self._trials[trial.number] = trial
        chosen: Parameters = {}
        for parameter in self._setting.parameters:
            if is_active(parameter, chosen):
                chosen[parameter["name"]] = _suggest(trial, parameter)
        return trial.number, chosen

    def report(self, trial: int, step: int, loss: float) -> str:
        if not self._setting.scheduler:
            return "go"
        self._trials[trial].report(loss, step)
        if step < self._setting.steps and self._trials[trial].should_prune():
            self._study.tell(self._trials[trial], state=optuna.trial.TrialState.PRUNED)
            return "stop"
        return "go"

    def tell(self, trial: int, losses: list[float], excesses: list[float], seconds: float) -> None:
        del seconds
        if self._setting.constraints:
            self._trials[trial].set_user_attr(_VIOLATIONS, excesses)
        if all(map(math.isfinite, losses)):
            self._study.tell(self._trials[trial], losses)
        else:
            self._study.tell(self._trials[trial], state=optuna.trial.TrialState.FAIL)

    def load(self, assignments: list[Parameters], losses: list[float]) -> None:
        for assignment, loss in zip(assignments, losses, strict=True):
            known = {
                each["name"]: _distribution(each) for each in self._setting.parameters if each["name"] in assignment
            }
            self._study.add_trial(optuna.create_trial(params=assignment, distributions=known, value=loss))


def _sampler(setting: Setting) -> Any:
    is_conditional = any(parameter.get("when") for parameter in setting.parameters)
    constraints = (lambda trial: trial.user_attrs[_VIOLATIONS]) if setting.constraints else None
    match setting.method:
        case "tpe":
            return optuna.samplers.TPESampler(
                multivariate=True,
                group=is_conditional,
                constant_liar=setting.workers > 1,
                constraints_func=constraints,
                seed=setting.seed,
            )
        case "gp":
            return optuna.samplers.GPSampler(seed=setting.seed, constraints_func=constraints)
        case "cmaes":
            return optuna.samplers.CmaEsSampler(seed=setting.seed)
        case "nsga2":
            population = 20 if setting.trials <= 200 else 50
            return optuna.samplers.NSGAIISampler(
                population_size=population, seed=setting.seed, constraints_func=constraints
            )
        case "random":
            return optuna.samplers.RandomSampler(seed=setting.seed)
    raise NotOffered(f"Optuna here has tpe, gp, cmaes, nsga2 and random, got {setting.method}")


def _pruner(setting: Setting) -> Any:
    match setting.scheduler:
        case "":
            return optuna.pruners.NopPruner()
        case "median":
            return optuna.pruners.MedianPruner()
        case "hyperband":
            return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=setting.steps, reduction_factor=3)
        case "asha":
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    raise NotOffered(f"Optuna here has the pruners median, hyperband and asha, got {setting.scheduler}")


def _suggest(trial: optuna.Trial, parameter: Parameter) -> Any:
    name, low, high = parameter["name"], parameter.get("min", 0), parameter.get("max", 0)
    is_log = parameter.get("scale") == "log"
    match parameter["type"]:
        case "float" if parameter.get("scale") == "logit":
            # Optuna has no logit scale: the logit itself is what it chooses.
            return 1 / (1 + math.exp(-trial.suggest_float(name, logit(low), logit(high))))
        case "float":
            return trial.suggest_float(name, low, high, step=parameter.get("step"), log=is_log)
        case "int":
            return trial.suggest_int(name, low, high, step=parameter.get("step") or 1, log=is_log)
    return trial.suggest_categorical(name, parameter["values"])


def _distribution(parameter: Parameter) -> Any:
    is_log = parameter.get("scale") == "log"
    match parameter["type"]:
        case "float":
            step = parameter.get("step")
            return optuna.distributions.FloatDistribution(parameter["min"], parameter["max"], log=is_log, step=step)
        case "int":
            step = parameter.get("step") or 1
            return optuna.distributions.IntDistribution(parameter["min"], parameter["max"], log=is_log, step=step)
    return optuna.distributions.CategoricalDistribution(parameter["values"])


if __name__ == "__main__":
    serve(OptunaPeer)
