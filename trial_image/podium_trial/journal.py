"""The reports of a run in memory: numbered, the recent ones kept, and aware of which have been collected."""

import math
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from podium_contract.observation import Observation
from podium_contract.reports import (
    REPORT_PREFIX,
    metrics_page,
    parse_termination_message,
    report_line,
    termination_message,
)

KEPT_REPORTS = 1000
"""Reports served to a scrape that comes late, and stored in each checkpoint."""
MOST_UNCOLLECTED = 20_000
"""Reports kept until they are collected. A script that makes more between two scrapes loses the oldest of them."""
PAGE_BYTES = 2 * 1024 * 1024
"""What one page holds at most: the operator reads no more than twice that."""


class Journal:
    """Reports in the order in which they were made. Safe to read from the endpoint's thread while the training writes."""

    def __init__(self, attempt: int, labels: Mapping[str, str], is_collected: bool = True) -> None:
        """`is_collected`: whether somebody comes for the reports, so that they must wait."""
        self._attempt = attempt
        self._is_collected = is_collected
        self._labels = dict(labels)
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._reports: list[Observation] = []
        self._made = 0
        """Reports made so far; the last of them is the last of `_reports`."""
        self._collected = 0
        """How many of them have been collected: the oldest ones."""
        self._sequence = 0
        self._by_step: dict[int, Observation] = {}
        """Of this run's kept reports the latest of each step."""
        self._widest = 1
        """Bytes that a report takes on a page, at most."""

    def resume(self, reports: Iterable[Observation]) -> None:
        """Take over what earlier runs reported, under their own attempts."""
        with self._lock:
            self._reports[:0] = reports
            self._made, self._collected = len(self._reports), 0
            self._widest = max(map(_width, self._reports), default=1)

    def add(self, step: int, metrics: Mapping[str, float], seconds: float) -> Observation:
        """Record a report; metrics of an earlier report of this run for the same step are carried over."""
        with self._lock:
            earlier = self._by_step.get(step)
            merged = {**(earlier.metrics if earlier else {}), **metrics}
            self._sequence += 1
            report = Observation(
                attempt=self._attempt, step=step, sequence=self._sequence, metrics=merged, seconds=seconds
            )
            self._reports.append(report)
            self._by_step[step] = report
            self._made += 1
            self._widest = max(self._widest, _width(report))
            self._forget()
            return report

    def up_to(self, step: int) -> list[Observation]:
        """Return the kept reports of steps up to `step`."""
        with self._lock:
            return [report for report in self._reports if report.step <= step]

    @property
    def last_step(self) -> int:
        """The largest step that was reported; 0 before the first."""
        with self._lock:
            return max((report.step for report in self._reports), default=0)

    def page(self) -> tuple[str, int]:
        """Return the endpoint's page, and the mark by which `collected` knows what stands on it.

        The page holds the recent reports, also those collected before: whoever collected them may have lost them. When
        they are too many for one page, it holds the oldest of those not collected yet, and the next page goes on from there.
        """
        with self._lock:
            first, count = self._made - len(self._reports), max(PAGE_BYTES // self._widest, 1)
            start = max(min(self._collected - first, len(self._reports) - count), 0)
            shown = self._reports[start : start + count]
        return metrics_page(shown, self._labels), first + start + len(shown)

    def collected(self, mark: int) -> None:
        """Note that whoever stores reports has received the page of this mark."""
        with self._news:
            self._collected = max(self._collected, mark)
            self._news.notify_all()

    def final_message(self, error: str = "") -> str:
        """Return a termination message: the latest reports, as many as fit, then what went wrong."""
        with self._lock:
            return termination_message(self._reports, error)

    def wait_until_collected(self, seconds: float, message: str) -> bool:
        """Wait until no report would be lost by ending now: collected by a scrape, or held by the termination message.

        `message` is what the run is going to leave behind; empty when it cannot leave one.
        """
        held = len(parse_termination_message(message))
        with self._news:
            return self._news.wait_for(lambda: self._made - self._collected <= held, timeout=seconds)

    def _forget(self) -> None:
        """Drop what is neither recent nor waits to be collected."""
        waiting = min(self._made - self._collected, MOST_UNCOLLECTED) if self._is_collected else 0
        kept = max(KEPT_REPORTS, waiting)
        for report in self._reports[:-kept]:
            if self._by_step.get(report.step) is report:
                del self._by_step[report.step]
        del self._reports[:-kept]


def checked_metrics(metrics: Mapping[Any, object]) -> dict[str, float]:
    """Return metrics as plain floats; raises TypeError or ValueError, naming the metric, for anything else."""
    if not metrics:
        raise ValueError("a report needs at least one metric, got none; write report(step, loss=...)")
    checked = {}
    for name, value in metrics.items():
        if not isinstance(name, str):
            raise TypeError(f"a metric's name must be text, got {name!r}; name it in quotes")
        if name != printable(name):
            raise ValueError(f"a metric's name must be valid text, got {name!r}; leave out what no encoding has")
        if isinstance(value, bool | str | bytes) or value is None:
            raise TypeError(f"metric '{name}' must be a number, got {value!r}; report a float or an int")
        try:
            checked[name] = float(value)  # type: ignore[arg-type]  # numpy scalars and 0-d tensors know __float__
        except (TypeError, ValueError):
            raise TypeError(f"metric '{name}' must be a number, got {value!r}; report a float or an int") from None
        except OverflowError:  # a whole number beyond every float
            checked[name] = math.inf if str(value)[0] != "-" else -math.inf
    return checked


def printable(text: str) -> str:
    """Return text as every encoding can write it: names of files may hold bytes that are none."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _width(report: Observation) -> int:
    return len(REPORT_PREFIX) + len(report_line(report)) + 1
