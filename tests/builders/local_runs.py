"""Experiments and Trials for the local backend, without a `podium` command around it."""

import sys
from typing import Any

from builders.experiments import an_experiment
from podium_contract.experiment import Experiment, Metadata
from podium_contract.names import trial_name
from podium_contract.trial import Parent, Trial, TrialSpec, TrialStatus

BARE_PYTHON = (sys.executable, "-I", "-S", "-c")
"""A Python that starts in milliseconds, with the standard library alone."""


def a_local_experiment(
    *command: str, grace: int | None = 5, pod: dict[str, Any] | None = None, **spec: Any
) -> Experiment:
    """An experiment whose trials run `command`; keywords of the trial and the container go by their own names."""
    container = {"name": "train", "command": list(command) or ["true"], **spec.pop("container", {})}
    limits = {} if grace is None else {"terminationGracePeriodSeconds": grace}
    template = {"spec": {"containers": [container], **limits, **(pod or {})}}
    metrics = {"metrics": spec.pop("metrics")} if "metrics" in spec else {}
    return an_experiment("local", trial={"template": template, **metrics}, **spec)


def a_trial_of(experiment: Experiment, number: int = 1, parent: int | None = None, **status: Any) -> Trial:
    """Trial `number` of an experiment, at a learning rate that tells it apart."""
    return Trial(
        metadata=Metadata(name=trial_name(experiment.metadata.name, number)),
        spec=TrialSpec(
            experiment=experiment.metadata.name,
            number=number,
            parameters={"lr": number / 1000},
            parent=None if parent is None else Parent(trial=parent, step=1),
        ),
        status=TrialStatus(**status),
    )
