"""Verdicts in words: one sentence for a person, with the numbers that decided."""

import math
from dataclasses import dataclass

from podium_contract.experiment import Objective

_SHARES = {2: "half", 3: "third", 4: "quarter", 5: "fifth", 10: "tenth"}


@dataclass(frozen=True)
class Wording:
    """Knows the experiment's own words: its metric and what a step is called."""

    objective: Objective
    resource: str

    def value(self, loss: float) -> str:
        """Return a loss as the metric's value, in the direction in which the user knows it."""
        if not math.isfinite(loss):
            return f"no usable {self.objective.metric}"
        value = -loss if self.objective.goal == "maximize" else loss
        return f"{self.objective.metric} {value:.5g}"

    def at(self, loss: float, step: int) -> str:
        """Return "loss 0.41 at epoch 9"."""
        return f"{self.value(loss)} at {self.resource} {step}"

    def is_inside(self, loss: float, step: int, eta: int, trials: int) -> str:
        """Return "loss 0.41 at epoch 9 is among the best third of 12"."""
        return f"{self.at(loss, step)} is among the best {share(eta)} of {trials}"

    def is_outside(self, loss: float, step: int, eta: int, trials: int) -> str:
        """Return "loss 0.41 at epoch 9 is outside the best third of 12"."""
        return f"{self.at(loss, step)} is outside the best {share(eta)} of {trials}"


def share(eta: int) -> str:
    """Return what one of `eta` is called."""
    return _SHARES.get(eta, f"1/{eta}")
