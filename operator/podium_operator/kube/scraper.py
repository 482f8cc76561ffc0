"""Reads the metrics of one experiment's pods: each once in an interval, at times of its own; ended ones to the last word.

It works beside the loop, so that a pod whose endpoint hangs delays nobody's verdict.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx

from podium_contract.experiment import LogMetrics, MetricsSource, PrometheusMetrics, SdkMetrics
from podium_contract.trial import Observation
from podium_operator.kube.api import KubernetesApi
from podium_operator.kube.logs import LogTail
from podium_operator.kube.runs import attempt_of, first_step_of, number_of, termination_message_of
from podium_operator.metrics import Metrics
from podium_operator.metrics_sources import LogReader, Reader, final_reports, is_page_of
from podium_operator.scraping import Inbox, fetch_page

Json = dict[str, Any]

_log = logging.getLogger(__name__)

SCRAPE_INTERVAL_SECONDS = 5.0
_TICKS = 20
"""So many times in an interval it looks for pods that are due; each is due a tick early, and so never late."""
_PATIENCE_SECONDS = 60.0
"""So long the log of an ended run is asked for: what cannot be had by then will not come."""
_GOLDEN_RATIO = 0.618_033_988_749_895
"""The fractional parts of its multiples are spread evenly, however many they are (Weyl, 1916)."""


@dataclass
class LivePod:
    """A trial's latest pod, and what has been read of its metrics."""

    pod: Json
    trial: str
    reader: Reader
    inbox: Inbox = field(default_factory=Inbox)
    tail: LogTail = field(default_factory=LogTail)
    is_gone: bool = False
    """The pod does not exist any more; this is the last that was seen of it."""
    is_read_to_the_end: bool = False
    is_being_read: bool = False
    due: float | None = None
    """When it is to be read next, on the clock of `time.monotonic`; None before it was seen to run."""
    ended: float | None = None
    """When the log of the ended run was asked for first, on the same clock."""


class Scraper:
    """Fills the inboxes of an experiment's live pods."""

    def __init__(
        self, source: MetricsSource, container: str, api: KubernetesApi, client: httpx.AsyncClient, metrics: Metrics
    ) -> None:
        self._source = source
        self._container = container
        self._api = api
        self._client = client
        self._metrics = metrics

    @property
    def interval(self) -> float:
        return self._source.scrape_interval_seconds or SCRAPE_INTERVAL_SECONDS

    async def run(self, live_pods: Callable[[], Iterable[LivePod]], tell: Callable[[], None]) -> None:
        """Scrape until cancelled, and tell whenever there is something new."""
        async with asyncio.TaskGroup() as scrapes:
            while True:
                now = time.monotonic()
                for live in live_pods():
                    if live.due is None:
                        live.due = now + self.interval * (number_of(live.pod) * _GOLDEN_RATIO % 1)
                    if now >= live.due and not live.is_being_read:
                        live.due = now + self.interval * (1 - 1 / _TICKS)
                        scrapes.create_task(self._read(live, tell))
                await asyncio.sleep(self.interval / _TICKS)

    async def read_last(self, live: LivePod) -> None:
        """Read what an ended run has left. A log that cannot be had now is asked for again, for a while."""
        if isinstance(self._source, LogMetrics) and not live.is_gone:
            live.ended = live.ended or time.monotonic()
            is_whole = await self._read_whole_log(live, self._source)
            live.is_read_to_the_end = is_whole or time.monotonic() - live.ended >= _PATIENCE_SECONDS
        else:
            live.is_read_to_the_end = True
        live.inbox.take(final_reports(self._source, termination_message_of(live.pod, self._container)))

    async def _read(self, live: LivePod, tell: Callable[[], None]) -> None:
        live.is_being_read = True
        try:
            source = self._source
            found = (
                await self._read_log(live) if isinstance(source, LogMetrics) else await self._read_page(live, source)
            )
            if live.inbox.take(found):
                tell()
        except Exception:  # noqa: BLE001  (what one trial serves must not keep the others from being read)
            _log.exception("%s: its metrics could not be read; they are read again", live.pod["metadata"]["name"])
        finally:
            live.is_being_read = False

    async def _read_page(self, live: LivePod, source: SdkMetrics | PrometheusMetrics) -> list[Observation]:
        address = (live.pod.get("status") or {}).get("podIP")
        if address is None:
            return []
        path = source.path if isinstance(source, PrometheusMetrics) else "/metrics"
        host = f"[{address}]" if ":" in address else address
        began = time.monotonic()
        page = await fetch_page(self._client, f"http://{host}:{source.port}{path}")
        self._metrics.count_scrape("ok" if page is not None else "error", time.monotonic() - began)
        is_its_own = page is not None and (isinstance(source, PrometheusMetrics) or is_page_of(page, live.trial))
        return live.reader.read(page) if page is not None and is_its_own else []

    async def _read_log(self, live: LivePod) -> list[Observation]:
        metadata = live.pod["metadata"]
        piece = await self._api.log_of(metadata["namespace"], metadata["name"], self._container, live.tail.since)
        return live.reader.read(live.tail.take(piece))

    async def _read_whole_log(self, live: LivePod, source: LogMetrics) -> bool:
        """Read the log of an ended run from its beginning: what flew by too fast while it ran is found then.

        Answers whether that is all there is.
        """
        reader = LogReader(source, attempt_of(live.pod), first_step_of(live.pod))
        metadata = live.pod["metadata"]
        is_whole = await self._api.read_log(
            metadata["namespace"], metadata["name"], self._container, lambda text: live.inbox.take(reader.read(text))
        )
        if is_whole:
            live.inbox.take(reader.finish())
        return is_whole
