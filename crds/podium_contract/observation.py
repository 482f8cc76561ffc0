"""One report of a trial. In a module of its own, because each run of each trial waits for its import."""

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt

from podium_contract.model import MAX_COUNT, Number, OpenModel


class Observation(OpenModel):
    """One report of a trial: the metrics it had at one step."""

    attempt: Annotated[PositiveInt, Field(le=MAX_COUNT)]
    """Which run of the trial reported it."""
    step: Annotated[NonNegativeInt, Field(le=MAX_COUNT)]
    """Training progress, in the scheduler's resource."""
    sequence: Annotated[NonNegativeInt, Field(le=MAX_COUNT)] = 0
    """Position among the run's reports; the later of two reports of one step counts."""
    metrics: dict[str, Number]
    seconds: float | None = None
    """Seconds of training since the run began."""
