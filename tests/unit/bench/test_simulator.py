from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.methods import Method
from bench.podium_tuner import PodiumTuner
from bench.simulator import Job, Orders, Report, Run, Simulation, best_after
from bench.tasks import all_tasks
from bench.tasks.task import State, Step, Task, real, space_of
from bench.tasks.training import schedule_task
from podium_contract.parameters import Assignment


def _advance(chosen: Assignment, step: int, state: State) -> Step:
    """Take x seconds a step; the loss is x less a tenth of the steps, and the state counts the steps ever trained."""
    trained = (state[0] if state else 0.0) + 1
    return Step({"loss": chosen["x"] - step / 10}, chosen["x"], (trained,))


TASK = Task("toy", "training", "", space_of(real("x", 1, 9)), _advance, 0.0, 4, steps=3)


class Scripted:
    """A tuner that gives orders from a list, and keeps what it was told."""

    seconds = 0.5

    def __init__(self, *orders: Orders) -> None:
        self.orders = list(orders)
        self.told: list[Report] = []

    def exchange(self, report: Report | None, free: int) -> Orders:
        del free
        if report is not None:
            self.told.append(report)
        return self.orders.pop(0) if self.orders else Orders()


def _job(trial: int, x: float, target: int | None = None) -> Job:
    return Job(trial, {"x": x}, target)


def test_two_workers_train_side_by_side_in_recorded_time() -> None:
    tuner = Scripted(Orders((_job(1, 2.0), _job(2, 1.0))))
    run = Simulation(TASK, tuner, workers=2).play()
    assert [(told.trial, told.step) for told in tuner.told] == [(2, 1), (1, 1), (2, 2), (2, 3), (1, 2), (1, 3)]
    assert (run.busy, run.elapsed, run.steps, run.trials) == (9.0, 6.0, 6, 2)
    assert run.busy_share == 0.75
    assert run.losses == [[pytest.approx(0.7)], [pytest.approx(1.7)]]
    assert run.decision_ms_per_trial == 250.0


def test_a_halted_trial_frees_its_worker_and_is_paid_for_the_step_under_way() -> None:
    tuner = Scripted(
        Orders((_job(1, 2.0), _job(2, 5.0))),
        Orders((_job(3, 1.0),), halts=frozenset({2})),
    )
    run = Simulation(TASK, tuner, workers=2).play()
    assert [told.trial for told in tuner.told if told.is_end] == [3, 1]
    assert run.busy == 6.0 + 2.0 + 3.0
    assert len(run.losses) == 2


def test_a_trial_halted_at_its_own_report_is_paid_for_once() -> None:
    run = Simulation(TASK, Scripted(Orders((_job(1, 2.0),)), Orders(halts=frozenset({1})))).play()
    assert (run.busy, run.elapsed, run.steps) == (2.0, 2.0, 1)


def test_a_paused_trial_goes_on_from_its_step() -> None:
    tuner = Scripted(Orders((_job(1, 1.0, target=1),)), Orders((_job(1, 1.0, target=3),)))
    run = Simulation(TASK, tuner).play()
    assert [(told.step, told.is_end) for told in tuner.told] == [(1, True), (2, False), (3, True)]
    assert (run.trials, run.busy) == (1, 3.0)


def test_a_clone_starts_from_the_state_and_step_of_its_parent() -> None:
    seen: list[State] = []

    def advance(chosen: Assignment, step: int, state: State) -> Step:
        seen.append(state)
        return _advance(chosen, step, state)

    tuner = Scripted(Orders((_job(1, 1.0, target=2),)), Orders(), Orders((Job(2, {"x": 4.0}, 3, parent=(1, 2)),)))
    run = Simulation(replace(TASK, advance=advance), tuner).play()
    assert tuner.told[-1].trial == 2
    assert tuner.told[-1].step == 3
    assert seen[-1] == (2.0,)
    assert run.steps == 3


def test_at_the_limit_steps_under_way_are_cut_off_and_count_as_work() -> None:
    tuner = Scripted(Orders((_job(1, 2.0), _job(2, 3.0))))
    run = Simulation(TASK, tuner, workers=2, limit=4.5).play()
    assert (run.elapsed, run.busy, run.busy_share) == (4.5, 9.0, 1.0)
    assert run.losses == []


def test_more_trials_than_workers_are_a_fault_of_the_tuner() -> None:
    with pytest.raises(AssertionError, match="all 1 workers are busy"):
        Simulation(TASK, Scripted(Orders((_job(1, 1.0), _job(2, 1.0)))), workers=1).play()


def test_incumbents_are_the_reports_better_than_all_before() -> None:
    run = Simulation(TASK, Scripted(Orders((_job(1, 2.0), _job(2, 1.0)))), workers=2).play()
    assert np.array(run.incumbents) == pytest.approx(np.array([[1.0, 2.0, 0.9], [2.0, 4.0, 0.8], [3.0, 6.0, 0.7]]))
    assert list(best_after(run, np.array([0.5, 1.0, 2.9, 9.0]), by=lambda each: each[0])) == [
        np.inf, *map(pytest.approx, (0.9, 0.8, 0.7)),
    ]  # fmt: skip
    assert list(best_after(Run(), np.array([1.0]), by=lambda each: each[0])) == [np.inf]


@given(st.lists(st.floats(1, 9), min_size=1, max_size=12), st.integers(1, 5), st.floats(0.5, 60))
def test_work_is_conserved_whatever_the_trials_workers_and_limit(xs: list[float], workers: int, limit: float) -> None:
    jobs = [_job(trial, x) for trial, x in enumerate(xs)]

    class Queue:
        seconds = 0.0

        def exchange(self, report: Report | None, free: int) -> Orders:
            del report
            given = [jobs.pop() for _ in range(min(free, len(jobs)))]
            return Orders(tuple(given))

    run = Simulation(TASK, Queue(), workers, limit).play()
    assert run.busy <= workers * run.elapsed + 1e-9
    assert run.elapsed <= limit
    assert run.busy <= 3 * sum(xs) + 1e-9
    if run.elapsed < limit:
        assert run.busy == pytest.approx(3 * sum(xs))
        assert run.steps == 3 * len(xs)


# --- Podium's engine in the simulator -------------------------------------------------------------------------


def test_the_engine_keeps_all_workers_busy_and_its_budget() -> None:
    task = all_tasks()["branin-2d"]
    run = Method.parse("random").run(task, seed=1, workers=8, trials=24)
    assert (run.trials, run.steps, len(run.losses), run.busy_share) == (24, 24, 24, 1.0)
    assert run.decision_seconds > 0


def test_the_engine_decides_the_same_for_the_same_seed_alone() -> None:
    task = all_tasks()["jenatton-tree-9d"]
    runs = [Method.parse("tpe").run(task, seed, workers=1, trials=15).losses for seed in (3, 3, 4)]
    assert runs[0] == runs[1] != runs[2]


def test_halving_in_the_engine_pauses_and_promotes_trials() -> None:
    task = all_tasks()["boosting-diabetes"]
    tuner = PodiumTuner(
        task, {"algorithm": "random"}, {"algorithm": "asha", "max": task.steps}, workers=4, max_trials=27
    )
    run = Simulation(task, tuner, workers=4).play()
    assert run.trials == 27
    assert 27 < run.steps < 27 * task.steps / 3
    assert len(run.losses) > 27


def test_a_stopping_scheduler_ends_trials_early() -> None:
    task = all_tasks()["boosting-diabetes"]
    run = Method.parse("random+median").run(task, seed=0, workers=2, trials=15)
    assert run.trials == 15
    assert 3 * task.steps < run.steps < 15 * task.steps


@pytest.mark.parametrize("scheduler", ["pbt", "pb2"])
def test_clones_of_a_population_go_on_from_their_parents_steps(scheduler: str) -> None:
    task = schedule_task(steps=12)
    parents: list[tuple[int, int]] = []

    class Watched:
        def __init__(self, tuner: PodiumTuner) -> None:
            self._tuner = tuner

        @property
        def seconds(self) -> float:
            return self._tuner.seconds

        def exchange(self, report: Report | None, free: int) -> Orders:
            orders = self._tuner.exchange(report, free)
            parents.extend(job.parent for job in orders.jobs if job.parent is not None)
            return orders

    tuner = Method.parse(f"random+{scheduler}(interval=3)").tuner(task, seed=0, workers=8, trials=96)
    run = Simulation(task, Watched(tuner), workers=8, limit=12.0).play()
    assert parents
    assert all(step in {3, 6, 9} for _, step in parents)
    assert run.trials == 8 + len(parents)
    assert run.busy_share == 1.0


def test_settings_in_a_methods_name_reach_the_engine() -> None:
    task = all_tasks()["branin-2d"]
    method = Method.parse("tpe(startupTrials=3, candidates=7)")
    spec = method.tuner(task, seed=5, workers=1, trials=10).spec
    assert spec.search.seed == 5
    assert (
        spec.search.to_json()["settings"] | {"startupTrials": 3, "candidates": 7} == spec.search.to_json()["settings"]
    )


@pytest.mark.parametrize("name", ["", "nobody:tpe", "tpe+", "tpe(", "a b"])
def test_what_is_no_methods_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a method is"):
        Method.parse(name)
