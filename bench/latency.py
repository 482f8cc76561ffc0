"""How long one ask takes after so many finished trials: Podium's samplers beside the peers, in turns, on the same trials.

Processor time of the ask alone: no telling, no protocol, no start-up. Asks alternate, so that whatever else the machine does
falls on all of them.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.methods import Method
from bench.peers.client import PeerError, PeerProcess, start_peer
from bench.peers.environments import PEERS
from bench.podium_tuner import experiment_of
from bench.tabulation import Figures, number
from bench.tasks.task import Task, choice, loss_of, ordinal, real, space_of, whole
from podium_contract.lifecycle import Phase
from podium_contract.parameters import Assignment
from podium_contract.trial import Observation
from podium_suggestion.history import History, TrialHistory
from podium_suggestion.samplers import make_sampler, trial_rng
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

Ask = Callable[[], float]
"""Asks for one more trial; returns the seconds it took."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds per ask of a method, ask by ask; or why there are none."""

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
    methods: Sequence[Method], space: str, trials: int, repeats: int, cap: float, seed: int = 0
) -> list[Timing]:
    """Time `repeats` asks of each method in turns; a method that has used `cap` seconds is not asked again."""
    task = Task("latency", "mixed", "", SPACES[space], loss_of(lambda _: 0.0), 0.0, trials + repeats + 1)
    rng, cube = np.random.default_rng(seed), Space(task.parameters)
    assignments = [cube.sample(rng) for _ in range(trials)]
    losses = [float(np.nansum((cube.to_unit(assignment) - 0.3) ** 2)) for assignment in assignments]
    asks: dict[str, Ask] = {}
    timings = {method.name: Timing(method.name, trials, []) for method in methods}
    processes: list[PeerProcess] = []
    for method in methods:
        try:
            asks[method.name] = (
                _podium(method, task, assignments, losses, seed)
                if method.is_ours
                else _peer(method, task, assignments, losses, seed, processes)
            )
            asks[method.name]()  # imports and first-time set-up are not what an ask costs
        except (PeerError, ValueError) as error:
            timings[method.name] = Timing(method.name, trials, [], str(error))
            asks.pop(method.name, None)
    for _ in range(repeats):
        for name, ask in asks.items():
            if sum(timings[name].milliseconds) < 1e3 * cap:
                timings[name].milliseconds.append(1e3 * ask())
    for process in processes:
        process.close()
    return list(timings.values())


def _podium(method: Method, task: Task, assignments: list[Assignment], losses: list[float], seed: int) -> Ask:
    search = {"algorithm": method.search, "seed": seed, "settings": method.search_settings}
    spec = experiment_of(task, search)
    history = History(Space(task.parameters), spec.objectives)
    for trial, (assignment, loss) in enumerate(zip(assignments, losses, strict=True), start=1):
        history.add(TrialHistory(trial, assignment))
        history.observe(trial, Observation(attempt=1, step=1, metrics={"loss": loss}))
        history.settle(trial, Phase.SUCCEEDED)
    sampler = make_sampler(spec, history.space)

    def ask() -> float:
        """Ask, and let the new trial wait, as a tuner with several workers would."""
        trial = history.rows + 1
        start = time.process_time()
        proposal = sampler.propose(history, trial, trial_rng(seed, trial))
        seconds = time.process_time() - start
        if isinstance(proposal, dict):
            history.add(TrialHistory(trial, proposal))
        return seconds

    return ask


def _peer(
    method: Method,
    task: Task,
    assignments: list[Assignment],
    losses: list[float],
    seed: int,
    processes: list[PeerProcess],
) -> Ask:
    peer = start_peer(PEERS[method.peer], task, method.search, "", seed, workers=1)
    processes.append(peer)
    peer.load(assignments, losses)

    def ask() -> float:
        before = peer.seconds
        peer.ask()
        return peer.seconds - before

    return ask


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


def load(folder: Path) -> dict[str, list[Timing]]:
    """Return what is kept, by space."""
    found: dict[str, list[Timing]] = {}
    for path in sorted((folder / "latency").glob("*.json")):
        space, trials = path.stem.rsplit("-", 1)
        for method, values in json.loads(path.read_text()).items():
            found.setdefault(space, []).append(Timing(method, int(trials), values["milliseconds"], values["error"]))
    return found


def tables(found: dict[str, list[Timing]]) -> Iterator[Figures]:
    for space, timings in found.items():
        counts = sorted({timing.trials for timing in timings})
        table = Figures(
            f"processor milliseconds per ask, ten parameters ({space}): median (mean)",
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
