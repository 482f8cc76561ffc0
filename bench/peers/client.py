"""A peer in the simulator: a process in the peer's own environment, asked and told over its standard streams."""

import atexit
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from typing import IO, Any, Self

from bench.peers.environments import ROOT, PeerKind, is_installed, python_of
from bench.peers.protocol import Setting
from bench.simulator import Job, Orders, Report
from bench.tasks.task import Task
from podium_contract.parameters import Assignment, in_dependency_order


class PeerError(RuntimeError):
    """A peer could not answer; the message is its own."""


class _Program:
    """A running program with pipes to it, and a file of what it writes to standard error."""

    def __init__(self, command: Sequence[str]) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._errors: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed with the process)
        self._process = subprocess.Popen(  # noqa: S603
            list(command),
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def converse(self, question: str) -> str:
        """Send a line and return the one that answers it; an empty one when the program has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(question + "\n")
            self._process.stdin.flush()
            return self._process.stdout.readline()
        except BrokenPipeError:
            return ""

    def last_words(self) -> str:
        """Wait for its end, and return its exit code with the last line that it wrote to standard error."""
        code = self._process.wait()
        self._errors.seek(0)
        words = next((line.strip() for line in reversed(self._errors.readlines()) if line.strip()), "it said nothing")
        return f"exit code {code}: {words}"

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()


class _Idle:
    """Programs that have done a run and wait for the next: importing a peer can take longer than a run of it does."""

    def __init__(self) -> None:
        self._programs: dict[tuple[str, ...], _Program] = {}

    def take(self, command: Sequence[str]) -> _Program:
        return self._programs.pop(tuple(command), None) or _Program(command)

    def leave(self, command: Sequence[str], program: _Program) -> None:
        """Keep one program of each command; end any other."""
        if program.is_running and tuple(command) not in self._programs:
            self._programs[tuple(command)] = program
        else:
            program.close()

    def close(self) -> None:
        while self._programs:
            self._programs.popitem()[1].close()


_IDLE = _Idle()
atexit.register(_IDLE.close)


class PeerProcess:
    """A conversation with a peer about one setting. Use it as a context: its process is free for the next when it ends."""

    def __init__(self, command: Sequence[str], setting: Setting) -> None:
        self.seconds = 0.0
        """Processor seconds that the peer itself took to decide; starting up is not part of it."""
        self._command = command
        self._program = _IDLE.take(command)
        try:
            self.version = str(self._converse("start", setting=asdict(setting))["version"])
        except PeerError:
            self._program.close()
            raise
        self.seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self.close()
        else:
            self._program.close()

    def close(self) -> None:
        _IDLE.leave(self._command, self._program)

    def ask(self) -> tuple[int, Assignment] | None:
        answer = self._converse("ask")
        return None if answer["trial"] is None else (answer["trial"], answer["parameters"])

    def report(self, trial: int, step: int, loss: float) -> str:
        return str(self._converse("report", trial=trial, step=step, loss=loss)["verdict"])

    def tell(self, trial: int, losses: list[float], excesses: list[float], seconds: float) -> None:
        self._converse("tell", trial=trial, losses=losses, excesses=excesses, seconds=seconds)

    def load(self, assignments: list[Assignment], losses: list[float]) -> None:
        self._converse("load", assignments=assignments, losses=losses)

    def _converse(self, do: str, **more: Any) -> dict[str, Any]:
        """Ask a question and wait for its answer; raises PeerError when the peer says it cannot, or has ended."""
        line = self._program.converse(json.dumps({"do": do, **more}))
        if not line:
            raise PeerError(f"the peer's process ended at '{do}' without an answer, {self._program.last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerError(str(answer["error"]))
        self.seconds += answer["cpu"]
        return answer


class PeerTuner:
    """A peer's process as the simulator's tuner."""

    def __init__(self, task: Task, peer: PeerProcess, trials: int) -> None:
        """`trials` is how many it is asked for at most; resuming one is not asking for another."""
        self._task, self._peer, self._most = task, peer, trials
        self._known: set[int] = set()

    @property
    def seconds(self) -> float:
        return self._peer.seconds

    def exchange(self, report: Report | None, free: int) -> Orders:
        halts = frozenset[int]()
        if report is not None and not self._take_in(report):
            halts = frozenset({report.trial})
            free += 0 if report.is_end else 1
        jobs: list[Job] = []
        while len(jobs) < free and len(self._known) < self._most and (asked := self._peer.ask()) is not None:
            jobs.append(Job(*asked))
            self._known.add(asked[0])
        return Orders(tuple(jobs), halts)

    def _take_in(self, report: Report) -> bool:
        """Tell the peer, and return whether the trial may go on; its last report is its result."""
        losses, excesses = self._task.losses(report.metrics), self._task.excesses(report.metrics)
        if self._task.steps > 1 and self._peer.report(report.trial, report.step, losses[0]) != "go":
            return False
        if report.is_end:
            self._peer.tell(report.trial, losses, excesses, report.seconds)
        return True


def start_peer(
    kind: PeerKind, task: Task, method: str, scheduler: str, seed: int, workers: int, trials: int | None = None
) -> PeerProcess:
    """Start a peer on a task; raises PeerError when it is not installed or offers no such method."""
    if not is_installed(kind):
        raise PeerError(f"{kind.name} is not installed; run `python -m bench.peers install {kind.name}`")
    setting = Setting(
        parameters=[each.to_json() for each in in_dependency_order(task.parameters)],
        objectives=len(task.objectives),
        constraints=sum((each.min is not None) + (each.max is not None) for each in task.constraints),
        method=method,
        scheduler=scheduler,
        seed=seed,
        trials=trials or task.budget,
        workers=workers,
        steps=task.steps,
    )
    return PeerProcess([str(python_of(kind)), "-m", kind.module], setting)
