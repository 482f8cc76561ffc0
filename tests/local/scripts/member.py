"""A member of a population: its weights depend on every step and every rate so far, and it tells what it restores and saves.

The lines are `restored STEP DIGEST` and `saved STEP DIGEST`, of the bytes that a checkpoint holds. The best rate falls as
training goes on. MEMBER_STEP_SECONDS slows it down.
"""

import hashlib
import os
import pickle
import time
from typing import Any

import podium_trial

STEP_SECONDS = float(os.environ.get("MEMBER_STEP_SECONDS", "0.01"))


def digest(state: Any) -> str:
    return hashlib.sha256(pickle.dumps(state)).hexdigest()[:16]


with podium_trial.start() as trial:
    errors, rate = [1.0, 2.0, 3.0], float(trial.parameters["rate"])
    state = trial.restore()
    if state is not None:
        errors = state["errors"]
        print("restored", state["step"], digest(state), flush=True)
    for step in trial.steps():
        time.sleep(STEP_SECONDS)
        errors = [error * (1.0 - rate) ** 2 + 0.02 * rate**2 for error in errors]
        trial.report(step, loss=sum(errors))
        trial.save(step, {"step": step, "errors": errors})
        print("saved", step, digest({"step": step, "errors": errors}), flush=True)
