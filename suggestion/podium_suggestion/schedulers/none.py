"""No scheduler: every trial runs in full."""

from podium_contract.algorithms import NoScheduler
from podium_contract.experiment import RungStatus
from podium_contract.wire import Stop
from podium_suggestion.history import History
from podium_suggestion.schedulers.base import NobodyRests, Start


class Unscheduled(NobodyRests):
    """Gives every trial all the steps there are, or lets it run until its command ends."""

    def __init__(self, settings: NoScheduler) -> None:
        self._maximum = settings.max

    def start(self, history: History, number: int) -> Start:  # noqa: ARG002  (the same for every trial)
        return Start(self._maximum)

    def judge(self, history: History, number: int, step: int) -> Stop | None:  # noqa: ARG002  (nobody is judged)
        return None

    def rungs(self, history: History) -> tuple[RungStatus, ...]:  # noqa: ARG002  (there is no ladder)
        return ()
