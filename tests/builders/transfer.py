"""Related tasks for tests of transfer: one bowl, shifted a little, on whatever scale, with a value that matters."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from builders.experiments import a_choice, a_float, an_objective
from podium_contract.parameters import Assignment
from podium_suggestion.store import Store
from podium_suggestion.study import Study, Work

TASK = [
    *(a_float(name, 0.0, 1.0, "linear") for name in ("x", "y", "z")),
    a_choice("kind", ["good", "fair", "poor"]),
]
Loss = Callable[[Assignment], float]
_SLOPES = {"x": 4.0, "y": 2.0, "z": 1.0}
_BOTTOM = {"x": 0.3, "y": 0.7, "z": 0.2}


def task(shift: float = 0.0, scale: float = 1.0, offset: float = 0.0) -> Loss:
    """Return a loss whose least value is `offset`, at a point that `shift` moves; a negative scale turns it upside down."""

    def loss(assignment: Assignment) -> float:
        bowl = sum(slope * (assignment[name] - _BOTTOM[name] - shift) ** 2 for name, slope in _SLOPES.items())
        return float(scale * (bowl + {"good": 0.0, "fair": 0.3, "poor": 0.6}[assignment["kind"]]) + offset)

    return loss


def a_study(store: Store, name: str = "new", **more: Any) -> Study:
    """A study of the task's space; `search` goes by its fields."""
    defaults: dict[str, Any] = {
        "parameters": TASK,
        "objectives": [an_objective()],
        "max_trials": 20,
        "search": "random",
    }
    return Study.create(**defaults | more, store=store, name=name)


def finish(study: Study, work: Work, loss: float) -> None:
    study.tell(work.number, 1, {study.spec.objectives[0].metric: loss})
    study.finish(work.number)


def run(store: Store, name: str, loss: Loss, **more: Any) -> list[float]:
    """Run a study to its end and return its losses."""
    study, losses = a_study(store, name, **more), []
    while (work := study.ask()) is not None:
        losses.append(loss(work.parameters))
        finish(study, work, losses[-1])
    return losses


def warm(algorithm: str, *sources: str, settings: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return a search that starts from experiments by name."""
    return {"algorithm": algorithm, "settings": settings or {}, "warmStart": {"experiments": list(sources), **more}}


def best_after(losses: list[float]) -> list[float]:
    """Return the least loss after each trial."""
    return [float(least) for least in np.minimum.accumulate(losses)]
