"""How the loop reaches the world: a backend that runs trials, and an advisor that decides about them."""

from typing import Protocol

from podium_contract.wire import Advice, AdviceRequest
from podium_operator.core.actions import Action
from podium_operator.core.facts import World


class Backend(Protocol):
    """Runs the trials of one experiment: as pods, or as local processes."""

    async def observe(self) -> World:
        """Look: refresh runs, collect the reports that are new since `acknowledge`, and return the world."""
        ...

    async def perform(self, action: Action) -> None:
        """Do one thing, idempotently. Raises BackendError when it cannot; the next pass plans it again."""
        ...

    def acknowledge(self) -> None:
        """The reports that the last `observe` returned are safely stored; drop them."""
        ...

    async def wait(self, seconds: float) -> None:
        """Return when something may have changed (a run ended), at the latest after `seconds`."""
        ...


class Advisor(Protocol):
    """The suggestion service, in-process or over HTTP."""

    async def advise(self, request: AdviceRequest) -> Advice:
        """Return what to do now.

        Raises AdvisorUnavailableError when the service cannot answer now, and UnknownExperimentError when it has lost
        its store.
        """
        ...


class BackendError(RuntimeError):
    """An action could not be performed now; the message says which and why."""


class AdvisorUnavailableError(RuntimeError):
    """The suggestion service does not answer; trials go on, and the next pass asks again."""


class UnknownExperimentError(RuntimeError):
    """The suggestion service does not know this experiment: the facts of every trial must be sent again."""
