"""Metrics without the SDK: a user's own Prometheus series, and lines of the pod's log."""

import pytest

from builders.operator_at_work import Podium, until

pytestmark = pytest.mark.e2e

SERVES = """
import http.server, threading, time
step = 0
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(f'loss{{split="val"}} {1 / (step + 1)}\\nloss{{split="train"}} 7\\nepoch {step}\\n'.encode())
    def log_message(self, *args): pass
threading.Thread(target=http.server.HTTPServer(("", 9000), Page).serve_forever, daemon=True).start()
for step in range(1, 5):
    time.sleep(1.5)
"""
PRINTS_JSON = """
import json, time
print("starting")
for step in range(1, 6):
    print(json.dumps({"step": step, "loss": 1 / step, "note": "fine"}), flush=True)
    time.sleep(0.3)
"""
PRINTS_WORDS = """
import time
for step in range(1, 6):
    print(f"epoch={step} loss={1 / step:.3f}", flush=True)
    time.sleep(0.3)
print("epoch=6 loss=0.125", end="", flush=True)
"""
PRINTS_LOSSES_ALONE = """
import time
for step in range(1, 13):
    print(f"loss={1 / step:.6f}", flush=True)
    time.sleep(0.5)
"""
FLOODS = """
import json
for step in range(1, 200_001):
    print("x" * 50 if step % 1000 else json.dumps({"step": step // 1000, "loss": 1.0}), flush=step % 1000 == 0)
"""


def test_users_own_series_are_scraped_by_name_and_label(podium: Podium) -> None:
    series = {"loss": 'loss{split="val"}'}
    metrics = {"source": "prometheus", "port": 9000, "series": series, "step": "epoch", "scrapeIntervalSeconds": 0.5}
    podium.apply(scheduler={"algorithm": "none"}, max_trials=1, container=python(SERVES), trial={"metrics": metrics})
    podium.wait_for("Complete")
    steps = [observation["step"] for observation in podium.trial()["observations"]]
    assert steps[-1] == 4
    assert steps == sorted(set(steps))
    assert podium.trial()["value"] == 0.2


def test_json_lines_of_the_log_are_read_each_once(podium: Podium) -> None:
    metrics = {"source": "log", "scrapeIntervalSeconds": 0.5}
    podium.apply(
        scheduler={"algorithm": "none"}, max_trials=2, container=python(PRINTS_JSON), trial={"metrics": metrics}
    )
    podium.wait_for("Complete")
    for trial in podium.trials():
        assert [observation["step"] for observation in trial["status"]["observations"]] == [1, 2, 3, 4, 5]
        assert [observation["sequence"] for observation in trial["status"]["observations"]] == [1, 2, 3, 4, 5]


def test_pattern_finds_metrics_in_lines_and_the_last_line_needs_no_end(podium: Podium) -> None:
    pattern = r"epoch=(?P<step>\d+) (?P<metric>\w+)=(?P<value>\S+)"
    metrics = {"source": "log", "format": "pattern", "pattern": pattern, "scrapeIntervalSeconds": 0.5}
    podium.apply(
        scheduler={"algorithm": "none"}, max_trials=1, container=python(PRINTS_WORDS), trial={"metrics": metrics}
    )
    podium.wait_for("Complete")
    assert podium.trial()["step"] == 6
    assert podium.trial()["value"] == 0.125


def test_log_of_many_megabytes_is_read_to_its_end(podium: Podium) -> None:
    podium.apply(
        scheduler={"algorithm": "none"}, max_trials=1, container=python(FLOODS), trial={"metrics": {"source": "log"}}
    )
    podium.wait_for("Complete")
    assert podium.trial()["step"] == 200


def test_counted_lines_keep_their_steps_when_the_operator_dies(podium: Podium) -> None:
    pattern = r"(?P<metric>\w+)=(?P<value>\S+)"
    metrics = {"source": "log", "format": "pattern", "pattern": pattern, "scrapeIntervalSeconds": 0.5}
    podium.apply(
        scheduler={"algorithm": "none"}, max_trials=1, container=python(PRINTS_LOSSES_ALONE), trial={"metrics": metrics}
    )
    for step in (3, 6):
        until(lambda n=step: podium.trial()["step"] >= n, f"step {step}")  # type: ignore[misc]  # mypy sees no type of a lambda's default
        podium.operator.kill()
        podium.operator.start()
    podium.wait_for("Complete")
    seen = {observation["step"]: observation["metrics"]["loss"] for observation in podium.trial()["observations"]}
    assert seen == {step: float(f"{1 / step:.6f}") for step in range(1, 13)}


def python(script: str) -> dict[str, list[str]]:
    return {"command": ["python", "-c", script]}
