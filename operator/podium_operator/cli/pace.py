"""How much a scheduler spends, found by letting the real one judge made-up learning curves."""

import random

from podium_contract.algorithms import MedianScheduler, RandomSearch
from podium_contract.experiment import ExperimentSpec
from podium_suggestion.study import Next, Study

SIMULATED_TRIALS = 100
"""Enough for the spend per trial to settle; more would only take longer."""


def simulated_steps(spec: ExperimentSpec, trials: int) -> tuple[int, int]:
    """Return the steps that `trials` trials take, and how many of them there are in the space.

    Curves fall as asymptote + spread / sqrt(step), with some noise.
    """
    objective = spec.objectives[0].model_copy(update={"target": None})
    study = Study(
        spec.model_copy(
            update={
                "search": RandomSearch(algorithm="random", seed=spec.search.seed),
                "max_trials": trials,
                "objectives": [objective],
                "constraints": [],
            }
        )
    )
    sign = -1.0 if objective.goal == "maximize" else 1.0
    milestones = {rung.budget for rung in study.advice.rungs}
    judges_at_rungs = not isinstance(spec.scheduler, MedianScheduler)
    while (work := study.ask()) is not None:
        nature = random.Random(work.number)  # noqa: S311  (a simulation)
        asymptote, spread = nature.random(), nature.random()
        for step in range(work.from_step + 1, (work.target or 1) + 1):
            if judges_at_rungs and step not in milestones and step != work.target:
                continue  # nothing is decided here
            noise = random.Random(f"{work.number}/{step}").gauss(0.0, 0.02)  # noqa: S311
            ruling = study.tell(work.number, step, sign * (asymptote + spread / step**0.5 + noise))
            if ruling.next is not Next.CONTINUE:
                break
    return study.advice.steps, len(study.records())
