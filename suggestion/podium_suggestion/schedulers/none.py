"""No scheduler: every trial runs in full."""

from podium_contract.algorithms import NoScheduler
from podium_contract.experiment import RungStatus
from podium_contract.wire import Promote, Stop
from podium_suggestion.history import History
from podium_suggestion.schedulers.base import Start


class Unscheduled:
    """Gives every trial all the steps there are, or lets it run until its command ends."""

    def __init__(self, settings: NoScheduler) -> None:
        self._maximum = settings.max

    def start(self, history: History, number: int) -> Start:  # noqa: ARG002  (the same for every trial)
        return Start(self._maximum)

    def judge(self, history: History, number: int, step: int) -> Stop | None:  # noqa: ARG002  (nobody is judged)
        return None

    def next_move(self, history: History, more_trials: bool) -> Promote | None:  # noqa: ARG002  (nobody rests)
        return None

    def dismissals(self, history: History, more_trials: bool) -> tuple[Stop, ...]:  # noqa: ARG002  (nobody rests)
        return ()

    def refusal(self, history: History) -> None:  # noqa: ARG002  (any number may begin)
        return None

    def rungs(self, history: History) -> tuple[RungStatus, ...]:  # noqa: ARG002  (there is no ladder)
        return ()
