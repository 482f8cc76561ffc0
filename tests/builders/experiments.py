"""Experiments in one line: sensible defaults, and whatever a test cares about given by name.

`an_experiment(max_trials=5)` is a typed Experiment, `a_manifest(...)` the plain data a user would write, and
`yaml_text(...)` its text. Keywords are field names of the spec, in snake_case or as a user writes them.
"""

from typing import Any

import yaml

from podium_contract.experiment import Experiment, ExperimentSpec
from podium_contract.names import API_VERSION

Manifest = dict[str, Any]


def a_float(name: str = "lr", low: float = 1e-5, high: float = 1e-1, scale: str = "log", **more: Any) -> Manifest:
    """A float parameter: a learning rate unless told otherwise."""
    return {"name": name, "type": "float", "min": low, "max": high, "scale": scale, **more}


def an_int(name: str = "depth", low: int = 1, high: int = 8, **more: Any) -> Manifest:
    return {"name": name, "type": "int", "min": low, "max": high, **more}


def an_ordinal(name: str = "batch", values: list[Any] | None = None, **more: Any) -> Manifest:
    return {"name": name, "type": "ordinal", "values": values or [16, 32, 64, 128], **more}


def a_choice(name: str = "optimizer", values: list[Any] | None = None, **more: Any) -> Manifest:
    """A categorical parameter."""
    return {"name": name, "type": "categorical", "values": values or ["sgd", "adam", "rmsprop"], **more}


def an_objective(metric: str = "loss", goal: str = "minimize", **more: Any) -> Manifest:
    return {"metric": metric, "goal": goal, **more}


def a_search(algorithm: str = "random", seed: int = 0, **settings: Any) -> Manifest:
    return {"algorithm": algorithm, "seed": seed, "settings": settings}


def a_scheduler(algorithm: str = "asha", low: int = 1, high: int = 81, **settings: Any) -> Manifest:
    """A scheduler over epochs from `low` to `high`; settings by name, as a user writes them."""
    bounds = {"max": high} if algorithm == "none" else {"min": low, "max": high}
    return {"algorithm": algorithm, "resource": "epoch", **bounds, "settings": settings}


SOME_CHECKPOINTS: Manifest = {"persistentVolumeClaim": {"storage": "1Gi"}}
"""Where checkpoints live on a cluster; without them there is no population."""


def a_population(high: int = 20, **settings: Any) -> Manifest:
    """A pbt scheduler over epochs; settings by name, as a user writes them."""
    return {"algorithm": "pbt", "resource": "epoch", "max": high, "settings": settings}


def a_template(*command: str, **container: Any) -> Manifest:
    """A pod template with one container that runs `command`."""
    words = list(command) or ["python", "train.py"]
    return {"spec": {"containers": [{"name": "train", "image": "example/train:1", "command": words, **container}]}}


def a_trial(*command: str, **more: Any) -> Manifest:
    """How one trial is run: `a_trial("python", "train.py", maxRetries=0)`."""
    return {"template": a_template(*command), **more}


def a_spec(**spec: Any) -> Manifest:
    """The plain spec of a small experiment: one parameter, one objective, ten trials."""
    defaults: Manifest = {
        "objectives": [an_objective()],
        "parameters": [a_float()],
        "maxTrials": 10,
        "trial": a_trial(),
    }
    if spec.get("scheduler", {}).get("algorithm") in ("pbt", "pb2"):
        defaults["trial"]["checkpoints"] = SOME_CHECKPOINTS
    return defaults | {_camel(name): value for name, value in spec.items()}


def a_manifest(name: str = "demo", **spec: Any) -> Manifest:
    """What a user would write in a file, as plain data."""
    return {"apiVersion": API_VERSION, "kind": "Experiment", "metadata": {"name": name}, "spec": a_spec(**spec)}


def yaml_text(name: str = "demo", **spec: Any) -> str:
    """What a user would write in a file."""
    return yaml.safe_dump(a_manifest(name, **spec), sort_keys=False)


def an_experiment(name: str = "demo", **spec: Any) -> Experiment:
    return Experiment.model_validate(a_manifest(name, **spec))


def an_experiment_spec(**spec: Any) -> ExperimentSpec:
    return an_experiment(**spec).spec


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
