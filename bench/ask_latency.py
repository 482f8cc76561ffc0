"""How long one ask takes: Podium's TPE or Gaussian process beside Optuna's, on the same trials, in turns, in one process.

Both TPEs are multivariate with 24 candidates; `--sampler gp` compares the Gaussian processes (Optuna's needs torch). Both
tuners have the same ten parameters and the same finished trials. Only the ask is timed, never the telling. Asks alternate,
so that whatever else the machine does falls on both.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from pydantic import TypeAdapter

from podium_contract.algorithms import GpSearch, TpeSearch
from podium_contract.experiment import ExperimentSpec, Objective
from podium_contract.lifecycle import Phase
from podium_contract.parameters import Assignment, FloatParameter, IntParameter, Parameter
from podium_contract.trial import Observation
from podium_suggestion.history import History, TrialHistory
from podium_suggestion.samplers import make_sampler, trial_rng
from podium_suggestion.space import Space

FLOATS: list[dict[str, Any]] = [
    {"name": f"x{index}", "type": "float", "min": 1e-5, "max": 1.0, "scale": "log"} for index in range(10)
]
MIXED: list[dict[str, Any]] = [
    *FLOATS[:4],
    {"name": "dropout", "type": "float", "min": 0.0, "max": 0.9, "step": 0.1},
    {"name": "depth", "type": "int", "min": 1, "max": 12},
    {"name": "width", "type": "int", "min": 8, "max": 1024, "scale": "log"},
    {"name": "batch", "type": "ordinal", "values": [16, 32, 64, 128]},
    {"name": "optimizer", "type": "categorical", "values": ["sgd", "adam", "rmsprop"]},
    {"name": "activation", "type": "categorical", "values": ["relu", "tanh", "gelu", "silu"]},
]
SPACES = {"mixed": MIXED, "floats": FLOATS}


@dataclass(frozen=True)
class Timing:
    """Seconds per ask, ask by ask."""

    podium: list[float]
    optuna: list[float]

    @property
    def medians(self) -> tuple[float, float]:
        return statistics.median(self.podium), statistics.median(self.optuna)


def measure(sampler: str, parameters: list[Parameter], trials: int, repeats: int, seed: int) -> Timing:
    """Time `repeats` asks of each tuner after the same `trials` finished trials."""
    space = Space(parameters)
    rng = np.random.default_rng(seed)
    assignments = [space.sample(rng) for _ in range(trials)]
    losses = [float(np.nansum((space.to_unit(assignment) - 0.3) ** 2)) for assignment in assignments]
    search = TpeSearch(algorithm="tpe", seed=seed) if sampler == "tpe" else GpSearch(algorithm="gp", seed=seed)
    peer = optuna_tpe(seed) if sampler == "tpe" else optuna.samplers.GPSampler(seed=seed)
    asks = podium_ask(search, parameters, assignments, losses), optuna_ask(peer, parameters, assignments, losses)
    for ask in asks:  # imports and first-time set-up are not what an ask costs
        ask(0)
    timing = Timing([], [])
    for repeat in range(1, repeats + 1):
        for ask, seconds in zip(asks, (timing.podium, timing.optuna), strict=True):
            seconds.append(ask(repeat))
    return timing


Ask = Callable[[int], float]
"""Asks once, as for the trial that comes so many after the finished ones; returns the seconds it took."""


def podium_ask(
    search: TpeSearch | GpSearch, parameters: list[Parameter], assignments: list[Assignment], losses: list[float]
) -> Ask:
    spec = ExperimentSpec(
        objectives=[Objective(metric="loss", goal="minimize")],
        parameters=parameters,
        search=search,
        max_trials=len(losses) + 1,
        trial={"template": {"spec": {"containers": [{"name": "train"}]}}},
    )
    history = History(Space(parameters), spec.objectives)
    for number, (assignment, loss) in enumerate(zip(assignments, losses, strict=True), start=1):
        history.add(TrialHistory(number, assignment))
        history.observe(number, Observation(attempt=1, step=1, metrics={"loss": loss}))
        history.settle(number, Phase.SUCCEEDED)
    sampler = make_sampler(spec, history.space)

    def ask(repeat: int) -> float:
        number = len(losses) + 1 + repeat
        start = time.perf_counter()
        sampler.propose(history, number, trial_rng(search.seed, number))
        return time.perf_counter() - start

    return ask


def optuna_tpe(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(multivariate=True, seed=seed)


def optuna_ask(
    sampler: optuna.samplers.BaseSampler,
    parameters: list[Parameter],
    assignments: list[Assignment],
    losses: list[float],
) -> Ask:
    study = optuna.create_study(sampler=sampler)
    distributions = {parameter.name: distribution(parameter) for parameter in parameters}
    for assignment, loss in zip(assignments, losses, strict=True):
        study.add_trial(optuna.create_trial(params=assignment, distributions=distributions, value=loss))

    def ask(repeat: int) -> float:  # noqa: ARG001  (Optuna counts its trials itself)
        start = time.perf_counter()
        trial = study.ask(distributions)
        seconds = time.perf_counter() - start
        study.tell(trial, state=optuna.trial.TrialState.FAIL)  # so that the next ask sees the same finished trials
        return seconds

    return ask


def distribution(parameter: Parameter) -> optuna.distributions.BaseDistribution:
    """Return Optuna's word for a parameter."""
    if isinstance(parameter, FloatParameter):
        is_log = parameter.scale == "log"
        return optuna.distributions.FloatDistribution(parameter.min, parameter.max, log=is_log, step=parameter.step)
    if isinstance(parameter, IntParameter):
        is_log = parameter.scale == "log"
        return optuna.distributions.IntDistribution(parameter.min, parameter.max, log=is_log, step=parameter.step or 1)
    return optuna.distributions.CategoricalDistribution(parameter.values)  # type: ignore[arg-type]  # scalars here


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument(
        "--trials", type=int, nargs="+", default=[50, 200, 1000], help="finished trials to ask after"
    )
    arguments.add_argument("--repeats", type=int, default=100, help="asks per tuner and row (default: 100)")
    arguments.add_argument("--space", choices=sorted(SPACES), default="mixed", help="ten parameters of which kinds")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--quick", action="store_true", help="15 asks per row instead")
    arguments.add_argument("--sampler", choices=["tpe", "gp"], default="tpe", help="which of both tuners' samplers")
    options = arguments.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    repeats = 15 if options.quick else options.repeats
    parameters = TypeAdapter(list[Parameter]).validate_python(SPACES[options.space])
    asked = f"{options.sampler}, {len(parameters)} parameters ({options.space})"
    print(f"one ask of {asked}, median of {repeats}; Optuna {optuna.__version__}")
    print(f"{'trials':>8} {'Podium ms':>10} {'Optuna ms':>10} {'ratio':>7}")
    for trials in options.trials:
        podium, optuna_seconds = measure(options.sampler, parameters, trials, repeats, options.seed).medians
        print(f"{trials:>8} {podium * 1e3:>10.2f} {optuna_seconds * 1e3:>10.2f} {podium / optuna_seconds:>7.2f}")


if __name__ == "__main__":
    main()
