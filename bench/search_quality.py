"""How good the best configuration is after so many trials: Podium's samplers beside Optuna's TPE and Gaussian process.

Regret is normalised per toy: 0 at the optimum, 1 for a typical random configuration. Each figure is the median over the
seeds. Optuna's TPE is multivariate (and grouped, where the space is conditional) with its own defaults; trials run one at
a time, or `--parallel` many, and then its constant liar is on. Optuna's Gaussian process joins in where it is asked for
(`--tuners gp optuna-gp`) and torch is installed, which it needs and Podium does not.
"""

import argparse
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from podium_contract.experiment import ExperimentSpec
from podium_contract.lifecycle import Phase
from podium_contract.parameters import (
    Assignment,
    FloatParameter,
    IntParameter,
    Parameter,
    in_dependency_order,
    is_active,
)
from podium_contract.trial import Observation
from podium_suggestion.history import History, TrialHistory
from podium_suggestion.samplers import Exhausted, make_sampler, trial_rng
from podium_suggestion.space import FloatArray, Space
from toys import TOYS, Toy

Run = Callable[[Toy, int, int, int], list[Assignment]]
"""Returns the configurations that a tuner tried, in order: of a toy, with a seed, so many, so many at a time."""


def run_podium(algorithm: str, **settings: Any) -> Run:
    def run(toy: Toy, seed: int, trials: int, parallel: int) -> list[Assignment]:
        spec = _spec(toy, {"algorithm": algorithm, "seed": seed, "settings": settings}, trials, parallel)
        history = History(Space(spec.parameters), spec.objectives)
        sampler = make_sampler(spec, history.space)
        for number, finished in _schedule(trials, parallel):
            assignment = sampler.propose(history, number, trial_rng(seed, number))
            assert not isinstance(assignment, Exhausted)
            history.add(TrialHistory(number, assignment))
            for done in finished:
                loss = toy.loss(history.trials[done].assignment)
                history.observe(done, Observation(attempt=1, step=1, metrics={"loss": loss}))
                history.settle(done, Phase.SUCCEEDED)
        return [history.trials[number].assignment for number in range(1, trials + 1)]

    return run


def run_optuna(toy: Toy, seed: int, trials: int, parallel: int) -> list[Assignment]:
    is_conditional = any(parameter.when for parameter in toy.parameters)
    sampler = optuna.samplers.TPESampler(multivariate=True, group=is_conditional, constant_liar=parallel > 1, seed=seed)
    return _run_study(sampler, toy, trials, parallel)


def run_optuna_gp(toy: Toy, seed: int, trials: int, parallel: int) -> list[Assignment]:
    """Optuna's Gaussian process, which needs torch in the environment."""
    return _run_study(optuna.samplers.GPSampler(seed=seed), toy, trials, parallel)


def _run_study(sampler: optuna.samplers.BaseSampler, toy: Toy, trials: int, parallel: int) -> list[Assignment]:
    study = optuna.create_study(sampler=sampler)
    asked: dict[int, tuple[optuna.Trial, Assignment]] = {}
    for number, finished in _schedule(trials, parallel):
        trial = study.ask()
        asked[number] = trial, _suggested(trial, toy)
        for done in finished:
            study.tell(asked[done][0], toy.loss(asked[done][1]))
    return [asked[number][1] for number in range(1, trials + 1)]


TUNERS: dict[str, Run] = {
    "auto": run_podium("auto"),
    "gp": run_podium("gp"),
    "forest": run_podium("forest"),
    "cmaes": run_podium("cmaes"),
    "evolution": run_podium("evolution"),
    "differential": run_podium("evolution", variant="differential"),
    "frugal": run_podium("frugal"),
    "tpe": run_podium("tpe"),
    "random": run_podium("random"),
    "sobol": run_podium("sobol"),
    "optuna": run_optuna,
    "optuna-gp": run_optuna_gp,
}


def regrets(run: Run, toy: Toy, seeds: int, trials: int, parallel: int) -> FloatArray:
    """Return the regret of the best configuration so far, after each trial, shape (seeds, trials)."""
    typical = toy.typical_regret()
    tried = [[toy.regret(each, typical) for each in run(toy, seed, trials, parallel)] for seed in range(seeds)]
    return np.minimum.accumulate(np.array(tried), axis=1)


def _schedule(trials: int, parallel: int) -> Iterator[tuple[int, range]]:
    """Yield each trial's number with the numbers of those that finish between its proposal and the next."""
    for number in range(1, trials + 1):
        first = number - parallel + 1
        yield number, range(max(first, 1), max(first, 0) + 1)


def _suggested(trial: optuna.Trial, toy: Toy) -> Assignment:
    assignment: Assignment = {}
    for parameter in in_dependency_order(toy.parameters):
        if is_active(parameter, assignment):
            assignment[parameter.name] = _suggestion(trial, parameter)
    return assignment


def _suggestion(trial: optuna.Trial, parameter: Parameter) -> Any:
    match parameter:
        case FloatParameter():
            is_log = parameter.scale == "log"
            return trial.suggest_float(parameter.name, parameter.min, parameter.max, step=parameter.step, log=is_log)
        case IntParameter():
            is_log = parameter.scale == "log"
            return trial.suggest_int(parameter.name, parameter.min, parameter.max, step=parameter.step or 1, log=is_log)
        case _:
            return trial.suggest_categorical(parameter.name, parameter.values)  # type: ignore[arg-type]  # scalars here


def _takes(tuner: str, toy: Toy) -> bool:
    """Whether a tuner takes a toy's space: CMA-ES refuses choices and conditions."""
    return tuner != "cmaes" or not any(p.type == "categorical" or p.when for p in toy.parameters)


def _spec(toy: Toy, search: dict[str, Any], trials: int, parallel: int) -> ExperimentSpec:
    return ExperimentSpec.model_validate(
        {
            "objectives": [{"metric": "loss", "goal": "minimize"}],
            "parameters": toy.parameters,
            "search": search,
            "maxTrials": trials,
            "parallelism": parallel,
            "trial": {"template": {"spec": {"containers": [{"name": "train"}]}}},
        }
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--after", type=int, nargs="+", default=[25, 50, 100], help="trials after which to look")
    arguments.add_argument("--seeds", type=int, default=20)
    arguments.add_argument("--parallel", type=int, default=1, help="trials that run at a time")
    arguments.add_argument(
        "--tuners", nargs="+", choices=TUNERS, default=[name for name in TUNERS if name != "optuna-gp"]
    )
    arguments.add_argument("--toys", nargs="+", default=[toy.name for toy in TOYS], help="names, as printed")
    arguments.add_argument("--quick", action="store_true", help="3 seeds, 50 trials")
    arguments.add_argument("--json", type=Path, help="write every regret here")
    options = arguments.parse_args()
    seeds, after = (3, [25, 50]) if options.quick else (options.seeds, options.after)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    results: dict[str, dict[str, FloatArray]] = {}
    print(f"median regret of {seeds} seeds after {', '.join(map(str, after))} trials, {options.parallel} at a time")
    print(f"{'':16}" + "".join(f"{tuner:^{9 * len(after)}}" for tuner in options.tuners))
    for toy in (toy for toy in TOYS if toy.name in options.toys):
        tuners = [tuner for tuner in options.tuners if _takes(tuner, toy)]
        row = {tuner: regrets(TUNERS[tuner], toy, seeds, max(after), options.parallel) for tuner in tuners}
        results[toy.name] = row
        cells = (
            f"{np.median(row[tuner][:, count - 1]):9.4f}" if tuner in row else f"{'-':>9}"
            for tuner in options.tuners
            for count in after
        )
        print(f"{toy.name:16}" + "".join(cells), flush=True)
    if "optuna" in options.tuners:
        print("regret relative to Optuna's, geometric mean over toys and seeds (below 1 is better):")
        for tuner in options.tuners:
            ratios = [relative(results, tuner, count) for count in after]
            print(f"{tuner:16}" + "".join(f"{ratio:9.2f}" for ratio in ratios))
    if options.json:
        as_lists = {toy: {tuner: array.tolist() for tuner, array in row.items()} for toy, row in results.items()}
        options.json.write_text(json.dumps(as_lists))


def relative(results: dict[str, dict[str, FloatArray]], tuner: str, count: int) -> float:
    """Return a tuner's regret after so many trials as a multiple of Optuna's; a millionth counts as none left."""
    rows = [row for row in results.values() if tuner in row]
    logs = [np.log((row[tuner] + 1e-6) / (row["optuna"] + 1e-6))[:, count - 1].mean() for row in rows]
    return float(np.exp(np.mean(logs)))


if __name__ == "__main__":
    main()
