"""A log in pieces that overlap: each line is handed on once, whatever the pieces."""

from hypothesis import given
from hypothesis import strategies as st

from podium_operator.kube.logs import LogTail


def stamped(second: float, text: str) -> str:
    return f"2026-01-01T12:00:{second:012.9f}Z {text}\n"


def served(log: list[str], since: str | None) -> str:
    """What the API server answers: every line from the second on."""
    moment = since or "2026"
    return "".join(line for line in log if line[:19] >= moment[:19])


def test_first_piece_is_the_whole_log_without_time_stamps() -> None:
    tail = LogTail()
    assert tail.since is None
    assert tail.take(stamped(1, "a") + stamped(2, "b c")) == "a\nb c\n"


def test_lines_that_come_again_are_left_out() -> None:
    tail = LogTail()
    tail.take(stamped(1.1, "a") + stamped(1.2, "b"))
    assert tail.take(stamped(1.1, "a") + stamped(1.2, "b") + stamped(1.2, "c")) == "c\n"


def test_equal_lines_of_different_moments_all_count() -> None:
    tail = LogTail()
    assert tail.take(stamped(1.1, "loss=1") + stamped(1.2, "loss=1")) == "loss=1\nloss=1\n"


def test_line_cut_off_waits_for_its_end() -> None:
    tail = LogTail()
    assert tail.take(stamped(1, "a") + "2026-01-01T12:00:02.000000000Z hal") == "a\n"
    assert tail.take(stamped(1, "a") + stamped(2, "half")) == "half\n"


def test_memory_holds_the_last_moments_only() -> None:
    tail = LogTail()
    for second in range(50):
        tail.take(stamped(second, f"line {second}"))
    assert len(tail._known) <= 4


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=60), st.lists(st.integers(1, 10), min_size=1, max_size=60))
def test_every_line_is_handed_on_once(gaps: list[float], strides: list[int]) -> None:
    log, moment = [], 0.0
    for number, gap in enumerate(gaps):
        moment += gap
        log.append(stamped(moment, f"line {number}"))
    tail, told, length = LogTail(), "", 0
    for stride in [*strides, len(log)]:
        length = min(length + stride, len(log))
        told += tail.take(served(log[:length], tail.since))
    assert told == "".join(f"line {number}\n" for number in range(len(log)))
