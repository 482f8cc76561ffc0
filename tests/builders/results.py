"""Results of an experiment that never ran a process: the real engine, told made-up learning curves."""

import math
from typing import Any

from builders.experiments import a_choice, a_float, a_scheduler, a_search, an_experiment, an_int, an_ordinal
from podium_contract.experiment import Cost, Experiment, ExperimentStatus, TrialCounts
from podium_contract.lifecycle import Phase
from podium_operator.results import Results
from podium_suggestion.study import Next, Study

CONDITIONAL_SPACE = [
    a_float("lr", 1e-5, 1e-1),
    a_choice("optimizer", ["sgd", "adam", "rmsprop"]),
    a_float("momentum", 0.0, 0.99, "linear", when={"optimizer": ["sgd"]}),
    a_choice("betas", [[0.9, 0.999], [0.95, 0.999]], when={"optimizer": ["adam"]}),
    an_int("depth", 1, 8),
    an_ordinal("batch", [16, 32, 64, 128]),
    a_float("dropout", 0.01, 0.9, "logit"),
]


def a_loss(parameters: dict[str, Any], step: int) -> float:
    """A bowl around lr = 1e-3 and depth = 5 that training approaches; it diverges where lr is high."""
    lr, depth = parameters.get("lr", 1e-3), parameters.get("depth", 5)
    if lr > 0.06:
        return math.nan
    floor = 0.1 + 0.15 * (math.log10(lr) + 3) ** 2 + 0.01 * (depth - 5) ** 2
    return float(floor + 1.5 / (1 + step) ** 0.7)


def some_results(trials: int = 60, failing: int = 0, **spec: Any) -> Results:
    """What an experiment of so many trials came to; the first `failing` of them fail at once."""
    chosen = {"parameters": CONDITIONAL_SPACE, "scheduler": a_scheduler("asha", 1, 27), "search": a_search("random", 3)}
    experiment = an_experiment("digits", **{**chosen, "max_trials": trials, **spec})
    study = Study(experiment.spec)
    while (work := study.ask()) is not None:
        if work.number <= failing:
            study.fail(work.number, "exit code 3: ValueError: bad learning rate <script>")
            continue
        for step in range(work.from_step + 1, (work.target or 9) + 1):
            metrics = {o.metric: _value(o.metric, o.goal, work.parameters, step) for o in experiment.spec.objectives}
            if study.tell(work.number, step, metrics).next is not Next.CONTINUE:
                break
        else:
            if work.target is None:
                study.finish(work.number)
    return Results(_with_status(experiment, study), tuple(study.records()))


def _value(metric: str, goal: str, parameters: dict[str, Any], step: int) -> float:
    if metric == "latency":
        return float(2 ** parameters.get("depth", 5))
    loss = a_loss(parameters, step)
    return 1.0 - loss if goal == "maximize" else loss


def _with_status(experiment: Experiment, study: Study) -> Experiment:
    advice, records, maximum = study.advice, study.records(), experiment.spec.scheduler.max
    counts = {phase.lower(): sum(record.phase is phase for record in records) for phase in Phase}
    metric = experiment.spec.objectives[0].metric
    status = ExperimentStatus(
        phase="Complete",
        trials=TrialCounts(total=len(records), **counts),
        best=advice.best,
        best_value=advice.best[0].metrics[metric] if advice.best else None,
        rungs=advice.rungs,
        cost=Cost(
            steps=advice.steps, full_steps=None if maximum is None else maximum * len(records), trial_seconds=90.0
        ),
    )
    return experiment.model_copy(update={"status": status})
