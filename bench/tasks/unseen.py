"""Tasks by which nothing in Podium was chosen: written when its samplers were done, and not looked at before.

Functions and their optima: Surjanovic and Bingham, "Virtual library of simulation experiments", sfu.ca/~ssurjano. The three
models of real data are fitted exactly at each evaluation. Their optima are the best that tens of thousands of evaluations by
multi-start descent and differential evolution have found, so a regret may turn out a little below 0.
"""

from collections.abc import Callable
from functools import cache, partial
from itertools import product

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import rankdata

from bench.tasks.continuous import box_task, shifts
from bench.tasks.task import Task, choice, loss_of, real, space_of, vector, whole
from podium_contract.parameters import Assignment
from podium_suggestion.space import FloatArray
from podium_trial.data import Part, bundled_dataset

_ROWS = 160
"""Of the diabetes data set, that an evaluation takes milliseconds."""
_FAILED = 10.0
"""Loss where the numbers do not allow a fit."""


def unseen_tasks() -> list[Task]:
    box = partial(box_task, group="unseen")
    return [
        box("camel-2d", camel, [(-3, 3), (-2, 2)], -1.031628453489877, 40),
        box("shekel-4d", shekel, [(0, 10)] * 4, -10.536443153483534, 60),
        box("schwefel-4d", schwefel, [(-500, 500)] * 4, 0.0, 60),
        box("michalewicz-5d", michalewicz, [(0, np.pi)] * 5, -4.687658179088148, 60),
        box("dixon-price-6d", dixon_price, [(-10, 10)] * 6, 0.0, 60),
        box("powell-8d", powell, [(-4, 5)] * 8, 0.0, 80, shifts(8, -4, 5)),
        _landscape(),
        _neighbours(),
        _ridge(),
        _process(),
    ]


# --- functions ------------------------------------------------------------------------------------------------


def camel(x: FloatArray) -> float:
    one, two = x
    return float((4 - 2.1 * one**2 + one**4 / 3) * one**2 + one * two + (4 * two**2 - 4) * two**2)


_WELLS = np.array(
    [
        [4, 4, 4, 4], [1, 1, 1, 1], [8, 8, 8, 8], [6, 6, 6, 6], [3, 7, 3, 7], [2, 9, 2, 9], [5, 3, 5, 3], [8, 1, 8, 1],
        [6, 2, 6, 2], [7, 3.6, 7, 3.6],
    ]
)  # fmt: skip
_WIDTHS = np.array([1, 2, 2, 4, 4, 6, 3, 7, 5, 5]) / 10


def shekel(x: FloatArray) -> float:
    return -float((1 / (((x - _WELLS) ** 2).sum(axis=1) + _WIDTHS)).sum())


def schwefel(x: FloatArray) -> float:
    return float(418.98288727243369 * len(x) - (x * np.sin(np.sqrt(np.abs(x)))).sum())


def michalewicz(x: FloatArray) -> float:
    return -float((np.sin(x) * np.sin(np.arange(1, len(x) + 1) * x**2 / np.pi) ** 20).sum())


def dixon_price(x: FloatArray) -> float:
    return float((x[0] - 1) ** 2 + (np.arange(2, len(x) + 1) * (2 * x[1:] ** 2 - x[:-1]) ** 2).sum())


def powell(x: FloatArray) -> float:
    a, b, c, d = x.reshape(-1, 4).T
    return float(((a + 10 * b) ** 2 + 5 * (c - d) ** 2 + (b - 2 * c) ** 4 + 10 * (a - d) ** 4).sum())


# --- choices --------------------------------------------------------------------------------------------------


def _landscape() -> Task:
    """A rugged landscape of eight genes with four values: what each is worth depends on two others (Kauffman's NK)."""
    genes, values = 8, 4
    rng = np.random.default_rng(8)
    partners = np.array(
        [rng.choice([other for other in range(genes) if other != gene], 2, False) for gene in range(genes)]
    )
    worth = rng.uniform(0.0, 1.0, (genes, values, values, values))

    def losses(chosen: FloatArray) -> FloatArray:
        """Return the losses of genomes, shape (n, genes) to (n,)."""
        value = chosen.astype(np.int64)
        own = worth[np.arange(genes), value, value[:, partners[:, 0]], value[:, partners[:, 1]]]
        return np.asarray(-own.mean(axis=1))

    every = losses(np.array(list(product(range(values), repeat=genes)), dtype=np.float64))
    names = [f"gene{index}" for index in range(genes)]
    return Task(
        name="landscape-8x4",
        group="unseen",
        about=_landscape.__doc__ or "",
        parameters=space_of(*(choice(name, *"ACGT") for name in names)),
        advance=loss_of(lambda chosen: losses(np.array([["ACGT".index(chosen[name]) for name in names]]))[0]),
        optimum=float(every.min()),
        budget=60,
        all_losses=every,
    )


# --- models of real data --------------------------------------------------------------------------------------


@cache
def _patients() -> Part:
    train = bundled_dataset("diabetes").train
    return Part(train.features[:_ROWS], train.targets[:_ROWS])


@cache
def _ranked_features() -> FloatArray:
    return np.asarray(rankdata(_patients().features, axis=0) / _ROWS * 2 - 1)


def _neighbours() -> Task:
    """Nearest neighbours on patients: a weight for each of ten features, how many, and how they vote; leave-one-out."""
    weights = [f"weight{index}" for index in range(10)]

    def loss(chosen: Assignment) -> float:
        patients = _patients()
        scaled = patients.features * vector(chosen, weights)
        distances = _city_blocks(scaled) if chosen["metric"] == "manhattan" else np.sqrt(_squares(scaled))
        np.fill_diagonal(distances, np.inf)
        nearest = np.argsort(distances, axis=1, kind="stable")[:, : chosen["neighbours"]]
        votes = np.ones(nearest.shape)
        if chosen["vote"] == "by distance":
            votes = 1 / (0.01 + np.take_along_axis(distances, nearest, axis=1))
        predicted = (votes * patients.targets[nearest]).sum(axis=1) / votes.sum(axis=1)
        return float(np.sqrt(np.mean((predicted - patients.targets) ** 2)))

    parameters = space_of(
        *(real(name, 0.0, 1.0) for name in weights),
        whole("neighbours", 1, 80, "log"),
        choice("metric", "manhattan", "euclidean"),
        choice("vote", "equal", "by distance"),
    )
    return Task("neighbours-diabetes-13d", "unseen", _neighbours.__doc__ or "", parameters, loss_of(loss), 0.6640, 60)


def _ridge() -> Task:
    """Kernel ridge regression on patients, three kernels with parameters of their own; leave-one-out, in closed form."""

    def loss(chosen: Assignment) -> float:
        patients = _patients()
        features = _ranked_features() if chosen["features"] == "ranks" else patients.features
        kernel = _KERNELS[chosen["kernel"]](features, chosen)
        return _left_out_error(kernel, chosen["penalty"], patients.targets)

    parameters = space_of(
        choice("features", "plain", "ranks"),
        real("penalty", 1e-6, 1e3, "log"),
        choice("kernel", "gaussian", "laplace", "polynomial"),
        real("width", 0.1, 100.0, "log", when={"kernel": ["gaussian"]}),
        real("reach", 0.1, 100.0, "log", when={"kernel": ["laplace"]}),
        whole("degree", 1, 5, when={"kernel": ["polynomial"]}),
        real("offset", 0.0, 10.0, when={"kernel": ["polynomial"]}),
    )
    return Task("ridge-diabetes-7d", "unseen", _ridge.__doc__ or "", parameters, loss_of(loss), 0.67865, 60)


_KERNELS: dict[str, Callable[[FloatArray, Assignment], FloatArray]] = {
    "gaussian": lambda x, chosen: np.exp(-0.5 * _squares(x / float(chosen["width"]))),
    "laplace": lambda x, chosen: np.exp(-_city_blocks(x) / float(chosen["reach"])),
    "polynomial": lambda x, chosen: (x @ x.T / x.shape[1] + float(chosen["offset"])) ** int(chosen["degree"]),
}


def _left_out_error(kernel: FloatArray, penalty: float, targets: FloatArray) -> float:
    """Return the root mean square of leave-one-out residuals, those of ridge regression over 1 minus the leverages."""
    try:
        inverse = np.linalg.inv(kernel + penalty * np.eye(len(kernel)))
    except np.linalg.LinAlgError:
        return _FAILED
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        error = float(np.sqrt(np.mean((inverse @ targets / np.diag(inverse)) ** 2)))
    return min(error, _FAILED) if np.isfinite(error) else _FAILED


def _process() -> Task:
    """A Gaussian process on patients: likelihood by ten length scales, an amplitude and the noise; per row, negative."""
    scales = [f"scale{index}" for index in range(10)]

    def loss(chosen: Assignment) -> float:
        patients = _patients()
        kernel = float(chosen["amplitude"]) ** 2 * np.exp(-0.5 * _squares(patients.features / vector(chosen, scales)))
        factor = cho_factor(kernel + (float(chosen["noise"]) ** 2 + 1e-9) * np.eye(_ROWS), lower=True)
        fit = 0.5 * patients.targets @ cho_solve(factor, patients.targets)
        return float((fit + np.log(np.diag(factor[0])).sum()) / _ROWS + 0.5 * np.log(2 * np.pi))

    parameters = space_of(
        *(real(name, 0.1, 100.0, "log") for name in scales),
        real("amplitude", 0.01, 10.0, "log"),
        real("noise", 0.01, 2.0, "log"),
    )
    return Task("process-diabetes-12d", "unseen", _process.__doc__ or "", parameters, loss_of(loss), 1.05729, 80)


def _city_blocks(x: FloatArray) -> FloatArray:
    """Return the sums of absolute differences between rows, shape (n, n)."""
    return np.asarray(np.abs(x[:, None] - x[None]).sum(axis=2))


def _squares(x: FloatArray) -> FloatArray:
    """Return the squared distances between rows, shape (n, n)."""
    lengths = (x**2).sum(axis=1)
    return np.asarray(np.maximum(lengths[:, None] + lengths - 2 * x @ x.T, 0.0))
