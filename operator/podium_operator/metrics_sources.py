"""How metrics are read from what a run serves or prints: one reader per run, the same for pods and for local processes.

A reader turns text (a page of the run's endpoint, or new output of its log) into observations. Fetching the text is the
backend's business.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, assert_never

from prometheus_client.parser import text_string_to_metric_families

from podium_contract.experiment import METRIC_NAME, LogMetrics, MetricsSource, PrometheusMetrics, SdkMetrics
from podium_contract.model import MAX_COUNT, number_from_json
from podium_contract.reports import parse_metrics_page, parse_termination_message
from podium_contract.trial import Observation

MAX_LINE_CHARACTERS = 1024 * 1024
"""A log line longer than this is no report; its rest is not kept waiting for an end that may never come."""
MAX_MATCHED_CHARACTERS = 2048
"""Nor is one that is longer than this, where a pattern is looked for: that may take time that grows with its square."""

_METRIC_NAME = re.compile(METRIC_NAME)
_TRIAL_OF_PAGE = re.compile(r'^podium_trial_step\{(?:.*,)?trial="([^"]*)"', re.MULTILINE)

Series = tuple[str, frozenset[tuple[str, str]]]
"""A series' name and labels."""


class Reader(Protocol):
    """Reads one run's metrics."""

    def read(self, text: str) -> list[Observation]:
        """Return the reports in `text`: a page, or what the log has gained."""
        ...


def reader_for(source: MetricsSource, attempt: int, after_step: int = 0, after_sequence: int = 0) -> Reader:
    """Return the reader of one run; `after_step` is where counting goes on when the source does not tell steps.

    `after_sequence` is how many reports an earlier process has made of the run's pages, which do not come again.
    """
    match source:
        case SdkMetrics():
            return SdkReader()
        case PrometheusMetrics():
            return SeriesReader(source, attempt, after_step, after_sequence)
        case LogMetrics():
            return LogReader(source, attempt, after_step)
        case _:
            assert_never(source)


class SdkReader:
    """Reads the reports of the trial SDK, from its page or from its termination message."""

    def read(self, text: str) -> list[Observation]:
        return parse_metrics_page(text)


class SeriesReader:
    """Reads a user's own Prometheus series; each page is one report, unless step and values are those of the last."""

    def __init__(self, source: PrometheusMetrics, attempt: int, after_step: int, after_sequence: int = 0) -> None:
        self._series = {metric: _selector(text) for metric, text in source.series.items()}
        self._step_series = None if source.step is None else _selector(source.step)
        self._attempt = attempt
        self._step = after_step
        self._sequence = after_sequence
        self._last = ""

    def read(self, text: str) -> list[Observation]:
        wanted = [selector for selector in (*self._series.values(), self._step_series) if selector is not None]
        samples = dict(_samples_in(text, {name for name, _ in wanted}))
        found = {metric: _select(samples, selector) for metric, selector in self._series.items()}
        metrics = {metric: value for metric, value in found.items() if value is not None}
        if not metrics:
            return []
        if self._step_series is None:
            self._step += 1
        else:
            told = _whole(_select(samples, self._step_series))
            self._step = self._step if told is None else told
            if self._is_old(metrics):
                return []
        self._sequence += 1
        return [Observation(attempt=self._attempt, step=self._step, sequence=self._sequence, metrics=metrics)]

    def _is_old(self, metrics: Mapping[str, float]) -> bool:
        told, self._last = self._last, f"{self._step} {metrics}"  # as text, where NaN equals NaN
        return told == self._last


class LogReader:
    """Reads lines of a log as they come; a line that is cut off waits for its rest.

    Lines of one step add up: metrics printed one a line make one observation that grows. Once a line has told a step,
    alone or beside metrics, the lines after it belong to that step until one tells another. While none has, steps are
    counted: a metric that comes again begins the next step.
    """

    def __init__(self, source: LogMetrics, attempt: int, after_step: int) -> None:
        self._source = source
        self._attempt = attempt
        self._step = after_step
        self._has_told_step = False
        self._metrics: dict[str, float] = {}
        self._sequence = 0
        self._rest = ""
        self._pattern = re.compile(source.pattern) if source.pattern is not None else None

    def read(self, text: str) -> list[Observation]:
        *lines, self._rest = (self._rest + text).split("\n")
        if len(self._rest) > MAX_LINE_CHARACTERS:
            self._rest = self._rest[:MAX_LINE_CHARACTERS]  # enough to know later that it is too long
        return [observation for line in lines if (observation := self._observe(line)) is not None]

    def finish(self) -> list[Observation]:
        """Return the report in a last line that has no end."""
        return self.read("\n") if self._rest else []

    def _observe(self, line: str) -> Observation | None:
        if len(line) >= MAX_LINE_CHARACTERS:
            return None
        shown = line.rstrip("\r").rpartition("\r")[2]  # what a terminal shows of a progress bar's line
        step, metrics = self._parse_json(shown) if self._pattern is None else self._parse_pattern(shown)
        self._move_to(step, metrics)
        if not metrics:
            return None
        self._metrics = {**self._metrics, **metrics}
        self._sequence += 1
        return Observation(attempt=self._attempt, step=self._step, sequence=self._sequence, metrics=self._metrics)

    def _move_to(self, step: int | None, metrics: Mapping[str, float]) -> None:
        if step is not None:
            if step != self._step or not self._has_told_step:
                self._metrics = {}
            self._step, self._has_told_step = step, True
        elif metrics and not self._has_told_step and (not self._metrics or metrics.keys() & self._metrics.keys()):
            self._step, self._metrics = self._step + 1, {}

    def _parse_json(self, line: str) -> tuple[int | None, dict[str, float]]:
        if not line.lstrip().startswith("{"):
            return None, {}
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            return None, {}
        numbers = {name: number for name, value in fields.items() if (number := _json_number(value)) is not None}
        step = _whole(numbers.pop(self._source.step, None))
        return step, {name: value for name, value in numbers.items() if _METRIC_NAME.fullmatch(name)}

    def _parse_pattern(self, line: str) -> tuple[int | None, dict[str, float]]:
        assert self._pattern is not None
        step: int | None = None
        metrics: dict[str, float] = {}
        if len(line) > MAX_MATCHED_CHARACTERS:
            return step, metrics
        for match in self._pattern.finditer(line):
            groups = match.groupdict()
            value = _text_number(groups["value"])
            if groups["metric"] == self._source.step:
                step = _whole(value)
            elif value is not None and _METRIC_NAME.fullmatch(groups["metric"] or ""):
                metrics[groups["metric"]] = value
            if groups.get("step"):
                step = _whole(_text_number(groups["step"]))
        return step, metrics


def final_reports(source: MetricsSource, termination_message: str) -> list[Observation]:
    """Return the reports that a run left in its termination message; only the SDK writes any."""
    return parse_termination_message(termination_message) if isinstance(source, SdkMetrics) else []


def is_page_of(page: str, trial_name: str) -> bool:
    """Answer whether an SDK's page may be the trial's: a port or address that was free again may be another's by now."""
    named = _TRIAL_OF_PAGE.search(page)
    return named is None or named[1] == trial_name


def _selector(text: str) -> Series:
    """Return the name and labels that a manifest asks for; the contract has checked the text."""
    (family,) = text_string_to_metric_families(f"{text.strip()} 0\n")
    (sample,) = family.samples
    return sample.name, frozenset(sample.labels.items())


def _samples_in(page: str, names: Iterable[str]) -> Iterator[tuple[Series, float]]:
    """Yield ((name, labels), value) of every sample with one of the names; a line that is no sample hides no other."""
    beginnings = tuple(names)
    for line in page.splitlines():
        if not line.startswith(beginnings):
            continue
        try:
            for family in text_string_to_metric_families(line):
                for sample in family.samples:
                    yield (sample.name, frozenset(sample.labels.items())), float(sample.value)
        except (ValueError, KeyError, IndexError):
            continue


def _select(samples: Mapping[Series, float], selector: Series) -> float | None:
    """Return the value of the series itself, else of the first with its name and (at least) its labels."""
    if selector in samples:
        return samples[selector]
    name, labels = selector
    return next((value for (its, has), value in samples.items() if its == name and labels <= has), None)


def _json_number(value: object) -> float | None:
    """Return a number of JSON, "NaN" and "Infinity" included; None for anything else, other text too."""
    known = number_from_json(value)
    if isinstance(known, bool) or not isinstance(known, int | float):
        return None
    try:
        return float(known)
    except OverflowError:
        return math.inf if known > 0 else -math.inf


def _text_number(text: str | None) -> float | None:
    """Return a number as programs print it (1e-3, nan, inf); None for anything else."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _whole(value: float | None) -> int | None:
    """Return a step; None for what is none: negative, not finite, too large to be carried exactly."""
    return int(value) if value is not None and 0 <= value <= MAX_COUNT else None
