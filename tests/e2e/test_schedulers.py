"""Schedulers on a real cluster: checkpoints move as they should, from run to run and from a winner to its clone."""

import time
from collections import Counter

import pytest

from builders.experiments import a_float, a_population, a_scheduler, a_search
from builders.operator_at_work import Podium, until

pytestmark = pytest.mark.e2e

MEMBER = """
import hashlib, os, pickle, time, podium_trial
def tell(word, state):
    print(word, state["step"], hashlib.sha256(pickle.dumps(state)).hexdigest()[:16], flush=True)
with podium_trial.start() as trial:
    error, rate, state = 1.0, float(trial.parameters["x"]), trial.restore()
    if state is not None:
        error = state["error"]
        tell("restored", state)
    for step in trial.steps():
        time.sleep(float(os.environ.get("STEP_SECONDS", "0.2")))
        error = error * (1.0 - rate) ** 2 + 0.02 * rate ** 2
        trial.report(step, loss=error)
        trial.save(step, {"step": step, "error": error})
        tell("saved", {"step": step, "error": error})
"""
"""Its weights depend on every step and rate so far, and it tells which bytes it restores and saves."""


def told(logs: dict[str, str], trial: str, word: str) -> list[tuple[int, str]]:
    """What the runs of a trial printed after a word, as (step, digest), in order."""
    lines = [line.split() for name in sorted(logs) if name.startswith(f"{trial}-") for line in logs[name].splitlines()]
    return [(int(line[1]), line[2]) for line in lines if line[:1] == [word]]


def test_hyperband_runs_its_brackets_and_promotions_resume(podium: Podium) -> None:
    podium.apply(scheduler=a_scheduler("hyperband", 1, 4, reductionFactor=2), max_trials=10, step_seconds="0.1")
    podium.wait_for("Complete")
    podium.assert_whole(10)
    begun = Counter((trial["spec"].get("bracket", 0), trial["spec"]["target"]) for trial in podium.trials())
    assert begun == {(0, 1): 4, (1, 2): 3, (2, 4): 3}


def test_bohb_is_hyperband_with_tpe(podium: Podium) -> None:
    podium.apply(
        scheduler=a_scheduler("hyperband", 1, 4, reductionFactor=2),
        search=a_search("tpe", seed=5, startupTrials=4, fidelity="highest"),
        max_trials=14,
        step_seconds="0.1",
    )
    podium.wait_for("Complete")
    podium.assert_whole(14)
    assert {trial["spec"]["origin"] for trial in podium.trials()} == {"proposed by tpe"}


def test_clones_start_from_the_winners_bytes_at_the_step_after_its_last(podium: Podium) -> None:
    podium.apply(
        parameters=[a_float("x", 1e-3, 1.0)],
        scheduler=a_population(9, populationSize=4, interval=3),
        max_trials=12,
        pod_history_limit=100,  # so that every log can be read
        container={"command": ["python", "-c", MEMBER]},
    )
    logs = podium.logs_until_complete()
    trials = {trial["spec"]["number"]: trial for trial in podium.trials()}
    clones = [trial for trial in trials.values() if "parent" in trial["spec"]]
    assert clones
    for clone in clones:
        parent = clone["spec"]["parent"]
        first = told(logs, clone["metadata"]["name"], "restored")[0]
        assert first[0] == parent["step"]
        assert first in told(logs, trials[parent["trial"]]["metadata"]["name"], "saved")
        assert clone["status"]["observations"][0]["step"] == parent["step"] + 1
    phases = Counter(trial["status"]["phase"] for trial in trials.values())
    assert phases == {"Succeeded": 4, "Pruned": len(clones)}


def test_a_population_survives_kill_dash_nine_of_operator_and_service(podium: Podium) -> None:
    podium.apply(
        parameters=[a_float("x", 1e-3, 1.0)],
        scheduler=a_population(9, populationSize=4, interval=3),
        max_trials=12,
        container={"command": ["python", "-c", MEMBER]},
    )
    for round_ in range(4):
        time.sleep(2.0)
        victim = (podium.operator, podium.suggestion)[round_ % 2]
        victim.kill()
        victim.start()
    podium.wait_for("Complete")
    for trial in podium.trials():
        first = trial["spec"].get("parent", {"step": 0})["step"] + 1
        steps = [observation["step"] for observation in trial["status"]["observations"]]
        assert steps == list(range(first, first + len(steps))), trial["metadata"]["name"]
    until(lambda: not podium.running(), "the last pod to end")
