"""The local backend: every trial a process group on this machine, every record a file in the results folder."""

import asyncio
import json
import os
import sys
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from podium_contract.experiment import Experiment, ExperimentStatus, LogMetrics, PrometheusMetrics, immutable_change
from podium_contract.template import trial_container
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
from podium_operator.local.folder import ResultsFolder, read_document, write_document, write_whole
from podium_operator.local.runs import (
    RunRecord,
    command_of,
    end_of,
    environment_of,
    grace_seconds,
    interrupted_end,
    new_record,
)
from podium_operator.metrics_sources import LogReader, Reader, final_reports, reader_for
from podium_operator.scraping import MAX_PAGE_BYTES, SCRAPE_TIMEOUT_SECONDS, Inbox, fetch_page

SCRAPE_INTERVAL_SECONDS = 0.3
_TAKEOVER_TICK_SECONDS = 0.05


@dataclass
class LiveRun:
    """A run of this session: its record, its launcher, and what has been read of its metrics."""

    record: RunRecord
    reader: Reader
    launcher: asyncio.subprocess.Process | None = None
    """None when an earlier session started it."""
    log_position: int = 0
    inbox: Inbox = field(default_factory=Inbox)


class LocalBackend:
    """Runs one experiment's trials as local processes. Use it in an `async with` statement."""

    def __init__(
        self,
        experiment: Experiment,
        folder: Path,
        clock: Callable[[], datetime],
        announce: Callable[[Announce], None] = lambda _: None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._wanted = experiment
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
        return tuple(_notices(self._wanted))

    async def __aenter__(self) -> Self:
        _refuse_what_cannot_be_done(self._wanted)
        self._folder.lock()
        try:
            self._world = World(self._open_experiment())
            for document in self._folder.documents("trials"):
                self._world.put_trial(Trial.model_validate(document))
            await self._take_over_runs()
        except BaseException:
            self._folder.unlock()
            raise
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        for live in self._runs.values():
            self._ask_to_end(live)  # only after an error: an orderly end leaves none
        for task in list(self._watchers):
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(task), grace_seconds(self._wanted) + 1)
        await self._client.aclose()
        self._folder.unlock()

    # --- the backend's protocol

    async def observe(self) -> World:
        await self._read_metrics()
        for live in self._runs.values():
            self._look_for_end(live)
        self._world.runs = {number: live.record.run for number, live in self._runs.items()}
        reports = {number: live.inbox.hand_out() for number, live in self._runs.items()}
        self._world.reports = {number: observations for number, observations in reports.items() if observations}
        return self._world

    async def perform(self, action: Action) -> None:
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
            await asyncio.wait_for(self._changed.wait(), seconds)
        self._changed.clear()

    # --- records

    def _open_experiment(self) -> Experiment:
        """Return the experiment that this folder holds, with what the manifest may change; or begin a new one."""
        if not self._folder.experiment.exists():
            metadata = self._wanted.metadata.model_copy(
                update={"uid": uuid.uuid4().hex, "creation_timestamp": self._clock()}
            )
            experiment = self._wanted.model_copy(update={"metadata": metadata})
            write_document(self._folder.experiment, experiment.to_json())
            return experiment
        known = Experiment.model_validate(read_document(self._folder.experiment))
        changed = immutable_change(known.spec, self._wanted.spec)
        if changed is not None:
            raise BackendError(
                f"{changed} cannot change once an experiment has begun; restore it, or start afresh with another --results"
            )
        generation = known.metadata.generation + (known.spec != self._wanted.spec)
        metadata = known.metadata.model_copy(update={"generation": generation})
        return known.model_copy(update={"spec": self._wanted.spec, "metadata": metadata})

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

    async def _start_run(self, trial: Trial, attempt: int) -> None:
        number = trial.spec.number
        if number in self._runs and self._runs[number].record.run.attempt >= attempt:
            return
        record = new_record(number, attempt, self._clock())
        live = LiveRun(record, self._reader(trial, attempt))
        self._put_record(live, record)
        orders = {
            "command": command_of(self._world.experiment, trial),
            "cwd": str(Path.cwd()),
            "log": str(self._folder.of_run(number, attempt, "log")),
            "exit": str(self._folder.of_run(number, attempt, "exit")),
            "grace": grace_seconds(self._world.experiment),
            "mark": record.mark,
        }
        orders_path = self._folder.of_run(number, attempt, "orders")
        write_whole(orders_path, json.dumps(orders))
        self._folder.of_run(number, attempt, "exit").unlink(missing_ok=True)
        live.launcher = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            launcher.__file__,
            str(orders_path),
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,
            env=environment_of(self._world.experiment, trial, record, self._folder, self._environment),
        )
        self._runs[number] = live
        watcher = asyncio.create_task(self._watch(live.launcher))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        self._changed.set()

    def _ask_to_end(self, live: LiveRun) -> None:
        """Tell the launcher to end its command; closing the pipe would tell it that podium is gone."""
        if live.launcher is not None and live.launcher.returncode is None and live.launcher.stdin is not None:
            with suppress(ConnectionError, RuntimeError):
                live.launcher.stdin.write(b"T")

    def _look_for_end(self, live: LiveRun) -> None:
        run = live.record.run
        if run.state is RunState.ENDED or live.launcher is None or live.launcher.returncode is None:
            return
        exit_path = self._folder.of_run(run.number, run.attempt, "exit")
        if live.launcher.returncode == launcher.CANNOT_RECORD:
            raise BackendError(f"cannot write {exit_path}: the disk is full or read-only; free some space")
        if not exit_path.exists():
            launcher.kill_marked(live.record.mark)
        self._end(live, read_document(exit_path) if exit_path.exists() else None)

    def _end(self, live: LiveRun, exit_record: Mapping[str, Any] | None) -> None:
        run = live.record.run
        termination = _text_of(self._folder.of_run(run.number, run.attempt, "termination"))
        log = self._folder.of_run(run.number, run.attempt, "log")
        self._read_log(live)
        if isinstance(live.reader, LogReader):
            live.inbox.take(live.reader.finish())
        live.inbox.take(final_reports(self._wanted.spec.trial.metrics, termination))
        end = end_of(exit_record, log, termination, self._clock())
        live.record = live.record.with_run(state=RunState.ENDED, end=end)

    async def _take_over_runs(self) -> None:
        """Account for the runs that an earlier session left: let them finish their checkpoints, then read their exits."""
        for document in self._folder.documents("runs"):
            record = RunRecord.from_json(document)
            number, attempt = record.run.number, record.run.attempt
            if number not in self._world.trials:
                continue
            live = LiveRun(record, self._reader(self._world.trials[number], attempt))
            exit_path = self._folder.of_run(number, attempt, "exit")
            waited = 0.0
            while not exit_path.exists() and launcher.marked(record.mark) and waited < grace_seconds(self._wanted) + 1:
                await asyncio.sleep(_TAKEOVER_TICK_SECONDS)
                waited += _TAKEOVER_TICK_SECONDS
            launcher.kill_marked(record.mark)
            if exit_path.exists():
                self._end(live, read_document(exit_path))
            else:
                self._end(live, None)
                live.record = live.record.with_run(end=interrupted_end(self._clock()))
            self._runs[number] = live

    def _remove_run(self, number: int, attempt: int) -> None:
        live = self._runs.get(number)
        if live is None or live.record.run.attempt != attempt:
            return
        del self._runs[number]
        for path in (self._folder.run(number), *(self._folder.of_run(number, attempt, e) for e in ("port", "orders"))):
            path.unlink(missing_ok=True)

    # --- metrics

    def _reader(self, trial: Trial, attempt: int) -> Reader:
        return reader_for(self._wanted.spec.trial.metrics, attempt, after_step=trial.status.step)

    async def _read_metrics(self) -> None:
        """Ask every active run for its metrics, all at once, when the interval has passed."""
        now = self._clock()
        interval = self._wanted.spec.trial.metrics.scrape_interval_seconds or SCRAPE_INTERVAL_SECONDS
        if self._last_scrape is not None and 0 <= (now - self._last_scrape).total_seconds() < interval:
            return
        self._last_scrape = now
        active = [live for live in self._runs.values() if live.record.run.state is RunState.ACTIVE and live.launcher]
        for live in active:
            self._read_log(live)
        await asyncio.gather(*(self._scrape(live) for live in active))

    async def _scrape(self, live: LiveRun) -> None:
        url = self._endpoint(live)
        if url is None:
            return
        page = await fetch_page(self._client, url)
        if page is not None:
            live.inbox.take(live.reader.read(page))

    def _endpoint(self, live: LiveRun) -> str | None:
        source, run = self._wanted.spec.trial.metrics, live.record.run
        if isinstance(source, LogMetrics):
            return None
        if isinstance(source, PrometheusMetrics):
            return f"http://127.0.0.1:{source.port}{source.path}"
        port = _text_of(self._folder.of_run(run.number, run.attempt, "port"))
        return f"http://127.0.0.1:{port}/metrics" if port else None

    def _read_log(self, live: LiveRun) -> None:
        if not isinstance(live.reader, LogReader):
            return
        run = live.record.run
        with suppress(OSError), self._folder.of_run(run.number, run.attempt, "log").open("rb") as file:
            file.seek(live.log_position)
            text = file.read(MAX_PAGE_BYTES)
            live.log_position = file.tell()
            live.inbox.take(live.reader.read(text.decode(errors="replace")))


def _refuse_what_cannot_be_done(experiment: Experiment) -> None:
    container = trial_container(experiment.spec.trial.template, experiment.spec.trial.container)
    if not container.get("command"):
        raise BackendError(
            "a laptop has no images, so the container needs a command, got none; add command to the template"
        )
    for variable in container.get("env") or ():
        if "valueFrom" in variable:
            raise BackendError(
                f"a laptop cannot look up valueFrom, got env {variable['name']}; "
                "give it a value, or export it before podium run and leave it out of the template"
            )


def _notices(experiment: Experiment) -> list[str]:
    pod = experiment.spec.trial.template["spec"]
    notices = [f"{part} are left out on a laptop" for part in ("initContainers", "volumes") if pod.get(part)]
    if len(pod["containers"]) > 1:
        notices.append("only the container that trains is run on a laptop")
    return notices


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
