"""The operator dies right before or right after a write to the real API server; a sample of what the unit tests exhaust."""

from pathlib import Path
from typing import Any

import pytest

from builders.experiments import a_scheduler
from builders.operator_at_work import Podium, Service, at_work, until

pytestmark = pytest.mark.e2e

SHORT: dict[str, Any] = {
    "scheduler": a_scheduler("asha", 1, 2, reductionFactor=2),
    "max_trials": 2,
    "parallelism": 1,
    "step_seconds": "0",
}
MORTAL = """
import asyncio, os, pathlib, sys
from podium_operator.kube.__main__ import run
from podium_operator.kube.api import KubernetesApi
from podium_operator.kube.settings import settings_from
class Mortal(KubernetesApi):
    writes = 0
    async def _ask(self, verb, path, *rest, **more):
        is_write = verb != "GET" and "/events" not in path
        self.writes += is_write
        mine = is_write and self.writes == int(os.environ.get("DIE_AT", "0"))
        if mine and os.environ["DIE"] == "before":
            os._exit(9)
        answer = await super()._ask(verb, path, *rest, **more)
        pathlib.Path(os.environ["COUNT"]).write_text(str(self.writes))
        if mine:
            os._exit(9)
        return answer
asyncio.run(run(settings_from(os.environ), Mortal()))
"""


def short_run(podium: Podium, name: str) -> list[tuple[object, ...]]:
    podium.apply(name, **SHORT)
    podium.wait_for("Complete", name)
    until(lambda: not podium.pods(), "the last pod to go")
    return [summary(trial) for trial in podium.trials() if trial["spec"]["experiment"] == name]


def summary(trial: dict[str, Any]) -> tuple[object, ...]:
    status = trial["status"]
    return (
        trial["spec"]["number"],
        trial["spec"]["parameters"],
        *(status.get(field) for field in ("phase", "reason", "step", "value", "retries")),
        [observation["step"] for observation in status["observations"]],
    )


def test_death_at_a_write_changes_nothing(crds: None, tmp_path: Path) -> None:  # noqa: ARG001  (a fixture for its effect)
    count = tmp_path / "writes"
    with at_work(tmp_path, script=MORTAL, environment={"COUNT": str(count)}) as podium:
        undisturbed = short_run(podium, "undisturbed")
        writes = int(count.read_text())
        assert writes >= 15
        deaths = 0
        for number in range(2, writes, writes // 6):
            moment = "before" if number % 2 else "after"
            podium.operator.kill()
            mortal = Service(
                podium.operator.command,
                {**podium.operator.environment, "DIE_AT": str(number), "DIE": moment},
                podium.operator.log,
            )
            mortal.start()
            podium.operator.process = mortal.process
            name = f"death-{number}"
            podium.apply(name, **SHORT)
            until(
                lambda name=name: not podium.operator.is_running or podium.phase(name) == "Complete",  # type: ignore[misc]  # mypy sees no type of a lambda's default
                f"the operator to die {moment} write {number}",
            )
            if podium.operator.is_running:  # news came in fewer bursts this time, so there were fewer writes
                podium.operator.kill()
            else:
                deaths += 1
            podium.operator.start()
            assert short_run(podium, name) == undisturbed, f"death {moment} write {number}"
        assert deaths >= 4
