"""Run the real `podium` command on a small manifest, and read what it leaves behind."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from builders.experiments import a_float, a_manifest, a_scheduler, a_search, a_trial

SCRIPTS = Path(__file__).parent.parent / "local" / "scripts"
LIMIT_SECONDS = 120
"""How long a command may take before the test gives up on it; never how long it is expected to take."""


@dataclass
class Workplace:
    """A folder with a manifest in which `podium run` is called, possibly several times."""

    folder: Path

    @property
    def manifest(self) -> Path:
        return self.folder / "experiment.yaml"

    @property
    def results(self) -> Path:
        return self.folder / "podium-results" / "bowl"

    def write(self, **spec: Any) -> None:
        defaults: dict[str, Any] = {
            "parameters": [a_float("x", 0.0, 1.0, "linear")],
            "search": a_search("random", seed=5),
            "scheduler": a_scheduler("asha", 1, 9),
            "max_trials": 9,
            "trial": a_trial("python", str(SCRIPTS / "bowl.py")),
        }
        self.manifest.write_text(yaml.safe_dump(a_manifest("bowl", **defaults | spec)), encoding="utf-8")

    def start(self, *options: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "podium_operator", "run", str(self.manifest), *options]
        return subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment()
        )

    def run(self, *options: str) -> "subprocess.CompletedProcess[str]":
        process = self.start(*options)
        out, err = process.communicate(timeout=LIMIT_SECONDS)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def document(self) -> dict[str, Any]:
        """Run to the end and return the JSON document."""
        finished = self.run("--output", "json")
        assert finished.returncode in (0, 1), finished.stderr
        document: dict[str, Any] = json.loads(finished.stdout)
        return document

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PODIUM_TEST_FOLDER": str(self.folder)}

    def processes(self) -> list[psutil.Process]:
        """Every process that this workplace's commands started and that still lives, zombies left out."""
        found = []
        for process in psutil.process_iter():
            try:
                marked = process.environ().get("PODIUM_TEST_FOLDER") == str(self.folder)
                if marked and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found


def kill_outright(process: "subprocess.Popen[str]") -> None:
    """kill -9, and nothing else: what the process had started is on its own."""
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=LIMIT_SECONDS)


def table_of(document: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What must not depend on interruptions: every trial's number, parameters, phase, reason and last observation."""
    rows = []
    for trial in document["trials"]:
        curve = [(o["step"], o["metrics"]) for o in trial["observations"]]
        rows.append((trial["number"], trial["parameters"], trial["phase"], trial["reason"], curve))
    return rows
