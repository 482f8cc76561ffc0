"""The Trial: one configuration of an experiment, made by Podium, with the facts from which everything can be rebuilt."""

from datetime import datetime
from typing import Literal

from pydantic import JsonValue, NonNegativeInt, PositiveInt

from podium_contract.conditions import Condition
from podium_contract.experiment import Metadata
from podium_contract.lifecycle import Phase
from podium_contract.model import Model, Number, OpenModel
from podium_contract.names import API_VERSION
from podium_contract.observation import Observation

__all__ = ["MAX_KEPT_OBSERVATIONS", "Observation", "Parent", "Trial", "TrialSpec", "TrialStatus"]

MAX_KEPT_OBSERVATIONS = 32
"""A Trial's status keeps at most so many observations; the whole record is in the suggestion service's store."""


class Parent(Model):
    """The trial whose checkpoint a clone started from."""

    trial: PositiveInt
    step: NonNegativeInt
    """The step of that checkpoint: the clone's first one is the next."""


class TrialSpec(Model):
    """What a trial is: fixed when it is made."""

    experiment: str
    """Name of the Experiment, in the Trial's own namespace."""
    number: PositiveInt
    """1, 2, 3 ... within the experiment."""
    parameters: dict[str, JsonValue]
    """The configuration; inactive parameters are absent."""
    target: PositiveInt | None = None
    """Steps to train at first; absent: until its command ends."""
    bracket: NonNegativeInt = 0
    """The scheduler's bracket that it competes in; in a population, the place that it holds."""
    parent: Parent | None = None
    origin: str = ""
    """How it came to be, in words: which search proposed it, or whose clone it is."""


class TrialStatus(OpenModel):
    """How a trial stands: enough to go on after any restart, and to rebuild the suggestion service's store."""

    phase: Phase = Phase.PENDING
    reason: str = ""
    message: str = ""
    attempt: NonNegativeInt = 0
    """The latest run that was asked for; 0 before the first."""
    ended_attempt: NonNegativeInt = 0
    """The latest run whose end is accounted for; smaller than `attempt` while a run is due or alive."""
    retries: NonNegativeInt = 0
    """Runs that replaced a disrupted one."""
    target: PositiveInt | None = None
    """Steps that the trial is to train since its last promotion; absent before the first one."""
    step: NonNegativeInt = 0
    """Steps that it has trained."""
    metrics: dict[str, Number] = {}
    """Its latest values."""
    value: Number | None = None
    """The first objective's latest value."""
    observations: tuple[Observation, ...] = ()
    """The last few reports, and those a verdict was built on (at most 32)."""
    seconds: float = 0.0
    """Wall-clock seconds of all its ended runs."""
    gpu_seconds: float = 0.0
    """Those seconds, times the GPUs that each run asked for."""
    start_time: datetime | None = None
    end_time: datetime | None = None
    conditions: tuple[Condition, ...] = ()


class Trial(Model):
    """One configuration of an Experiment, and how far it got."""

    api_version: Literal["podium.dev/v1alpha1"] = API_VERSION
    kind: Literal["Trial"] = "Trial"
    metadata: Metadata
    spec: TrialSpec
    status: TrialStatus = TrialStatus()

    @property
    def target(self) -> int | None:
        """Steps that the trial is to train now; None: until its command ends."""
        return self.spec.target if self.status.target is None else self.status.target

    @property
    def step(self) -> int:
        """Steps that it has trained, those that a clone inherited included."""
        return max(self.status.step, self.inherited)

    @property
    def inherited(self) -> int:
        """Steps that its parent had trained when it was cloned; 0 for a trial that began by itself."""
        return 0 if self.spec.parent is None else self.spec.parent.step

    @property
    def has_reached_target(self) -> bool:
        target = self.target
        return target is not None and self.status.step >= target
