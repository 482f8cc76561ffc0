import numpy as np
import pytest

from bench.tasks import SINGLE_OBJECTIVE, Task, all_tasks, select
from bench.tasks.continuous import shifts
from bench.tasks.training import schedule_task
from podium_contract.parameters import Assignment, assignment_faults
from podium_suggestion.pareto import hypervolume
from podium_suggestion.space import Space

TASKS = all_tasks()


def _box(values: list[float]) -> Assignment:
    return {f"x{index:02}": value for index, value in enumerate(values)}


OPTIMA: dict[str, Assignment] = {
    "branin-2d": _box([np.pi, 2.275]),
    "hartmann-3d": _box([0.114614, 0.555649, 0.852547]),
    "rastrigin-3d": _box(list(shifts(3, -5.12, 5.12))),
    "rosenbrock-4d": _box([1.0] * 4),
    "ackley-5d": _box(list(shifts(5, -15, 25))),
    "styblinski-5d": _box([-2.903534027771177] * 5),
    "hartmann-6d": _box([0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573]),
    "levy-8d": _box(list(shifts(8, -10, 10))),
    "ellipsoid-10d": _box(list(shifts(10, -5, 5))),
    "mixed-network-8d": {
        "lr": 10**-2.5, "batch": 64, "depth": 7, "width": 256, "dropout": 0.3, "activation": "gelu", "bias": True,
        "clip": 1.0,
    },
    "mixed-ackley-7d": {
        **{f"x{index}": value for index, value in enumerate(shifts(3, -3, 3))}, "n": 6, "m": 30, "left": "b",
        "right": "v",
    },
    "optimizers-7d": {
        "lr": 10**-1.5, "depth": 6, "optimizer": "sgd", "momentum": 0.9, "schedule": "cosine", "warmup": 0.1,
    },
    "jenatton-tree-9d": {"x1": "left", "x2": "left", "x4": 0.37, "r8": 0.0},
    "layers-10d": {
        "lr": 1e-3, "layers": 3, "width0": 128, "dropout0": 0.1, "width1": 256, "dropout1": 0.35, "width2": 91,
        "dropout2": 0.2,
    },
    "models-12d": {"model": "svm", "C": 10**1.5, "kernel": "rbf", "gamma": 10**-2.2},
    "camel-2d": _box([0.0898420131, -0.7126564032]),
    "shekel-4d": _box([4.0007468669, 3.9995094809, 4.0007468670, 3.9995094822]),
    "schwefel-4d": _box([420.968746] * 4),
    "michalewicz-5d": _box([2.20290552, 1.57079633, 1.28499157, 1.92305847, 1.72046977]),
    "dixon-price-6d": _box([2 ** -((2**index - 2) / 2**index) for index in range(1, 7)]),
    "powell-8d": _box(list(shifts(8, -4, 5))),
    "spring-3d": {"wire": 0.0516890614, "coil": 0.3567177469, "turns": 11.2889653382},
    "vessel-4d": {"shell": 0.8125, "head": 0.4375, "radius": 42.0984455958, "length": 176.6365958424},
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMA)
def test_the_known_optimum_is_reached_at_its_known_place(name: str) -> None:
    task = TASKS[name]
    metrics = task.evaluate(OPTIMA[name]).metrics
    assert assignment_faults(task.parameters, OPTIMA[name]) == []
    assert task.losses(metrics)[0] == pytest.approx(task.optimum, rel=2e-5, abs=1e-6)
    assert max(task.excesses(metrics), default=0.0) <= 1e-4


@pytest.mark.thorough
@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if not task.is_multi_objective])
def test_nothing_feasible_is_better_than_the_optimum(name: str) -> None:
    task, rng = TASKS[name], np.random.default_rng(1)
    space = Space(task.parameters)
    for metrics in (task.evaluate(space.sample(rng)).metrics for _ in range(200)):
        if max(task.excesses(metrics), default=0.0) <= 0:
            assert task.losses(metrics)[0] >= task.optimum - 1e-9


@pytest.mark.parametrize("name", [task.name for task in select(["architecture", "landscape-8x4"])])
def test_an_architecture_that_is_counted_is_looked_up_as_the_same(name: str) -> None:
    task, rng = TASKS[name], np.random.default_rng(2)
    losses = task.all_losses
    assert losses is not None
    assert task.optimum == losses.min()
    space = Space(task.parameters)
    found = [task.evaluate(space.sample(rng)).metrics["loss"] for _ in range(300)]
    assert np.isin(np.round(found, 9), np.round(losses, 9)).all()
    assert np.median(found) == pytest.approx(task.typical, rel=0.2)


def test_the_lattice_of_the_mixed_hartmann_function_has_no_better_point_near_the_optimum() -> None:
    task = TASKS["mixed-hartmann-7d"]
    best = {"x0": 0.20169, "x1": 0.150011, "x2": 0.476874, "x3": 0.275332, "turn": "north"}
    around = [task.evaluate({**best, "x4": x4, "x5": x5}).metrics["loss"] for x4 in range(4, 9) for x5 in range(11, 16)]
    assert task.optimum - 1e-9 <= min(around) <= task.optimum + 0.01


def test_the_gramacy_optimum_lies_on_its_curved_bound() -> None:
    task = TASKS["gramacy-2d"]
    grid = [{"x0": x, "x1": y} for x in np.linspace(0.15, 0.25, 201) for y in np.linspace(0.35, 0.45, 201)]
    metrics = [task.evaluate(point).metrics for point in grid]
    feasible = [each["loss"] for each in metrics if max(task.excesses(each)) <= 0]
    assert min(feasible) == pytest.approx(task.optimum, abs=2e-3)


@pytest.mark.thorough
def test_every_task_has_a_place_in_one_group_and_a_budget() -> None:
    for task in TASKS.values():
        assert task.budget >= 8
        if task.group in SINGLE_OBJECTIVE:
            assert 25 <= task.budget <= 80
            assert task.typical > task.optimum
    assert {task.group for task in select(SINGLE_OBJECTIVE)} == set(SINGLE_OBJECTIVE)


def test_a_task_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ValueError, match=r"branin-2d.*got brannin"):
        select(["brannin"])


# --- regret ---------------------------------------------------------------------------------------------------


def test_regret_is_0_at_the_optimum_and_1_for_a_typical_configuration() -> None:
    task = TASKS["hartmann-6d"]
    assert task.regret(np.array([task.optimum, task.typical])) == pytest.approx([0.0, 1.0])


def test_regret_counts_feasible_configurations_alone() -> None:
    task = TASKS["gramacy-2d"]
    regrets = task.regrets(np.array([[0.1], [0.9], [0.2], [0.7]]), np.array([0.3, 0.0, 0.1, -0.2]))
    assert regrets[0] == np.inf
    assert regrets[1] == regrets[2] > regrets[3] > 0


def test_regret_of_several_objectives_is_the_missing_share_of_the_hypervolume() -> None:
    task = TASKS["zdt1-6d"]
    losses = np.array([[2.0, 2.0], [0.0, 1.0]])
    assert task.regrets(losses, np.zeros(2)) == pytest.approx([1.0, 1.0 - 1.1 * 5.0 / task.optimum])


def test_full_training_is_one_step_of_all_the_seconds() -> None:
    task = TASKS["boosting-diabetes"]
    chosen = Space(task.parameters).sample(np.random.default_rng(0))
    whole = task.in_full().advance(chosen, 1, ())
    assert task.in_full().steps == 1
    assert whole.metrics == task.advance(chosen, task.steps, ()).metrics
    assert whole.seconds == pytest.approx(sum(task.advance(chosen, n, ()).seconds for n in range(1, task.steps + 1)))


def test_no_constant_rate_is_as_good_as_a_falling_one() -> None:
    task = schedule_task()
    constant = [task.evaluate({"lr": rate}).metrics["loss"] for rate in np.logspace(-3, 0, 200)]
    assert min(constant) > task.optimum + 0.3


# --- known fronts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["zdt1-6d", "zdt2-6d", "zdt3-6d"])
def test_points_on_the_front_make_up_the_known_hypervolume(name: str) -> None:
    task = TASKS[name]
    front = _losses(task, [{"x0": x, **{f"x{n}": 0.0 for n in range(1, 6)}} for x in np.linspace(0, 1, 1500)])
    volume = hypervolume(front, task.reference)
    assert 0.995 * task.optimum < volume <= task.optimum + 1e-9


def test_points_on_the_sphere_make_up_the_known_hypervolume() -> None:
    task = TASKS["dtlz2-6d"]
    distances = dict(zip(("x2", "x3", "x4", "x5"), (0.31, 0.72, 0.44, 0.63), strict=True))
    grid = np.linspace(0, 1, 15)
    front = _losses(task, [{"x0": x, "x1": y, **distances} for x in grid for y in grid])
    assert np.linalg.norm(front, axis=1) == pytest.approx(1.0)
    assert 0.98 * task.optimum < hypervolume(front, task.reference) <= task.optimum


def _losses(task: Task, points: list[Assignment]) -> np.ndarray:
    return np.array([task.losses(task.evaluate(point).metrics) for point in points])
