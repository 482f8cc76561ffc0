"""The `podium` command as a user types it: what it prints, and its exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from builders.experiments import a_manifest
from builders.workplace import Workplace
from podium_contract.algorithms import SCHEDULERS, SEARCHES, algorithm_name

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
WIDE = {**os.environ, "COLUMNS": "200"}


def podium(*words: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "podium_operator", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=WIDE, check=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    place = Workplace(tmp_path_factory.mktemp("finished"))
    place.write(max_trials=30, parallelism=2)
    assert place.run("--quiet").returncode == 0
    return place


def test_malformed_manifest_is_refused_by_every_command_with_one_line_and_code_two(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(a_manifest(max_trials=0)), encoding="utf-8")
    for command in ("run", "validate", "estimate"):
        refused = podium(command, str(path), folder=tmp_path)
        assert refused.returncode == 2, refused
        assert refused.stderr == "spec.maxTrials: should be greater than or equal to 1, got 0; raise it\n"
        assert refused.stdout == ""
    assert not (tmp_path / "podium-results").exists()


def test_manifest_from_a_pipe_is_run_and_kept_as_it_was(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    place.write(max_trials=1)
    piped = f"cat experiment.yaml | {sys.executable} -m podium_operator run --quiet /dev/stdin"
    ran = subprocess.run(["sh", "-c", piped], cwd=tmp_path, capture_output=True, text=True, env=WIDE, check=False)
    assert ran.returncode == 0, ran.stderr
    kept = place.results / "experiment.yaml"
    assert kept.read_text(encoding="utf-8") == place.manifest.read_text(encoding="utf-8")


def test_examples_are_valid(tmp_path: Path) -> None:
    validated = podium("validate", *map(str, EXAMPLES), folder=tmp_path)
    assert validated.returncode == 0, validated.stderr
    names = [yaml.safe_load(example.read_text(encoding="utf-8"))["metadata"]["name"] for example in EXAMPLES]
    for line, example, name in zip(validated.stdout.splitlines(), EXAMPLES, names, strict=True):
        assert line.startswith(f"{example}: {name} is valid: ")


def test_algorithms_lists_every_setting_with_its_default(tmp_path: Path) -> None:
    catalogue = json.loads(podium("algorithms", "--output", "json", folder=tmp_path).stdout)
    assert [entry["algorithm"] for entry in catalogue["search"]] == [algorithm_name(model) for model in SEARCHES]
    assert [entry["algorithm"] for entry in catalogue["scheduler"]] == [algorithm_name(model) for model in SCHEDULERS]
    fields = [field for kind in catalogue.values() for entry in kind for field in entry["fields"]]
    assert all(field["meaning"] for field in fields)
    (candidates,) = [field for field in fields if field["name"] == "settings.candidates"]
    assert (candidates["default"], candidates["range"]) == (24, ">= 1, <= 10000")
    text = podium("algorithms", folder=tmp_path).stdout
    assert "settings.reductionFactor = 3" in text
    assert "warmStart.startingPoints = 5" in text
    assert text.count("metaFeatures = {}") == 1, "what all searches have is told once"


def test_estimate_tells_the_classic_bracket(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    scheduler = {"algorithm": "halving", "resource": "epoch", "min": 1, "max": 81, "settings": {"reductionFactor": 3}}
    path.write_text(yaml.safe_dump(a_manifest(max_trials=81, scheduler=scheduler)), encoding="utf-8")
    told = podium("estimate", str(path), "--step-seconds", "2", "--budget", "1h", folder=tmp_path)
    assert told.returncode == 0, told.stderr
    assert "405 from scratch, 297 resumed from checkpoints, 6561 in full" in told.stdout
    assert "about 297 epochs for 81 trials, 6561 in full: 95% saved" in told.stdout
    assert "1h afford about" in told.stdout


def test_report_writes_a_page_that_needs_nothing_else(finished: Workplace) -> None:
    written = podium("report", str(finished.results), folder=finished.folder)
    assert written.returncode == 0, written.stderr
    folder = finished.results / "report"
    page = (folder / "report.html").read_text()
    assert "http://" not in page
    assert "https://" not in page
    assert page.count("data:image/png;base64,") >= 3
    for name in ("history.png", "curves.png", "rungs.png", "trials.csv", "observations.csv"):
        assert (folder / name).stat().st_size > 100
    assert len((folder / "trials.csv").read_text().splitlines()) == 31


def test_report_also_reads_the_json_document(finished: Workplace, tmp_path: Path) -> None:
    document = tmp_path / "results.json"
    document.write_text(json.dumps(finished.document()), encoding="utf-8")
    written = podium("report", str(document), "--out", str(tmp_path / "out"), folder=tmp_path)
    assert written.returncode == 0, written.stderr
    assert (tmp_path / "out" / "report.html").exists()


def test_report_of_nothing_says_so(tmp_path: Path) -> None:
    refused = podium("report", str(tmp_path), folder=tmp_path)
    assert refused.returncode == 3
    assert "is no results folder of podium run" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_document_tells_status_and_every_trial(finished: Workplace) -> None:
    document = finished.document()
    assert document["status"]["phase"] == "Complete"
    assert [trial["number"] for trial in document["trials"]] == list(range(1, 31))
    for trial in document["trials"]:
        keys = {"number", "phase", "parameters", "reason", "parent", "observations"}
        assert keys <= trial.keys()
        assert trial["phase"] in ("Succeeded", "Pruned")
        assert [o["step"] for o in trial["observations"]] == sorted(o["step"] for o in trial["observations"])


def test_raised_limit_goes_on_where_the_experiment_ended(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    place.write(max_trials=3)
    before = place.document()
    place.write(max_trials=6)
    after = place.document()
    assert [t["parameters"] for t in after["trials"][:3]] == [t["parameters"] for t in before["trials"]]
    assert len(after["trials"]) == 6
    assert after["status"]["phase"] == "Complete"


def test_changed_search_is_refused_with_its_field(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    place.write(max_trials=1)
    place.document()
    place.write(max_trials=1, search={"algorithm": "sobol"})
    refused = place.run("--quiet")
    assert refused.returncode == 3
    assert "spec.search cannot change" in refused.stderr


def test_base_install_needs_no_torch() -> None:
    assert not imported_by("podium_operator.cli.app", "podium_operator.cli.run", "podium_trial.train") & {"torch"}


def test_commands_that_only_read_do_not_wait_for_the_engine() -> None:
    heavy = {"podium_suggestion.engine", "numpy", "scipy", "sqlalchemy", "httpx", "matplotlib", "sklearn"}
    assert not imported_by("podium_operator.cli.app") & heavy
    assert imported_by("podium_operator.cli.run") & heavy


def imported_by(*modules: str) -> set[str]:
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(loaded.stdout.split())
