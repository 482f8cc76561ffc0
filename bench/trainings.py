"""Makes the tables of real trainings: every configuration of a lattice trained in full, step by step, with its time.

    python -m bench.trainings                  # all tables; goes on where it was cut off
    python -m bench.trainings boosting-diabetes

The data are the sets that scikit-learn brings along, so nothing is downloaded. Every configuration is trained once, with one
seed: what a tuner would see. Seconds are processor seconds of the training alone, so they do not depend on what else the
machine did. A training that diverges is recorded as such from that step on.
"""

import argparse
import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray
from pydantic import TypeAdapter
from sklearn import datasets
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from bench.lattice import key_of, lattice
from bench.tables import Table
from podium_contract.parameters import Assignment, Parameter

STEPS = 27
"""Epochs, or groups of boosting stages: three rungs of eta = 3 above the lowest."""
_TREES_PER_STEP = 3
_SAVE_EVERY = 25
_PARTIAL = Path("results/bench/trainings")

Step = tuple[dict[str, float], float]
"""What one more step of training led to, and the seconds that it took."""


@dataclass(frozen=True)
class Recipe:
    """How one table is made."""

    name: str
    about: str
    parameters: list[Parameter]
    metrics: dict[str, float]
    """Names, with the precision to which each is kept."""
    steps: int
    train: Callable[[Assignment], Iterator[Step]]


@dataclass(frozen=True)
class Split:
    """Standardised features and targets, for training and validation."""

    x: NDArray[np.float64]
    y: NDArray[Any]
    x_valid: NDArray[np.float64]
    y_valid: NDArray[Any]


@cache
def split(name: str, train_size: int) -> Split:
    """Return one of scikit-learn's bundled data sets, divided in the same way each time."""
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    stratify = None if name == "diabetes" else y
    x, x_valid, y, y_valid = train_test_split(x, y, train_size=train_size, random_state=0, stratify=stratify)
    scaler = StandardScaler().fit(x)
    return Split(scaler.transform(x), y, scaler.transform(x_valid), y_valid)


def _step_by_step(train: Callable[[int], object], tell: Callable[[], dict[str, float]]) -> Iterator[Step]:
    """Train up to each step, from 1, and tell what that led to; the time is that of the training alone."""
    for step in range(1, STEPS + 1):
        start = time.process_time()
        train(step)
        seconds = time.process_time() - start
        yield tell(), seconds


# --- networks by epoch ----------------------------------------------------------------------------------------


def train_digits_network(chosen: Assignment) -> Iterator[Step]:
    return _network_by_epoch(MLPClassifier(**_layered(chosen)), split("digits", 1000))


def train_cancer_network(chosen: Assignment) -> Iterator[Step]:
    optimizer = {
        name: chosen[name] for name in ("momentum", "nesterovs_momentum", "beta_1", "beta_2") if name in chosen
    }
    model = MLPClassifier(
        hidden_layer_sizes=(chosen["width"],),
        solver=chosen["solver"],
        learning_rate_init=chosen["lr"],
        batch_size=chosen["batch"],
        random_state=0,
        **optimizer,
    )
    return _network_by_epoch(model, split("breast_cancer", 380))


def train_diabetes_network(chosen: Assignment) -> Iterator[Step]:
    data = split("diabetes", 300)
    mean, spread = data.y.mean(), data.y.std()
    targets = (data.y - mean) / spread
    model = MLPRegressor(**_layered(chosen))
    return _step_by_step(
        lambda _: model.partial_fit(data.x, targets),
        lambda: _regression(mean + spread * model.predict(data.x_valid), data.y_valid),
    )


def _layered(chosen: Assignment) -> dict[str, Any]:
    """Return the settings of a network of equal layers, as scikit-learn calls them."""
    return {
        "hidden_layer_sizes": (chosen["width"],) * chosen["layers"],
        "activation": chosen["activation"],
        "learning_rate_init": chosen["lr"],
        "batch_size": chosen["batch"],
        "alpha": chosen["alpha"],
        "random_state": 0,
    }


def _network_by_epoch(model: MLPClassifier, data: Split) -> Iterator[Step]:
    classes = np.unique(data.y)

    def tell() -> dict[str, float]:
        weights = sum(layer.size for layer in (*model.coefs_, *model.intercepts_))
        return {**_classification(model.predict_proba(data.x_valid), data.y_valid), "weights": float(weights)}

    return _step_by_step(lambda _: model.partial_fit(data.x, data.y, classes=classes), tell)


def _classification(probabilities: NDArray[np.float64], y: NDArray[Any]) -> dict[str, float]:
    """Return log loss and error of class probabilities, shape (n, classes); classes are 0, 1, 2 ..."""
    if not np.isfinite(probabilities).all():
        raise FloatingPointError("the network diverged")
    likelihood = np.clip(probabilities[np.arange(len(y)), y], 1e-6, 1.0)
    return {"log_loss": float(-np.log(likelihood).mean()), "error": float((probabilities.argmax(axis=1) != y).mean())}


def _regression(predicted: NDArray[np.float64], y: NDArray[Any]) -> dict[str, float]:
    """Return the root mean squared error of predictions, shape (n,)."""
    return {"rmse": float(np.sqrt(np.mean((predicted - y) ** 2)))}


# --- linear models by epoch -----------------------------------------------------------------------------------


def train_digits_linear(chosen: Assignment) -> Iterator[Step]:
    data = split("digits", 500)
    rate = {name: chosen[name] for name in ("eta0", "power_t", "l1_ratio") if name in chosen}
    model = SGDClassifier(
        loss=chosen["loss"],
        penalty=chosen["penalty"],
        alpha=chosen["alpha"],
        learning_rate=chosen["schedule"],
        random_state=0,
        **rate,
    )
    classes = np.unique(data.y)
    return _step_by_step(
        lambda _: model.partial_fit(data.x, data.y, classes=classes),
        lambda: {"error": float((model.predict(data.x_valid) != data.y_valid).mean())},
    )


# --- boosting by stage ----------------------------------------------------------------------------------------


def train_diabetes_boosting(chosen: Assignment) -> Iterator[Step]:
    data, model = split("diabetes", 300), GradientBoostingRegressor(**_BOOSTED, **chosen)
    return _step_by_step(
        lambda step: _boost(model, data, step), lambda: _regression(model.predict(data.x_valid), data.y_valid)
    )


def train_cancer_boosting(chosen: Assignment) -> Iterator[Step]:
    data, model = split("breast_cancer", 380), GradientBoostingClassifier(**_BOOSTED, **chosen)
    return _step_by_step(
        lambda step: _boost(model, data, step), lambda: _classification(model.predict_proba(data.x_valid), data.y_valid)
    )


_BOOSTED: dict[str, Any] = {"warm_start": True, "random_state": 0}
"""Settings of a model that is given more trees as it goes."""


def _boost(model: GradientBoostingClassifier | GradientBoostingRegressor, data: Split, step: int) -> None:
    model.set_params(n_estimators=step * _TREES_PER_STEP).fit(data.x, data.y)


# --- which model, and how it is set ---------------------------------------------------------------------------


def train_any_model(chosen: Assignment) -> Iterator[Step]:
    """Cross-validate one of six kinds of models on wine's 13 features, with a fifth of the labels wrong."""
    x, y = datasets.load_wine(return_X_y=True)
    rng = np.random.default_rng(0)
    noisy = np.where(rng.random(len(y)) < 0.2, rng.integers(0, 3, len(y)), y)
    model = _model(**chosen)
    start = time.process_time()
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    probabilities = cross_val_predict(model, x, noisy, cv=folds, method="predict_proba")
    yield _classification(probabilities, noisy), time.process_time() - start


def _model(model: str, **settings: Any) -> Any:
    match model:
        case "tree":
            return DecisionTreeClassifier(random_state=0, **settings)
        case "forest":
            return RandomForestClassifier(20, random_state=0, **_without_prefix(settings))
        case "extra":
            return ExtraTreesClassifier(20, random_state=0, **_without_prefix(settings))
        case "knn":
            return make_pipeline(StandardScaler(), KNeighborsClassifier(**settings))
        case "svm":
            return make_pipeline(StandardScaler(), _Svm(**settings))
        case "logistic":
            return make_pipeline(StandardScaler(), LogisticRegression(max_iter=200, **settings))
    raise ValueError(f"no such model: {model}")


def _without_prefix(settings: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("ensemble_"): value for name, value in settings.items()}


class _Svm(SVC):  # type: ignore[misc]  # scikit-learn has no types
    """A support vector machine whose decision values pass for class probabilities, through a soft maximum."""

    def predict_proba(self, X: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: N803  (scikit-learn's name)
        scores = np.exp(self.decision_function(X))
        return np.asarray(scores / scores.sum(axis=1, keepdims=True))


# --- the tables -----------------------------------------------------------------------------------------------


def _space(*parameters: dict[str, Any]) -> list[Parameter]:
    return TypeAdapter(list[Parameter]).validate_python(parameters)


def _ordinal(name: str, *values: Any, **when: list[Any]) -> dict[str, Any]:
    return {"name": name, "type": "ordinal", "values": list(values), "when": when}


def _choice(name: str, *values: Any, **when: list[Any]) -> dict[str, Any]:
    return {"name": name, "type": "categorical", "values": list(values), "when": when}


RECIPES = (
    Recipe(
        "network-digits",
        "a multi-layer perceptron on digits, by epoch",
        _space(
            _ordinal("lr", 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1),
            _ordinal("batch", 32, 64, 128),
            _ordinal("width", 8, 16, 32, 64),
            _ordinal("layers", 1, 2),
            _ordinal("alpha", 0.0001, 0.03, 1.0),
            _choice("activation", "relu", "tanh"),
        ),
        {"log_loss": 1e-4, "error": 1e-4, "weights": 1.0},
        STEPS,
        train_digits_network,
    ),
    Recipe(
        "network-cancer",
        "a multi-layer perceptron on breast cancer, by epoch, with two optimisers of different parameters",
        _space(
            _ordinal("lr", 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1),
            _ordinal("batch", 16, 48),
            _ordinal("width", 4, 16, 64),
            _choice("solver", "sgd", "adam"),
            _ordinal("momentum", 0.0, 0.5, 0.8, 0.9, 0.97, solver=["sgd"]),
            _choice("nesterovs_momentum", True, False, solver=["sgd"]),
            _ordinal("beta_1", 0.5, 0.8, 0.9, 0.97, solver=["adam"]),
            _ordinal("beta_2", 0.9, 0.99, 0.999, solver=["adam"]),
        ),
        {"log_loss": 1e-4, "error": 1e-4, "weights": 1.0},
        STEPS,
        train_cancer_network,
    ),
    Recipe(
        "linear-digits",
        "a linear classifier by stochastic gradients on digits, by epoch, with conditional rates and penalties",
        _space(
            _choice("loss", "hinge", "log_loss"),
            _ordinal("alpha", 1e-5, 1e-4, 1e-3, 1e-2, 1e-1),
            _choice("penalty", "l2", "l1", "elasticnet"),
            _ordinal("l1_ratio", 0.1, 0.5, 0.9, penalty=["elasticnet"]),
            _choice("schedule", "optimal", "constant", "invscaling"),
            _ordinal("eta0", 0.0003, 0.003, 0.03, 0.3, schedule=["constant", "invscaling"]),
            _ordinal("power_t", 0.25, 0.5, schedule=["invscaling"]),
        ),
        {"error": 1e-4},
        STEPS,
        train_digits_linear,
    ),
    Recipe(
        "boosting-diabetes",
        f"gradient boosting on diabetes, by {_TREES_PER_STEP} trees a step",
        _space(
            _ordinal("learning_rate", 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
            {"name": "max_depth", "type": "int", "min": 1, "max": 5},
            {"name": "subsample", "type": "float", "min": 0.4, "max": 1.0, "step": 0.3},
            {"name": "max_features", "type": "float", "min": 0.2, "max": 1.0, "step": 0.4},
            _ordinal("min_samples_leaf", 1, 10),
        ),
        {"rmse": 1e-2},
        STEPS,
        train_diabetes_boosting,
    ),
    Recipe(
        "network-diabetes",
        "a multi-layer perceptron on diabetes, by epoch",
        _space(
            _ordinal("lr", 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
            _ordinal("batch", 16, 32, 64),
            _ordinal("width", 8, 16, 32, 64),
            _ordinal("layers", 1, 2, 3),
            _ordinal("alpha", 0.0001, 0.1, 3.0),
            _choice("activation", "relu", "tanh"),
        ),
        {"rmse": 1e-2},
        STEPS,
        train_diabetes_network,
    ),
    Recipe(
        "boosting-cancer",
        f"gradient boosting on breast cancer, by {_TREES_PER_STEP} trees a step",
        _space(
            _ordinal("learning_rate", 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8),
            {"name": "max_depth", "type": "int", "min": 1, "max": 5},
            _ordinal("subsample", 0.4, 0.7, 1.0),
            _ordinal("max_features", 0.1, 0.3, 0.6, 1.0),
            _ordinal("min_samples_leaf", 1, 5, 20),
        ),
        {"log_loss": 1e-4, "error": 1e-4},
        STEPS,
        train_cancer_boosting,
    ),
    Recipe(
        "models-wine",
        "which of six kinds of models, and its own parameters, on wine with noisy labels",
        _space(
            _choice("model", "tree", "forest", "extra", "knn", "svm", "logistic"),
            _ordinal("max_depth", 1, 2, 3, 4, 6, 8, model=["tree"]),
            _ordinal("min_samples_leaf", 1, 2, 4, 8, 16, model=["tree"]),
            _choice("criterion", "gini", "entropy", model=["tree"]),
            _ordinal("ensemble_max_features", 0.1, 0.3, 0.6, 1.0, model=["forest", "extra"]),
            _ordinal("ensemble_min_samples_leaf", 1, 3, 8, 20, model=["forest", "extra"]),
            _ordinal("ensemble_max_depth", 2, 4, 8, model=["forest", "extra"]),
            _ordinal("n_neighbors", 1, 3, 5, 9, 15, 25, 40, 60, model=["knn"]),
            _choice("weights", "uniform", "distance", model=["knn"]),
            _ordinal("p", 1, 2, 3, model=["knn"]),
            _choice("kernel", "rbf", "poly", "sigmoid", model=["svm"]),
            _ordinal("gamma", 0.001, 0.01, 0.03, 0.1, 0.3, 1.0, model=["svm"]),
            _ordinal("degree", 2, 3, kernel=["poly"]),
            _ordinal("C", 0.001, 0.01, 0.1, 1.0, 10.0, 100.0, model=["svm", "logistic"]),
        ),
        {"log_loss": 1e-4, "error": 1e-4},
        1,
        train_any_model,
    ),
)


def make(recipe: Recipe) -> Table:
    """Train every configuration that an earlier, interrupted run has not."""
    configurations = lattice(recipe.parameters)
    _PARTIAL.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(key_of({"configurations": [key_of(each) for each in configurations]}).encode()).hexdigest()
    path = _PARTIAL / f"{recipe.name}-{digest[:8]}.jsonl"  # of another lattice nothing is taken over
    done = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    start = time.monotonic()
    with path.open("a") as file:
        for index in range(len(done), len(configurations)):
            row = _row(recipe, configurations[index])
            done.append(row)
            file.write(json.dumps(row) + "\n")
            if index % _SAVE_EVERY == 0:
                file.flush()
                seconds = time.monotonic() - start
                print(f"{recipe.name}: {index + 1} of {len(configurations)}, {seconds:.0f} s", flush=True)
    columns = np.array(done, dtype=np.float64)
    return Table.pack(
        name=recipe.name,
        about=f"{recipe.about}; made with scikit-learn {sklearn.__version__} by `python -m bench.trainings {recipe.name}`",
        parameters=recipe.parameters,
        precision={**recipe.metrics, "seconds": 1e-5},
        values={name: columns[:, :, place] for place, name in enumerate((*recipe.metrics, "seconds"))},
    )


def _row(recipe: Recipe, configuration: Assignment) -> list[list[float]]:
    """Return metrics and seconds, step by step; NaN for what a training that diverged did not come to."""
    steps: list[list[float]] = []
    try:
        for metrics, seconds in recipe.train(configuration):
            steps.append([*(metrics[name] for name in recipe.metrics), seconds])
    except (FloatingPointError, ValueError) as error:
        if not _is_divergence(error):
            raise
        spent = steps[-1][-1] if steps else 0.0
        steps += [[float("nan")] * len(recipe.metrics) + [spent]] * (recipe.steps - len(steps))
    return steps


def _is_divergence(error: Exception) -> bool:
    """Answer whether numbers have left the range of floats; scikit-learn says so in words alone."""
    return isinstance(error, FloatingPointError) or any(
        word in str(error) for word in ("non-finite", "NaN", "infinity")
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("tables", nargs="*", default=[recipe.name for recipe in RECIPES])
    wanted = arguments.parse_args().tables
    warnings.simplefilter("ignore")
    for recipe in RECIPES:
        if recipe.name in wanted:
            make(recipe).save()


if __name__ == "__main__":
    main()
