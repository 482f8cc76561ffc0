"""A history and its scheduler, written by hand: trials start, report, rest and fail; moves are carried out."""

from typing import Any

import numpy as np

from builders.experiments import an_experiment_spec
from podium_contract.lifecycle import Phase
from podium_contract.trial import Observation
from podium_contract.wire import Promote, Stop
from podium_suggestion.history import History, TrialHistory
from podium_suggestion.schedulers import make_scheduler
from podium_suggestion.schedulers.base import Clone
from podium_suggestion.space import Space


class Race:
    """Trials under one scheduler. Losses are given, parameters do not matter."""

    def __init__(self, **spec: Any) -> None:
        self.spec = an_experiment_spec(**spec)
        self.scheduler = make_scheduler(self.spec)
        self.history = History(Space(self.spec.parameters), self.spec.objectives, self.spec.constraints)

    def start(self, trials: int = 1) -> None:
        for _ in range(trials):
            number = self.history.rows + 1
            start = self.scheduler.start(self.history, number)
            trial = TrialHistory(number, {"lr": 0.001}, target=start.target, bracket=start.bracket)
            self.history.add(trial)
            self.history.settle(number, Phase.RUNNING, "Started", "")

    def report(self, number: int, step: int, loss: float, **metrics: float) -> None:
        observation = Observation(attempt=1, step=step, sequence=step, metrics={"loss": loss, **metrics})
        self.history.observe(number, observation)

    def rest(self, number: int, loss: float, **metrics: float) -> None:
        """Train a trial up to its target and pause it there."""
        target = self.history.trials[number].target
        assert target is not None
        self.report(number, target, loss, **metrics)
        self.history.settle(number, Phase.PAUSED, "RungReached", "")

    def start_and_rest(self, *losses: float) -> None:
        for loss in losses:
            self.start()
            self.rest(self.history.rows, loss)

    def fail(self, number: int) -> None:
        self.history.settle(number, Phase.FAILED, "ExitCode", "crashed")

    def curve(self, *losses: float) -> None:
        """Start a trial that reports these losses at steps 1, 2 ... and goes on."""
        self.start()
        for step, loss in enumerate(losses, start=1):
            self.report(self.history.rows, step, loss)

    def judge(self, number: int, step: int) -> Stop | None:
        return self.scheduler.judge(self.history, number, step)

    def promote(self, *, more_trials: bool = True) -> Promote | None:
        """Carry out the scheduler's next promotion, if it has one."""
        move = self.scheduler.next_move(self.history, more_trials)
        assert not isinstance(move, Clone)
        return self._carry_out(move)

    def promote_out_of_turn(self, *, missing: int) -> Promote | None:
        """Carry out what the scheduler has for a free slot when the search has nothing left, if it has anything."""
        return self._carry_out(self.scheduler.spare_move(self.history, missing))

    def _carry_out(self, promotion: Promote | None) -> Promote | None:
        if promotion is not None:
            self.history.retarget(promotion.trial, promotion.target)
            self.history.settle(promotion.trial, Phase.RUNNING, "Promoted", "")
        return promotion

    def move(self, *, more_trials: bool = True) -> Promote | Clone | None:
        """Carry out the scheduler's next move, be it a promotion or a clone in somebody's place."""
        move = self.scheduler.next_move(self.history, more_trials)
        if isinstance(move, Promote):
            self._carry_out(move)
        if isinstance(move, Clone):
            if move.replaces is not None:
                self.history.stop(move.replaces.trial, move.replaces.step, move.replaces.reason)
                self.history.settle(move.replaces.trial, Phase.PRUNED, "StoppedByScheduler", move.replaces.reason)
            number, start = self.history.rows + 1, move.start
            self.history.add(
                TrialHistory(number, move.assignment, start.target, start.bracket, move.parent, move.origin)
            )
            self.history.settle(number, Phase.RUNNING, "Started", "")
        return move

    def move_all(self, *, more_trials: bool = True) -> list[str]:
        """Carry out moves until there are none: "2 to 20" is a promotion, "9 from 1@10 for 8" a clone in 8's place."""
        moves = []
        while (move := self.move(more_trials=more_trials)) is not None:
            if isinstance(move, Promote):
                moves.append(f"{move.trial} to {move.target}")
            else:
                place = f" for {move.replaces.trial}" if move.replaces else ""
                moves.append(f"{self.history.rows} from {move.parent.trial}@{move.parent.step}{place}")
        return moves

    def promote_all(self, *, more_trials: bool = True) -> list[tuple[int, int]]:
        """Carry out promotions until there are none; returns (trial, target) of each."""
        moves = []
        while (move := self.promote(more_trials=more_trials)) is not None:
            moves.append((move.trial, move.target))
        return moves

    def dismiss(self, *, more_trials: bool = True) -> list[int]:
        """Carry out dismissals; returns the trials."""
        stops = self.scheduler.dismissals(self.history, more_trials)
        for stop in stops:
            assert stop.reason
            self.history.stop(stop.trial, stop.step, stop.reason)
            self.history.settle(stop.trial, Phase.PRUNED, "StoppedByScheduler", stop.reason)
        return [stop.trial for stop in stops]


INF = float(np.inf)
NAN = float(np.nan)
