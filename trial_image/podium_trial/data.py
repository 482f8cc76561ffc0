"""Tables to learn from: scikit-learn's bundled data sets, or any CSV file, split honestly.

The split into training, validation and test rows depends on the data alone, so that every trial of an experiment is
judged on the same rows; each part has its share of every class. Means, scales, fill values and categories are learnt
from the training rows only. The tuner sees the validation rows; the test rows are for whoever wants to know, in the end,
how good the winner is.
"""

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Rows = NDArray[np.intp]
"""Numbers of rows."""
Task = Literal["classification", "regression"]

BUNDLED = ("digits", "breast-cancer", "wine", "iris", "diabetes")
VALIDATION_SHARE = 0.2
TEST_SHARE = 0.2
_SPLIT_SEED = 20240229
_MOST_CLASSES = 50
_MOST_CATEGORIES = 50
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


def bundled_dataset(name: str) -> Dataset:
    """Return one of scikit-learn's bundled data sets; raises DataError for a name that is not one of BUNDLED."""
    if name not in BUNDLED:
        raise DataError(f"--dataset must be one of {', '.join(BUNDLED)}, got '{name}'; choose one, or give --csv")
    features, target, task = _read_bundled(name)
    return _prepare(lambda _: features, target.tolist(), task)


def csv_dataset(path: Path, target: str, task: Task | None = None) -> Dataset:
    """Return the table of a CSV file with a header line; `target` names the column to predict.

    Text columns become one-hot codes (of the most frequent values, when there are very many), gaps are filled (median, or a
    category of their own), and rows without a target are left out. Without `task`, a numeric target is a regression if it
    has fractions or more than fifty values. Raises DataError.
    """
    header, rows = _read_csv(path)
    if target not in header:
        raise DataError(f"--target must be a column of the file, got '{target}'; columns: {', '.join(header)}")
    position = header.index(target)
    rows = [row for row in rows if not _is_missing(row[position])]
    columns = [[row[i] for row in rows] for i in range(len(header)) if i != position]
    if not columns:
        raise DataError("a table needs at least one column besides the target, got none; add one")
    labels = [row[position] for row in rows]
    return _prepare(lambda train: _encode(columns, train), labels, task or _guess_task(labels))


# --- reading ----------------------------------------------------------------------------------------------------


def _read_bundled(name: str) -> tuple[FloatArray, FloatArray, Task]:
    """Read scikit-learn's data files themselves: importing scikit-learn for them would treble a trial's start-up."""
    spec = find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("the bundled data sets come with scikit-learn, which is missing; pip install 'podium[trial]'")
    folder = Path(spec.submodule_search_locations[0]) / "datasets" / "data"
    match name:
        case "digits":
            rows = np.loadtxt(folder / "digits.csv.gz", delimiter=",")
            return rows[:, :-1], rows[:, -1], "classification"
        case "diabetes":
            features = np.loadtxt(folder / "diabetes_data_raw.csv.gz")
            return features, np.loadtxt(folder / "diabetes_target.csv.gz"), "regression"
    file = {"breast-cancer": "breast_cancer.csv", "wine": "wine_data.csv", "iris": "iris.csv"}[name]
    rows = np.loadtxt(folder / file, delimiter=",", skiprows=1)
    return rows[:, :-1], rows[:, -1], "classification"


def _read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return a CSV file's header and rows, without the spaces around the fields."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [[field.strip() for field in row] for row in csv.reader(file) if row]
    except OSError as fault:
        raise DataError(f"--csv must be a readable file, got {path} ({fault.strerror}); check the path") from None
    except (UnicodeDecodeError, csv.Error) as fault:
        raise DataError(f"--csv must be a CSV file in UTF-8, got {path} ({fault}); convert it") from None
    if len(lines) < 2:
        raise DataError(f"a CSV file needs a header and rows, got {len(lines)} lines in {path}; add some")
    header, rows = lines[0], lines[1:]
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise DataError(f"the header must name each column once, got '{twice[0]}' twice; rename one")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise DataError(f"every line needs {len(header)} fields, got {len(row)} in line {number}; correct the file")
    return header, rows


# --- preparing --------------------------------------------------------------------------------------------------


def _prepare(encode: Callable[[Rows], FloatArray], labels: Sequence[str | float], task: Task) -> Dataset:
    """Split, then learn from the training rows how to encode and standardise all of them."""
    targets, outputs = (_numeric_targets(labels), 1) if task == "regression" else _class_indices(labels)
    train, validation, test = _split(targets if task == "classification" else np.zeros(len(labels)))
    if min(len(train), len(validation), len(test)) < 1:
        raise DataError(f"a table needs at least five rows with a target, got {len(labels)}; add rows")
    features = _standardise(encode(train), train)
    scale = 1.0
    if task == "regression":
        mean, scale = float(targets[train].mean()), float(_scale(targets[train]))
        targets = (targets - mean) / scale
    return Dataset(
        task,
        train=Part(features[train], targets[train]),
        validation=Part(features[validation], targets[validation]),
        test=Part(features[test], targets[test]),
        outputs=outputs,
        target_scale=scale,
    )


def _split(strata: FloatArray) -> tuple[Rows, Rows, Rows]:
    """Return training, validation and test rows, each with its share of every stratum; a stratum's only row trains."""
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(strata))
    part = np.empty(len(strata), dtype=np.intp)
    for stratum in np.unique(strata):
        rows = order[strata[order] == stratum]
        test, validation = round(len(rows) * TEST_SHARE), round(len(rows) * VALIDATION_SHARE)
        part[rows] = np.repeat([2, 1, 0], [test, validation, len(rows) - test - validation])
    return order[part[order] == 0], order[part[order] == 1], order[part[order] == 2]


def _encode(columns: list[list[str]], train: Rows) -> FloatArray:
    """Return text columns as numbers: numeric ones filled with the training median, others one-hot."""
    return np.hstack([_encode_column(column, train) for column in columns])


def _encode_column(column: list[str], train: Rows) -> FloatArray:
    """Return one column as numbers, shape (n, 1) or (n, categories)."""
    numbers = _numbers(column)
    is_number = np.isfinite(numbers)
    is_numeric = all(is_number[row] or _is_missing(text) for row, text in enumerate(column))
    if is_numeric and is_number[train].any():
        return np.where(is_number, numbers, np.median(numbers[train][is_number[train]]))[:, None]
    frequent = Counter(column[row] for row in train).most_common(_MOST_CATEGORIES)
    categories = sorted(category for category, _ in frequent)
    return np.array([[float(text == category) for category in categories] for text in column])


def _standardise(features: FloatArray, train: Rows) -> FloatArray:
    return np.asarray((features - features[train].mean(axis=0)) / _scale(features[train]))


def _scale(values: FloatArray) -> FloatArray:
    """Return the standard deviation of each column, shape (n, ...); 1 where it is constant, whatever rounding says."""
    return np.where(np.ptp(values, axis=0) > 0, values.std(axis=0), 1.0)


def _class_indices(labels: Sequence[str | float]) -> tuple[FloatArray, int]:
    classes = sorted({str(label) for label in labels})
    if len(classes) < 2:
        raise DataError(f"a classification needs at least two classes, got {classes}; check --target")
    if len(classes) > max(len(labels) / 2, 2):
        raise DataError(
            f"a classification needs several rows of a class, got {len(classes)} classes in {len(labels)} rows; "
            "choose another --target, or --task regression"
        )
    index = {label: float(position) for position, label in enumerate(classes)}
    return np.array([index[str(label)] for label in labels]), len(classes)


def _numeric_targets(labels: Sequence[str | float]) -> FloatArray:
    targets = _numbers(labels)
    odd = [label for label, target in zip(labels, targets, strict=True) if not np.isfinite(target)]
    if odd:
        raise DataError(
            f"a regression needs finite numbers in the target column, got {odd[0]!r}; correct it, "
            "or use --task classification"
        )
    return targets


def _guess_task(labels: list[str]) -> Task:
    numbers = _numbers(labels)
    if not np.isfinite(numbers).all():
        return "classification"
    return "regression" if len(set(labels)) > _MOST_CLASSES or (numbers % 1 != 0).any() else "classification"


def _is_missing(text: str) -> bool:
    return text.lower() in _MISSING


def _numbers(values: Sequence[str | float]) -> FloatArray:
    """Return values as numbers, NaN where they are none."""

    def number(value: str | float) -> float:
        try:
            return float(value)
        except ValueError:
            return float("nan")

    return np.array([number(value) for value in values])
