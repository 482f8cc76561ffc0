"""The reports of a run in memory: numbered, the recent ones kept, and aware of which have been collected."""

import math
import threading
from collections.abc import Iterable, Mapping

from podium_contract.reports import metrics_page, termination_message
from podium_contract.observation import Observation

KEPT_REPORTS = 1000
"""Reports served to a scrape that comes late, and stored in each checkpoint."""


class Journal:
    """Reports in the order in which they were made. Safe to read from the endpoint's thread while the training writes."""

    def __init__(self, attempt: int, labels: Mapping[str, str]) -> None:
        self._attempt = attempt
        self._labels = dict(labels)
        self._lock = threading.Lock()
        self._collected = threading.Condition(self._lock)
        self._reports: list[Observation] = []
        self._made = 0
        self._served = 0
        self._sequence = 0

    def resume(self, reports: Iterable[Observation]) -> None:
        """Take over what earlier runs reported, under their own attempts."""
        with self._lock:
            self._reports = list(reports)
            self._made = len(self._reports)

    def add(self, step: int, metrics: Mapping[str, float], seconds: float) -> Observation:
        """Record a report; metrics of an earlier report of this run for the same step are carried over."""
        with self._lock:
            own = (report for report in reversed(self._reports) if report.attempt == self._attempt)
            earlier = next((report for report in own if report.step == step), None)
            merged = {**(earlier.metrics if earlier else {}), **metrics}
            self._sequence += 1
            report = Observation(
                attempt=self._attempt, step=step, sequence=self._sequence, metrics=merged, seconds=seconds
            )
            self._reports.append(report)
            self._made += 1
            del self._reports[:-KEPT_REPORTS]
            return report

    def up_to(self, step: int) -> list[Observation]:
        """Return the kept reports of steps up to `step`."""
        with self._lock:
            return [report for report in self._reports if report.step <= step]

    def reported(self, step: int) -> bool:
        with self._lock:
            return any(report.step == step for report in self._reports)

    def page(self) -> str:
        """Return the endpoint's page, and remember that everything up to now has been collected."""
        with self._lock:
            self._served = self._made
            self._collected.notify_all()
            return metrics_page(self._reports, self._labels)

    def final_message(self) -> str:
        """Return what fits of the reports into a termination message, the latest for certain."""
        with self._lock:
            return termination_message(self._reports)

    def wait_until_collected(self, seconds: float) -> bool:
        """Wait until no report would be lost by ending now: collected by a scrape, or held by the termination message."""

        def nothing_would_be_lost() -> bool:
            held = len(termination_message(self._reports).splitlines())
            return self._made - self._served <= held

        with self._collected:
            return self._collected.wait_for(nothing_would_be_lost, timeout=seconds)


def checked_metrics(metrics: Mapping[str, object]) -> dict[str, float]:
    """Return metrics as plain floats; raises TypeError or ValueError, naming the metric, for anything else."""
    if not metrics:
        raise ValueError("a report needs at least one metric, got none; write report(step, loss=...)")
    checked = {}
    for name, value in metrics.items():
        if isinstance(value, bool | str | bytes) or value is None:
            raise TypeError(f"metric '{name}' must be a number, got {value!r}; report a float or an int")
        try:
            checked[name] = float(value)  # type: ignore[arg-type]  # numpy scalars and 0-d tensors know __float__
        except (TypeError, ValueError):
            raise TypeError(f"metric '{name}' must be a number, got {value!r}; report a float or an int") from None
        except OverflowError:
            checked[name] = math.inf
    return checked
