"""One run of a trial through its SDK: what it is given, what it leaves behind."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from podium_contract import runtime
from podium_contract.reports import REPORT_PREFIX, parse_metrics_page, parse_termination_message
from podium_contract.runtime import ExitCode
from podium_contract.trial import Observation
from podium_trial import journal as journal_module
from podium_trial.checkpoints import CheckpointError
from podium_trial.journal import KEPT_REPORTS, Journal
from podium_trial.session import Trial
from podium_trial.settings import Settings, settings_from


@pytest.fixture(autouse=True)
def sigterm() -> Iterator[None]:
    """A session takes over SIGTERM; give it back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def a_trial(folder: Path, **settings: Any) -> Trial:
    defaults: dict[str, Any] = {
        "trial": "demo-00001",
        "number": 1,
        "checkpoints": folder / "checkpoints",
        "termination_log": folder / "termination",
    }
    return Trial(Settings(**defaults | settings))


def reports_in(folder: Path) -> list[Observation]:
    return parse_termination_message((folder / "termination").read_text())


def train(trial: Trial, until_sigterm_at: int | None = None) -> list[int]:
    steps = []
    with trial:
        trial.restore()
        for step in trial.steps():
            trial.report(step, loss=1.0 / step)
            trial.save(step, {"step": step})
            steps.append(step)
            if step == until_sigterm_at:
                signal.raise_signal(signal.SIGTERM)
    return steps


def test_run_trains_up_to_its_target_and_reports_each_step(tmp_path: Path) -> None:
    assert train(a_trial(tmp_path, target=3)) == [1, 2, 3]
    assert [report.step for report in reports_in(tmp_path)] == [1, 2, 3]


def test_promoted_run_resumes_at_the_very_step_with_all_reports(tmp_path: Path) -> None:
    train(a_trial(tmp_path, target=3))
    assert train(a_trial(tmp_path, target=5, attempt=2)) == [4, 5]
    assert [(report.attempt, report.step) for report in reports_in(tmp_path)] == [
        (1, 1),
        (1, 2),
        (1, 3),
        (2, 4),
        (2, 5),
    ]


def test_run_at_its_target_has_nothing_to_train_and_tells_its_reports_again(tmp_path: Path) -> None:
    train(a_trial(tmp_path, target=3))
    (tmp_path / "termination").unlink()
    assert train(a_trial(tmp_path, target=3, attempt=2)) == []
    assert [report.step for report in reports_in(tmp_path)] == [1, 2, 3]


def test_clone_starts_from_its_parents_checkpoint(tmp_path: Path) -> None:
    train(a_trial(tmp_path / "parent", checkpoints=tmp_path / "parent", termination_log=None, target=4))
    clone = a_trial(tmp_path, parent_checkpoints=tmp_path / "parent", target=6)
    assert clone.restore() == {"step": 4}
    assert train(clone) == [5, 6]


def test_clone_starts_where_its_parent_rested_though_that_has_trained_on(tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    train(a_trial(parent, checkpoints=parent, termination_log=None, target=4))
    train(a_trial(parent, checkpoints=parent, termination_log=None, target=7))
    later = a_trial(parent, checkpoints=parent, termination_log=None, target=20)
    with pytest.raises(SystemExit):  # asked to stop, far past what it needs to keep by itself
        train(later, until_sigterm_at=12)
    clone = a_trial(tmp_path, parent_checkpoints=parent, parent_step=7, target=9)
    assert clone.restore() == {"step": 7}
    assert next(clone.steps()) == 8


def test_clone_of_a_script_that_never_saves_fails_and_says_what_to_do(tmp_path: Path) -> None:
    clone = a_trial(tmp_path, parent_checkpoints=tmp_path / "parent", parent_step=7)
    with pytest.raises(CheckpointError, match=r"got none in .*let the script save"):
        clone.restore()


def test_own_checkpoint_outranks_the_parents(tmp_path: Path) -> None:
    train(a_trial(tmp_path / "parent", checkpoints=tmp_path / "parent", termination_log=None, target=9))
    train(a_trial(tmp_path, target=2))
    assert a_trial(tmp_path, parent_checkpoints=tmp_path / "parent").restore() == {"step": 2}


def test_sigterm_ends_the_steps_after_the_one_that_trains_and_exits_as_agreed(tmp_path: Path) -> None:
    trial = a_trial(tmp_path, target=9)
    with pytest.raises(SystemExit) as ended:
        train(trial, until_sigterm_at=2)
    assert ended.value.code == ExitCode.CHECKPOINTED
    assert trial.stopping
    assert a_trial(tmp_path).restore() == {"step": 2}


def test_sigterm_at_the_last_step_is_a_normal_end(tmp_path: Path) -> None:
    assert train(a_trial(tmp_path, target=1), until_sigterm_at=1) == [1]
    assert [report.step for report in reports_in(tmp_path)] == [1]


def test_asked_twice_is_asked_once(tmp_path: Path) -> None:
    trial = a_trial(tmp_path, target=9)
    with pytest.raises(SystemExit) as ended:
        train(trial, until_sigterm_at=2)
    signal.raise_signal(signal.SIGTERM)
    assert ended.value.code == ExitCode.CHECKPOINTED


def test_script_has_its_own_sigterm_back_after_the_block(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    train(a_trial(tmp_path, target=1))
    assert signal.getsignal(signal.SIGTERM) is before


def test_target_that_was_reported_counts_as_reached_though_it_was_not_saved(tmp_path: Path) -> None:
    with a_trial(tmp_path, target=2) as trial:
        for step in trial.steps():
            trial.report(step, loss=1.0)
            if step == 2:
                signal.raise_signal(signal.SIGTERM)


def test_steps_without_restore_begin_at_the_first(tmp_path: Path) -> None:
    train(a_trial(tmp_path, target=3))
    assert list(a_trial(tmp_path, target=3, attempt=2).steps()) == [1, 2, 3]


def test_rare_saves_are_due_at_the_target_and_when_asked_to_stop(tmp_path: Path) -> None:
    trial = a_trial(tmp_path, target=7)
    assert [step for step in range(1, 8) if trial.is_save_due(step, every=3)] == [3, 6, 7]
    trial._stop.set()
    assert trial.is_save_due(4, every=3)


def test_steps_that_a_promotion_would_repeat_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with a_trial(tmp_path, target=5) as trial:
        for step in trial.steps():
            trial.report(step, loss=1.0)
            if step == 3:
                trial.save(step, None)
    assert "trained to step 5, but the last of them saved is 3" in capsys.readouterr().err


def test_folder_is_a_checkpoint_too(tmp_path: Path) -> None:
    trial = a_trial(tmp_path)
    with trial.checkpoint(4) as folder:
        (folder / "model.bin").write_bytes(b"weights")
    restored = a_trial(tmp_path, attempt=2)
    assert (restored.restore() / "model.bin").read_bytes() == b"weights"
    assert next(restored.steps()) == 5


def test_folder_whose_block_raises_is_no_checkpoint(tmp_path: Path) -> None:
    trial = a_trial(tmp_path)
    with pytest.raises(ZeroDivisionError), trial.checkpoint(1):
        raise ZeroDivisionError
    assert a_trial(tmp_path).restore() is None
    assert not list((tmp_path / "checkpoints").iterdir())


def test_exception_is_told_even_when_the_reports_fill_the_message(tmp_path: Path) -> None:
    def diverge() -> None:
        with a_trial(tmp_path) as trial:
            for step in range(1, 200):
                trial.report(step, loss=1.0)
            raise ValueError("x" * 1000)

    with pytest.raises(ValueError, match="xxx"):
        diverge()
    message = (tmp_path / "termination").read_text()
    assert len(message.encode()) <= 4096
    assert message.splitlines()[-1].startswith("error: ValueError: xxx")
    assert parse_termination_message(message)[-1].step == 199


def test_exit_with_a_sentence_is_told(tmp_path: Path) -> None:
    with pytest.raises(SystemExit), a_trial(tmp_path):
        sys.exit("no such data set")
    assert (tmp_path / "termination").read_text() == "# PODIUM\nerror: no such data set"


def test_exception_goes_on_its_way_and_is_told(tmp_path: Path) -> None:
    def diverge() -> None:
        with a_trial(tmp_path) as trial:
            trial.report(1, loss=1.0)
            raise ZeroDivisionError("division by zero")

    with pytest.raises(ZeroDivisionError):
        diverge()
    message = (tmp_path / "termination").read_text()
    assert message.splitlines()[-1] == "error: ZeroDivisionError: division by zero"
    assert len(parse_termination_message(message)) == 1


def test_later_report_of_a_step_replaces_what_it_repeats_and_keeps_the_rest(tmp_path: Path) -> None:
    with a_trial(tmp_path) as trial:
        trial.report(1, loss=2.0, accuracy=0.5)
        trial.report(1, loss=1.0)
    assert reports_in(tmp_path)[-1].metrics == {"loss": 1.0, "accuracy": 0.5}


def test_values_that_are_not_finite_are_kept(tmp_path: Path) -> None:
    with a_trial(tmp_path) as trial:
        trial.report(1, loss=math.nan, gain=-math.inf)
    (report,) = reports_in(tmp_path)
    assert math.isnan(report.metrics["loss"])
    assert report.metrics["gain"] == -math.inf


def test_numpy_numbers_are_welcome(tmp_path: Path) -> None:
    with a_trial(tmp_path) as trial:
        trial.report(np.int64(3), loss=np.float32(0.5), count=np.array(2))
    assert reports_in(tmp_path)[0].metrics == {"loss": 0.5, "count": 2.0}


@pytest.mark.parametrize("value", ["0.5", None, True, [0.5], object()])
def test_metric_that_is_no_number_is_refused_by_name(tmp_path: Path, value: object) -> None:
    with a_trial(tmp_path) as trial, pytest.raises(TypeError, match="metric 'loss' must be a number, got"):
        trial.report(1, loss=value)


def test_report_without_metrics_is_refused(tmp_path: Path) -> None:
    with a_trial(tmp_path) as trial, pytest.raises(ValueError, match="at least one metric"):
        trial.report(1)


@pytest.mark.parametrize("step", [-1, 1.5, "1"])
def test_step_that_is_no_whole_number_is_refused(tmp_path: Path, step: Any) -> None:
    with a_trial(tmp_path) as trial, pytest.raises((TypeError, ValueError), match="step must"):
        trial.report(step, loss=1.0)


def test_endpoint_tells_its_port_and_serves_every_recent_report(tmp_path: Path) -> None:
    port_file = tmp_path / "port"
    with a_trial(tmp_path, metrics_host="127.0.0.1", metrics_port=0, metrics_port_file=port_file) as trial:
        trial.report(1, loss=0.5)
        trial.report(2, loss=0.25)
        with urllib.request.urlopen(f"http://127.0.0.1:{port_file.read_text()}/metrics") as response:
            page = response.read().decode()
    assert [report.step for report in parse_metrics_page(page)] == [1, 2]
    assert 'podium_trial_metric{experiment="",trial="demo-00001",metric="loss"} 0.25' in page


def test_prometheus_collects_no_reports(tmp_path: Path) -> None:
    port_file = tmp_path / "port"
    with a_trial(tmp_path, metrics_host="127.0.0.1", metrics_port=0, metrics_port_file=port_file) as trial:
        for step in range(1, 201):
            trial.report(step, loss=1.0)
        url = f"http://127.0.0.1:{port_file.read_text()}/metrics"
        request = urllib.request.Request(url, headers={"X-Prometheus-Scrape-Timeout-Seconds": "10"})
        urllib.request.urlopen(request).close()
        assert not trial._journal.wait_until_collected(0.0, "")
        urllib.request.urlopen(url).close()
        assert trial._journal.wait_until_collected(5.0, "")


def test_port_that_is_taken_is_told(tmp_path: Path) -> None:
    port_file = tmp_path / "port"
    with a_trial(tmp_path, metrics_host="127.0.0.1", metrics_port=0, metrics_port_file=port_file):
        second = a_trial(tmp_path, metrics_host="127.0.0.1", metrics_port=int(port_file.read_text()))
        with pytest.raises(OSError, match="one process of a trial calls start"):
            second.__enter__()


def test_run_waits_for_a_scrape_only_when_its_message_cannot_hold_the_rest() -> None:
    journal = Journal(1, {})
    journal.add(1, {"loss": 1.0}, 0.0)
    assert journal.wait_until_collected(0.0, journal.final_message())
    assert not journal.wait_until_collected(0.0, ""), "there may be nowhere to leave a message"
    for step in range(2, 500):
        journal.add(step, {"loss": 1.0}, 0.0)
    assert not journal.wait_until_collected(0.0, journal.final_message())
    _, mark = journal.page()
    journal.collected(mark)
    assert journal.wait_until_collected(0.0, journal.final_message())


def test_run_waits_for_reports_for_which_an_error_leaves_no_room() -> None:
    journal = Journal(1, {})
    while len(parse_termination_message(journal.final_message())) == journal.last_step:
        journal.add(journal.last_step + 1, {"loss": 1.0}, 0.0)
    journal.collected(1)  # the first of them; the others just fit
    assert journal.wait_until_collected(0.0, journal.final_message())
    assert not journal.wait_until_collected(0.0, journal.final_message("RuntimeError: " + "x" * 480))


def run_to_its_end(trial: Trial, error: Exception | None = None) -> None:
    with trial:
        trial.report(1, loss=1.0)
        if error is not None:
            raise error


def test_run_that_can_leave_no_message_waits_for_a_scrape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[str] = []
    monkeypatch.setattr(Journal, "wait_until_collected", lambda _self, _seconds, message: waited.append(message))
    for termination_log in (None, tmp_path / "termination"):
        run_to_its_end(a_trial(tmp_path, metrics_host="127.0.0.1", metrics_port=0, termination_log=termination_log))
    assert [len(parse_termination_message(message)) for message in waited] == [0, 1]


def test_error_that_is_no_valid_text_is_told_and_hides_no_report(tmp_path: Path) -> None:
    port_file = tmp_path / "port"
    trial = a_trial(tmp_path, metrics_host="127.0.0.1", metrics_port=0, metrics_port_file=port_file)
    with pytest.raises(ValueError, match="bad file"):
        run_to_its_end(trial, ValueError("bad file " + os.fsdecode(b"caf\xe9.csv")))
    assert (tmp_path / "termination").read_text().splitlines()[-1] == "error: ValueError: bad file caf\\udce9.csv"
    assert [report.step for report in reports_in(tmp_path)] == [1]
    with a_trial(tmp_path) as another, pytest.raises(ValueError, match="name must be valid text"):
        another.report(1, {os.fsdecode(b"caf\xe9"): 1.0})


def test_forked_worker_ends_nothing_but_itself(tmp_path: Path) -> None:
    """A worker that leaves by `sys.exit` unwinds its copy of the block."""
    code = (
        "import os, sys, podium_trial\n"
        "with podium_trial.start() as trial:\n"
        "    trial.report(1, loss=1.0)\n"
        "    worker = os.fork()\n"
        "    if worker == 0:\n"
        "        try:\n"
        "            trial.report(2, loss=1.0)\n"
        "        except RuntimeError as error:\n"
        "            sys.exit(0 if 'the one that called start' in str(error) else 1)\n"
        "    assert os.waitpid(worker, 0)[1] == 0\n"
        "    assert not os.path.exists(os.environ['PODIUM_TERMINATION_LOG'])\n"
    )
    variables = {
        runtime.ENV_TRIAL: "demo-00001",
        runtime.ENV_METRICS_HOST: "127.0.0.1",
        runtime.ENV_METRICS_PORT: "0",
        runtime.ENV_TERMINATION_LOG: str(tmp_path / "termination"),
        runtime.ENV_CHECKPOINTS: str(tmp_path / "checkpoints"),
    }
    subprocess.run([sys.executable, "-c", code], env=os.environ | variables, check=True, timeout=60)
    assert [report.step for report in reports_in(tmp_path)] == [1]


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]"])
def test_reports_are_served_on_every_kind_of_address(tmp_path: Path, address: str) -> None:
    if address == "[::1]" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    port_file = tmp_path / "port"
    with a_trial(tmp_path, metrics_port=0, metrics_port_file=port_file) as trial:
        trial.report(1, loss=0.5)
        with urllib.request.urlopen(f"http://{address}:{port_file.read_text()}/metrics") as response:
            assert [report.step for report in parse_metrics_page(response.read().decode())] == [1]


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def kept_by(journal: Journal) -> int:
    return len(journal.up_to(10**9))


def test_journal_of_reports_that_nobody_collects_is_bounded() -> None:
    journal = Journal(1, {}, is_collected=False)
    for step in range(1, KEPT_REPORTS + 50):
        journal.add(step, {"loss": 1.0}, 0.0)
    assert kept_by(journal) == KEPT_REPORTS


def test_reports_wait_to_be_collected_and_then_make_room() -> None:
    journal = Journal(1, {})
    for step in range(1, 3 * KEPT_REPORTS):
        journal.add(step, {"loss": 1.0}, 0.0)
    page, mark = journal.page()
    assert [report.step for report in parse_metrics_page(page)] == list(range(1, 3 * KEPT_REPORTS))
    journal.collected(mark)
    journal.add(3 * KEPT_REPORTS, {"loss": 1.0}, 0.0)
    assert kept_by(journal) == KEPT_REPORTS


def test_reports_too_large_for_one_page_are_collected_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "PAGE_BYTES", 1000)
    journal, collected = Journal(1, {}), []
    for step in range(1, 101):
        journal.add(step, {"loss": 1.0 / step}, 0.0)
    for _ in range(20):
        page, mark = journal.page()
        assert len("".join(line for line in page.splitlines(keepends=True) if line.startswith(REPORT_PREFIX))) <= 1000
        collected += [report.step for report in parse_metrics_page(page)]
        journal.collected(mark)
    assert sorted(set(collected)) == list(range(1, 101))
    assert journal.wait_until_collected(0.0, "")
    assert parse_metrics_page(journal.page()[0])[-1].step == 100, "later scrapes see the latest again"


def test_script_without_podium_prints_its_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Trial(Settings(checkpoints=tmp_path)) as trial:
        assert trial.parameters == {}
        trial.report(1, loss=0.5)
    assert capsys.readouterr().out == "step 1: loss=0.5\n"


def test_script_without_podium_says_that_it_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        with Trial(Settings(checkpoints=tmp_path)) as trial:
            trial.restore()
            trial.save(7, "state")
    assert (
        capsys.readouterr().out
        == f"podium: goes on after step 7, from the folder {tmp_path}; remove it to start anew\n"
    )


def test_settings_come_from_the_treatys_variables() -> None:
    settings = settings_from(
        {
            runtime.ENV_TRIAL: "demo-00007",
            runtime.ENV_NUMBER: "7",
            runtime.ENV_ATTEMPT: "2",
            runtime.ENV_PARAMETERS: json.dumps({"lr": 0.1, "betas": [0.9, 0.999]}),
            runtime.ENV_TARGET: "9",
        }
    )
    assert (settings.number, settings.attempt, settings.target) == (7, 2, 9)
    assert settings.parameters == {"lr": 0.1, "betas": [0.9, 0.999]}


@pytest.mark.parametrize(
    ("name", "value"), [(runtime.ENV_TARGET, "many"), (runtime.ENV_PARAMETERS, "many"), (runtime.ENV_PARAMETERS, "[1]")]
)
def test_malformed_variable_is_named(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        settings_from({name: value})


class CrashError(Exception):
    """A kill -9, as far as the disk can tell."""


def run_until(trial: Trial, deeds: int, reports_first: bool, every: int) -> None:
    """Train as scripts do, and crash after so many reports and chances to save; 0: never."""
    trial.restore()
    for step in trial.steps():
        for is_report in (reports_first, not reports_first):
            if is_report:
                trial.report(step, loss=1.0 / step)
            elif trial.is_save_due(step, every):
                trial.save(step, step)
            deeds -= 1
            if deeds == 0:
                raise CrashError


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(st.lists(st.integers(1, 12), max_size=6), st.booleans(), st.integers(1, 3))
def test_wherever_a_script_crashes_no_step_goes_unreported(
    tmp_path_factory: pytest.TempPathFactory, crashes: list[int], reports_first: bool, every: int
) -> None:
    folder, target = tmp_path_factory.mktemp("trial"), 9
    # A script that saves first, and has never come as far as its second save, might as well report nothing.
    two_saves = [] if reports_first else [4 * every]
    for attempt, deeds in enumerate([*two_saves, *crashes], start=1):
        with suppress(CrashError):
            run_until(a_trial(folder, attempt=attempt, target=target), deeds, reports_first, every)
    with a_trial(folder, attempt=100, target=target) as trial:
        run_until(trial, 0, reports_first, every)
    assert {report.step for report in reports_in(folder)} == set(range(1, target + 1))
