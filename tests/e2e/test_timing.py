"""How long things take on a real cluster. Each test prints its figures (pytest -s), and holds them to a bound."""

import json
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import IO, Any, NamedTuple

import pytest

from builders.experiments import a_scheduler
from builders.operator_at_work import Podium, is_own_cluster, own_cluster, until

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

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


GPUS = 4
ALL_GPUS = 16
"""What scripts/test-cluster lets the node advertise."""


class Sighting(NamedTuple):
    """What a watch told of a pod."""

    moment: float
    pod: str
    node: str
    phase: str

    @property
    def is_end(self) -> bool:
        return self.phase in ("Succeeded", "Failed")


def seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


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


@contextmanager
def sightings_of_pods(namespace: str) -> Iterator[list[Sighting]]:
    """What a watch tells of the namespace's pods, and when."""
    columns = "NAME:.metadata.name,NODE:.spec.nodeName,PHASE:.status.phase"
    command = ["kubectl", "-n", namespace, "get", "pods", "--watch", "--no-headers", "-o", f"custom-columns={columns}"]
    seen: list[Sighting] = []

    def listen(lines: IO[str]) -> None:
        seen.extend(Sighting(time.monotonic(), *line.split()) for line in lines)

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        listener = threading.Thread(target=listen, args=[watch.stdout])
        listener.start()
        yield seen
        watch.terminate()
        listener.join()


@pytest.fixture
def scarce_gpus() -> Iterator[None]:
    """As many GPUs as trials at a time: else a successor has its GPU before the predecessor's is known to be free."""
    if not is_own_cluster():
        yield
        return
    own_cluster("gpus", str(GPUS))
    yield
    own_cluster("gpus", str(ALL_GPUS))


@pytest.mark.usefixtures("scarce_gpus")
@pytest.mark.parametrize("scheduler", [{"algorithm": "none", "resource": "epoch", "max": 3}, a_scheduler("asha", 1, 9)])
def test_no_gpu_idles_while_work_is_left(podium: Podium, scheduler: dict[str, Any]) -> None:
    with sightings_of_pods(podium.namespace) as seen:
        podium.apply(scheduler=scheduler, max_trials=16, parallelism=GPUS, step_seconds="1.5", pod_history_limit=1000)
        podium.wait_for("Complete")
        until(lambda: {each.pod for each in seen} == {each.pod for each in seen if each.is_end}, "the last pod to end")
    bound: dict[str, float] = {}
    freed: dict[str, float] = {}
    for sighting in seen:
        if sighting.node != "<none>":
            bound.setdefault(sighting.pod, sighting.moment)
        if sighting.is_end:
            freed.setdefault(sighting.pod, sighting.moment)
    first, last = min(bound.values()), max(bound.values())  # work is left until the last pod has its GPU
    occupied = sum(min(freed[pod], last) - start for pod, start in bound.items())
    occupancy = occupied / (GPUS * (last - first))
    held = statistics.mean(freed[pod] - bound[pod] for pod in bound)
    trained = statistics.mean(
        seconds_between(ended(pod)["startedAt"], ended(pod)["finishedAt"]) for pod in podium.pods()
    )
    print(
        f"occupancy {occupancy:.1%} of {last - first:.0f} s; each of {len(bound)} pods held its GPU for {held:.1f} s, and "
        f"its container ran for {trained:.1f} of them: {held - trained:.1f} s were its start, and the news of its end"
    )
    assert occupancy >= 0.9
