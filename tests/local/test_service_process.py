"""The suggestion service as a process of its own: how it starts, stops and comes back."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from builders.experiments import a_search, an_experiment_spec
from podium_contract.wire import AdviceRequest

HEADERS = {"authorization": "Bearer secret-token"}


def a_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Service:
    """A running service, and what it has logged."""

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self.process = process
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=HEADERS, timeout=30)

    def wait_until_ready(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if "running on" in line:
                return
        raise AssertionError("the service ended before it was ready")

    def stop(self, by: signal.Signals) -> str:
        """Send a signal and return what was logged since the service was ready."""
        self.process.send_signal(by)
        _, log = self.process.communicate(timeout=30)
        self.client.close()
        return log


def environment_of(folder: Path, **more: str) -> dict[str, str]:
    token = folder / "token"
    token.write_text("secret-token")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PODIUM_")}
    settings = {"PODIUM_TOKEN_FILE": str(token), "PODIUM_STORE_URL": f"sqlite:///{folder / 'podium.db'}"}
    return inherited | settings | more


@contextmanager
def a_service(folder: Path, **settings: str) -> Iterator[Service]:
    port = a_free_port()
    environment = environment_of(folder, PODIUM_PORT=str(port), **settings)
    command = [sys.executable, "-m", "podium_suggestion"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        service = Service(process, port)
        try:
            service.wait_until_ready()
            yield service
        finally:
            process.kill()
            service.client.close()


def a_request(request_id: str, slots: int = 2) -> dict[str, Any]:
    spec = an_experiment_spec(search=a_search("tpe", seed=3), max_trials=500)
    request = AdviceRequest(experiment="a/b/c", request_id=request_id, spec=spec, slots=slots, complete=True)
    return request.to_json()


def test_a_killed_service_comes_back_with_the_same_answer(tmp_path: Path) -> None:
    with a_service(tmp_path) as service:
        answered = service.client.post("/v1/advise", json=a_request("once"))
        assert answered.status_code == 200
        service.stop(signal.SIGKILL)
    with a_service(tmp_path) as service:
        again = service.client.post("/v1/advise", json=a_request("once"))
        assert again.json() == answered.json()
        records = service.client.get("/v1/experiments/a/b/c/trials").json()["trials"]
        assert [record["parameters"] for record in records] == [a["parameters"] for a in answered.json()["assignments"]]


def test_sigterm_lets_an_exchange_end(tmp_path: Path) -> None:
    with a_service(tmp_path) as service:
        service.client.post("/v1/advise", json=a_request("found"))
        responses: list[httpx.Response] = []
        began = threading.Event()

        def body() -> Iterator[bytes]:
            text = json.dumps(a_request("long", slots=60)).encode()
            yield text[:100]
            began.set()
            yield text[100:]

        def ask() -> None:
            headers = {"content-type": "application/json"}
            responses.append(service.client.post("/v1/advise", content=body(), headers=headers))

        asking = threading.Thread(target=ask)
        asking.start()
        assert began.wait(30)
        service.process.send_signal(signal.SIGTERM)
        asking.join()
        assert service.process.wait(30) in (0, -signal.SIGTERM)
        assert [response.status_code for response in responses] == [200]
        assert len(responses[0].json()["assignments"]) == 60


def test_logs_are_json_lines_on_request(tmp_path: Path) -> None:
    with a_service(tmp_path, PODIUM_LOG_FORMAT="json") as service:
        log = service.stop(signal.SIGTERM)
        lines = [json.loads(line) for line in log.splitlines()]
        assert {"time", "level", "logger", "message"} == set(lines[-1])


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"PODIUM_TOKEN_FILE": ""}, "PODIUM_TOKEN_FILE must name the file"),
        ({"PODIUM_TOKEN_FILE": "/nonexistent"}, "/nonexistent cannot be read"),
        ({"PODIUM_STORE_URL": "mongodb://host"}, "a store's URL is"),
        ({"PODIUM_STORE_URL": "sqlite:////proc/podium.db"}, "cannot be opened"),
        ({"PODIUM_PORT": "high"}, "PODIUM_PORT is a whole number"),
    ],
    ids=["no token", "no token file", "another store", "a store out of reach", "no port"],
)
def test_a_service_that_cannot_be_set_up_says_so_in_one_line(
    tmp_path: Path, change: dict[str, str], fault: str
) -> None:
    environment = environment_of(tmp_path, **change)
    command = [sys.executable, "-m", "podium_suggestion"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert fault in done.stderr
