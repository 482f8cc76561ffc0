"""The two pydantic bases every contract type builds on, and the number type that carries NaN and infinity through JSON."""

import math
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, StrictInt
from pydantic.alias_generators import to_camel

MAX_COUNT = 2**53
"""The largest count: JSON carries integers exactly up to here, and databases take them."""
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Model(BaseModel):
    """A frozen value, written in camelCase, that refuses fields it does not know."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    def to_json(self) -> dict[str, Any]:
        """Return the value as plain JSON data (camelCase, absent fields left out, non-finite numbers as strings)."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class OpenModel(Model):
    """A frozen value that keeps fields it does not know: for objects that Kubernetes or a newer Podium may extend."""

    model_config = ConfigDict(extra="ignore")


def number_from_json(value: object) -> object:
    """Turn the three strings JSON needs for non-finite numbers back into floats; leave everything else to pydantic."""
    return _NON_FINITE.get(value, value) if isinstance(value, str) else value


def number_to_json(value: float) -> float | str:
    """Return a finite number as it is and a non-finite one as "NaN", "Infinity" or "-Infinity" (JSON has no others)."""
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


class FieldError(ValueError):
    """A rule broken at a field below the model that checks it: `path` leads there, as `[2].when` or `.max`."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


class BrokenRulesError(ValueError):
    """All the rules that a model has found broken."""

    def __init__(self, faults: list[FieldError]) -> None:
        super().__init__("; ".join(f"{fault.path}: {fault}" for fault in faults))
        self.faults = faults


def refuse(faults: Iterable[FieldError]) -> None:
    """Raise BrokenRulesError with all of the faults, if there are any."""
    found = list(faults)
    if found:
        raise BrokenRulesError(found)


Number = Annotated[
    float,
    BeforeValidator(number_from_json),
    PlainSerializer(number_to_json, return_type=float | str, when_used="json"),
]
"""A float that survives JSON even when it is NaN or infinite."""

Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
"""A number that a user writes: whole or not, but no text, no truth value, and neither NaN nor infinity."""

Count = Annotated[StrictInt, Field(ge=1, le=MAX_COUNT)]
"""How many of something that a user writes: at least one."""
