"""What an experiment has come to: its status, and every trial with its whole history. What `--output json` prints."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podium_contract.experiment import Experiment
from podium_contract.lifecycle import Phase
from podium_contract.names import experiment_key
from podium_contract.trial import Trial
from podium_contract.wire import TrialRecord
from podium_operator.core.ports import BackendError
from podium_operator.local.folder import ResultsFolder, read_document
from podium_suggestion.engine import Engine
from podium_suggestion.store import open_store


@dataclass(frozen=True)
class Results:
    """One experiment and its trials, lowest number first."""

    experiment: Experiment
    trials: tuple[TrialRecord, ...]

    @classmethod
    def of(cls, experiment: Experiment, trials: Mapping[int, Trial], records: list[TrialRecord]) -> "Results":
        """Join how trials ended (which the runner knows) with what they reported (which the store knows)."""
        joined = []
        for record in records:
            trial = trials.get(record.number)
            if trial is not None:
                status = trial.status
                how = {
                    "phase": status.phase,
                    "reason": status.reason,
                    "message": status.message,
                    "target": trial.target,
                }
                record = record.model_copy(update=how)  # noqa: PLW2901  (the same record, better informed)
            joined.append(record)
        return cls(experiment, tuple(joined))

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
    experiment = Experiment.model_validate(read_document(folder.experiment))
    trials = {trial.spec.number: trial for trial in map(Trial.model_validate, folder.documents("trials"))}
    metadata = experiment.metadata
    store = open_store(f"sqlite:///{folder.root / 'podium.db'}")
    try:
        records = Engine(store).records(experiment_key(metadata.namespace, metadata.name, metadata.uid))
    finally:
        store.close()
    return Results.of(experiment, trials, records)
