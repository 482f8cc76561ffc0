"""What the operator and the suggestion service say to each other.

One exchange does everything. The operator describes what has changed (facts), says how many trials may train at a time
(slots), and receives advice: trials to make and verdicts on those that exist. Advice is a level, not an edge: what was
advised and not yet acknowledged by facts is advised again, so a crash on either side loses and doubles nothing.
"""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, NonNegativeInt, PositiveInt

from podium_contract.experiment import ExperimentSpec, RungStatus, Standing
from podium_contract.lifecycle import Phase
from podium_contract.model import Model, OpenModel
from podium_contract.trial import Observation, Parent


class TrialFacts(OpenModel):
    """What the operator knows of one trial that the service may not.

    The phase is what the operator saw: Paused when a run ended well before the scheduler's maximum, Succeeded when nothing
    is left to train, Failed, Killed. A verdict may still turn Paused or Succeeded into Pruned.
    """

    number: PositiveInt
    phase: Phase
    attempt: NonNegativeInt = 0
    reason: str = ""
    message: str = ""
    observations: tuple[Observation, ...] = ()
    """Reports not yet acknowledged; telling one again changes nothing."""
    # What restores a store that was lost:
    parameters: dict[str, JsonValue] = {}
    target: PositiveInt | None = None
    bracket: NonNegativeInt = 0
    parent: Parent | None = None
    origin: str = ""


class AdviceRequest(OpenModel):
    """One exchange about one experiment."""

    experiment: str
    """`namespace/name/uid`, from `names.experiment_key`."""
    request_id: Annotated[str, Field(min_length=1, max_length=128)]
    """The same id is answered the same way, however often it is sent."""
    spec: ExperimentSpec
    slots: NonNegativeInt
    """How many trials may be training or waiting to; 0 asks for verdicts only."""
    facts: tuple[TrialFacts, ...] = ()
    """What has changed, and how each trial stands on which the last advice gave a verdict, ended or not."""
    complete: bool = False
    """`facts` holds every trial that exists: the first exchange of an operator process, or after UnknownExperiment."""


class Assignment(OpenModel):
    """A trial to make."""

    number: PositiveInt
    parameters: dict[str, JsonValue]
    target: PositiveInt | None = None
    """Steps to train at first; absent: until the command ends."""
    bracket: NonNegativeInt = 0
    parent: Parent | None = None
    """Start from this trial's checkpoint."""
    origin: str = ""


class Stop(Model):
    """The trial is not worth more: stop it, or do not resume it."""

    kind: Literal["stop"] = "stop"
    trial: PositiveInt
    step: NonNegativeInt
    """The step it was judged at; later reports are kept in the record but decide nothing."""
    reason: str
    """A sentence for a person, with the numbers that decided."""


class Promote(Model):
    """The trial deserves more: resume it from its checkpoint up to `target`."""

    kind: Literal["promote"] = "promote"
    trial: PositiveInt
    target: PositiveInt
    reason: str


Verdict = Annotated[Stop | Promote, Field(discriminator="kind")]
"""What to do about a trial; no verdict means go on."""


class Advice(OpenModel):
    """What to do now."""

    assignments: tuple[Assignment, ...] = ()
    """Trials to make, lowest number first."""
    verdicts: tuple[Verdict, ...] = ()
    """Verdicts that no facts have acknowledged yet."""
    exhausted: str | None = None
    """Why no further trial will ever come, when the search has none left; None while it has, or is merely waiting."""
    refused: str | None = None
    """Why the experiment cannot begin: what it is to learn from is not there. No trial will ever come."""
    idle: bool = False
    """Nothing trains, and nothing will until `maxTrials` is raised: whatever rests now rests for good."""
    best: tuple[Standing, ...] = ()
    """The best trials, or the Pareto front."""
    target_reached: bool = False
    """Whether the best trial reaches the objectives' targets within the constraints."""
    rungs: tuple[RungStatus, ...] = ()
    steps: NonNegativeInt = 0
    """Steps trained by all trials so far, repeated ones not counted."""


class TrialRecord(OpenModel):
    """One trial as the store knows it, with its whole history."""

    number: PositiveInt
    phase: Phase
    reason: str = ""
    message: str = ""
    parameters: dict[str, JsonValue]
    target: PositiveInt | None = None
    bracket: NonNegativeInt = 0
    parent: Parent | None = None
    origin: str = ""
    judged_step: NonNegativeInt | None = None
    """The step at which it was stopped, or reached the target; later reports decide nothing."""
    observations: tuple[Observation, ...] = ()
    """One per step, in order of steps: of several reports the one of the latest attempt, then sequence."""
