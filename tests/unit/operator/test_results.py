"""Results read back from a folder: whole, or as far as what is left of it tells."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from builders.experiments import an_experiment
from podium_contract.experiment import Experiment
from podium_contract.lifecycle import Phase
from podium_contract.names import experiment_key
from podium_contract.observation import Observation
from podium_contract.trial import Trial, TrialStatus
from podium_contract.wire import AdviceRequest, TrialFacts, TrialRecord
from podium_operator.core.ports import BackendError
from podium_operator.local.folder import ResultsFolder, write_document
from podium_operator.results import Results, load_results
from podium_suggestion.engine import Engine
from podium_suggestion.store import open_store

STORED = (
    Observation(step=1, attempt=1, metrics={"loss": float("inf")}),
    Observation(step=2, attempt=1, metrics={"loss": 0.5}),
)


def a_trial(number: int, **status: object) -> Trial:
    """A Trial of the experiment as the runner keeps it: succeeded, with its last observation only."""
    told = {"phase": Phase.SUCCEEDED, "reason": "Completed", "attempt": 1, "step": 2, "observations": STORED[-1:]}
    return Trial.model_validate(
        {
            "metadata": {"name": f"demo-{number}"},
            "spec": {"experiment": "demo", "number": number, "parameters": {"lr": 0.01}, "origin": "proposed"},
            "status": TrialStatus.model_validate({**told, **status}),
        }
    )


def a_record(number: int) -> TrialRecord:
    return TrialRecord(number=number, parameters={"lr": 0.01}, phase=Phase.RUNNING, observations=STORED)


@pytest.fixture
def folder(tmp_path: Path) -> ResultsFolder:
    """The folder of one experiment with one trial, which the store knows with both its observations."""
    folder = ResultsFolder(tmp_path / "demo")
    experiment, trial = an_experiment(), a_trial(1)
    write_document(folder.experiment, experiment.to_json())
    write_document(folder.trial(1), trial.to_json())
    _store(folder, experiment, trial)
    return folder


def _store(folder: ResultsFolder, experiment: Experiment, trial: Trial) -> None:
    metadata = experiment.metadata
    facts = TrialFacts(
        number=1,
        parameters=trial.spec.parameters,
        phase=trial.status.phase,
        attempt=1,
        observations=STORED,
        origin=trial.spec.origin,
    )
    request = AdviceRequest(
        request_id="1",
        experiment=experiment_key(metadata.namespace, metadata.name, metadata.uid),
        spec=experiment.spec,
        slots=0,
        facts=(facts,),
        complete=True,
    )
    store = open_store(f"sqlite:///{folder.root / 'podium.db'}")
    Engine(store).advise(request)
    store.close()


def _lose_store(folder: ResultsFolder) -> None:
    for path in folder.root.glob("podium.db*"):
        path.unlink()


# --- joining --------------------------------------------------------------------------------------------------


def test_endings_are_the_runners_and_observations_the_stores() -> None:
    trial = a_trial(1, phase=Phase.FAILED, reason="ExitCode", message="exit code 3")
    (joined,) = Results.of(an_experiment(), {1: trial}, [a_record(1)]).trials
    assert (joined.phase, joined.reason, joined.message) == (Phase.FAILED, "ExitCode", "exit code 3")
    assert joined.observations == STORED


def test_trials_known_to_one_side_only_are_there_in_order_of_numbers() -> None:
    results = Results.of(an_experiment(), {3: a_trial(3), 1: a_trial(1)}, [a_record(2), a_record(1)])
    assert [(trial.number, len(trial.observations)) for trial in results.trials] == [(1, 2), (2, 2), (3, 1)]


def test_document_tells_every_field_of_a_trial_and_is_strict_json() -> None:
    document = Results.of(an_experiment(), {1: a_trial(1)}, [a_record(1)]).to_json()
    (trial,) = document["trials"]
    assert trial.keys() >= {"number", "phase", "parameters", "reason", "message", "parent", "target", "observations"}
    assert trial["parent"] is None
    assert [told["metrics"] for told in trial["observations"]] == [{"loss": "Infinity"}, {"loss": 0.5}]


# --- reading a folder -----------------------------------------------------------------------------------------


def test_folder_gives_the_whole_history(folder: ResultsFolder) -> None:
    (trial,) = load_results(folder.root).trials
    assert (trial.phase, trial.reason, trial.observations) == (Phase.SUCCEEDED, "Completed", STORED)


def _empty_store(folder: ResultsFolder) -> None:
    _lose_store(folder)
    (folder.root / "podium.db").touch()


@pytest.mark.parametrize("lose", [_lose_store, _empty_store], ids=["missing", "empty"])
def test_lost_store_leaves_what_the_trials_keep(folder: ResultsFolder, lose: Callable[[ResultsFolder], None]) -> None:
    lose(folder)
    (trial,) = load_results(folder.root).trials
    assert trial.observations == STORED[-1:]
    assert trial.parameters == {"lr": 0.01}


def test_reading_makes_no_store(folder: ResultsFolder) -> None:
    _lose_store(folder)
    load_results(folder.root)
    assert not (folder.root / "podium.db").exists()


def test_damaged_store_is_named_with_the_remedy(folder: ResultsFolder) -> None:
    _lose_store(folder)
    (folder.root / "podium.db").write_text("no database " * 100, encoding="utf-8")
    with pytest.raises(BackendError, match=r"podium\.db away: the Trials keep their last observations"):
        load_results(folder.root)


@pytest.mark.parametrize("name", ["experiment.json", "trials/00001.json"])
def test_damaged_document_is_named_with_the_field(folder: ResultsFolder, name: str) -> None:
    write_document(folder.root / "state" / name, {"spec": 1})
    with pytest.raises(BackendError, match=rf"{name} is no (Experiment|Trial) \(\w+: .*\); restore it"):
        load_results(folder.root)


def test_experiment_without_trials_has_none(folder: ResultsFolder) -> None:
    _lose_store(folder)
    shutil.rmtree(folder.root / "state" / "trials")
    assert load_results(folder.root).trials == ()
