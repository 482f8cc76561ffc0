"""How long one ask takes after so many finished trials: Podium's samplers beside the peers, in turns, on the same trials.

A cycle is what a search with one worker does over and over: the result of the last trial is told, and one more trial is
asked for. So no tuner answers from a model that it has fitted before, but where it would in use; and learning counts,
whether it is done when told or when asked. Processor time of the two alone: no protocol, no start-up. Cycles alternate, so
that whatever else the machine does falls on all of them. With several objectives Podium's samplers are timed alone.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from bench.methods import Method
from bench.peers.client import PeerError, PeerProcess, start_peer
from bench.peers.environments import PEERS
from bench.podium_tuner import experiment_of
from bench.tabulation import Figures, number
from bench.tasks.task import Step, Task, choice, ordinal, real, space_of, whole
from podium_contract.experiment import Objective
from podium_contract.lifecycle import Phase
from podium_contract.parameters import Assignment
from podium_contract.trial import Observation
from podium_suggestion.history import History, TrialHistory
from podium_suggestion.samplers import Exhausted, make_sampler, trial_rng
from podium_suggestion.space import Space

TRIALS = (50, 200, 1_000, 10_000)

SPACES = {
    "floats": space_of(*(real(f"x{index}", 1e-5, 1.0, "log") for index in range(10))),
    "mixed": space_of(
        *(real(f"x{index}", 1e-5, 1.0, "log") for index in range(4)),
        real("dropout", 0.0, 0.9, step=0.1),
        whole("depth", 1, 12),
        whole("width", 8, 1024, "log"),
        ordinal("batch", 16, 32, 64, 128),
        choice("optimizer", "sgd", "adam", "rmsprop"),
        choice("activation", "relu", "tanh", "gelu", "silu"),
    ),
}
"""Ten parameters each."""


class Asked(Protocol):
    """A tuner that knows some finished trials; its answers and what it is told cost processor seconds."""

    @property
    def seconds(self) -> float:
        """Spent on asking and telling so far."""
        ...

    def ask(self) -> Assignment:
        """Return one more configuration; raises NothingMore when there is none."""
        ...

    def tell(self, losses: list[float]) -> None:
        """Take in the result of the configuration asked for last: a loss for each objective."""
        ...


class NothingMore(RuntimeError):  # noqa: N818  (an answer rather than a fault)
    """A tuner has no further configuration; the message says why."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds per ask of a method, cycle by cycle; or why there are none, or no more."""

    method: str
    trials: int
    milliseconds: list[float]
    error: str = ""

    @property
    def median(self) -> float:
        return float(np.median(self.milliseconds)) if self.milliseconds else float("nan")

    @property
    def mean(self) -> float:
        """The mean, larger than the median where a model is fitted at every few asks only."""
        return float(np.mean(self.milliseconds)) if self.milliseconds else float("nan")


def measure(
    methods: Sequence[Method],
    space: str,
    trials: int,
    repeats: int,
    cap: float,
    seed: int = 0,
    objectives: int = 1,
) -> list[Timing]:
    """Time `repeats` cycles of each method in turns; a method that has used `cap` seconds is not asked again."""
    task = latency_task(space, trials + repeats + 1, objectives)
    rng, cube = np.random.default_rng(seed), Space(task.parameters)
    assignments = [cube.sample(rng) for _ in range(trials)]
    losses = [_losses(task, assignment) for assignment in assignments]
    errors: dict[str, str] = {}
    cycles: dict[str, Iterator[float]] = {}
    milliseconds: dict[str, list[float]] = {method.name: [] for method in methods}
    processes: list[PeerProcess] = []
    for method in methods:
        if task.is_multi_objective and not method.is_ours:
            errors[method.name] = "peers are timed with one objective"
            continue
        try:
            tuner: Asked
            if method.is_ours:
                tuner = _Sampler(method, task, assignments, losses, seed)
            else:
                processes.append(start_peer(PEERS[method.peer], task, method.search, "", seed, workers=1))
                tuner = _Peer(processes[-1], assignments, [loss for (loss,) in losses])
            cycles[method.name] = timed_cycles(tuner, task)
        except (PeerError, ValueError) as error:
            errors[method.name] = str(error)
    for _ in range(repeats):
        for name in [name for name in cycles if name not in errors and sum(milliseconds[name]) < 1e3 * cap]:
            try:
                milliseconds[name].append(1e3 * next(cycles[name]))
            except (PeerError, NothingMore) as error:
                errors[name] = str(error)
    for process in processes:
        process.close()
    return [Timing(method.name, trials, milliseconds[method.name], errors.get(method.name, "")) for method in methods]


def latency_task(space: str, trials: int, objectives: int = 1) -> Task:
    """Return the task that tuners are timed on: how far a configuration is from a point of the unit cube.

    Each of several objectives has a point of its own, and what lies between all of them is their front.
    """
    cube = Space(SPACES[space])
    centres = np.full((objectives, cube.dimension), 0.3)
    if objectives > 1:
        for index, centre in enumerate(centres):
            centre[index::objectives] = 0.8
    metrics = [f"loss{index}" for index in range(objectives)]

    def advance(assignment: Assignment, _: int, __: object) -> Step:
        distances = np.nansum((cube.to_unit(assignment) - centres) ** 2, axis=1)
        return Step(dict(zip(metrics, distances.tolist(), strict=True)))

    minimized = tuple(Objective(metric=metric, goal="minimize") for metric in metrics)
    return Task("latency", "mixed", "", SPACES[space], advance, 0.0, trials, objectives=minimized)


def subject(space: str, objectives: int) -> str:
    """Return what timings are kept under."""
    return space if objectives == 1 else f"{space}-{objectives}-objectives"


def timed_cycles(tuner: Asked, task: Task) -> Iterator[float]:
    """Yield the processor seconds of one cycle after another: a new result is told, one more configuration asked for.

    The first ask belongs to no cycle: imports and first-time set-up are not what an ask costs.
    """
    assignment = tuner.ask()
    while True:
        losses, before = _losses(task, assignment), tuner.seconds
        tuner.tell(losses)
        assignment = tuner.ask()
        yield tuner.seconds - before


def _losses(task: Task, assignment: Assignment) -> list[float]:
    return task.losses(task.evaluate(assignment).metrics)


class _Sampler:
    """One of Podium's samplers, over a history of its own."""

    def __init__(
        self, method: Method, task: Task, assignments: list[Assignment], losses: list[list[float]], seed: int
    ) -> None:
        """Raises pydantic's ValidationError, a ValueError, for what no manifest may hold."""
        search = {"algorithm": method.search, "seed": seed, "settings": method.search_settings}
        spec = experiment_of(task, search)
        self.seconds = 0.0
        self._seed = seed
        self._history = History(Space(task.parameters), spec.objectives)
        self._sampler = make_sampler(spec, self._history.space)
        for assignment, each in zip(assignments, losses, strict=True):
            self._history.add(TrialHistory(self._history.rows + 1, assignment))
            self.tell(each)
        self.seconds = 0.0

    def ask(self) -> Assignment:
        start, trial = time.process_time(), self._history.rows + 1
        proposal = self._sampler.propose(self._history, trial, trial_rng(self._seed, trial))
        if isinstance(proposal, Exhausted):
            raise NothingMore(proposal.reason)
        self._history.add(TrialHistory(trial, proposal))
        self.seconds += time.process_time() - start
        return proposal

    def tell(self, losses: list[float]) -> None:
        start, trial = time.process_time(), self._history.rows
        metrics = {each.metric: loss for each, loss in zip(self._history.objectives, losses, strict=True)}
        self._history.observe(trial, Observation(attempt=1, step=1, metrics=metrics))
        self._history.settle(trial, Phase.SUCCEEDED)
        self.seconds += time.process_time() - start


class _Peer:
    """A peer's process."""

    def __init__(self, process: PeerProcess, assignments: list[Assignment], losses: list[float]) -> None:
        self._process = process
        self._trial = 0
        process.load(assignments, losses)

    @property
    def seconds(self) -> float:
        return self._process.seconds

    def ask(self) -> Assignment:
        asked = self._process.ask()
        if asked is None:
            raise NothingMore("it proposes no configuration")
        self._trial, assignment = asked
        return assignment

    def tell(self, losses: list[float]) -> None:
        self._process.tell(self._trial, losses, [], seconds=1.0)


def keep(folder: Path, space: str, timings: list[Timing]) -> None:
    """Write timings, one file for each space and number of trials, methods of earlier calls kept."""
    for trials in {timing.trials for timing in timings}:
        path = folder / "latency" / f"{space}-{trials}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        known = json.loads(path.read_text()) if path.exists() else {}
        for timing in timings:
            if timing.trials == trials:
                known[timing.method] = {"milliseconds": timing.milliseconds, "error": timing.error}
        path.write_text(json.dumps(known))


def load(folder: Path, only: Sequence[str] | None = None) -> dict[str, list[Timing]]:
    """Return what is kept, by space; `only` names the methods that are wanted."""
    found: dict[str, list[Timing]] = {}
    for path in sorted((folder / "latency").glob("*.json")):
        space, trials = path.stem.rsplit("-", 1)
        for method, values in json.loads(path.read_text()).items():
            if only is None or method in only:
                found.setdefault(space, []).append(Timing(method, int(trials), values["milliseconds"], values["error"]))
    return found


def tables(found: dict[str, list[Timing]]) -> Iterator[Figures]:
    for space, timings in found.items():
        counts = sorted({timing.trials for timing in timings})
        table = Figures(
            f"processor milliseconds per ask, the result before it told, ten parameters ({space}): median (mean)",
            ["method", *(f"{count} trials" for count in counts)],
        )
        by_method: dict[str, dict[int, Timing]] = {}
        for timing in timings:
            by_method.setdefault(timing.method, {})[timing.trials] = timing
        for name in sorted(by_method, key=lambda name: (":" in name, name)):
            table.add(name, *(_cell(by_method[name].get(count)) for count in counts))
        table.notes += [f"{timing.method}: {timing.error[:160]}" for timing in timings if timing.error]
        yield table


def _cell(timing: Timing | None) -> str:
    if timing is None or not timing.milliseconds:
        return "-"
    return f"{number(timing.median, 2)} ({number(timing.mean, 2)})"
