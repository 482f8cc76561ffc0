"""A trial whose weights depend on every step and on its random state, so that a step lost or repeated shows.

Environment variables: LEARNER_STEP_SECONDS slows it down, LEARNER_WEIGHTS makes its checkpoints larger, LEARNER_WORKER
makes it fork a worker and ask that to end.
"""

import multiprocessing
import os
import random
import time
from typing import Any

import podium_trial

STEP_SECONDS = float(os.environ.get("LEARNER_STEP_SECONDS", "0"))
WEIGHTS = int(os.environ.get("LEARNER_WEIGHTS", "8"))


def work(has_begun: Any) -> None:
    has_begun.set()
    time.sleep(600)


def end_a_worker() -> None:
    context = multiprocessing.get_context("fork")
    has_begun = context.Event()
    worker = context.Process(target=work, args=(has_begun,))
    worker.start()
    has_begun.wait()
    worker.terminate()
    worker.join(timeout=20)
    print(f"worker ended with {worker.exitcode}", flush=True)
    worker.kill()


with podium_trial.start() as trial:
    if "LEARNER_WORKER" in os.environ:
        end_a_worker()
    weights, chance = [0.0] * WEIGHTS, random.Random(trial.seed)
    state = trial.restore()
    if state is not None:
        weights, random_state = state
        chance.setstate(random_state)
    for step in trial.steps():
        time.sleep(STEP_SECONDS)
        weights = [0.9 * weight + chance.random() for weight in weights]
        trial.report(step, loss=sum(weights) / step)
        if trial.is_save_due(step, every=1 if trial.target is None or trial.target < 1000 else 1000):
            trial.save(step, (weights, chance.getstate()))
