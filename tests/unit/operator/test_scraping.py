"""Fetching a trial's page: whatever it answers with, the others are read."""

import asyncio

import httpx
import pytest

from podium_operator.scraping import fetch_page


def fetched(*answers: httpx.Response) -> tuple[list[str | None], list[str]]:
    """Return the pages of one answer after another, and what each request said of cookies."""
    waiting, cookies = list(answers), []

    def answer(request: httpx.Request) -> httpx.Response:
        cookies.append(request.headers.get("cookie", ""))
        return waiting.pop(0)

    async def story() -> list[str | None]:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            return [await fetch_page(client, "http://127.0.0.1/metrics") for _ in answers]

    return asyncio.run(story()), cookies


def test_a_cookie_of_one_page_is_not_sent_with_the_next_request() -> None:
    cookie = [(b"set-cookie", "user=J\u00fcrgen".encode("latin-1"))]
    pages, cookies = fetched(httpx.Response(200, text="a", headers=cookie), httpx.Response(200, text="b"))
    assert (pages, cookies) == (["a", "b"], ["", ""])


@pytest.mark.parametrize("location", ["javascript:alert(1)", "http://[", "\x00"])
def test_an_answer_that_makes_no_sense_is_no_page(location: str) -> None:
    pages, _ = fetched(httpx.Response(302, headers={"location": location}), httpx.Response(200, text="b"))
    assert pages == [None, "b"]
