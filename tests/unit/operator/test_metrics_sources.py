"""What the readers make of pages and logs, well written or not: reports where there are any, and never an exception."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from podium_contract.experiment import LogMetrics, MetricsSource, PrometheusMetrics, SdkMetrics
from podium_contract.reports import metrics_page
from podium_contract.trial import Observation
from podium_operator.metrics_sources import MAX_LINE_CHARACTERS, LogReader, final_reports, is_page_of, reader_for

PAIRS = r"(?P<metric>\w+)=(?P<value>\S+)"
SOURCES: list[MetricsSource] = [
    SdkMetrics(source="sdk"),
    LogMetrics(source="log"),
    LogMetrics(source="log", format="pattern", pattern=PAIRS),
    PrometheusMetrics(source="prometheus", port=9000, series={"loss": "train_loss"}, step="epoch"),
]


def read_log(text: str, after_step: int = 0, **source: str) -> list[tuple[int, dict[str, float]]]:
    reader = LogReader(LogMetrics(source="log", **source), attempt=1, after_step=after_step)
    return [(report.step, report.metrics) for report in [*reader.read(text), *reader.finish()]]


def read_pairs(text: str) -> list[tuple[int, dict[str, float]]]:
    return read_log(text, format="pattern", pattern=PAIRS)


def read_pages(*pages: str, series: str = "train_loss", step: str | None = None) -> list[tuple[int, float]]:
    source = PrometheusMetrics(source="prometheus", port=9000, series={"loss": series}, step=step)
    reader = reader_for(source, attempt=1)
    return [(report.step, report.metrics["loss"]) for page in pages for report in reader.read(page)]


# --- the log as JSON


def test_json_line_is_a_report_of_its_step() -> None:
    assert read_log('{"step": 3, "loss": 0.5, "note": "warm"}\n') == [(3, {"loss": 0.5})]


def test_step_may_have_another_name() -> None:
    assert read_log('{"epoch": 3, "loss": 0.5}\n', step="epoch") == [(3, {"loss": 0.5})]


def test_lines_without_a_step_are_counted_on_from_where_the_run_began() -> None:
    assert read_log('{"loss": 0.5}\n{"loss": 0.4}\n', after_step=7) == [(8, {"loss": 0.5}), (9, {"loss": 0.4})]


def test_other_lines_are_skipped() -> None:
    assert read_log('loading\n[1, 2]\n"loss"\n{broken\n{"text": "only"}\n\n{"loss": 1}\n') == [(1, {"loss": 1.0})]


def test_line_under_a_progress_bar_is_read_as_a_terminal_shows_it() -> None:
    assert read_log(' 10%|=>  |\r 90%|===>|\r{"loss": 1}\r\n') == [(1, {"loss": 1.0})]


@pytest.mark.parametrize(
    ("value", "number"), [("NaN", math.nan), ('"NaN"', math.nan), ("-Infinity", -math.inf), ("1" + "0" * 400, math.inf)]
)
def test_value_that_is_not_finite_is_kept(value: str, number: float) -> None:
    ((_, metrics),) = read_log(f'{{"loss": {value}}}\n')
    assert repr(metrics["loss"]) == repr(number)


@pytest.mark.parametrize("step", ["-1", "NaN", "1e300", '"three"', "null", "true"])
def test_step_that_is_none_is_as_good_as_absent(step: str) -> None:
    assert read_log(f'{{"step": {step}, "loss": 1}}\n') == [(1, {"loss": 1.0})]


@pytest.mark.parametrize("name", ["\\ud800", "\\u0000", "loss\\n", "", "a b", "1st"])
def test_name_that_no_metric_can_have_is_left_out(name: str) -> None:
    assert read_log(f'{{"{name}": 1, "loss": 2}}\n') == [(1, {"loss": 2.0})]


def test_brackets_without_end_are_no_report() -> None:
    assert read_log('{"a":' * 100_000 + '\n{"loss": 1}\n') == [(1, {"loss": 1.0})]


def test_line_without_end_neither_fills_the_memory_nor_hides_the_next() -> None:
    reader = LogReader(LogMetrics(source="log"), attempt=1, after_step=0)
    for _ in range(20):
        assert reader.read("{" * (MAX_LINE_CHARACTERS // 4)) == []
    assert len(reader._rest) <= MAX_LINE_CHARACTERS
    assert [report.step for report in reader.read('}\n{"loss": 1}\n')] == [1]


@given(cuts=st.lists(st.integers(0, 60), max_size=8))
def test_reports_do_not_depend_on_where_the_text_is_cut(cuts: list[int]) -> None:
    text = '{"loss": 0.5}\nnoise\n{"step": 4, "loss": 0.25}\n{"acc": 1}\n{"loss"'
    whole = LogReader(LogMetrics(source="log"), 1, 0)
    pieces = LogReader(LogMetrics(source="log"), 1, 0)
    edges = [0, *sorted(cuts), len(text)]
    read = [report for left, right in pairwise(edges) for report in pieces.read(text[left:right])]
    assert read == whole.read(text)


# --- the log by pattern


def test_pairs_of_one_line_are_one_report() -> None:
    assert read_pairs("epoch done: step=3 loss=1e-3 acc=nan?\n") == [(3, {"loss": 1e-3})]


def test_step_told_by_an_earlier_line_holds_until_the_next_one() -> None:
    assert read_pairs("step=7\nloss=0.1\nacc=0.9\nstep=8\nloss=0.2\n") == [
        (7, {"loss": 0.1}),
        (7, {"loss": 0.1, "acc": 0.9}),
        (8, {"loss": 0.2}),
    ]


def test_metrics_one_a_line_are_counted_as_one_step() -> None:
    assert read_pairs("loss=3\nacc=0.1\nloss=2\nacc=0.2\n")[1::2] == [
        (1, {"loss": 3.0, "acc": 0.1}),
        (2, {"loss": 2.0, "acc": 0.2}),
    ]


def test_pattern_may_name_the_step_itself() -> None:
    pattern = r"\[(?P<step>\d+)\] (?P<metric>\w+) (?P<value>\S+)"
    assert read_log("[5] loss 0.5\n[6] loss 0.4\n", format="pattern", pattern=pattern) == [
        (5, {"loss": 0.5}),
        (6, {"loss": 0.4}),
    ]


def test_last_line_without_an_end_counts_once_the_run_has_ended() -> None:
    assert read_pairs("loss=1\nloss=0.5") == [(1, {"loss": 1.0}), (2, {"loss": 0.5})]


def test_line_too_long_to_be_searched_is_no_report_and_takes_no_time() -> None:
    assert read_pairs("A" * 1_000_000 + "\nloss=1\n") == [(1, {"loss": 1.0})]


# --- Prometheus series


def test_each_page_is_a_report() -> None:
    assert read_pages("train_loss 3\n", "train_loss 2\n") == [(1, 3.0), (2, 2.0)]


def test_step_series_tells_the_step_and_a_page_without_news_is_no_report() -> None:
    pages = [
        "train_loss 3\nepoch 5\n",
        "train_loss 3\nepoch 5\n",
        "train_loss 3\nepoch 6\n",
        "train_loss NaN\nepoch 6\n",
    ]
    assert read_pages(*pages[:3], step="epoch") == [(5, 3.0), (6, 3.0)]
    assert len(read_pages(*pages, pages[-1], step="epoch")) == 3


def test_pages_read_by_the_next_operator_come_after_those_of_the_one_before() -> None:
    source = PrometheusMetrics(source="prometheus", port=9000, series={"loss": "train_loss"}, step="epoch")
    (report,) = reader_for(source, attempt=1, after_sequence=100).read("train_loss 3\nepoch 5\n")
    assert (report.step, report.sequence) == (5, 101)


@pytest.mark.parametrize("step", ["NaN", "-1", "+Inf", "1e300"])
def test_step_series_without_a_step_keeps_the_last_one(step: str) -> None:
    assert read_pages("train_loss 3\nepoch 5\n", f"train_loss 2\nepoch {step}\n", step="epoch") == [(5, 3.0), (5, 2.0)]


def test_labels_choose_the_series() -> None:
    page = 'train_loss{split="train"} 1\ntrain_loss{split="val",fold="}x\\""} 2\ntrain_loss 3\n'
    assert read_pages(page, series='train_loss{split="val"}') == [(1, 2.0)]
    assert read_pages(page, series='train_loss{fold="}x\\""}') == [(1, 2.0)]
    assert read_pages(page, series="train_loss") == [(1, 3.0)]


def test_line_that_is_no_sample_hides_no_other() -> None:
    assert read_pages("%%% {\ntrain_loss{ 1\ntrain_loss nonsense\ntrain_loss 2\n") == [(1, 2.0)]


@pytest.mark.parametrize("series", ["", "a b", "loss{", "loss{split=val}", 'loss{split!="val"}', "1loss"])
def test_text_that_names_no_series_is_refused_with_the_remedy(series: str) -> None:
    with pytest.raises(ValidationError, match=r'write it as name\{label="value"\}'):
        PrometheusMetrics(source="prometheus", port=9000, series={"loss": series})


# --- the SDK's page and last word


def test_page_of_another_trial_is_told_apart() -> None:
    page = metrics_page(
        [Observation(attempt=1, step=1, metrics={"loss": 1.0})], {"experiment": "e", "trial": "e-00001"}
    )
    assert is_page_of(page, "e-00001")
    assert not is_page_of(page, "e-00002")


def test_page_that_names_no_trial_is_taken_as_it_is() -> None:
    assert is_page_of(metrics_page([Observation(attempt=1, step=1, metrics={"loss": 1.0})], {}), "e-00001")


def test_only_the_sdk_leaves_reports_in_the_termination_message() -> None:
    message = '# PODIUM\n{"a":1,"n":1,"s":2,"m":{"loss":0.5}}\nerror: ValueError: no\n' + "[" * 4000
    assert [len(final_reports(source, message)) for source in SOURCES] == [1, 0, 0, 0]


# --- whatever comes


@pytest.mark.parametrize("source", SOURCES, ids=["sdk", "json", "pattern", "prometheus"])
@given(text=st.text(alphabet='# PODIUM{}[]":,=trainlosep0123 \n\r\\e-+NaIfy.', max_size=300))
def test_garbage_is_never_an_exception(source: MetricsSource, text: str) -> None:
    reader = reader_for(source, attempt=1)
    for report in [*reader.read(text), *final_reports(source, text)]:
        assert report.step >= 0
