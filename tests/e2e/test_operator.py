"""The operator's stories on a real API server, scheduler, kubelet and containers."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from builders.operator_at_work import ROOT, Podium, a_volume, kubectl, until
from builders.release import EXPERIMENTS

pytestmark = pytest.mark.e2e

FULL = {"algorithm": "none", "resource": "epoch", "max": 12}


def test_asha_promotes_trials_that_resume_at_the_very_step_and_prunes_the_rest(podium: Podium) -> None:
    podium.apply()
    first = until(podium.trials, "the first trial")[0]
    logs = podium.logs_until_complete()
    status = podium.status()
    podium.assert_whole(9)
    best = next(trial for trial in podium.trials() if trial["spec"]["number"] == status["best"][0]["trial"])
    assert best["status"]["step"] == 9
    last = logs[f"{best['metadata']['name']}-{best['status']['attempt']}"]
    assert "resumed after step 3" in last
    assert status["cost"]["gpuSeconds"] > 0
    assert first["metadata"]["ownerReferences"][0]["kind"] == "Experiment"


def test_quick_start_runs_unchanged_and_its_trials_are_those_of_the_laptop(podium: Podium, tmp_path: Path) -> None:
    manifest = yaml.safe_load((ROOT / "examples" / "quickstart.yaml").read_text())
    manifest["spec"] |= {"maxTrials": 6, "parallelism": 1}
    volume, *_ = a_volume(podium.namespace, "quickstart-checkpoints", tmp_path / "checkpoints-of-quickstart")
    if volume["kind"] == "PersistentVolume":  # the claim is Podium's to make
        kubectl("apply", "-f", "-", given=volume)
    podium.kubectl("apply", "-f", "-", given=manifest)
    (tmp_path / "quickstart.yaml").write_text(yaml.safe_dump(manifest))
    laptop = json.loads(
        subprocess.run(
            [sys.executable, "-m", "podium_operator", "run", "quickstart.yaml", "--output", "json", "--quiet"],
            cwd=tmp_path,
            capture_output=True,
            check=True,
        ).stdout
    )
    podium.wait_for("Complete", "quickstart")
    on_laptop = [(t["number"], t["parameters"], t["phase"], t["observations"][-1]["step"]) for t in laptop["trials"]]
    on_cluster = [
        (t["spec"]["number"], t["spec"]["parameters"], t["status"]["phase"], t["status"]["step"])
        for t in podium.trials()
    ]
    assert on_cluster == on_laptop


def test_kill_dash_nine_of_operator_and_service_loses_nothing(podium: Podium) -> None:
    podium.apply(step_seconds="0.4")
    for round_ in range(5):
        time.sleep(2.0)
        victims = [podium.operator, podium.suggestion, podium.operator]
        victims[round_ % 3].kill()
        victims[round_ % 3].start()
    podium.wait_for("Complete")
    podium.assert_whole(9)


def test_deleted_pod_is_a_disruption_and_its_trial_resumes(podium: Podium) -> None:
    podium.apply(scheduler=FULL, max_trials=1, step_seconds="0.5")
    (pod,) = until(podium.running, "the pod")
    until(lambda: podium.trial()["step"] >= 3, "step 3")
    podium.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false")
    podium.wait_for("Complete")
    trial = podium.trial()
    assert (trial["retries"], trial["attempt"], trial["step"]) == (1, 2, 12)
    podium.assert_whole(1)


def test_suspension_frees_every_pod_and_resumption_goes_on(podium: Podium) -> None:
    podium.apply(scheduler=FULL, max_trials=2, step_seconds="1")
    until(lambda: len(podium.running()) == 2, "two pods")
    podium.patch("bowl", suspend=True)
    podium.wait_for("Suspended")
    assert not podium.running()
    assert {trial["status"]["phase"] for trial in podium.trials()} == {"Paused"}
    podium.patch("bowl", suspend=False)
    podium.wait_for("Complete")
    podium.assert_whole(2)
    assert all(trial["status"]["retries"] == 0 for trial in podium.trials())


def test_deletion_frees_everything(podium: Podium) -> None:
    podium.apply(step_seconds="2")
    until(podium.running, "a pod")
    podium.kubectl("delete", EXPERIMENTS, "bowl")
    until(lambda: not podium.trials() and not podium.pods(), "trials and pods to go")


def test_raised_limit_goes_on(podium: Podium) -> None:
    podium.apply(max_trials=2)
    podium.wait_for("Complete")
    podium.patch("bowl", maxTrials=4)
    until(lambda: podium.status()["trials"]["total"] == 4, "four trials")
    podium.wait_for("Complete")
    podium.assert_whole(4)
