"""How long things take on a real cluster. Each test prints its figures (pytest -s), and holds them to a bound."""

import json
import statistics
import time
from datetime import datetime
from typing import Any

import pytest

from builders.operator_at_work import Podium, until

pytestmark = pytest.mark.e2e

SCRAPE_SECONDS = 5.0
LATE_AND_BAD = """
import http.server, json, os, pathlib, signal, sys, threading, time
start = time.time()
is_bad = int(os.environ["PODIUM_TRIAL_NUMBER"]) % 3 == 0
served_from = start + (25 if is_bad else 0)
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        if (elapsed := time.time() - served_from) >= 0:
            self.wfile.write(f"loss {100 if is_bad else 1}\\nepoch {1 + int(elapsed / 10)}\\n".encode())
    def log_message(self, *args): pass
def told(*_):
    pathlib.Path("/dev/termination-log").write_text(json.dumps({"served": served_from, "told": time.time()}))
    os._exit(75)
signal.signal(signal.SIGTERM, told)
threading.Thread(target=http.server.HTTPServer(("", 9000), Page).serve_forever, daemon=True).start()
time.sleep(70)
"""
"""Two trials of three report from the start; the third keeps silent at first, and is the worst at its first report."""


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def ended(pod: dict[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    return state


def test_first_pod_is_created_within_two_seconds_of_apply(podium: Podium) -> None:
    podium.apply("warm-up", max_trials=1, step_seconds="0")
    podium.wait_for("Complete", "warm-up")
    began = time.monotonic()
    podium.apply(max_trials=1, step_seconds="0")
    applied = time.monotonic()
    until(podium.pods, "the first pod")
    took = time.monotonic() - applied
    print(f"kubectl apply took {applied - began:.2f} s; the first pod was seen {took:.2f} s later")
    assert took <= 2.0


def test_value_becomes_an_order_to_stop_within_an_interval_and_a_second_at_fifty_pods(podium: Podium) -> None:
    metrics = {"source": "prometheus", "port": 9000, "series": {"loss": "loss"}, "step": "epoch"}
    podium.apply(
        scheduler={"algorithm": "median", "resource": "epoch", "min": 1, "max": 1000},
        max_trials=50,
        parallelism=50,
        pod_history_limit=1000,
        container={"command": ["python", "-c", LATE_AND_BAD], "resources": {"requests": {"cpu": "1m"}}},
        trial={"metrics": metrics, "checkpoints": None},
    )
    until(lambda: podium.status().get("trials", {}).get("pruned") == 16, "the worst third to be pruned", 300)
    until(lambda: all(pod["status"]["phase"] != "Running" for pod in podium.pods()), "the others to end", 120)
    told = [json.loads(ended(pod)["message"]) for pod in podium.pods() if ended(pod)["exitCode"] == 75]
    delays = sorted(each["told"] - each["served"] for each in told)
    print(f"{len(delays)} orders; seconds from value to SIGTERM: {[round(delay, 2) for delay in delays]}")
    assert len(delays) == 16
    assert delays[-1] <= SCRAPE_SECONDS + 1.0


def test_no_gpu_idles_while_work_is_left(podium: Podium) -> None:
    podium.apply(
        scheduler={"algorithm": "none", "resource": "epoch", "max": 4},
        max_trials=16,
        parallelism=4,
        step_seconds="2",
        pod_history_limit=1000,
    )
    podium.wait_for("Complete")
    pods = sorted(podium.pods(), key=lambda pod: moment(pod["metadata"]["creationTimestamp"]))
    created = [moment(pod["metadata"]["creationTimestamp"]) for pod in pods]
    finished = [moment(ended(pod)["finishedAt"]) for pod in pods]
    # The kubelet looks for ended containers once a second, and nobody hears of one before: half a second of each pod.
    # Work is left until the last pod is created; time stamps are whole seconds, so errors of a half average out.
    last = created[-1]
    used = sum(min(end, last) - start for start, end in zip(created, finished, strict=True))
    occupancy = used / (4 * (last - created[0]))
    startup = statistics.mean(moment(ended(pod)["startedAt"]) - start for pod, start in zip(pods, created, strict=True))
    print(
        f"occupancy {occupancy:.0%} of {max(finished) - created[0]:.0f} s; {startup:.1f} s of each pod were its start"
    )
    assert occupancy >= 0.9
