"""The benchmark's tasks by name. See each file for what they are and where they come from."""

from collections.abc import Iterable
from functools import cache

from bench.tasks.architecture import architecture_tasks
from bench.tasks.conditional import conditional_tasks
from bench.tasks.constrained import constrained_tasks
from bench.tasks.continuous import continuous_tasks
from bench.tasks.mixed import mixed_tasks
from bench.tasks.multiobjective import multi_objective_tasks
from bench.tasks.task import SINGLE_OBJECTIVE, Group, Step, Task
from bench.tasks.training import schedule_task, training_tasks
from bench.tasks.unseen import unseen_tasks

__all__ = ["SINGLE_OBJECTIVE", "Group", "Step", "Task", "all_tasks", "select"]


@cache
def all_tasks() -> dict[str, Task]:
    tasks = [
        *continuous_tasks(),
        *mixed_tasks(),
        *conditional_tasks(),
        *architecture_tasks(),
        *training_tasks(),
        *unseen_tasks(),
        *multi_objective_tasks(),
        *constrained_tasks(),
        schedule_task(),
    ]
    return {task.name: task for task in tasks}


def select(wanted: Iterable[str]) -> list[Task]:
    """Return tasks by their names or groups' names; ValueError for what is neither."""
    tasks, chosen = all_tasks(), []
    for name in wanted:
        found = [task for task in tasks.values() if name in (task.name, task.group)]
        if not found:
            known = sorted({*tasks, *(task.group for task in tasks.values())})
            raise ValueError(f"a task or group is one of {', '.join(known)}; got {name}")
        chosen += [task for task in found if task not in chosen]
    return chosen
