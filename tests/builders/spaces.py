"""Spaces and histories in one line, for tests of samplers and schedulers.

`a_history(a_float(...))` is an empty history that minimises `loss`; `with_trial(history, {...}, loss=0.3)` adds a trial
that finished, `with_trial(history, {...})` one that still trains.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from podium_contract.experiment import Constraint, Objective
from podium_contract.lifecycle import Phase
from podium_contract.parameters import Assignment, Parameter
from podium_contract.trial import Observation
from podium_suggestion.history import History, TrialHistory
from podium_suggestion.space import Space

_PARAMETERS = TypeAdapter(list[Parameter])


def a_space(*parameters: Mapping[str, Any]) -> Space:
    """The space of parameters written as in a manifest: `a_space(a_float(), a_choice())`."""
    return Space(_PARAMETERS.validate_python(parameters))


def a_history(
    *parameters: Mapping[str, Any],
    objectives: Sequence[tuple[str, str] | Mapping[str, Any]] = (("loss", "minimize"),),
    constraints: Sequence[Mapping[str, Any]] = (),
) -> History:
    """An empty history over parameters written as in a manifest; objectives are (metric, goal), or as in one."""
    written = [
        each if isinstance(each, Mapping) else dict(zip(("metric", "goal"), each, strict=True)) for each in objectives
    ]
    return History(
        a_space(*parameters),
        [Objective.model_validate(objective) for objective in written],
        [Constraint.model_validate(constraint) for constraint in constraints],
    )


def a_report(step: int = 1, attempt: int = 1, sequence: int = 0, **metrics: float) -> Observation:
    return Observation(attempt=attempt, step=step, sequence=sequence, metrics=metrics)


def with_trial(
    history: History,
    assignment: Assignment,
    *curve: float,
    number: int | None = None,
    phase: Phase | None = None,
    **metrics: float,
) -> TrialHistory:
    """Add the next trial: `curve` are losses of steps 1, 2 ..., `metrics` one last report.

    It succeeded if it reported anything and still trains if not, unless told otherwise.
    """
    trial = TrialHistory(number=number or history.rows + 1, assignment=assignment)
    history.add(trial)
    for step, loss in enumerate(curve, start=1):
        history.observe(trial.number, a_report(step, loss=loss))
    if metrics:
        history.observe(trial.number, Observation(attempt=1, step=len(curve) + 1, metrics=metrics))
    history.settle(trial.number, phase or (Phase.SUCCEEDED if curve or metrics else Phase.RUNNING))
    return trial
