"""Run a training script as an operator would: the treaty's environment, scrapes while it runs, its last word at the end."""

import os
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from podium_contract import runtime
from podium_contract.reports import parse_metrics_page, parse_termination_message
from podium_contract.trial import Observation
from podium_trial.checkpoints import latest_checkpoint

SCRIPTS = Path(__file__).parent.parent / "local" / "scripts"
LIMIT_SECONDS = 120
"""How long a run may take before the test gives up on it; never how long it is expected to take."""


@dataclass
class TrialRuns:
    """A trial's folder, in which its runs follow one another."""

    folder: Path
    command: tuple[str, ...] = (str(SCRIPTS / "learner.py"),)
    attempt: int = 0
    reports: list[Observation] = field(default_factory=list)
    """Everything that was collected, in the order in which it came."""

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def termination(self) -> str:
        path = self.folder / "termination"
        return path.read_text() if path.exists() else ""

    @property
    def state(self) -> bytes:
        checkpoint = latest_checkpoint(self.checkpoints)
        assert checkpoint is not None
        return checkpoint.payload

    @property
    def reported_steps(self) -> set[int]:
        return {report.step for report in self.reports}

    def start(self, target: int | None, **environment: str) -> "subprocess.Popen[str]":
        """Start the next run."""
        self.attempt += 1
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("termination", "port"):
            (self.folder / name).unlink(missing_ok=True)
        treaty = {
            runtime.ENV_TRIAL: "demo-00001",
            runtime.ENV_NUMBER: "1",
            runtime.ENV_ATTEMPT: str(self.attempt),
            runtime.ENV_SEED: "7",
            runtime.ENV_CHECKPOINTS: str(self.checkpoints),
            runtime.ENV_METRICS_HOST: "127.0.0.1",
            runtime.ENV_METRICS_PORT: "0",
            runtime.ENV_METRICS_PORT_FILE: str(self.folder / "port"),
            runtime.ENV_TERMINATION_LOG: str(self.folder / "termination"),
        }
        if target is not None:
            treaty[runtime.ENV_TARGET] = str(target)
        return subprocess.Popen(
            [sys.executable, *self.command],
            env={**os.environ, **treaty, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: "subprocess.Popen[str]", every: float = 0.1) -> "subprocess.CompletedProcess[str]":
        """Scrape a run until it ends, then read its last word."""
        ended = threading.Event()
        scraper = threading.Thread(target=self._scrape_until, args=(ended, every))
        scraper.start()
        try:
            out, err = process.communicate(timeout=LIMIT_SECONDS)
        finally:
            process.kill()
            ended.set()
            scraper.join()
        self.reports += parse_termination_message(self.termination)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def run(self, target: int | None, **environment: str) -> "subprocess.CompletedProcess[str]":
        return self.finish(self.start(target, **environment))

    def wait_for_step(self, step: int, process: "subprocess.Popen[str]") -> None:
        """Return once the run has reported `step`."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while step not in self.reported_steps and process.poll() is None:
            assert time.monotonic() < deadline, f"step {step} was never reported"
            self.scrape()
            time.sleep(0.01)

    def scrape(self) -> None:
        """Collect what the run serves; nothing while it does not serve yet, or ends in the middle of its answer."""
        try:
            port = int((self.folder / "port").read_text())
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
                self.reports += parse_metrics_page(response.read().decode())
        except (OSError, HTTPException, ValueError):
            return

    def _scrape_until(self, ended: threading.Event, every: float) -> None:
        while not ended.wait(every):
            self.scrape()


def last_metrics(runs: TrialRuns) -> dict[str, Any]:
    """Return the metrics of the last step that was reported."""
    return max(runs.reports, key=lambda report: (report.step, report.attempt)).metrics
