"""What an experiment has taken from earlier ones: recorded with it when it begins, so that nothing later changes it."""

from pydantic import Field, JsonValue

from podium_contract.model import OpenModel


class SourceTrial(OpenModel):
    """A trial of an earlier experiment, in terms of this one's parameters."""

    number: int
    parameters: dict[str, JsonValue]
    score: float
    """Its place among the trials of its experiment, as a quantile of the normal distribution: the lower, the better."""


class Source(OpenModel):
    """An earlier experiment."""

    experiment: str
    """Its key."""
    similarity: float = Field(ge=0, le=1)
    """How alike the data sets are; 1 where nothing is known to differ."""
    shared: tuple[str, ...]
    """Parameters that both experiments have."""
    trials: tuple[SourceTrial, ...]
    """The best first; failed ones share the last place."""


class StartingPoint(OpenModel):
    """A configuration to begin with; parameters that its experiment did not have are open."""

    parameters: dict[str, JsonValue]
    origin: str
    """Whose it was, in a clause for a person."""


class Inheritance(OpenModel):
    """All that an experiment takes from earlier ones."""

    sources: tuple[Source, ...] = ()
    starting_points: tuple[StartingPoint, ...] = ()
    refused: str | None = None
    """Why the experiment cannot begin."""
