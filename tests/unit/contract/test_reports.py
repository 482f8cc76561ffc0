"""Reports survive the page and the termination message; whatever else stands there is skipped."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from podium_contract.reports import (
    TERMINATION_MESSAGE_LIMIT,
    last_words_in,
    metrics_page,
    parse_metrics_page,
    parse_report_line,
    parse_termination_message,
    report_line,
    termination_message,
)
from podium_contract.trial import Observation

OBSERVATIONS = st.builds(
    Observation,
    attempt=st.integers(1, 9),
    step=st.integers(0, 10**6),
    sequence=st.integers(0, 10**6),
    metrics=st.dictionaries(st.from_regex(r"[a-z_]{1,12}", fullmatch=True), st.floats(), min_size=1, max_size=4),
    seconds=st.none(),
)


def same(left: list[Observation], right: list[Observation]) -> bool:
    """Equality for which NaN is NaN."""
    return [repr(observation) for observation in left] == [repr(observation) for observation in right]


@given(st.lists(OBSERVATIONS, max_size=8))
def test_page_gives_back_every_report_also_those_that_are_not_finite(observations: list[Observation]) -> None:
    assert same(parse_metrics_page(metrics_page(observations, {"trial": "t"})), observations)


@given(st.lists(OBSERVATIONS, max_size=8))
def test_page_is_prometheus_text(observations: list[Observation]) -> None:
    list(text_string_to_metric_families(metrics_page(observations, {"trial": 'a"b\\c'})))


@given(st.lists(OBSERVATIONS, max_size=60))
def test_termination_message_fits_and_holds_the_latest(observations: list[Observation]) -> None:
    message = termination_message(observations)
    assert len(message.encode()) <= TERMINATION_MESSAGE_LIMIT
    held = parse_termination_message(message)
    assert same(held, observations[len(observations) - len(held) :])
    assert held or not observations


@given(st.text())
def test_any_other_text_is_no_report_and_no_error(text: str) -> None:
    parse_metrics_page(f"# PODIUM {text}\n{text}")
    parse_termination_message(text)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "{}",
        '{"a":0,"n":1,"s":1,"m":{"l":1}}',
        '{"a":1,"n":1,"s":-1,"m":{"l":1}}',
        '{"a":1,"n":1,"s":1,"m":3}',
    ],
)
def test_line_that_is_no_report_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"report|Expecting"):
        parse_report_line(line)


def test_message_cut_off_at_the_limit_keeps_its_whole_lines() -> None:
    message = termination_message([Observation(attempt=1, step=s, metrics={"loss": math.pi}) for s in range(5)])
    assert [o.step for o in parse_termination_message(message[:-5])] == [0, 1, 2, 3]


def test_error_is_kept_whole_and_takes_the_place_of_the_oldest_reports() -> None:
    curve = [Observation(attempt=1, step=s, metrics={"loss": math.pi}) for s in range(500)]
    message = termination_message(curve, "ValueError: bad lr")
    assert len(message.encode()) <= TERMINATION_MESSAGE_LIMIT
    assert last_words_in(message) == "ValueError: bad lr"
    assert parse_termination_message(message)[-1].step == 499


def test_run_with_nothing_to_say_leaves_the_word_to_its_log() -> None:
    assert termination_message([]) == ""


def test_lines_of_a_log_are_no_reports_even_if_they_look_like_some() -> None:
    report = report_line(Observation(attempt=1, step=7, metrics={"loss": 0.0}))
    assert parse_termination_message(f"starting\n{report}\n") == []
    assert parse_termination_message(f"{report}\n# PODIUM\n{report}") == []


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("", ""),
        ("\n\n", ""),
        ("Traceback\n  File\nValueError: no\n\n", "ValueError: no"),
        ('out of memory\n{"loss": 1}\n', "out of memory"),
        ("error: retrying\ngave up", "gave up"),
        ('# PODIUM\n{"a":1}', ""),
        ("# PODIUM\nerror: first\nerror: last", "last"),
    ],
)
def test_last_words_are_the_error_of_our_message_or_the_last_sentence_of_a_log(message: str, words: str) -> None:
    assert last_words_in(message) == words
