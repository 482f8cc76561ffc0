"""What an experiment has come to: its status, and every trial with its whole history. What `--output json` prints."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from podium_contract.experiment import Experiment
from podium_contract.lifecycle import Phase
from podium_contract.trial import Trial
from podium_contract.wire import TrialRecord
from podium_operator.core.ports import BackendError
from podium_operator.local.folder import ResultsFolder, read_document
from podium_suggestion.engine import Engine, UnknownExperimentError
from podium_suggestion.store import StoreError, open_store

_Document = TypeVar("_Document", Experiment, Trial)


@dataclass(frozen=True)
class Results:
    """One experiment and its trials, lowest number first."""

    experiment: Experiment
    trials: tuple[TrialRecord, ...]

    @classmethod
    def of(cls, experiment: Experiment, trials: Mapping[int, Trial], records: Iterable[TrialRecord]) -> "Results":
        """Join how trials ended (which the runner knows) with what they reported (which the store knows).

        A trial that the store does not know is there with the few observations that its Trial keeps.
        """
        known = {record.number: record for record in records}
        joined = {number: _as_run(known.get(number), trial) for number, trial in trials.items()}
        return cls(experiment, tuple(record for _, record in sorted({**known, **joined}.items())))

    def to_json(self) -> dict[str, Any]:
        """Return one document; non-finite numbers are the strings "NaN", "Infinity" and "-Infinity"."""
        experiment = self.experiment.to_json()
        return {
            "apiVersion": experiment["apiVersion"],
            "kind": "Results",
            "metadata": experiment["metadata"],
            "spec": experiment["spec"],
            "status": experiment["status"],
            "trials": [trial.model_dump(mode="json", by_alias=True) for trial in self.trials],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Results":
        """Return what `to_json` has written."""
        parts = {name: document[name] for name in ("apiVersion", "metadata", "spec", "status")}
        experiment = Experiment.model_validate({**parts, "kind": "Experiment"})
        return cls(experiment, tuple(TrialRecord.model_validate(trial) for trial in document["trials"]))

    def ended(self, *phases: Phase) -> list[TrialRecord]:
        return [trial for trial in self.trials if trial.phase in phases]


def load_results(path: Path) -> Results:
    """Read a results folder, or a document that `--output json` printed; raises BackendError when it is neither."""
    if path.is_file():
        try:
            return Results.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError) as fault:
            raise BackendError(f"{path} is no document of podium run --output json ({fault!r}); give one") from fault
    folder = ResultsFolder(path)
    if not folder.experiment.exists():
        raise BackendError(
            f"{path} is no results folder of podium run: it has no state/experiment.json; check the path"
        )
    experiment = _validated(Experiment, folder.experiment)
    paths = sorted((folder.root / "state" / "trials").glob("[0-9]*.json"))
    trials = {trial.spec.number: trial for trial in (_validated(Trial, path) for path in paths)}
    return Results.of(experiment, trials, _stored_records(folder, experiment))


def _stored_records(folder: ResultsFolder, experiment: Experiment) -> list[TrialRecord]:
    """Return what the store knows of the experiment: nothing when it is lost, or was never written."""
    path = folder.root / "podium.db"
    if not path.exists():  # opening it would make it
        return []
    try:
        store = open_store(f"sqlite:///{path}")
        try:
            return Engine(store).records(experiment.metadata.key)
        finally:
            store.close()
    except UnknownExperimentError:
        return []
    except StoreError as fault:
        raise BackendError(f"{fault} (or move {path} away: the Trials keep their last observations)") from fault


def _as_run(record: TrialRecord | None, trial: Trial) -> TrialRecord:
    """Return a trial's record as the runner knows it; without a record, as far as the Trial tells."""
    spec, status = trial.spec, trial.status
    if record is None:
        record = TrialRecord(
            number=spec.number,
            phase=status.phase,
            parameters=spec.parameters,
            bracket=spec.bracket,
            parent=spec.parent,
            origin=spec.origin,
            observations=status.observations,
        )
    how = {"phase": status.phase, "reason": status.reason, "message": status.message, "target": trial.target}
    return record.model_copy(update=how)


def _validated(model: type[_Document], path: Path) -> _Document:
    try:
        return model.model_validate(read_document(path))
    except ValidationError as fault:
        detail = fault.errors()[0]
        place = ".".join(map(str, detail["loc"]))
        raise BackendError(f"{path} is no {model.__name__} ({place}: {detail['msg']}); restore it") from fault
