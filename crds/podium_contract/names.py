"""What things are called: API group, objects, labels, folders. Every name is built, and taken apart again, here only."""

import re
from typing import Literal

GROUP = "podium.dev"
VERSION = "v1alpha1"
API_VERSION: Literal["podium.dev/v1alpha1"] = "podium.dev/v1alpha1"
DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"

LABEL_EXPERIMENT = f"{GROUP}/experiment"
LABEL_EXPERIMENT_UID = f"{GROUP}/experiment-uid"
LABEL_TRIAL = f"{GROUP}/trial"
LABEL_ATTEMPT = f"{GROUP}/attempt"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "podium"

_TRIAL_NAME = re.compile(r"^(?P<experiment>.+)-(?P<number>[0-9]{5,})$")
_RUN_NAME = re.compile(r"^(?P<trial>.+-[0-9]{5,})-(?P<attempt>[0-9]+)$")


def trial_name(experiment: str, number: int) -> str:
    """Return the name of a trial: digits-00007 for number 7 of the experiment "digits"."""
    return f"{experiment}-{number:05d}"


def parse_trial_name(name: str) -> tuple[str, int]:
    """Return the experiment's name and the trial's number; ValueError when it is no trial's name."""
    match = _TRIAL_NAME.match(name)
    if match is None:
        raise ValueError(f"'{name}' is not a trial's name")
    return match["experiment"], int(match["number"])


def run_name(experiment: str, number: int, attempt: int) -> str:
    """Return the name of a trial's run (pod or process): digits-00007-2 for its second."""
    return f"{trial_name(experiment, number)}-{attempt}"


def parse_run_name(name: str) -> tuple[str, int, int]:
    """Return the experiment's name, the trial's number and the attempt; ValueError when it is no run's name."""
    match = _RUN_NAME.match(name)
    if match is None:
        raise ValueError(f"'{name}' is not a run's name")
    return *parse_trial_name(match["trial"]), int(match["attempt"])


def experiment_key(namespace: str, name: str, uid: str) -> str:
    """Return what identifies an experiment for good: a recreated one of the same name has another uid."""
    return f"{namespace}/{name}/{uid}"


def parse_experiment_key(key: str) -> tuple[str, str, str]:
    """Return the namespace, name and uid of an experiment's key; ValueError when it is none."""
    parts = key.split("/")
    if len(parts) != 3:
        raise ValueError(f"'{key}' is not an experiment's key")
    return parts[0], parts[1], parts[2]


def checkpoint_folder(number: int) -> str:
    """Return the folder of a trial's checkpoints, relative to the experiment's checkpoint root."""
    return f"trials/{number:05d}"


def checkpoint_root(experiment: str, uid: str) -> str:
    """Return the folder of an experiment's checkpoints on a volume that it shares with others."""
    return f"{experiment}-{uid}"


def claim_name(experiment: str) -> str:
    """Return the name of the PersistentVolumeClaim made for an experiment."""
    return f"{experiment}-checkpoints"
