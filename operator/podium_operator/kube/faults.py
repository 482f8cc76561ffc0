"""What a refusal by the API server means: whether asking again may help."""

from enum import Enum, auto
from http import HTTPStatus

from podium_operator.kube.api import KubernetesError

_BROKEN_RULE = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY)
# Forbidden today, and perhaps not tomorrow: room in a quota, a right of the operator's own, a namespace that goes.
_PASSING = ("exceeded quota", "cannot create resource", "is being terminated")


class Refusal(Enum):
    FOR_GOOD = auto()
    """The object breaks a rule: schema, Pod Security, an admission policy."""
    FOR_NOW = auto()
    """The object is fine, and there is no room for it at present."""
    NONE = auto()
    """Nothing was decided: the server is away, or busy."""


def refusal_of(fault: KubernetesError) -> Refusal:
    """Return what it means that an object was not created."""
    if fault.status in _BROKEN_RULE:
        return Refusal.FOR_GOOD
    if fault.status == HTTPStatus.CONFLICT:  # somebody else's object has the name, and may go
        return Refusal.FOR_NOW
    if fault.status != HTTPStatus.FORBIDDEN:
        return Refusal.NONE
    return Refusal.FOR_NOW if any(words in str(fault) for words in _PASSING) else Refusal.FOR_GOOD
