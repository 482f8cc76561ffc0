"""Syne Tune: its searchers, alone or under asynchronous successive halving; it knows no conditions."""

import logging
import math
import warnings
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from syne_tune import config_space
from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer.scheduler import SchedulerDecision, TrialScheduler
from syne_tune.optimizer.schedulers.asha import AsynchronousSuccessiveHalving
from syne_tune.optimizer.schedulers.single_objective_scheduler import SingleObjectiveScheduler

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

_SEARCHERS = {
    "random": "random_search",
    "kde": "kde",
    "bore": "bore",
    "cqr": "cqr",
    "evolution": "regularized_evolution",
}


class SyneTunePeer:
    """A scheduler, which asks its searcher. With halving, `kde` is Syne Tune's BOHB."""

    version = version("syne-tune")

    def __init__(self, setting: Setting) -> None:
        if setting.objectives > 1 or setting.constraints:
            raise NotOffered("Syne Tune is measured with one objective and without constraints")
        logging.disable(logging.WARNING)
        warnings.simplefilter("ignore")
        self._setting = setting
        self._scheduler = _scheduler(setting)
        self._trials: list[Trial] = []

    def ask(self) -> tuple[int, Parameters] | None:
        suggestion = self._scheduler.suggest()
        if suggestion is None:
            return None
        trial = self._add(suggestion.config)
        parameters = self._setting.parameters
        named = {each["name"]: decoded(each, float(trial.config[each["name"]])) for each in parameters}
        return trial.trial_id, only_active(parameters, named)

    def report(self, trial: int, step: int, loss: float) -> str:
        if not self._setting.scheduler:
            return "go"
        if not math.isfinite(loss):
            self._scheduler.on_trial_error(self._trials[trial])
            return "stop"
        decision = self._scheduler.on_trial_result(self._trials[trial], {"loss": loss, "epoch": step})
        is_over = decision == SchedulerDecision.STOP
        if is_over:
            self._scheduler.on_trial_remove(self._trials[trial])
        return "stop" if is_over and step < self._setting.steps else "go"

    def tell(self, trial: int, losses: list[float], excesses: list[float], seconds: float) -> None:
        del excesses, seconds
        if self._setting.scheduler:
            return  # its last report said it
        if math.isfinite(losses[0]):
            self._scheduler.on_trial_complete(self._trials[trial], {"loss": losses[0]})
        else:
            self._scheduler.on_trial_error(self._trials[trial])

    def load(self, assignments: list[Parameters], losses: list[float]) -> None:
        for assignment, loss in zip(assignments, losses, strict=True):
            trial = self._add({each["name"]: _encoded(each, assignment) for each in self._setting.parameters})
            self._scheduler.on_trial_complete(trial, {"loss": loss})

    def _add(self, config: dict[str, Any]) -> Trial:
        trial = Trial(len(self._trials), config, datetime.now(UTC))
        self._trials.append(trial)
        self._scheduler.on_trial_add(trial)
        return trial


def _scheduler(setting: Setting) -> TrialScheduler:
    if setting.method not in _SEARCHERS:
        raise NotOffered(f"Syne Tune here has {', '.join(_SEARCHERS)}, got {setting.method}")
    searcher = _SEARCHERS[setting.method]
    space = {parameter["name"]: _domain(parameter) for parameter in setting.parameters}
    match setting.scheduler:
        case "":
            return SingleObjectiveScheduler(
                space,
                metric="loss",
                searcher=searcher,
                random_seed=setting.seed,
                searcher_kwargs={"random_seed": setting.seed},
            )
        case "asha":
            return AsynchronousSuccessiveHalving(
                space,
                metric="loss",
                searcher=searcher,
                time_attr="epoch",
                max_t=setting.steps,
                grace_period=1,
                reduction_factor=3,
                random_seed=setting.seed,
            )
    raise NotOffered(f"Syne Tune here has the scheduler asha, got {setting.scheduler}")


def _domain(parameter: Parameter) -> Any:
    low, high = parameter.get("min", 0), parameter.get("max", 0)
    match parameter["type"], parameter.get("scale", "linear"):
        case "categorical", _:
            return config_space.choice([str(index) for index in range(len(parameter["values"]))])
        case "ordinal", _:
            return config_space.ordinal(list(range(len(parameter["values"]))), kind="equal")
        case "float", "logit":
            return config_space.uniform(logit(low), logit(high))
        case "float", "log":
            return config_space.loguniform(low, high)
        case "int", "log":
            return config_space.lograndint(low, high)
    if parameter["type"] == "float" and parameter.get("step") is None:
        return config_space.uniform(low, high)
    return config_space.randint(0, len(lattice_of(parameter) or []) - 1)


def _encoded(parameter: Parameter, assignment: Parameters) -> Any:
    number = encoded(parameter, assignment[parameter["name"]])
    return str(number) if parameter["type"] == "categorical" else number


if __name__ == "__main__":
    serve(SyneTunePeer)
