"""How metrics are read from what a run serves or prints: one reader per run, the same for pods and for local processes.

A reader turns text (a page of the run's endpoint, or new output of its log) into observations. Fetching the text is the
backend's business.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Protocol, assert_never

from prometheus_client.parser import text_string_to_metric_families

from podium_contract.experiment import LogMetrics, MetricsSource, PrometheusMetrics, SdkMetrics
from podium_contract.model import number_from_json
from podium_contract.reports import parse_metrics_page, parse_termination_message
from podium_contract.trial import Observation

_SELECTOR = re.compile(r"^(?P<name>[A-Za-z_:][A-Za-z0-9_:]*)(?:\{(?P<labels>[^}]*)\})?$")
_LABEL = re.compile(r'\s*(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*"(?P<value>[^"]*)"\s*(?:,|$)')


class Reader(Protocol):
    """Reads one run's metrics."""

    def read(self, text: str) -> list[Observation]:
        """Return the reports in `text`: a page, or what the log has gained."""
        ...


def reader_for(source: MetricsSource, attempt: int, after_step: int = 0) -> Reader:
    """Return the reader of one run; `after_step` is where counting goes on when the source does not tell steps."""
    match source:
        case SdkMetrics():
            return SdkReader()
        case PrometheusMetrics():
            return SeriesReader(source, attempt, after_step)
        case LogMetrics():
            return LogReader(source, attempt, after_step)
        case _:
            assert_never(source)


class SdkReader:
    """Reads the reports of the trial SDK, from its page or from its termination message."""

    def read(self, text: str) -> list[Observation]:
        return parse_metrics_page(text)


class SeriesReader:
    """Reads a user's own Prometheus series; each page is one report."""

    def __init__(self, source: PrometheusMetrics, attempt: int, after_step: int) -> None:
        self._source = source
        self._attempt = attempt
        self._step = after_step
        self._sequence = 0

    def read(self, text: str) -> list[Observation]:
        series = dict(_series_in(text))
        metrics = {}
        for metric, selector in self._source.series.items():
            value = _select(series, selector)
            if value is not None:
                metrics[metric] = value
        if not metrics:
            return []
        self._sequence += 1
        self._step = self._next_step(series)
        return [Observation(attempt=self._attempt, step=self._step, sequence=self._sequence, metrics=metrics)]

    def _next_step(self, series: dict[tuple[str, frozenset[tuple[str, str]]], float]) -> int:
        if self._source.step is None:
            return self._step + 1
        told = _select(series, self._source.step)
        return self._step if told is None else max(int(told), 0)


class LogReader:
    """Reads lines of a log as they come; a line that is cut off waits for its rest."""

    def __init__(self, source: LogMetrics, attempt: int, after_step: int) -> None:
        self._source = source
        self._attempt = attempt
        self._step = after_step
        self._sequence = 0
        self._rest = ""
        self._pattern = re.compile(source.pattern) if source.pattern is not None else None

    def read(self, text: str) -> list[Observation]:
        *lines, self._rest = (self._rest + text).split("\n")
        return [observation for line in lines if (observation := self._observe(line)) is not None]

    def finish(self) -> list[Observation]:
        """Return the report in a last line that has no end."""
        return self.read("\n") if self._rest else []

    def _observe(self, line: str) -> Observation | None:
        step, metrics = self._parse_json(line) if self._pattern is None else self._parse_pattern(line)
        if not metrics:
            return None
        self._sequence += 1
        self._step = self._step + 1 if step is None else step
        return Observation(attempt=self._attempt, step=self._step, sequence=self._sequence, metrics=metrics)

    def _parse_json(self, line: str) -> tuple[int | None, dict[str, float]]:
        try:
            fields = json.loads(line)
        except ValueError:
            return None, {}
        if not isinstance(fields, dict):
            return None, {}
        numbers = {name: number for name, value in fields.items() if (number := _number(value)) is not None}
        return _whole(numbers.pop(self._source.step, None)), numbers

    def _parse_pattern(self, line: str) -> tuple[int | None, dict[str, float]]:
        assert self._pattern is not None
        step, metrics = None, {}
        for match in self._pattern.finditer(line):
            groups = match.groupdict()
            value = _number(groups["value"])
            if groups["metric"] == self._source.step:
                step = _whole(value)
            elif groups["metric"] and value is not None:
                metrics[groups["metric"]] = value
            if groups.get("step"):
                step = _whole(_number(groups["step"]))
        return step, metrics


def final_reports(source: MetricsSource, termination_message: str) -> list[Observation]:
    """Return the reports that a run left in its termination message; only the SDK writes any."""
    return parse_termination_message(termination_message) if isinstance(source, SdkMetrics) else []


Series = tuple[str, frozenset[tuple[str, str]]]


def _series_in(page: str) -> Iterator[tuple[Series, float]]:
    """Yield ((name, labels), value) of every sample; a page that is no Prometheus text has none from there on."""
    try:
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                yield (sample.name, frozenset(sample.labels.items())), float(sample.value)
    except (ValueError, KeyError, IndexError):
        return


def _select(series: dict[Series, float], selector: str) -> float | None:
    """Return the value of the first series with the selector's name and (at least) its labels."""
    match = _SELECTOR.match(selector.strip())
    if match is None:
        return None
    labels = {(label["name"], label["value"]) for label in _LABEL.finditer(match["labels"] or "")}
    for (name, its_labels), value in series.items():
        if name == match["name"] and labels <= its_labels:
            return value
    return None


def _number(value: object) -> float | None:
    """Return a number, also one in text (1e-3, nan, inf); None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(number_from_json(value))  # type: ignore[arg-type]  # float() is the judge
    except (TypeError, ValueError, OverflowError):
        return None


def _whole(value: float | None) -> int | None:
    return int(value) if value is not None and math.isfinite(value) and value >= 0 else None
