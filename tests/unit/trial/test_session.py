"""One run of a trial through its SDK: what it is given, what it leaves behind."""

import json
import math
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium_contract import runtime
from podium_contract.reports import parse_metrics_page, parse_termination_message
from podium_contract.runtime import ExitCode
from podium_contract.trial import Observation
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


def test_run_waits_for_a_scrape_only_when_its_message_cannot_hold_the_rest() -> None:
    journal = Journal(1, {})
    journal.add(1, {"loss": 1.0}, 0.0)
    assert journal.wait_until_collected(0.0)
    for step in range(2, 500):
        journal.add(step, {"loss": 1.0}, 0.0)
    assert not journal.wait_until_collected(0.0)
    journal.page()
    assert journal.wait_until_collected(0.0)


def test_journal_is_bounded() -> None:
    journal = Journal(1, {})
    for step in range(1, KEPT_REPORTS + 50):
        journal.add(step, {"loss": 1.0}, 0.0)
    assert len(journal.up_to(10**9)) == KEPT_REPORTS


def test_script_without_podium_prints_its_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Trial(Settings(checkpoints=tmp_path)) as trial:
        assert trial.parameters == {}
        trial.report(1, loss=0.5)
    assert capsys.readouterr().out == "step 1: loss=0.5\n"


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


@pytest.mark.parametrize("name", [runtime.ENV_TARGET, runtime.ENV_PARAMETERS])
def test_malformed_variable_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        settings_from({name: "many"})


@given(st.lists(st.sampled_from(["report", "save", "crash"]), max_size=30))
def test_whatever_the_order_of_reports_saves_and_crashes_no_saved_report_is_lost(
    tmp_path_factory: pytest.TempPathFactory, deeds: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("trial")
    trial, attempt, step = a_trial(folder), 1, 0
    reported: set[int] = set()
    saved: set[int] = set()
    for deed in deeds:
        if deed == "report":
            step += 1
            trial.report(step, loss=1.0)
            reported.add(step)
        elif deed == "save" and step:
            trial.save(step, step)
            saved = {s for s in reported if s <= step}
        elif deed == "crash":
            attempt += 1
            trial = a_trial(folder, attempt=attempt)
            step = trial.restore() or 0
            reported = set(saved)
    with trial:
        pass
    assert saved <= {report.step for report in reports_in(folder)}
