"""Tables to learn from: scikit-learn's bundled data sets, or any CSV file, split honestly.

The split into training, validation and test rows depends on the data alone, so that every trial of an experiment is
judged on the same rows. Means, scales, fill values and categories are learnt from the training rows only. The tuner sees
the validation rows; the test rows are for whoever wants to know, in the end, how good the winner is.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Task = Literal["classification", "regression"]

BUNDLED = ("digits", "breast-cancer", "wine", "iris", "diabetes")
VALIDATION_SHARE = 0.2
TEST_SHARE = 0.2
_SPLIT_SEED = 20240229
_MOST_CLASSES = 50
_MISSING = frozenset({"", "na", "nan", "null", "none", "?"})


class DataError(ValueError):
    """Data that cannot be learnt from; the message says what to change."""


@dataclass(frozen=True)
class Part:
    """Some rows: features of shape (n, d), and targets of shape (n,): class indices, or standardised values."""

    features: FloatArray
    targets: FloatArray


@dataclass(frozen=True)
class Dataset:
    """A table ready to learn from."""

    task: Task
    train: Part
    validation: Part
    test: Part
    outputs: int
    """Number of classes; 1 for regression."""
    target_scale: float = 1.0
    """Standard deviation of a regression's target over the training rows: one standardised unit in its own."""


@dataclass(frozen=True)
class _Table:
    columns: list[list[str]]
    """Feature columns as text."""
    target: list[str]


def bundled_dataset(name: str) -> Dataset:
    """Return one of scikit-learn's bundled data sets; raises DataError for a name that is not one of BUNDLED."""
    if name not in BUNDLED:
        raise DataError(f"--dataset must be one of {', '.join(BUNDLED)}, got '{name}'; choose one, or give --csv")
    table, task = _read_bundled(name)
    return _prepare(table, task)


def csv_dataset(path: Path, target: str, task: Task | None = None) -> Dataset:
    """Return the table of a CSV file with a header line; `target` names the column to predict.

    Text columns become one-hot codes, gaps are filled (median, or a category of their own). Without `task`, a numeric target
    with more than fifty values is a regression. Raises DataError.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except OSError as fault:
        raise DataError(f"--csv must be a readable file, got {path} ({fault.strerror}); check the path") from None
    if len(rows) < 2:
        raise DataError(f"a CSV file needs a header and rows, got {len(rows)} lines in {path}; add some")
    header, body = [name.strip() for name in rows[0]], rows[1:]
    if target not in header:
        raise DataError(f"--target must be a column of the file, got '{target}'; columns: {', '.join(header)}")
    for number, row in enumerate(body, start=2):
        if len(row) != len(header):
            raise DataError(f"every line needs {len(header)} fields, got {len(row)} in line {number}; correct the file")
    position = header.index(target)
    body = [row for row in body if row[position].strip().lower() not in _MISSING]
    columns = [[row[i].strip() for row in body] for i in range(len(header)) if i != position]
    labels = [row[position].strip() for row in body]
    return _prepare(_Table(columns, labels), task or _guess_task(labels))


def _read_bundled(name: str) -> tuple[_Table | tuple[FloatArray, FloatArray], Task]:
    """Read scikit-learn's data files themselves: importing scikit-learn for them would double a trial's start-up."""
    spec = find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("the bundled data sets come with scikit-learn, which is missing; pip install 'podium[trial]'")
    folder = Path(spec.submodule_search_locations[0]) / "datasets" / "data"
    match name:
        case "digits":
            rows = np.loadtxt(folder / "digits.csv.gz", delimiter=",")
            return (rows[:, :-1], rows[:, -1]), "classification"
        case "diabetes":
            features = np.loadtxt(folder / "diabetes_data_raw.csv.gz")
            return (features, np.loadtxt(folder / "diabetes_target.csv.gz")), "regression"
    file = {"breast-cancer": "breast_cancer.csv", "wine": "wine_data.csv", "iris": "iris.csv"}[name]
    rows = np.loadtxt(folder / file, delimiter=",", skiprows=1)
    return (rows[:, :-1], rows[:, -1]), "classification"


def _prepare(table: _Table | tuple[FloatArray, FloatArray], task: Task) -> Dataset:
    labels: Sequence[object] = table.target if isinstance(table, _Table) else table[1].tolist()
    count = len(labels)
    train, validation, test = _split(count)
    if min(len(train), len(validation), len(test)) < 1:
        raise DataError(f"a table needs at least five rows with a target, got {count}; add rows")
    raw = _encode(table.columns, train) if isinstance(table, _Table) else table[0]
    features = _standardise(raw, train)
    scale = 1.0
    if task == "classification":
        targets, outputs = _class_indices(labels)
    else:
        targets, outputs = _numbers([str(label) for label in labels]), 1
        if np.isnan(targets).any():
            raise DataError("a regression needs numbers in the target column, got text; use --task classification")
        mean, scale = float(targets[train].mean()), float(targets[train].std()) or 1.0
        targets = (targets - mean) / scale
    return Dataset(
        task,
        train=Part(features[train], targets[train]),
        validation=Part(features[validation], targets[validation]),
        test=Part(features[test], targets[test]),
        outputs=outputs,
        target_scale=scale,
    )


def _split(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    order = np.random.default_rng(_SPLIT_SEED).permutation(count)
    test, validation = int(count * TEST_SHARE), int(count * VALIDATION_SHARE)
    return order[test + validation :], order[test : test + validation], order[:test]


def _encode(columns: list[list[str]], train: NDArray[np.int64]) -> FloatArray:
    """Return text columns as numbers: numeric ones filled with the training median, others one-hot."""
    encoded = []
    for column in columns:
        numbers = _numbers(column)
        present = np.array([text.lower() not in _MISSING for text in column])
        if not np.isnan(numbers[present]).any() and present[train].any():
            encoded.append(np.where(present, numbers, np.median(numbers[train][present[train]]))[:, None])
            continue
        categories = sorted({column[row] for row in train})
        encoded.append(np.array([[float(text == category) for category in categories] for text in column]))
    if not encoded:
        raise DataError("a table needs at least one column besides the target, got none; add one")
    return np.hstack(encoded)


def _standardise(features: FloatArray, train: NDArray[np.int64]) -> FloatArray:
    mean, scale = features[train].mean(axis=0), features[train].std(axis=0)
    return np.asarray((features - mean) / np.where(scale > 0, scale, 1.0))


def _class_indices(labels: Sequence[object]) -> tuple[FloatArray, int]:
    classes = sorted({str(label) for label in labels})
    if len(classes) < 2:
        raise DataError(f"a classification needs at least two classes, got {classes}; check --target")
    index = {label: float(position) for position, label in enumerate(classes)}
    return np.array([index[str(label)] for label in labels]), len(classes)


def _guess_task(labels: list[str]) -> Task:
    is_numeric = not np.isnan(_numbers(labels)).any()
    return "regression" if is_numeric and len(set(labels)) > _MOST_CLASSES else "classification"


def _numbers(texts: list[str]) -> FloatArray:
    """Return texts as numbers, NaN where they are none."""

    def number(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            return float("nan")

    return np.array([number(text) for text in texts])
