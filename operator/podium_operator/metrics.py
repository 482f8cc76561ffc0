"""What the operator tells Prometheus. Labels stop at the experiment: a long one has no more series than a short one."""

from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from podium_contract.experiment import ExperimentStatus
from podium_contract.lifecycle import Phase

ScrapeOutcome = Literal["ok", "refused", "timeout", "invalid", "error"]
"""invalid: an answer that is too large or no metrics page."""
AdviceOutcome = Literal["ok", "unknown", "unavailable"]

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_EXPERIMENT = ("namespace", "experiment")


class Metrics:
    """The operator's series, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._experiments = _Experiments()
        self._registry.register(self._experiments)
        self._leader = Gauge("podium_operator_leader", "1 while this replica acts.", registry=self._registry)
        self._passes = self._seconds("reconcile", "Seconds of one pass over one experiment.")
        self._queue = self._seconds("queue", "Seconds from a change to the pass that sees it.")
        self._scrape_seconds = self._seconds("scrape", "Seconds of one scrape of a trial.")
        self._advice_seconds = self._seconds(
            "advice", "Seconds from a request to the suggestion service to its answer."
        )
        self._scrapes = self._outcomes("scrapes", "Scrapes of trials, by outcome.", get_args(ScrapeOutcome))
        self._advice = self._outcomes(
            "advice", "Exchanges with the suggestion service, by outcome.", get_args(AdviceOutcome)
        )

    def page(self) -> bytes:
        """Return every series in Prometheus' text format."""
        return generate_latest(self._registry)

    def lead(self, is_leading: bool) -> None:
        self._leader.set(is_leading)

    def count_wait(self, seconds: float) -> None:
        """A change waited so long for the pass that saw it."""
        self._queue.observe(seconds)

    @contextmanager
    def reconciling(self) -> Iterator[None]:
        """Time one pass."""
        with self._passes.time():
            yield

    def count_scrape(self, outcome: ScrapeOutcome, seconds: float) -> None:
        self._scrapes.labels(outcome).inc()
        self._scrape_seconds.observe(seconds)

    def count_advice(self, outcome: AdviceOutcome, seconds: float) -> None:
        self._advice.labels(outcome).inc()
        self._advice_seconds.observe(seconds)

    def count_end(self, namespace: str, experiment: str, phase: Phase, reason: str) -> None:
        """A trial has ended; call it once per trial, when its end is written."""
        self._experiments.ended[namespace, experiment, phase.value, reason] += 1

    def show(self, namespace: str, experiment: str, metric: str, status: ExperimentStatus) -> None:
        """Show an experiment as its status has it; `metric` is its first objective's."""
        self._experiments.shown[namespace, experiment] = (metric, status)

    def forget(self, namespace: str, experiment: str) -> None:
        """Drop the series of an experiment that was deleted, or that another replica looks after."""
        self._experiments.shown.pop((namespace, experiment), None)
        for key in [key for key in self._experiments.ended if key[:2] == (namespace, experiment)]:
            del self._experiments.ended[key]

    def _seconds(self, name: str, meaning: str) -> Histogram:
        return Histogram(f"podium_operator_{name}_seconds", meaning, buckets=_BUCKETS, registry=self._registry)

    def _outcomes(self, name: str, meaning: str, outcomes: Iterable[str]) -> Counter:
        counter = Counter(f"podium_operator_{name}", meaning, ("outcome",), registry=self._registry)
        for outcome in outcomes:
            counter.labels(outcome)  # at 0 from the start: Prometheus sees the first one as an increase
        return counter


class _Experiments(Collector):
    """The experiments' statuses as series, made when asked for: nothing is left of what a status no longer says."""

    def __init__(self) -> None:
        self.shown: dict[tuple[str, str], tuple[str, ExperimentStatus]] = {}
        self.ended: Tally[tuple[str, str, str, str]] = Tally()

    def collect(self) -> Iterator[Metric]:
        yield from self._of_statuses()
        ended = CounterMetricFamily(
            "podium_operator_trials_ended", "Trials that ended.", labels=(*_EXPERIMENT, "phase", "reason")
        )
        for key, count in self.ended.copy().items():
            ended.add_metric(key, count)
        yield ended

    def _of_statuses(self) -> tuple[Metric, ...]:
        trials = _gauge("trials", "Trials by phase.", "phase")
        best = _gauge("best_value", "The first objective's value of the best trial.", "metric")
        reached = _gauge("rung_reached", "Trials that reached a rung.", "bracket", "budget")
        promoted = _gauge("rung_promoted", "Trials that were promoted from a rung.", "bracket", "budget")
        steps = _counter("steps", "Steps trained by all trials.")
        full = _gauge("full_steps", "Steps that training every trial in full would have taken.")
        used = _counter("gpu_seconds", "Seconds of ended runs, times the GPUs they asked for.")
        saved = _gauge("gpu_seconds_saved", "GPU seconds that training every trial in full would have taken more.")
        for key, (metric, status) in self.shown.copy().items():
            for phase in Phase:
                trials.add_metric([*key, phase.value], getattr(status.trials, phase.value.lower()))
            if status.best_value is not None:
                best.add_metric([*key, metric], status.best_value)
            for rung in status.rungs:
                reached.add_metric([*key, str(rung.bracket), str(rung.budget)], rung.reached)
                promoted.add_metric([*key, str(rung.bracket), str(rung.budget)], rung.promoted)
            steps.add_metric(key, status.cost.steps)
            used.add_metric(key, status.cost.gpu_seconds)
            if status.cost.full_steps is not None:
                full.add_metric(key, status.cost.full_steps)
                saved.add_metric(key, gpu_seconds_saved(status))
        return trials, best, reached, promoted, steps, full, used, saved


def gpu_seconds_saved(status: ExperimentStatus) -> float:
    """Return the GPU seconds that the steps left out would have taken, at what steps took so far; 0 before the first."""
    cost = status.cost
    if not cost.full_steps or not cost.steps:
        return 0.0
    return max(cost.full_steps - cost.steps, 0) * cost.gpu_seconds / cost.steps


def _gauge(name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"podium_experiment_{name}", meaning, labels=(*_EXPERIMENT, *labels))


def _counter(name: str, meaning: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"podium_experiment_{name}", meaning, labels=_EXPERIMENT)
