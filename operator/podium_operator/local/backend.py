"""The local backend: every trial a process group on this machine, every record a file in the results folder."""

import asyncio
import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from podium_contract.conditions import Reason
from podium_contract.experiment import (
    Experiment,
    ExperimentStatus,
    LogMetrics,
    PrometheusMetrics,
    SdkMetrics,
    immutable_change,
)
from podium_contract.names import trial_name
from podium_contract.trial import Trial
from podium_operator.core.actions import (
    Action,
    Announce,
    CreateTrial,
    RemoveRun,
    StartRun,
    StopRun,
    WriteExperiment,
    WriteTrial,
)
from podium_operator.core.facts import RunState, World
from podium_operator.core.ports import BackendError
from podium_operator.local import launcher
from podium_operator.local.folder import (
    ResultsFolder,
    disk_fault,
    read_document,
    read_record,
    write_document,
    write_whole,
)
from podium_operator.local.limits import grace_seconds, notices_of, refuse_what_cannot_be_done
from podium_operator.local.runs import (
    LogTail,
    RunRecord,
    command_of,
    end_of,
    environment_of,
    interrupted_end,
    last_sign_of_life,
    new_record,
    variables_of,
)
from podium_operator.metrics_sources import LogReader, Reader, final_reports, is_page_of, reader_for
from podium_operator.scraping import MAX_PAGE_BYTES, SCRAPE_TIMEOUT_SECONDS, Inbox, fetch_page

SCRAPE_INTERVAL_SECONDS = 0.3
_SCRAPE_PATIENCE_SECONDS = 0.2
"""How long a pass waits for pages; one that takes longer arrives in a later pass and holds up nobody."""
_TAKEOVER_TICK_SECONDS = 0.05
_TIDY_UP_SECONDS = 2.0
"""What a launcher needs beyond the grace period: to kill what is left, and to write its record."""


@dataclass
class LiveRun:
    """A run of this session: its record, its launcher, and what has been read of its metrics."""

    record: RunRecord
    reader: Reader
    log: LogTail
    launcher: asyncio.subprocess.Process | None = None
    """None when an earlier session started it."""
    inbox: Inbox = field(default_factory=Inbox)
    scrape: asyncio.Task[None] | None = None
    """A page that has been asked for and has not arrived."""

    @property
    def is_over(self) -> bool:
        """Whether its launcher has ended and its end is not yet accounted for."""
        return (
            self.record.run.state is not RunState.ENDED
            and self.launcher is not None
            and self.launcher.returncode is not None
        )


class WrongFolderError(BackendError):
    """A folder holds the results of something else than the manifest asks for: running it again will not help."""


class LocalBackend:
    """Runs one experiment's trials as local processes. Use it in an `async with` statement."""

    def __init__(
        self,
        experiment: Experiment,
        folder: Path,
        *,
        clock: Callable[[], datetime],
        announce: Callable[[Announce], None] = lambda _: None,
        environment: Mapping[str, str] | None = None,
        manifest: str | None = None,
    ) -> None:
        """Prepare to work in `folder`, which is opened and locked by the `async with`.

        `manifest` is the text that the user wrote, kept beside the results; `environment` is what trials inherit,
        this process's own when absent.
        """
        self._wanted = experiment
        self._manifest = manifest
        self._folder = ResultsFolder(folder)
        self._clock = clock
        self._announce = announce
        self._environment = dict(os.environ if environment is None else environment)
        self._world = World(experiment)
        self._runs: dict[int, LiveRun] = {}
        self._changed = asyncio.Event()
        self._last_scrape: datetime | None = None
        self._client = httpx.AsyncClient(timeout=SCRAPE_TIMEOUT_SECONDS, trust_env=False)
        self._watchers: set[asyncio.Task[None]] = set()

    @property
    def notices(self) -> tuple[str, ...]:
        """What the template asks for that a laptop leaves out."""
        return notices_of(self._wanted.spec.trial)

    async def __aenter__(self) -> Self:
        """Open the folder: what an earlier session left is accounted for, and ended where it still ran.

        Raises ManifestError for a manifest that no laptop can run; BackendError when the folder is in use, damaged, cannot
        be written, or holds the results of another manifest.
        """
        refuse_what_cannot_be_done(self._wanted.spec, self._environment)
        self._folder.lock()
        try:
            self._world = World(self._open_experiment())
            for trial in self._folder.records("trials", Trial.model_validate):
                self._world.put_trial(trial)
            await self._take_over_runs()
        except BaseException:
            self._folder.unlock()
            raise
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        for live in self._runs.values():  # only after an error: an orderly end leaves none
            if live.launcher is not None and live.launcher.stdin is not None:
                live.launcher.stdin.close()  # podium goes: the run ends, and that it did is nobody's fault
            if live.scrape is not None:
                live.scrape.cancel()
        if self._watchers:
            await asyncio.wait(self._watchers, timeout=self._grace_seconds + _TIDY_UP_SECONDS)
        await self._client.aclose()
        self._folder.unlock()

    # --- the backend's protocol

    async def observe(self) -> World:
        await self._read_metrics()
        for live in self._runs.values():
            if live.is_over:
                await self._account_for_end(live)
        self._world.runs = {number: live.record.run for number, live in self._runs.items()}
        reports = {number: live.inbox.hand_out() for number, live in self._runs.items()}
        self._world.reports = {number: observations for number, observations in reports.items() if observations}
        return self._world

    async def perform(self, action: Action) -> None:
        try:
            await self._do(action)
        except OSError as fault:
            raise disk_fault("work in", self._folder.root, fault) from fault

    async def _do(self, action: Action) -> None:
        match action:
            case CreateTrial(trial):
                self._create_trial(trial)
            case WriteTrial(number, status):
                self._put_trial(self._world.trials[number].model_copy(update={"status": status}))
            case StartRun(trial, attempt):
                await self._start_run(trial, attempt)
            case StopRun(number, attempt, reason, _):
                live = self._runs.get(number)
                if live is not None and live.record.run.attempt == attempt and live.record.run.stopping is None:
                    self._put_record(live, live.record.with_run(stopping=reason))
                    self._ask_to_end(live)
            case RemoveRun(number, attempt):
                self._remove_run(number, attempt)
            case WriteExperiment(status):
                self._write_experiment(status)
            case Announce():
                self._announce(action)

    def acknowledge(self) -> None:
        for live in self._runs.values():
            live.inbox.acknowledge()

    async def wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        self._changed.clear()

    # --- records

    def _open_experiment(self) -> Experiment:
        """Return the experiment that this folder holds, with what the manifest may change; or begin a new one."""
        known = self._known_experiment()
        if known is None:
            metadata = self._wanted.metadata.model_copy(
                update={"uid": uuid.uuid4().hex, "creation_timestamp": self._clock()}
            )
            experiment = self._wanted.model_copy(update={"metadata": metadata})
            write_document(self._folder.experiment, experiment.to_json())
        else:
            generation = known.metadata.generation + (known.spec != self._wanted.spec)
            metadata = known.metadata.model_copy(update={"generation": generation})
            experiment = known.model_copy(update={"spec": self._wanted.spec, "metadata": metadata})
        if self._manifest is not None:
            write_whole(self._folder.manifest, self._manifest)
        return experiment

    def _known_experiment(self) -> Experiment | None:
        """Return what an earlier session left here, when the manifest may go on with it; None in a new folder."""
        if not self._folder.experiment.exists():
            return None
        known = read_record(self._folder.experiment, Experiment.model_validate)
        name, wanted = known.metadata.name, self._wanted.metadata.name
        if name != wanted:
            raise WrongFolderError(
                f"{self._folder.root} holds the results of '{name}', got a manifest of '{wanted}'; give another --results"
            )
        changed = immutable_change(known.spec, self._wanted.spec)
        if changed is not None:
            raise WrongFolderError(
                f"{changed} cannot change once an experiment has begun, got another one than {self._folder.root} was "
                "begun with; restore it, or start afresh with another --results"
            )
        return known

    def _create_trial(self, trial: Trial) -> None:
        if trial.spec.number not in self._world.trials:
            self._put_trial(trial)

    def _put_trial(self, trial: Trial) -> None:
        write_document(self._folder.trial(trial.spec.number), trial.to_json())
        self._world.put_trial(trial)

    def _write_experiment(self, status: ExperimentStatus) -> None:
        experiment = self._world.experiment.model_copy(update={"status": status})
        write_document(self._folder.experiment, experiment.to_json())
        self._world.experiment = experiment

    def _put_record(self, live: LiveRun, record: RunRecord) -> None:
        write_document(self._folder.run(record.run.number), record.to_json())
        live.record = record

    # --- runs

    @property
    def _grace_seconds(self) -> float:
        return grace_seconds(self._wanted.spec.trial)

    async def _start_run(self, trial: Trial, attempt: int) -> None:
        number = trial.spec.number
        if number in self._runs and self._runs[number].record.run.attempt >= attempt:
            return
        live = self._live(new_record(number, attempt, self._clock(), self._first_step(trial)))
        for stale in ("exit", "port", "termination"):
            self._folder.of_run(number, attempt, stale).unlink(missing_ok=True)
        self._put_record(live, live.record)  # first, so that whatever happens now a later session knows the mark
        variables = variables_of(self._world.experiment, trial, live.record, self._folder)
        live.launcher = await self._launch(trial, live.record, variables)
        self._runs[number] = live
        watcher = asyncio.create_task(self._watch(live.launcher))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    async def _launch(
        self, trial: Trial, record: RunRecord, variables: Mapping[str, str]
    ) -> asyncio.subprocess.Process:
        number, attempt = record.run.number, record.run.attempt
        orders = {
            "command": command_of(self._world.experiment, trial, variables),
            "cwd": str(Path.cwd()),
            "log": str(self._folder.of_run(number, attempt, "log")),
            "exit": str(self._folder.of_run(number, attempt, "exit")),
            "grace": self._grace_seconds,
            "mark": record.mark,
        }
        orders_path = self._folder.of_run(number, attempt, "orders")
        write_whole(orders_path, json.dumps(orders))
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                launcher.__file__,
                str(orders_path),
                stdin=asyncio.subprocess.PIPE,
                start_new_session=True,
                env=environment_of(self._world.experiment, variables, self._environment),
            )
        except OSError as fault:
            raise BackendError(
                f"cannot start a process for trial {number}: {fault.strerror}; end other programs, or lower parallelism"
            ) from fault

    def _first_step(self, trial: Trial) -> int:
        """Return the step that a run goes on from: without a checkpoint it can only begin anew, a clone where it began."""
        try:
            has_checkpoint = any(self._folder.checkpoints(trial.spec.number).iterdir())
        except FileNotFoundError:
            has_checkpoint = False
        return trial.step if has_checkpoint else trial.inherited

    def _live(self, record: RunRecord) -> LiveRun:
        reader = reader_for(self._wanted.spec.trial.metrics, record.run.attempt, after_step=record.first_step)
        return LiveRun(record, reader, LogTail(self._folder.of_run(record.run.number, record.run.attempt, "log")))

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        self._changed.set()

    def _ask_to_end(self, live: LiveRun) -> None:
        """Tell the launcher to end its command; closing the pipe would tell it that podium is gone."""
        if live.launcher is not None and live.launcher.returncode is None and live.launcher.stdin is not None:
            with suppress(ConnectionError, RuntimeError):
                live.launcher.stdin.write(b"T")

    async def _account_for_end(self, live: LiveRun) -> None:
        run = live.record.run
        if live.scrape is not None:
            # The trial counts a page as collected once it is asked for; with the process gone it arrives, or breaks off.
            await asyncio.wait({live.scrape})
        exit_path = self._folder.of_run(run.number, run.attempt, "exit")
        if live.launcher is not None and live.launcher.returncode == launcher.CANNOT_RECORD:
            raise BackendError(f"cannot write {exit_path}: the disk is full or read-only; free some space")
        if not exit_path.exists():
            launcher.kill_marked(live.record.mark)
        self._end(live, read_document(exit_path) if exit_path.exists() else None)

    def _end(self, live: LiveRun, exit_record: Mapping[str, Any] | None) -> None:
        run = live.record.run
        termination = _text_of(self._folder.of_run(run.number, run.attempt, "termination"))
        log = self._folder.of_run(run.number, run.attempt, "log")
        while self._read_log(live):
            continue
        if isinstance(live.reader, LogReader):
            live.inbox.take(live.reader.finish())
        live.inbox.take(final_reports(self._wanted.spec.trial.metrics, termination))
        end = end_of(exit_record, log, termination, self._clock())
        live.record = live.record.with_run(state=RunState.ENDED, end=end)

    async def _take_over_runs(self) -> None:
        """Account for the runs that an earlier session left: let them finish their checkpoints, then read their exits."""
        records = list(self._folder.records("runs", RunRecord.from_json))
        self._runs = {r.run.number: self._live(r) for r in records if r.run.number in self._world.trials}
        await self._outlast([live.record.mark for live in self._runs.values()])
        for live in self._runs.values():
            run = live.record.run
            exit_path = self._folder.of_run(run.number, run.attempt, "exit")
            if exit_path.exists():
                self._end(live, read_document(exit_path))
            else:
                self._end(live, None)
                end = interrupted_end(last_sign_of_life(live.record, self._folder))
                live.record = live.record.with_run(end=end)

    async def _outlast(self, marks: list[str]) -> None:
        """Wait for what an earlier session's launchers are ending already; kill what is still there after the grace."""
        patient_until = time.monotonic() + self._grace_seconds + _TIDY_UP_SECONDS
        left = [mark for mark in marks if launcher.marked(mark)]
        if left:
            waiting = f"{len(left)} runs of an earlier podium run are ending; going on when they have"
            self._announce(Announce(Reason.RESUMED, waiting))
        while left and time.monotonic() < patient_until:
            await asyncio.sleep(_TAKEOVER_TICK_SECONDS)
            left = [mark for mark in left if launcher.marked(mark)]
        for mark in left:
            launcher.kill_marked(mark)

    def _remove_run(self, number: int, attempt: int) -> None:
        live = self._runs.get(number)
        if live is None or live.record.run.attempt != attempt:
            return
        del self._runs[number]
        for path in (self._folder.run(number), *(self._folder.of_run(number, attempt, e) for e in ("port", "orders"))):
            path.unlink(missing_ok=True)

    # --- metrics

    async def _read_metrics(self) -> None:
        """Ask every active run for its metrics, all at once, when the interval has passed."""
        now = self._clock()
        interval = self._wanted.spec.trial.metrics.scrape_interval_seconds or SCRAPE_INTERVAL_SECONDS
        if self._last_scrape is not None and 0 <= (now - self._last_scrape).total_seconds() < interval:
            return
        self._last_scrape = now
        scrapes = []
        for live in self._runs.values():
            if live.record.run.state is RunState.ACTIVE:
                self._read_log(live)
                scrapes += self._scrape_of(live)
        if scrapes:
            arrived, _ = await asyncio.wait(scrapes, timeout=_SCRAPE_PATIENCE_SECONDS)
            for scrape in arrived:
                scrape.result()  # a defect of ours shall be seen

    def _scrape_of(self, live: LiveRun) -> list[asyncio.Task[None]]:
        """Return the scrape that is under way, or a new one; none where there is nothing to ask yet."""
        if live.scrape is None or live.scrape.done():
            url = self._endpoint(live)
            live.scrape = None if url is None else asyncio.create_task(self._scrape(live, url))
        return [] if live.scrape is None else [live.scrape]

    async def _scrape(self, live: LiveRun, url: str) -> None:
        page = await fetch_page(self._client, url)
        if page is None:
            return
        name = trial_name(self._wanted.metadata.name, live.record.run.number)
        if not isinstance(self._wanted.spec.trial.metrics, SdkMetrics) or is_page_of(page, name):
            live.inbox.take(live.reader.read(page))

    def _endpoint(self, live: LiveRun) -> str | None:
        source, run = self._wanted.spec.trial.metrics, live.record.run
        if isinstance(source, LogMetrics):
            return None
        if isinstance(source, PrometheusMetrics):
            return f"http://127.0.0.1:{source.port}{source.path}"
        port = _text_of(self._folder.of_run(run.number, run.attempt, "port"))
        return f"http://127.0.0.1:{port}/metrics" if port else None

    def _read_log(self, live: LiveRun) -> bool:
        """Read on in the run's log, when that is where its metrics are; answers whether there may be more."""
        if not isinstance(live.reader, LogReader):
            return False
        text = live.log.read_more(MAX_PAGE_BYTES)
        live.inbox.take(live.reader.read(text))
        return bool(text)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
