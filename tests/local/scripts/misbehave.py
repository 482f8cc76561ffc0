"""A trial that misbehaves as its parameter `manner` says."""

import math
import os
import signal
import subprocess
import sys
import time

import podium_trial

FOREVER = 600


def crash() -> None:
    raise ValueError("bad learning rate")


def exit_three() -> None:
    sys.exit(3)


def segfault() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang() -> None:
    time.sleep(FOREVER)


def ignore_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hang()


def fork_children() -> None:
    for new_session in (False, True):
        subprocess.Popen(["sleep", str(FOREVER)], start_new_session=new_session)


with podium_trial.start() as trial:
    manner = trial.parameters["manner"]
    trial.restore()
    for step in trial.steps():
        match manner:
            case "well":
                trial.report(step, loss=1.0 / step)
            case "nan":
                trial.report(step, loss=math.nan)
            case "infinity":
                trial.report(step, loss=-math.inf)
            case "silent":
                pass
            case "other-metric":
                trial.report(step, accuracy=1.0)
            case "twice-and-out-of-order":
                trial.report(step + 1, loss=2.0)
                trial.report(step, loss=1.5)
                trial.report(step, loss=1.0)
            case "forks":
                fork_children()
                trial.report(step, loss=3.0)
            case _:
                {"crash": crash, "exit": exit_three, "segfault": segfault, "hang": hang, "deaf": ignore_sigterm}[
                    manner
                ]()
        trial.save(step, step)
