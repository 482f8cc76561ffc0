"""A trial that trains in milliseconds and checkpoints each step; its loss falls with every step, least at x = 0.3.

Environment variables change its manners: BOWL_STEP_SECONDS slows it down.
"""

import os
import time

import podium_trial

STEP_SECONDS = float(os.environ.get("BOWL_STEP_SECONDS", "0.01"))

with podium_trial.start() as trial:
    trial.restore()
    for step in trial.steps():
        time.sleep(STEP_SECONDS)
        trial.report(step, loss=(trial.parameters["x"] - 0.3) ** 2 + 1.0 / step)
        trial.save(step, {"step": step})
