"""The built-in models behind one small interface: settings from plain values, one step of training, scores."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from podium_trial.data import Dataset, Part, Task
from podium_trial.network import Network, NetworkSettings, check_range, loss_and_slope

FloatArray = NDArray[np.float64]


class Model(Protocol):
    """A model that trains step by step and pickles whole."""

    name: str
    """Its kind, as `--model` names it."""

    @property
    def size(self) -> int:
        """A measure of how large it is: weights, or leaves."""
        ...

    def adjust(self, settings: Any) -> None:
        """Go on with other settings: those of a clone differ from its parent's. Raises ValueError where that cannot be."""
        ...

    def shape(self) -> tuple[int, int]:
        """Return how many columns it takes and how many outputs it gives: classes, or one."""
        ...

    def train_step(self, part: Part) -> float:
        """Train one epoch or one tree; returns the training loss."""
        ...

    def outputs(self, features: FloatArray) -> FloatArray:
        """Return class scores (logarithms up to a constant) of shape (n, classes), or predictions of shape (n, 1)."""
        ...


@dataclasses.dataclass(frozen=True)
class BoostingSettings:
    """Hyperparameters of gradient boosting, scikit-learn's defaults."""

    lr: float = 0.1
    leaves: int = 31
    depth: int | None = None
    min_leaf: int = 20
    """Rows that a leaf holds at least."""
    l2: float = 0.0
    features: float = 1.0
    """Share of the columns that each split may choose from."""

    def __post_init__(self) -> None:
        check_range("lr", self.lr, 0.0)
        check_range("leaves", self.leaves, 2)
        check_range("depth", self.depth or 1, 1)
        check_range("min_leaf", self.min_leaf, 1)
        check_range("l2", self.l2, 0.0)
        check_range("features", self.features, 0.001, 1.0)


class Perceptron(Network):
    """The network, one epoch a step."""

    name = "mlp"

    def train_step(self, part: Part) -> float:
        return self.train_epoch(part)


class Boosting:
    """Histogram gradient boosting of scikit-learn, one tree (per class) a step."""

    name = "boosting"

    def __init__(self, settings: BoostingSettings, data: Dataset, seed: int) -> None:
        from sklearn.ensemble import (  # noqa: PLC0415  (a second of start-up that the network does without)
            HistGradientBoostingClassifier,
            HistGradientBoostingRegressor,
        )

        estimator = HistGradientBoostingRegressor if data.task == "regression" else HistGradientBoostingClassifier
        self._task = data.task
        self._trees = 0
        self._estimator = estimator(early_stopping=False, warm_start=True, random_state=seed, max_iter=1)
        self.adjust(settings)

    @property
    def size(self) -> int:
        return int(sum(tree.get_n_leaf_nodes() for stage in self._estimator._predictors for tree in stage))  # noqa: SLF001

    def adjust(self, settings: BoostingSettings) -> None:
        self._estimator.set_params(
            learning_rate=settings.lr,
            max_leaf_nodes=settings.leaves,
            max_depth=settings.depth,
            min_samples_leaf=settings.min_leaf,
            l2_regularization=settings.l2,
            max_features=settings.features,
        )

    def shape(self) -> tuple[int, int]:
        outputs = 1 if self._task == "regression" else len(self._estimator.classes_)
        return self._estimator.n_features_in_, outputs

    def train_step(self, part: Part) -> float:
        self._trees += 1
        self._estimator.set_params(max_iter=self._trees).fit(part.features, part.targets)
        return loss_of(self.outputs(part.features), part, self._task)

    def outputs(self, features: FloatArray) -> FloatArray:
        if self._task == "regression":
            return np.asarray(self._estimator.predict(features))[:, None]
        return np.asarray(np.log(np.maximum(self._estimator.predict_proba(features), 1e-12)))


def model_settings(name: str, values: Mapping[str, Any]) -> NetworkSettings | BoostingSettings:
    """Return the settings of a model from plain values or text; raises ValueError for names and values it cannot take."""
    kind = NetworkSettings if name == "mlp" else BoostingSettings
    types_ = typing.get_type_hints(kind)
    unknown = sorted(set(values) - set(types_))
    if unknown:
        raise ValueError(f"{name} has no hyperparameter '{unknown[0]}'; it has {', '.join(types_)}")
    return kind(**{key: _converted(key, value, types_[key]) for key, value in values.items()})


def new_model(settings: NetworkSettings | BoostingSettings, data: Dataset, seed: int) -> Model:
    """Return an untrained model."""
    if isinstance(settings, NetworkSettings):
        return Perceptron(settings, data, seed)
    return Boosting(settings, data, seed)


def take_up(model: Model, name: str, settings: NetworkSettings | BoostingSettings, data: Dataset) -> None:
    """Make a restored model go on with some settings and data; raises ValueError where it is of another kind or shape."""
    before, now = (model.name, *model.shape()), (name, data.train.features.shape[1], data.outputs)
    for what, old, new in zip(("kind of model", "number of columns", "number of outputs"), before, now, strict=True):
        if old != new:
            raise ValueError(f"the {what} must stay as it was in training, got {new} after {old}; start elsewhere")
    model.adjust(settings)


def scores(model: Model, part: Part, data: Dataset) -> dict[str, float]:
    """Return what the tuner is told about some rows: val_loss, and val_accuracy or val_rmse and val_r2."""
    outputs = model.outputs(part.features)
    loss = loss_of(outputs, part, data.task)
    if data.task == "regression":
        variance = float(np.var(part.targets)) or 1.0
        return {"val_loss": loss, "val_rmse": float(np.sqrt(loss)) * data.target_scale, "val_r2": 1.0 - loss / variance}
    accuracy = float(np.mean(outputs.argmax(axis=1) == part.targets)) if np.isfinite(outputs).all() else float("nan")
    return {"val_loss": loss, "val_accuracy": accuracy}


def loss_of(outputs: FloatArray, part: Part, task: Task) -> float:
    """Return the mean cross entropy of class scores, or the mean squared error of predictions; NaN after divergence."""
    with np.errstate(over="ignore", invalid="ignore"):
        return loss_and_slope(outputs, part.targets, task)[0]


def _converted(name: str, value: Any, wanted: Any) -> Any:
    if isinstance(wanted, types.UnionType):
        wanted = next(part for part in wanted.__args__ if part is not type(None))
    choices = typing.get_args(wanted)
    if choices:
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}; choose one")
        return value
    if wanted is bool:
        if str(value).lower() not in ("true", "false"):
            raise ValueError(f"{name} must be true or false, got {value!r}; choose one")
        return str(value).lower() == "true"
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number, got {value!r}; correct it") from None
    if wanted is int and not number.is_integer():
        raise ValueError(f"{name} must be a whole number, got {value!r}; make the parameter an int")
    return wanted(number)
