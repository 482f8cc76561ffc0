"""Fetching a run's metrics, and handing each report on exactly once. The same for pods and for local processes."""

import asyncio
from collections.abc import Iterable

import httpx

from podium_contract.trial import Observation

SCRAPE_TIMEOUT_SECONDS = 2.0
MAX_PAGE_BYTES = 4 * 1024 * 1024
"""More than this of an endpoint's answer is not read: a trial cannot fill the operator's memory."""


async def fetch_page(client: httpx.AsyncClient, url: str) -> str | None:
    """Return a page, or None: not up yet, gone already, hanging, too large. The next scrape or the last word tells."""
    page = bytearray()
    try:
        async with asyncio.timeout(SCRAPE_TIMEOUT_SECONDS), client.stream("GET", url) as response:
            async for chunk in response.aiter_bytes():
                page += chunk
                if len(page) > MAX_PAGE_BYTES:
                    return None
            if not response.is_success:
                return None
    except (
        httpx.HTTPError,
        httpx.InvalidURL,
        TimeoutError,
        OSError,
        ValueError,
    ):  # the last of headers that make no sense
        return None
    finally:
        client.cookies.clear()  # one trial's are not for another's eyes
    return page.decode(errors="replace")


class Inbox:
    """A run's reports on their way to the advisor: each is handed on until it is acknowledged, and then never again."""

    def __init__(self) -> None:
        self._sequences: dict[tuple[int, int], int] = {}
        self._waiting: list[Observation] = []
        self._handed_out = 0

    def take(self, observations: Iterable[Observation]) -> bool:
        """Take in what was read; what is known already is dropped. Answers whether anything was new."""
        known = len(self._waiting)
        for observation in observations:
            key = (observation.attempt, observation.step)
            if self._sequences.get(key, -1) < observation.sequence:
                self._sequences[key] = observation.sequence
                self._waiting.append(observation)
        return len(self._waiting) > known

    def hand_out(self) -> tuple[Observation, ...]:
        """Return everything that waits to be acknowledged."""
        self._handed_out = len(self._waiting)
        return tuple(self._waiting)

    def acknowledge(self) -> None:
        """What was handed out last is safely stored."""
        del self._waiting[: self._handed_out]
        self._handed_out = 0
