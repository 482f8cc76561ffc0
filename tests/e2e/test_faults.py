"""What goes wrong with pods, endpoints and templates ends as documented, with its reason in the Trial; the rest goes on."""

import json
from typing import Any

import pytest

from builders.operator_at_work import BOWL, IMAGE, Podium, until

pytestmark = pytest.mark.e2e

FULL = {"algorithm": "none", "resource": "epoch", "max": 3}
ODD_ONES_FAIL = """
import os, sys
if int(os.environ["PODIUM_TRIAL_NUMBER"]) % 2:
    sys.exit("ValueError: no odd number")
"""
EATS_MEMORY = "print(len(bytearray(400_000_000)))"
LOSES_A_CHILD = f"""
import subprocess, sys
sys.exit(137 if subprocess.run([sys.executable, "-c", {EATS_MEMORY!r}]).returncode else 0)
"""
HANGS = """
import http.server, os, podium_trial, threading, time
class Bad(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        kind = int(os.environ["PODIUM_TRIAL_NUMBER"])
        if kind == 1:
            time.sleep(60)
        if kind == 2:
            self.wfile.write(os.urandom(4096))
        if kind == 3:
            for _ in range(100):
                self.wfile.write(b"podium_trial_report 1\\n" * 50_000)
    def log_message(self, *args): pass
port = int(os.environ.pop("PODIUM_METRICS_PORT"))
threading.Thread(target=http.server.ThreadingHTTPServer(("", port), Bad).serve_forever, daemon=True).start()
os.environ["PODIUM_METRICS_PORT"] = str(port + 1)
"""
"""Endpoints that hang, talk rubbish, and never stop talking; the last word is the termination message."""


def test_exit_code_is_a_failure_with_its_last_words_and_the_experiment_goes_on(podium: Podium) -> None:
    podium.apply(scheduler=FULL, max_trials=4, container={"command": ["python", "-c", ODD_ONES_FAIL + BOWL]})
    podium.wait_for("Complete")
    assert [trial["status"]["phase"] for trial in podium.trials()] == ["Failed", "Succeeded"] * 2
    assert podium.trial(1)["reason"] == "ExitCode"
    assert podium.status()["trials"]["failed"] == 2
    assert podium.events("ExitCode")


def test_last_words_of_a_command_without_the_sdk_are_read_from_its_log(podium: Podium) -> None:
    podium.apply(scheduler=FULL, max_trials=1, container={"command": ["python", "-c", ODD_ONES_FAIL]})
    podium.wait_for("Failed")
    assert podium.trial()["message"] == "exit code 1: ValueError: no odd number"


def test_memory_beyond_the_limit_is_out_of_memory(podium: Podium) -> None:
    limits = {"resources": {"limits": {"memory": "64Mi"}}, "command": ["python", "-c", EATS_MEMORY]}
    podium.apply(max_trials=1, container=limits)
    podium.wait_for("Failed")
    assert podium.trial()["reason"] == "OutOfMemory"


def test_child_process_that_the_kernel_kills_for_memory_is_a_failure_and_not_retried(podium: Podium) -> None:
    limits = {"resources": {"limits": {"memory": "64Mi"}}, "command": ["python", "-c", LOSES_A_CHILD]}
    podium.apply(max_trials=1, container=limits)
    podium.wait_for("Failed")
    assert podium.trial()["reason"] in ("OutOfMemory", "Crashed")
    assert podium.trial()["retries"] == 0


def test_image_that_cannot_be_pulled_is_told_at_once_and_fails_its_trial_at_the_deadline(podium: Podium) -> None:
    podium.apply(max_trials=1, container={"image": "localhost/no-such-image:1"}, trial={"activeDeadlineSeconds": 25})
    until(lambda: podium.trial()["reason"] == "ImageUnavailable", "the reason", 25)
    assert podium.trial()["phase"] == "Pending"
    podium.wait_for("Failed", seconds=60)
    assert podium.trial()["reason"] == "ImageUnavailable"
    assert "no-such-image" in podium.trial()["message"]
    until(lambda: not podium.pods(), "its pod to go")


def test_pod_that_no_node_takes_is_told_at_once_and_fails_its_trial_at_the_deadline(podium: Podium) -> None:
    limits = {"resources": {"limits": {"nvidia.com/gpu": 4000}}}
    podium.apply(max_trials=1, container=limits, trial={"activeDeadlineSeconds": 30})
    until(lambda: podium.trial()["reason"] == "Unschedulable", "the reason", 30)
    podium.wait_for("Failed", seconds=60)
    assert "nvidia.com/gpu" in podium.trial()["message"]
    until(lambda: not podium.pods(), "its pod to go")


def test_command_that_does_not_exist_cannot_be_started(podium: Podium) -> None:
    podium.apply(max_trials=1, container={"command": ["no-such-command"]})
    podium.wait_for("Failed")
    assert podium.trial()["reason"] == "StartFailed"
    assert "no-such-command" in podium.trial()["message"]


def test_template_that_admission_refuses_fails_its_trial_with_the_servers_words(podium: Podium) -> None:
    podium.apply(max_trials=1, container={"securityContext": {"privileged": True}})
    podium.wait_for("Failed")
    assert podium.trial()["reason"] == "StartFailed"
    assert "privileged" in podium.trial()["message"]


def test_quota_that_is_used_up_holds_trials_back_and_fails_none(podium: Podium) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "one"},
        "spec": {"hard": {"count/pods": "1"}},
    }
    podium.kubectl("apply", "-f", "-", given=quota)
    podium.apply(scheduler=FULL, max_trials=2)
    until(lambda: [t for t in podium.trials() if t.get("status", {}).get("reason") == "Unschedulable"], "a held trial")
    podium.wait_for("Complete")
    podium.assert_whole(2)
    assert all(trial["status"]["retries"] == 0 for trial in podium.trials())


def test_endpoint_that_hangs_or_talks_rubbish_delays_nobody_and_the_last_word_counts(podium: Podium) -> None:
    podium.apply(scheduler=FULL, max_trials=4, parallelism=4, container={"command": ["python", "-c", HANGS + BOWL]})
    podium.wait_for("Complete")
    podium.assert_whole(4)
    assert {trial["status"]["step"] for trial in podium.trials()} == {3}


def test_full_volume_is_a_failure_with_the_systems_words(podium: Podium) -> None:
    fills = "open('/small/file', 'wb').write(bytes(64_000_000))"
    container = {
        "command": ["python", "-c", fills],
        "volumeMounts": [{"name": "small", "mountPath": "/small"}],
        "name": "train",
        "image": IMAGE,
    }
    volumes = [{"name": "small", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]
    template = {"spec": {"containers": [container], "volumes": volumes}}
    podium.apply(max_trials=1, trial={"template": template})
    podium.wait_for("Failed")
    assert "No space left" in podium.trial()["message"]


def test_trial_that_reports_nothing_fails_after_its_grace(podium: Podium) -> None:
    metrics = {"source": "sdk", "scrapeIntervalSeconds": 1, "gracePeriodSeconds": 2}
    podium.apply(max_trials=1, container={"command": ["true"]}, trial={"metrics": metrics})
    podium.wait_for("Failed", seconds=60)
    assert podium.trial()["reason"] == "MetricsUnavailable"


def test_trial_that_ignores_sigterm_is_killed_at_its_grace_and_keeps_its_phase(podium: Podium) -> None:
    ignores = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
    template: dict[str, Any] = {
        "spec": {
            "terminationGracePeriodSeconds": 2,
            "containers": [{"name": "train", "image": IMAGE, "command": ["python", "-c", ignores]}],
        }
    }
    podium.apply(max_trials=1, trial={"template": template, "activeDeadlineSeconds": 10})
    podium.wait_for("Failed", seconds=60)
    assert podium.trial()["reason"] == "DeadlineExceeded"


def test_spec_that_only_podium_can_judge_fails_before_any_trial(podium: Podium) -> None:
    parameter = {"name": "x", "type": "float", "min": 0.0, "max": 1.0, "when": {"nobody": [1]}}
    podium.apply(parameters=[parameter])
    (condition,) = podium.wait_for("Failed")["conditions"]
    assert condition["reason"] == "InvalidSpec"
    assert "when names a parameter of this experiment, got 'nobody'" in json.dumps(condition)
    assert podium.trials() == []
