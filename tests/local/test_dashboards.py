"""A real Prometheus on the series of operator, service and trial: every panel's query and every alert gets its answer.

The pages are the code's own, filled by an invented experiment; the end-to-end suite does the same with a real one.
"""

import http.server
import math
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from builders.dashboards import alerts, filled_in, panel_queries, variable_queries
from builders.prometheus import Prometheus, running
from builders.release import until
from builders.tools import needs
from podium_contract.experiment import Cost, ExperimentStatus, RungStatus, TrialCounts
from podium_contract.lifecycle import Phase
from podium_contract.reports import CONTENT_TYPE, metrics_page
from podium_contract.trial import Observation
from podium_operator.metrics import Metrics as OperatorMetrics
from podium_suggestion.ledger import Entries
from podium_suggestion.metrics import Metrics as SuggestionMetrics

pytestmark = needs(shutil.which("prometheus"), "Prometheus is not installed (scripts/install-prometheus)")
VARIABLES = {"namespace": "vision", "experiment": "curves", "metric": ".+", "__rate_interval": "10s"}
SCRAPES = 8


class InventedExperiment:
    """One experiment as the three kinds of pods would tell it, step by step."""

    def __init__(self) -> None:
        self.operator, self.suggestion = OperatorMetrics(), SuggestionMetrics()
        self.reports: list[Observation] = []
        self.operator.lead(is_leading=True)

    def take_a_step(self) -> None:
        step = len(self.reports) + 1
        self.reports.append(Observation(attempt=1, step=step, metrics={"loss": 1 / step}))
        with self.operator.reconciling():
            self.operator.count_wait(0.01)
        self.operator.count_scrape("ok" if step % 2 else "timeout", 0.01)
        self.operator.count_advice("ok", 0.02)
        self.operator.count_end("vision", "curves", Phase.FAILED, "ExitCode")
        self.operator.show("vision", "curves", "loss", self._status(step))
        with self.suggestion.exchange("tpe", "asha"):
            self.suggestion.count_decisions(Entries([], frozenset(), [], [], started=[step]))

    def _status(self, step: int) -> ExperimentStatus:
        return ExperimentStatus(
            best_value=1 / step,
            trials=TrialCounts(total=step + 2, running=2, failed=step),
            rungs=(RungStatus(budget=1, reached=3, promoted=1),),
            cost=Cost(steps=10 * step, full_steps=27 * step, gpu_seconds=5.0 * step),
        )

    @property
    def pages(self) -> dict[str, Callable[[], bytes]]:
        labels = {"experiment": "curves", "trial": "curves-00001"}
        return {
            "/operator": self.operator.page,
            "/suggestion": self.suggestion.page,
            "/trial": lambda: metrics_page(self.reports, labels).encode(),
        }


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    experiment = InventedExperiment()
    with serving(experiment.pages) as address:
        jobs = [job(name, address) for name in ("operator", "suggestion", "trial")]
        with running(tmp_path_factory.mktemp("prometheus"), {"scrape_configs": jobs}) as server:
            for step in range(1, SCRAPES + 1):
                experiment.take_a_step()
                wait_for_step(server, step)
            yield server


@contextmanager
def serving(pages: Mapping[str, Callable[[], bytes]]) -> Iterator[str]:
    """Serve pages by path on a free port of this machine, and say where."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.end_headers()
            self.wfile.write(pages[self.path]())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def job(name: str, address: str) -> dict[str, Any]:
    """One kind of pod, with the labels that the documented configuration gives it."""
    labels = {"pod": f"{name}-0", **({"namespace": "vision"} if name == "trial" else {})}
    return {
        "job_name": f"podium-{name}",
        "metrics_path": f"/{name}",
        "honor_labels": True,
        "static_configs": [{"targets": [address], "labels": labels}],
    }


def wait_for_step(server: Prometheus, step: int) -> None:
    until(f"the scrape of step {step}", lambda: server.instant(f"podium_trial_step == {step}"))


def asked(server: Prometheus, expression: str) -> list[float]:
    """The numbers that an expression has now."""
    samples = server.instant(filled_in(expression, VARIABLES))
    return [number for sample in samples if not math.isnan(number := float(sample["value"][1]))]


@pytest.mark.parametrize("place", panel_queries())
def test_every_panel_shows_something(watched: Prometheus, place: str) -> None:
    assert asked(watched, panel_queries()[place])


@pytest.mark.parametrize("place", variable_queries())
def test_every_variable_has_a_choice(watched: Prometheus, place: str) -> None:
    selector, label = variable_queries()[place]
    assert watched.label_values(label, filled_in(selector, VARIABLES))


@pytest.mark.parametrize("name", alerts())
def test_every_alert_is_evaluated(watched: Prometheus, name: str) -> None:
    rule = until(f"{name} evaluated", lambda: _evaluated(watched, name))
    assert rule["health"] == "ok", rule.get("lastError")


def test_alert_about_failing_trials_sees_them(watched: Prometheus) -> None:
    assert asked(watched, alerts()["PodiumTrialsFail"]["expr"])


def test_panels_show_the_numbers_of_the_status(watched: Prometheus) -> None:
    queries = panel_queries()
    assert asked(watched, queries["experiment: Training now #3A"]) == [2]
    assert asked(watched, queries["experiment: Saved #5A"]) == [pytest.approx(1 - 10 / 27)]


def _evaluated(server: Prometheus, name: str) -> dict[str, Any] | None:
    rule = server.rules()[name]
    return None if rule["health"] == "unknown" else rule
