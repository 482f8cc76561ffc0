"""`podium run`: tune on this machine. One engine, one backend, one loop, and a screen."""

import asyncio
import json
import os
import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.live import Live

from podium_contract.experiment import Experiment
from podium_contract.lifecycle import Phase
from podium_contract.manifest import parse_experiment, read_manifest
from podium_operator.advisors.in_process import InProcessAdvisor
from podium_operator.cli.exit_codes import EXIT_CANNOT_GO_ON, EXIT_COMPLETE, EXIT_FAILED, EXIT_INTERRUPTED
from podium_operator.cli.view import RunView, event_line, podium, screen
from podium_operator.core.actions import Action, Announce
from podium_operator.core.facts import World
from podium_operator.core.loop import Loop, Pass
from podium_operator.core.outcome import has_ended
from podium_operator.core.ports import BackendError
from podium_operator.local.backend import LocalBackend, WrongFolderError
from podium_operator.local.folder import ResultsFolder
from podium_operator.results import Results
from podium_suggestion.engine import Engine
from podium_suggestion.store import Store, StoreError, open_store

_IDLE_SECONDS = 0.3
_MAX_ATTEMPTS_TO_ACT = 3


def run(manifest: Path, results: Path | None, output: str, *, quiet: bool) -> int:
    """Run the experiment of a manifest to its end and return the exit code."""
    messages = Console(stderr=True, highlight=False)
    text = read_manifest(manifest)
    experiment = parse_experiment(text, str(manifest))
    folder = results or _results_folder(experiment)
    try:
        return asyncio.run(_Session(experiment, text, manifest, folder, messages, output=output, quiet=quiet).run())
    except (BackendError, StoreError) as fault:
        messages.print(f"cannot go on: {fault}", style="bold red", soft_wrap=True, markup=False)
        if not isinstance(fault, WrongFolderError):
            hint = _resume_hint(manifest, folder, experiment)
            messages.print(f"Nothing is lost: {hint}", soft_wrap=True, markup=False)
        return EXIT_CANNOT_GO_ON


@dataclass
class _Interruptible:
    """A local backend whose experiment is suspended once the user has asked to stop."""

    backend: LocalBackend
    is_interrupted: bool = False
    pressed: asyncio.Event = field(default_factory=asyncio.Event)

    def interrupt(self) -> None:
        if self.is_interrupted:
            os._exit(EXIT_INTERRUPTED)  # the second time: the launchers end what still runs
        self.is_interrupted = True
        self.pressed.set()

    async def observe(self) -> World:
        world = await self.backend.observe()
        if self.is_interrupted:
            spec = world.experiment.spec.model_copy(update={"suspend": True})
            world.experiment = world.experiment.model_copy(update={"spec": spec})
        return world

    async def perform(self, action: Action) -> None:
        await self.backend.perform(action)

    def acknowledge(self) -> None:
        self.backend.acknowledge()

    async def wait(self, seconds: float) -> None:
        interrupted = asyncio.ensure_future(self.pressed.wait())
        changed = asyncio.ensure_future(self.backend.wait(seconds))
        _, pending = await asyncio.wait({interrupted, changed}, return_when=asyncio.FIRST_COMPLETED)
        self.pressed.clear()
        for waiter in pending:
            waiter.cancel()


class _Session:
    """One `podium run`, from opening the folder to the closing screen."""

    def __init__(
        self,
        experiment: Experiment,
        text: str,
        manifest: Path,
        folder: Path,
        messages: Console,
        *,
        output: str,
        quiet: bool,
    ) -> None:
        """`text` is what was read from `manifest`, and is kept as it was beside the results."""
        self._experiment = experiment
        self._text = text
        self._manifest = manifest
        self._folder = folder
        self._output = output
        self._messages = messages
        self._quiet = quiet
        self._is_live = messages.is_terminal and not quiet
        self._view = RunView(started=_now())

    async def run(self) -> int:
        backend = LocalBackend(self._experiment, self._folder, clock=_now, announce=self._announce, manifest=self._text)
        async with backend:
            for notice in backend.notices:
                self._messages.print(f"note: {notice}", style="yellow")
            engine = Engine(open_store(f"sqlite:///{self._folder / 'podium.db'}"), others=self._stores_beside)
            interruptible = _Interruptible(backend)
            loop = Loop(interruptible, InProcessAdvisor(engine), _now)
            world = await backend.observe()
            self._view.trials_before = world.tally.total
            with (
                _signals(interruptible.interrupt),
                Live(console=self._messages, auto_refresh=False, transient=True) as live,
            ):
                last = await self._drive(loop, interruptible, live if self._is_live else None)
        return self._finish(last, engine, interrupted=interruptible.is_interrupted)

    async def _drive(self, loop: Loop, backend: _Interruptible, live: Live | None) -> Pass:
        failures = 0
        while True:
            try:
                step = await loop.step()
            except BackendError:
                failures += 1
                if failures >= _MAX_ATTEMPTS_TO_ACT:
                    raise
                await backend.wait(_IDLE_SECONDS)
                continue
            failures = 0
            experiment = step.world.experiment
            self._view.follow(experiment.status)
            self._view.stopping = backend.is_interrupted
            if live is not None:
                live.update(screen(experiment, self._view, _now()), refresh=True)
            was_suspended = backend.is_interrupted and experiment.spec.suspend  # else this pass may have started runs
            if step.plan.is_finished or (was_suspended and not step.world.runs):
                return step
            if not _changes_anything(step):
                await backend.wait(_IDLE_SECONDS)

    def _finish(self, last: Pass, engine: Engine, *, interrupted: bool) -> int:
        experiment = last.world.experiment
        if self._output == "json":
            results = Results.of(experiment, last.world.trials, engine.records(experiment.metadata.key))
            print(json.dumps(results.to_json(), indent=2))  # noqa: T201  (the document is the output)
        if interrupted and not has_ended(experiment.status):
            self._messages.print("Stopped; every trial has its checkpoint.", style="yellow")
            hint = _resume_hint(self._manifest, self._folder, self._experiment)
            self._messages.print(f"Resume: {hint}", soft_wrap=True, markup=False)
            return EXIT_INTERRUPTED
        seconds = (_now() - self._view.started).total_seconds()
        console = self._messages if self._output == "json" else Console(highlight=False)
        console.print(podium(experiment, str(self._folder), seconds))
        self._point_to_a_failure(last.world)
        return EXIT_COMPLETE if experiment.status.phase == "Complete" else EXIT_FAILED

    def _point_to_a_failure(self, world: World) -> None:
        """Say where the output of the first trial is that failed."""
        folder = ResultsFolder(self._folder)
        for number, trial in sorted(world.trials.items()):
            log = folder.of_run(number, trial.status.attempt, "log")
            if trial.status.phase is Phase.FAILED and log.exists():
                shown = self._folder / log.relative_to(folder.root)
                words = f"trial {number} failed; what it printed is in {shown}"
                self._messages.print(words, style="yellow", soft_wrap=True, markup=False)
                return

    @contextmanager
    def _stores_beside(self) -> Iterator[list[Store]]:
        """Open the stores of the results folders beside this one, whose experiments a warm start may learn from."""
        own = self._folder.absolute()
        with ExitStack() as open_ones:
            stores = []
            for path in sorted(own.parent.glob("*/podium.db")):
                if path.parent == own:
                    continue
                try:
                    stores.append(open_ones.enter_context(closing(open_store(f"sqlite:///{path}"))))
                except StoreError as fault:
                    self._messages.print(
                        f"note: the warm start passes over {path}: {fault}", style="yellow", markup=False
                    )
            yield stores

    def _announce(self, announcement: Announce) -> None:
        self._view.note(announcement)
        if not self._is_live and not self._quiet:
            self._messages.print(event_line(announcement), markup=False, soft_wrap=True)


class _signals:  # noqa: N801  (reads as a word in a with statement)
    """SIGINT and SIGTERM ask the session to stop in order, while it lasts."""

    def __init__(self, handler: Callable[[], None]) -> None:
        self._handler = handler
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._handler)

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.remove_signal_handler(number)


def _changes_anything(step: Pass) -> bool:
    """Whether the pass moved something, so that another look right away may find more to do."""
    return any(not isinstance(action, Announce) for action in step.plan.actions)


def _results_folder(experiment: Experiment) -> Path:
    return Path("podium-results") / experiment.metadata.name


def _resume_hint(manifest: Path, folder: Path, experiment: Experiment) -> str:
    command = ["podium", "run", str(manifest)]
    if folder != _results_folder(experiment):
        command += ["--results", str(folder)]
    return f"{shlex.join(command)} goes on where it stopped."


def _now() -> datetime:
    return datetime.now(UTC)
