"""What a user may change while an experiment lives, and experiments that share a cluster."""

from pathlib import Path

import pytest

from builders.operator_at_work import Podium, at_work, until

pytestmark = pytest.mark.e2e

FULL = {"algorithm": "none", "resource": "epoch", "max": 6}


def test_raised_parallelism_starts_more_and_a_lowered_one_drains(podium: Podium) -> None:
    podium.apply(scheduler=FULL, max_trials=6, parallelism=1, step_seconds="0.8")
    until(lambda: len(podium.running()) == 1, "one pod")
    podium.patch(parallelism=3)
    until(lambda: len(podium.running()) == 3, "three pods")
    podium.patch(parallelism=1)
    podium.wait_for("Complete")
    podium.assert_whole(6)
    assert all(trial["status"]["attempt"] == 1 for trial in podium.trials()), "whatever ran was left to finish"


def test_lowered_limit_makes_no_further_trial(podium: Podium) -> None:
    podium.apply(scheduler=FULL, max_trials=9, parallelism=1, step_seconds="0.2")
    until(lambda: len(podium.trials()) == 2, "two trials")
    podium.patch(maxTrials=2)
    podium.wait_for("Complete")
    podium.assert_whole(2)


def test_deadline_of_the_experiment_ends_it_with_what_it_has(podium: Podium) -> None:
    podium.apply(scheduler=FULL, max_trials=50, parallelism=2, step_seconds="0.3", activeDeadlineSeconds=12)
    status = podium.wait_for("Complete", seconds=60)
    assert [c["reason"] for c in status["conditions"] if c["type"] == "Complete"] == ["DeadlineExceeded"]
    assert {trial["status"]["phase"] for trial in podium.trials()} <= {"Succeeded", "Killed"}
    until(lambda: not podium.pods(), "the pods to go")


def test_target_reached_stops_what_still_runs(podium: Podium) -> None:
    objectives = [{"metric": "loss", "goal": "minimize", "target": 0.9}]
    podium.apply(objectives=objectives, scheduler={**FULL, "max": 60}, max_trials=4, parallelism=2, step_seconds="0.5")
    status = podium.wait_for("Complete", seconds=90)
    assert [c["reason"] for c in status["conditions"] if c["type"] == "Complete"] == ["TargetReached"]
    until(lambda: not podium.pods(), "the pods to go")


def test_latest_ended_pods_are_kept_for_their_logs(podium: Podium) -> None:
    podium.apply(scheduler=FULL, max_trials=4, parallelism=1, step_seconds="0", pod_history_limit=2)
    podium.wait_for("Complete")
    until(lambda: len(podium.pods()) == 2, "two pods to be left")
    assert sorted(pod["metadata"]["name"] for pod in podium.pods()) == ["bowl-00003-1", "bowl-00004-1"]
    assert "resumed after step 0" in podium.kubectl("logs", "bowl-00004-1")
    podium.operator.kill()
    podium.operator.start()
    podium.patch(maxTrials=5)
    until(lambda: podium.status()["trials"]["succeeded"] == 5, "the fifth")
    until(lambda: min(pod["metadata"]["name"] for pod in podium.pods()) == "bowl-00004-1", "the oldest to go")


def test_trials_and_pods_of_a_finished_experiment_go_by_themselves_and_its_status_stays(podium: Podium) -> None:
    podium.apply(scheduler=FULL, max_trials=2, step_seconds="0", ttlSecondsAfterFinished=1)
    status = podium.wait_for("Complete")
    until(lambda: not podium.trials() and not podium.pods(), "them to go", 60)
    left = podium.status()
    assert left["removed"]["upTo"] == 2
    assert {**left, "removed": None} == {**status, "removed": None}
    podium.patch(maxTrials=3)
    until(lambda: podium.status()["trials"]["succeeded"] == 3, "the third trial")
    until(lambda: podium.status().get("removed", {}).get("upTo") == 3 and not podium.trials(), "it to go as well", 60)
    assert podium.phase() == "Complete"


def test_two_experiments_of_one_name_in_two_namespaces_never_meet(crds: None, tmp_path: Path) -> None:  # noqa: ARG001  (a fixture for its effect)
    with at_work(tmp_path, namespaces=2) as podium:
        other = podium.operator.environment["PODIUM_NAMESPACES"].split(",")[1]
        podium.apply(scheduler=FULL, max_trials=2, step_seconds="0.1")
        short = {**FULL, "max": 3}
        podium.apply(namespace=other, scheduler=short, max_trials=3, step_seconds="0.1", trial={"checkpoints": None})
        podium.wait_for("Complete")
        until(lambda: podium.status(namespace=other).get("phase") == "Complete", "the other")
        assert [trial["status"]["step"] for trial in podium.trials()] == [6, 6]
        assert [trial["status"]["step"] for trial in podium.trials(other)] == [3, 3, 3]


def test_twenty_experiments_at_once_all_complete(podium: Podium) -> None:
    names = [f"bowl-{number}" for number in range(20)]
    for name in names:
        podium.apply(name, scheduler=FULL, max_trials=1, step_seconds="0")
    for name in names:
        podium.wait_for("Complete", name, 300)
    assert len(podium.trials()) == 20
