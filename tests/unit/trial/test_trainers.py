"""The built-in trainers: honest splits, exact resumption, and errors that say what to change."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from podium_trial.data import BUNDLED, DataError, Dataset, bundled_dataset, csv_dataset
from podium_trial.models import BoostingSettings, Model, loss_of, model_settings, new_model, scores, take_up
from podium_trial.network import Network, NetworkSettings

RESUMABLE: dict[str, Any] = {
    "sgd": NetworkSettings(dropout=0.2, nesterov=True, lr_decay=0.9),
    "adam": NetworkSettings(optimizer="adam", layers=2, taper=0.5, activation="gelu"),
    "rmsprop": NetworkSettings(optimizer="rmsprop", weight_decay=0.01, activation="tanh"),
}


def a_csv(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def a_table(rows: int = 60) -> str:
    lines = [f"{i % 7},{'red' if i % 2 else 'blue'},{'yes' if i % 7 > 3 else 'no'}" for i in range(rows)]
    return "\n".join(["size,colour,label", *lines])


@pytest.mark.parametrize("name", BUNDLED)
def test_parts_share_no_row_and_training_rows_are_standardised(name: str) -> None:
    data = bundled_dataset(name)
    rows = [{tuple(row) for row in part.features.round(9)} for part in (data.train, data.validation, data.test)]
    total = sum(len(part.targets) for part in (data.train, data.validation, data.test))
    assert total > 100
    assert len(data.train.targets) > 0.55 * total
    assert not rows[0] & rows[1] or name in ("iris", "digits"), "a bundled table may hold a flower twice"
    np.testing.assert_allclose(data.train.features.mean(axis=0), 0.0, atol=1e-9)


def test_column_that_is_constant_but_for_rounding_is_constant(tmp_path: Path) -> None:
    lines = [f"{i % 7},{0.2 if i == 17 else 0.1},{i % 5}" for i in range(200)]
    data = csv_dataset(a_csv(tmp_path, "\n".join(["size,dose,y", *lines])), "y", "regression")
    features = np.vstack([part.features for part in (data.train, data.validation, data.test)])
    assert np.abs(features).max() < 20, "rounding noise is no scale"


def test_every_trial_sees_the_same_split() -> None:
    first, second = bundled_dataset("wine"), bundled_dataset("wine")
    np.testing.assert_array_equal(first.validation.features, second.validation.features)


@pytest.mark.parametrize("settings", RESUMABLE.values(), ids=RESUMABLE.keys())
def test_resumed_model_goes_on_bit_for_bit(settings: Any) -> None:
    data = bundled_dataset("wine")
    whole = new_model(settings, data, seed=3)
    resumed: Model = new_model(settings, data, seed=3)
    for step in range(6):
        whole.train_step(data.train)
        if step == 3:
            resumed = pickle.loads(pickle.dumps(resumed))
        resumed.train_step(data.train)
    np.testing.assert_array_equal(whole.outputs(data.test.features), resumed.outputs(data.test.features))


@pytest.mark.parametrize("name", ["digits", "diabetes"])
def test_training_learns(name: str) -> None:
    data = bundled_dataset(name)
    model = new_model(NetworkSettings(lr=0.001, optimizer="adam"), data, seed=0)
    before = scores(model, data.validation, data)["val_loss"]
    for _ in range(8):
        model.train_step(data.train)
    assert scores(model, data.validation, data)["val_loss"] < 0.8 * before


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
@pytest.mark.parametrize("name", ["wine", "diabetes"])
def test_gradients_agree_with_finite_differences(activation: Any, name: str) -> None:
    data = bundled_dataset(name)
    network = Network(
        NetworkSettings(lr=1.0, momentum=0.0, width=5, layers=2, activation=activation, batch=999), data, 1
    )
    rng = np.random.default_rng(0)
    for parameter in network._parameters():
        np.add(
            parameter, 0.1 * rng.normal(size=parameter.shape), out=parameter
        )  # off the rectifiers' kinks, where biases of zero would sit
    before = [parameter.copy() for parameter in network._parameters()]
    numeric = finite_differences(network, data)
    network.train_epoch(data.train)
    for old, new, slope in zip(before, network._parameters(), numeric, strict=True):
        np.testing.assert_allclose(old - new, slope, rtol=1e-4, atol=1e-7)


def finite_differences(network: Network, data: Dataset, width: float = 1e-6) -> list[Any]:
    slopes = []
    for parameter in network._parameters():
        slope = np.zeros_like(parameter)
        for index in np.ndindex(parameter.shape):
            kept = parameter[index]
            parameter[index] = kept + width
            above = loss_of(network.outputs(data.train.features), data.train, data.task)
            parameter[index] = kept - width
            slope[index] = (above - loss_of(network.outputs(data.train.features), data.train, data.task)) / (2 * width)
            parameter[index] = kept
        slopes.append(slope)
    return slopes


def test_diverged_network_reports_nan_and_raises_nothing() -> None:
    data = bundled_dataset("digits")
    model = new_model(NetworkSettings(lr=1e9), data, seed=0)
    with np.errstate(all="ignore"):
        model.train_step(data.train)
        assert not np.isfinite(scores(model, data.validation, data)["val_loss"])


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("width", 12.5, "whole number, got 12.5; make the parameter an int"),
        ("dropout", 1.0, "dropout must be between 0 and 0.999999, got 1"),
        ("batch", "0", "batch must be at least 1, got 0"),
        ("lrr", 0.1, "no hyperparameter 'lrr'; it has layers"),
        ("optimizer", "adamm", "one of sgd, adam, rmsprop, got 'adamm'"),
        ("lr", "fast", "lr must be a number, got 'fast'"),
        ("nesterov", "maybe", "true or false, got 'maybe'"),
    ],
)
def test_impossible_hyperparameter_is_named_with_its_remedy(name: str, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        model_settings("mlp", {name: value})


def test_clone_goes_on_with_its_own_settings() -> None:
    data = bundled_dataset("wine")
    parent = new_model(NetworkSettings(lr=0.01), data, seed=0)
    parent.train_step(data.train)
    clone: Model = pickle.loads(pickle.dumps(parent))
    clone.adjust(NetworkSettings(lr=0.02, optimizer="adam"))
    clone.train_step(data.train)
    parent.adjust(NetworkSettings(lr=0.01))
    parent.train_step(data.train)
    assert scores(clone, data.validation, data) != scores(parent, data.validation, data)


def test_clone_of_another_shape_is_refused() -> None:
    data = bundled_dataset("wine")
    model = new_model(NetworkSettings(width=8), data, seed=0)
    with pytest.raises(ValueError, match="width must stay as it was in training, got 16 after 8"):
        model.adjust(NetworkSettings(width=16))


@pytest.mark.parametrize(
    ("name", "table", "words"),
    [
        ("boosting", "wine", "kind of model must stay as it was in training, got boosting after mlp"),
        ("mlp", "breast-cancer", "number of columns must stay as it was in training, got 30 after 13"),
    ],
)
def test_checkpoint_of_another_training_is_refused(name: str, table: str, words: str) -> None:
    model = new_model(NetworkSettings(), bundled_dataset("wine"), seed=0)
    with pytest.raises(ValueError, match=words):
        take_up(model, name, model_settings(name, {}), bundled_dataset(table))


@pytest.mark.parametrize("settings", [NetworkSettings(lr=0.001), BoostingSettings(leaves=4)], ids=["mlp", "boosting"])
def test_model_knows_its_shape(settings: Any) -> None:
    for name, shape in (("wine", (13, 3)), ("diabetes", (10, 1))):
        data = bundled_dataset(name)
        model = new_model(settings, data, seed=0)
        model.train_step(data.train)
        assert model.shape() == shape


def test_settings_convert_text_of_flags() -> None:
    assert model_settings("mlp", {"layers": "2", "lr": "0.1", "nesterov": "true"}) == NetworkSettings(
        layers=2, lr=0.1, nesterov=True
    )
    assert model_settings("boosting", {"depth": "3"}) == BoostingSettings(depth=3)


def test_text_columns_become_codes_and_gaps_are_filled(tmp_path: Path) -> None:
    table = a_table().replace("1,red", ",red", 3).replace("2,blue", "2,", 1)
    data = csv_dataset(a_csv(tmp_path, table), "label")
    assert data.task == "classification"
    assert data.outputs == 2
    assert np.isfinite(data.train.features).all()
    assert data.train.features.shape[1] in (3, 4)


def test_numeric_target_of_many_values_is_a_regression(tmp_path: Path) -> None:
    rows = "\n".join(f"{i},{i * 1.5}" for i in range(100))
    assert csv_dataset(a_csv(tmp_path, f"x,y\n{rows}"), "y").task == "regression"


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["1", "2", "3"], "classification"),
        (["1.0", "2.0"], "classification"),
        (["0.5", "1.5", "2.0"], "regression"),
        (["yes", "no"], "classification"),
        (["1", "inf"], "classification"),
    ],
)
def test_task_is_judged_by_the_target(tmp_path: Path, values: list[str], task: str) -> None:
    rows = "\n".join(f"{i},{values[i % len(values)]}" for i in range(30))
    assert csv_dataset(a_csv(tmp_path, f"x,y\n{rows}"), "y").task == task


@pytest.mark.parametrize("counts", [[100, 3, 1], [50, 50], [2, 2, 2, 2, 60]])
def test_each_part_has_its_share_of_every_class_and_a_single_row_trains(tmp_path: Path, counts: list[int]) -> None:
    labels = [f"class{index}" for index, count in enumerate(counts) for _ in range(count)]
    data = csv_dataset(a_csv(tmp_path, "x,y\n" + "\n".join(f"{i},{y}" for i, y in enumerate(labels))), "y")
    for index, count in enumerate(counts):
        held_out = [int((part.targets == index).sum()) for part in (data.validation, data.test)]
        assert held_out == [round(0.2 * count)] * 2
        assert (data.train.targets == index).sum() == count - sum(held_out)


def test_infinite_numbers_count_as_gaps(tmp_path: Path) -> None:
    rows = "\n".join(f"{'inf' if i % 9 == 0 else i},{'NA' if i % 7 == 0 else i},{i % 2}" for i in range(60))
    data = csv_dataset(a_csv(tmp_path, f"a,b,y\n{rows}"), "y")
    assert all(np.isfinite(part.features).all() for part in (data.train, data.validation, data.test))


def test_column_of_names_costs_no_more_than_its_frequent_values(tmp_path: Path) -> None:
    rows = "\n".join(f"name{i},{i % 2}" for i in range(300))
    assert csv_dataset(a_csv(tmp_path, f"name,y\n{rows}"), "y").train.features.shape[1] == 50


@pytest.mark.parametrize(
    ("text", "target", "words"),
    [
        ("x,x,y\n1,2,3\n", "y", "name each column once, got 'x' twice"),
        (
            "x,y\n" + "".join(f"{i},name{i}\n" for i in range(30)),
            "y",
            "several rows of a class, got 30 classes in 30 rows",
        ),
        ("", "y", "a header and rows, got 0 lines"),
        ("x,y\n1,2\n", "z", "--target must be a column of the file, got 'z'; columns: x, y"),
        ("x,y\n1,2\n1\n", "y", "every line needs 2 fields, got 1 in line 3"),
        ("x,y\n1,a\n2,b\n", "y", "at least five rows"),
        ("x,y\n" + "1,a\n" * 20, "y", "at least two classes"),
        ("y\n" + "a\nb\n" * 20, "y", "at least one column besides the target"),
    ],
)
def test_unusable_table_is_refused_with_its_reason(tmp_path: Path, text: str, target: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        csv_dataset(a_csv(tmp_path, text), target)


def test_regression_on_text_is_refused(tmp_path: Path) -> None:
    path = a_csv(tmp_path, "x,y\n" + "1,2.5\n" * 20 + "1,high\n")
    with pytest.raises(DataError, match="finite numbers in the target column, got 'high'"):
        csv_dataset(path, "y", "regression")


def test_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"x,y\n\xff\xfe,1\n")
    with pytest.raises(DataError, match=r"CSV file in UTF-8, got .*table\.csv"):
        csv_dataset(path, "y")


def test_unknown_data_set_and_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"one of digits, .*got 'mnist'"):
        bundled_dataset("mnist")
    with pytest.raises(DataError, match="readable file"):
        csv_dataset(tmp_path / "none.csv", "y")
