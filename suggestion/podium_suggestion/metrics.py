"""What the service tells Prometheus. Every label has a handful of values: never an experiment's or a trial's name."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest

from podium_suggestion.engine import ImmutableSpecError, UnknownExperimentError
from podium_suggestion.ledger import Entries
from podium_suggestion.store import StoreError

_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """The service's series, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._seconds = Histogram(
            "podium_suggestion_advice_seconds",
            "Seconds from request to advice, by search and scheduler.",
            ("search", "scheduler"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._advice = Counter(
            "podium_suggestion_advice",
            "Exchanges by outcome: ok, unknown (experiment), immutable (field), store (error), error.",
            ("outcome",),
            registry=self._registry,
        )
        self._decisions = Counter(
            "podium_suggestion_trials",
            "Trials by what was decided about them: start, promote, stop.",
            ("verdict",),
            registry=self._registry,
        )
        self._store_errors = Counter(
            "podium_suggestion_store_errors",
            "Reads and writes that the store refused.",
            registry=self._registry,
        )

    def page(self) -> bytes:
        """Return every series in Prometheus' text format."""
        return generate_latest(self._registry)

    @contextmanager
    def exchange(self, search: str, scheduler: str) -> Iterator[None]:
        """Time an exchange and count how it ends."""
        outcome = "error"
        try:
            with self._seconds.labels(search, scheduler).time():
                yield
            outcome = "ok"
        except UnknownExperimentError:
            outcome = "unknown"
            raise
        except ImmutableSpecError:
            outcome = "immutable"
            raise
        except StoreError:
            outcome = "store"
            raise
        finally:
            self._advice.labels(outcome).inc()

    def count_decisions(self, entries: Entries) -> None:
        """Count what an exchange has decided anew."""
        self._decisions.labels("start").inc(len(entries.started))
        for verdict in entries.given:
            self._decisions.labels(verdict.kind).inc()

    def count_store_error(self) -> None:
        self._store_errors.inc()
