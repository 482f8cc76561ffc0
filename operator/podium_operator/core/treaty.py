"""What every run is told in its environment, whichever world it runs in; each backend adds where things are."""

import json
from hashlib import sha256

from podium_contract import runtime
from podium_contract.experiment import Experiment
from podium_contract.parameters import Assignment, typed
from podium_contract.trial import Trial


def treaty_variables(experiment: Experiment, trial: Trial, attempt: int) -> dict[str, str]:
    """Return the treaty's variables that do not depend on where the run is."""
    number = trial.spec.number
    variables = {
        runtime.ENV_EXPERIMENT: experiment.metadata.name,
        runtime.ENV_TRIAL: trial.metadata.name,
        runtime.ENV_NUMBER: str(number),
        runtime.ENV_ATTEMPT: str(attempt),
        runtime.ENV_PARAMETERS: json.dumps(parameters_of(experiment, trial)),
        runtime.ENV_RESOURCE: experiment.spec.scheduler.resource,
        runtime.ENV_SEED: str(trial_seed(experiment.spec.search.seed, number)),
    }
    if trial.target is not None:
        variables[runtime.ENV_TARGET] = str(trial.target)
    if trial.spec.parent is not None:
        variables[runtime.ENV_PARENT_STEP] = str(trial.spec.parent.step)
    return variables


def parameters_of(experiment: Experiment, trial: Trial) -> Assignment:
    """Return a trial's parameters with their types, however the Trial was stored meanwhile."""
    return typed(experiment.spec.parameters, trial.spec.parameters)


def trial_seed(experiment_seed: int, number: int) -> int:
    """Return the seed of a trial's own randomness: 31 bits of a digest of (experiment seed, trial number)."""
    return int.from_bytes(sha256(f"{experiment_seed}/{number}".encode()).digest()[:4], "big") >> 1
