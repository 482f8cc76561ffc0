"""A small ASHA experiment with an exact answer, and the engine asked directly, for tests of operators that die."""

from typing import Any

from builders.experiments import a_float, a_scheduler, a_search, an_experiment
from podium_contract.experiment import Experiment
from podium_contract.parameters import Assignment
from podium_contract.wire import Advice, AdviceRequest
from podium_suggestion.engine import Engine

SMALL: dict[str, Any] = {"scheduler": a_scheduler("asha", 1, 2, reductionFactor=2), "max_trials": 3}


class DirectAdvisor:
    """The engine, asked directly: a thread for each question would only cost time here."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def advise(self, request: AdviceRequest) -> Advice:
        return self._engine.advise(request)


def bowl(assignment: Assignment, step: int) -> dict[str, float]:
    """A loss that falls with training and is least at lr = 0.3."""
    return {"loss": (assignment["lr"] - 0.3) ** 2 + 1.0 / step}


def a_bowl_experiment(**spec: Any) -> Experiment:
    defaults: dict[str, Any] = {
        "parameters": [a_float("lr", 0.0, 1.0, "linear")],
        "search": a_search("random", seed=3),
        "scheduler": a_scheduler("asha", 1, 9),
        "max_trials": 9,
        "parallelism": 1,
    }
    experiment = an_experiment(**defaults | spec)
    return experiment.model_copy(update={"metadata": experiment.metadata.model_copy(update={"uid": "u1"})})
