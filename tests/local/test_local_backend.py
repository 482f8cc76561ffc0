"""The local backend with real processes: every run ends with its reason, and nothing that it started outlives it."""

import asyncio
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from builders.local_runs import BARE_PYTHON, a_local_experiment, a_trial_of
from podium_contract.conditions import Reason
from podium_contract.experiment import Experiment
from podium_contract.manifest import ManifestError
from podium_contract.reports import metrics_page, termination_message
from podium_contract.trial import Observation
from podium_operator.core.actions import Announce, CreateTrial, RemoveRun, StartRun, StopRun, WriteTrial
from podium_operator.core.facts import EndKind, Run, RunState
from podium_operator.core.ports import BackendError
from podium_operator.local.backend import LocalBackend
from podium_operator.scraping import SCRAPE_TIMEOUT_SECONDS

LIMIT_SECONDS = 60
"""How long something may take before a test gives up on it; never how long it is expected to take."""
SLEEP = "import time; time.sleep(600)"


def now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def opened(experiment: Experiment, folder: Path, **options: Any) -> AsyncIterator[LocalBackend]:
    async with LocalBackend(experiment, folder, clock=now, **options) as backend:
        yield backend


async def start(
    backend: LocalBackend, experiment: Experiment, number: int = 1, attempt: int = 1, **status: Any
) -> None:
    trial = a_trial_of(experiment, number, **status)
    await backend.perform(CreateTrial(trial))
    await backend.perform(StartRun(trial, attempt))


async def until(backend: LocalBackend, is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, backend._world.runs
        await backend.wait(0.02)
        await backend.observe()


async def ended(backend: LocalBackend, number: int = 1) -> Run:
    await until(backend, lambda: backend._world.runs[number].state is RunState.ENDED if backend._world.runs else False)
    return backend._world.runs[number]


async def appears(backend: LocalBackend, path: Path) -> str:
    await until(backend, path.exists)
    return path.read_text().strip()  # noqa: ASYNC240  (a few bytes)


def wait_until_gone(*pids: int) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while alive := [pid for pid in pids if is_alive(pid)]:
        assert time.monotonic() < deadline, f"orphans: {[psutil.Process(pid).cmdline() for pid in alive]}"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def telling(path: Path, code: str, first: str = "") -> str:
    """Python code that does what comes `first`, writes its pid to a file whole, and goes on."""
    tell = f"open({str(path)!r} + '~', 'w').write(str(os.getpid()) + chr(10)); os.rename({str(path)!r} + '~', {str(path)!r})"
    return f"import os, signal, sys, time\n{first}\n{tell}\n{code}\n"


# --- how runs end

ENDINGS = {
    "well": ("pass", EndKind.DONE, Reason.FINISHED, "exit code 0"),
    "checkpointed": ("raise SystemExit(75)", EndKind.CHECKPOINTED, Reason.DISRUPTED, "asked to stop"),
    "exit code": ("import sys; sys.exit('bad lr')", EndKind.FAILED, Reason.EXIT_CODE, "exit code 1: bad lr"),
    "exception": ("1/0", EndKind.FAILED, Reason.EXIT_CODE, "exit code 1: ZeroDivisionError: division by zero"),
    "crash": ("import os; os.abort()", EndKind.FAILED, Reason.CRASHED, "SIGABRT"),
    "killed": ("import os; os.kill(os.getpid(), 9)", EndKind.DISRUPTED, Reason.DISRUPTED, "signal 9 from outside"),
}


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """How a run of each manner ends, all of them side by side."""
    folder = tmp_path_factory.mktemp("ends")
    manners = {name: code for name, (code, *_) in ENDINGS.items()}
    code = f"import os; exec({list(manners.values())!r}[int(os.environ['PODIUM_TRIAL_NUMBER']) - 1])"
    experiment = a_local_experiment(*BARE_PYTHON, code, parallelism=len(manners))

    async def story() -> dict[str, Run]:
        async with opened(experiment, folder) as backend:
            for number in range(1, len(manners) + 1):
                await start(backend, experiment, number)
            return {name: await ended(backend, number) for number, name in enumerate(manners, 1)}

    return asyncio.run(story())


@pytest.mark.parametrize("manner", ENDINGS)
def test_run_ends_with_its_reason(manner: str, ends: dict[str, Run]) -> None:
    _, kind, reason, words = ENDINGS[manner]
    end = ends[manner].end
    assert end is not None
    assert (end.kind, end.reason) == (kind, reason), end
    assert words in end.message


def test_command_finds_the_signals_as_a_shell_would_give_them(tmp_path: Path) -> None:
    experiment = a_local_experiment(
        "sh", "-c", "kill -PIPE $$$$; exit 9"
    )  # Python ignores SIGPIPE; its children must not

    async def story() -> Run:
        async with opened(experiment, tmp_path) as backend:
            await start(backend, experiment)
            return await ended(backend)

    end = asyncio.run(story()).end
    assert end is not None
    assert "SIGPIPE" in end.message


def test_command_that_cannot_be_started_says_why(tmp_path: Path) -> None:
    plain = tmp_path / "plain.txt"
    plain.write_text("no program", encoding="utf-8")
    commands = {("no-such-command",): "no-such-command: No such file", (str(plain),): "Permission denied"}

    async def message_of(command: tuple[str, ...], folder: Path) -> str:
        experiment = a_local_experiment(*command)
        async with opened(experiment, folder) as backend:
            await start(backend, experiment)
            end = (await ended(backend)).end
            assert end is not None
            assert (end.kind, end.reason) == (EndKind.FAILED, Reason.START_FAILED)
            return end.message

    for index, (command, words) in enumerate(commands.items()):
        assert words in asyncio.run(message_of(command, tmp_path / str(index)))


def test_run_is_started_once_however_often_it_is_planned(tmp_path: Path) -> None:
    log = tmp_path / "results" / "trials" / "00001" / "run-1.log"
    experiment = a_local_experiment(*BARE_PYTHON, "print('began')")

    async def story() -> None:
        async with opened(experiment, tmp_path / "results") as backend:
            for _ in range(3):
                await start(backend, experiment)
            await ended(backend)
            await start(backend, experiment)
            assert log.read_text() == "began\n"
            await backend.perform(RemoveRun(1, 1))
            assert (await backend.observe()).runs == {}
            assert log.exists(), "what it printed is kept"
            await backend.perform(RemoveRun(1, 1))

    asyncio.run(story())


# --- stopping


SAVE = "lambda *_: (time.sleep(0.5), print('saved', flush=True), sys.exit(75))"


def stopped(tmp_path: Path, on_sigterm: str, grace: int, *wrapper: str) -> tuple[Run, str]:
    """Start a run that hangs, stop it once it is ready, and return how it ended and what it printed."""
    ready = tmp_path / "ready"
    hang = telling(ready, "while True: time.sleep(600)", first=f"signal.signal(15, {on_sigterm})")
    command = [*BARE_PYTHON, hang]
    experiment = a_local_experiment(*wrapper, *command, grace=grace)

    async def story() -> Run:
        async with opened(experiment, tmp_path / "results") as backend:
            await start(backend, experiment)
            await appears(backend, ready)
            await backend.perform(StopRun(1, 1, Reason.SUSPENDED, "suspended"))
            await backend.perform(StopRun(1, 1, Reason.SUSPENDED, "suspended"))
            return await ended(backend)

    run = asyncio.run(story())
    return run, (tmp_path / "results" / "trials" / "00001" / "run-1.log").read_text()


def test_stopped_run_ends_and_its_reason_is_remembered(tmp_path: Path) -> None:
    run, _ = stopped(tmp_path, "signal.SIG_DFL", grace=30)
    assert run.stopping is Reason.SUSPENDED
    assert run.end is not None
    assert "signal 15" in run.end.message


def test_stopped_run_may_write_its_checkpoint(tmp_path: Path) -> None:
    run, log = stopped(tmp_path, SAVE, grace=30)
    assert log == "saved\n"
    assert run.end is not None
    assert run.end.kind is EndKind.CHECKPOINTED


def test_run_under_a_shell_may_write_its_checkpoint_too(tmp_path: Path) -> None:
    _, log = stopped(tmp_path, SAVE, 30, "sh", "-c", '"$@"; echo never', "sh")
    assert log == "saved\n"


@pytest.mark.parametrize("grace", [0, 1])
def test_run_that_ignores_sigterm_is_killed_after_its_grace_period(tmp_path: Path, grace: int) -> None:
    run, _ = stopped(tmp_path, "signal.SIG_IGN", grace=grace)
    assert run.end is not None
    assert "signal 9" in run.end.message


# --- nothing outlives its run

FAMILIES = {
    "a child": "start(child)",
    "a session of its own": "start(child, start_new_session=True)",
    "an environment of its own": "start(child, start_new_session=True, env={})",
    "a child's child": "start([*python, 'import subprocess; subprocess.Popen(' + repr(child) + ')'])",
}


def family(name: str, pid_file: Path) -> str:
    """Python code that starts a process which ignores SIGTERM, in some way, and sees it running."""
    child = telling(pid_file, "while True: time.sleep(600)", first="signal.signal(15, signal.SIG_IGN)")
    lines = [
        "import os, subprocess, time",
        "start = subprocess.Popen",
        f"python = {list(BARE_PYTHON)!r}",
        f"child = [*python, {child!r}]",
        FAMILIES[name],
        f"while not os.path.exists({str(pid_file)!r}): time.sleep(0.01)",
    ]
    return "\n".join([*lines, ""])


ORPHANED = [(name, ending) for name in FAMILIES for ending in ("by itself", "killed from outside")]


@pytest.fixture(scope="module")
def orphaned(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], tuple[Run, bool]]:
    """Every way to leave a process behind: how the run ended, and whether the process was alive when it had."""
    place = tmp_path_factory.mktemp("orphaned")
    codes = {}
    for number, (name, ending) in enumerate(ORPHANED, 1):
        last_deed = "" if ending == "by itself" else "os.kill(os.getpid(), 9)\n"
        codes[str(number)] = family(name, place / f"pid-{number}") + last_deed
    code = f"import os; exec({codes!r}[os.environ['PODIUM_TRIAL_NUMBER']])"
    experiment = a_local_experiment(*BARE_PYTHON, code, parallelism=len(ORPHANED))

    async def story() -> dict[tuple[str, str], tuple[Run, bool]]:
        outcome = {}
        async with opened(experiment, place / "results") as backend:
            for number in range(1, len(ORPHANED) + 1):
                await start(backend, experiment, number)
            for number, case in enumerate(ORPHANED, 1):
                run = await ended(backend, number)
                outcome[case] = run, is_alive(int((place / f"pid-{number}").read_text()))
        return outcome

    return asyncio.run(story())


@pytest.mark.parametrize("case", ORPHANED, ids=" ".join)
def test_what_a_run_leaves_behind_is_gone_before_it_counts_as_ended(
    case: tuple[str, str], orphaned: dict[tuple[str, str], tuple[Run, bool]]
) -> None:
    run, is_left = orphaned[case]
    assert run.end is not None
    assert run.end.kind is (EndKind.DONE if case[1] == "by itself" else EndKind.DISRUPTED)
    assert not is_left


def test_killed_launcher_takes_its_command_along_and_counts_as_a_disruption(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    experiment = a_local_experiment(*BARE_PYTHON, telling(pid_file, "time.sleep(600)"))

    async def story() -> Run:
        async with opened(experiment, tmp_path / "results") as backend:
            await start(backend, experiment)
            command = psutil.Process(int(await appears(backend, pid_file)))
            launcher = command.parent()
            assert launcher is not None
            launcher.kill()
            return await ended(backend)

    run = asyncio.run(story())
    assert run.end is not None
    assert run.end.kind is EndKind.DISRUPTED
    wait_until_gone(int(pid_file.read_text()))


def test_error_within_the_session_leaves_nothing_running(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    experiment = a_local_experiment(*BARE_PYTHON, telling(pid_file, "time.sleep(600)"))

    async def story() -> None:
        async with opened(experiment, tmp_path / "results") as backend:
            await start(backend, experiment)
            await appears(backend, pid_file)
            raise KeyError("a defect")

    with pytest.raises(KeyError, match="a defect"):
        asyncio.run(story())
    assert not is_alive(int(pid_file.read_text()))

    async def next_session() -> Run:
        async with opened(experiment, tmp_path / "results") as backend:
            return await ended(backend)

    end = asyncio.run(next_session()).end
    assert end is not None
    assert (end.kind, end.reason) == (EndKind.CHECKPOINTED, Reason.SUSPENDED), "it was not the trial's fault"


# --- podium killed

SESSION = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from builders.local_runs import BARE_PYTHON, a_local_experiment, a_trial_of
from podium_contract.conditions import Reason
from podium_operator.core.actions import CreateTrial, StartRun, StopRun
from podium_operator.local.backend import LocalBackend

async def main():
    experiment = a_local_experiment(*BARE_PYTHON, {code!r}, grace=2, parallelism=4)
    async with LocalBackend(experiment, Path({folder!r}), clock=lambda: datetime.now(UTC)) as backend:
        for number in (1, 2, 3, 4):
            trial = a_trial_of(experiment, number)
            await backend.perform(CreateTrial(trial))
            await backend.perform(StartRun(trial, 1))
        sys.stdin.readline()
        await backend.perform(StopRun(4, 1, Reason.DEADLINE_EXCEEDED, "too long"))
        print("stopped", flush=True)
        sys.stdin.readline()

asyncio.run(main())
"""
DEAF = ("signal.signal(15, signal.SIG_IGN)", "while True: time.sleep(600)")
FATES = {"1": ("", "pass"), "2": ("", "time.sleep(600)"), "3": DEAF, "4": DEAF}


def wait_for(*paths: Path) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while missing := [path for path in paths if not path.exists()]:
        assert time.monotonic() < deadline, missing
        time.sleep(0.02)


def test_killed_podium_leaves_no_process_and_knows_every_run_again(tmp_path: Path) -> None:
    pid_files = {number: tmp_path / f"pid-{number}" for number in FATES}
    codes = {number: telling(pid_files[number], code, first) for number, (first, code) in FATES.items()}
    code = f"import os; exec({codes!r}[os.environ['PODIUM_TRIAL_NUMBER']])"
    results = tmp_path / "results"
    session = subprocess.Popen(
        [sys.executable, "-c", SESSION.format(code=code, folder=str(results))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        start_new_session=True,
    )
    with session:
        try:
            assert session.stdin is not None
            assert session.stdout is not None
            wait_for(*pid_files.values(), results / "trials" / "00001" / "run-1.exit")
            session.stdin.write(b"\n")
            session.stdin.flush()
            assert session.stdout.readline() == b"stopped\n"
        finally:
            os.killpg(session.pid, signal.SIGKILL)

    announced: list[Announce] = []
    experiment = a_local_experiment(*BARE_PYTHON, code, grace=2, parallelism=4)

    async def story() -> dict[int, Run]:
        async with opened(experiment, results, announce=announced.append) as backend:
            assert not [path for path in pid_files.values() if is_alive(int(path.read_text()))]
            return dict((await backend.observe()).runs)

    runs = asyncio.run(story())
    kinds = {number: (run.end.kind, run.end.reason) for number, run in runs.items() if run.end is not None}
    assert kinds == {
        1: (EndKind.DONE, Reason.FINISHED),
        2: (EndKind.CHECKPOINTED, Reason.SUSPENDED),
        3: (EndKind.CHECKPOINTED, Reason.SUSPENDED),
        4: (EndKind.CHECKPOINTED, Reason.SUSPENDED),
    }
    assert {number: run.stopping for number, run in runs.items()}[4] is Reason.DEADLINE_EXCEEDED
    assert [announcement.reason for announcement in announced] == [Reason.RESUMED]


def test_processes_of_a_session_that_lost_its_launchers_too_are_killed_before_anything_starts(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = telling(pid_file, "time.sleep(600)")
    experiment = a_local_experiment(*BARE_PYTHON, "pass", grace=0)
    results = tmp_path / "results"

    async def first() -> None:
        async with opened(experiment, results) as backend:
            await start(backend, experiment)
            await ended(backend)

    async def second() -> Run:
        async with opened(experiment, results) as backend:
            return (await backend.observe()).runs[1]

    asyncio.run(first())
    (results / "trials" / "00001" / "run-1.exit").unlink()
    mark = json.loads((results / "state" / "runs" / "00001.json").read_text())["mark"]
    with subprocess.Popen([*BARE_PYTHON, code], env={**os.environ, "PODIUM_RUN": mark}, start_new_session=True) as left:
        wait_for(pid_file)
        run = asyncio.run(second())
        assert left.wait(LIMIT_SECONDS) == -signal.SIGKILL
    assert run.end is not None
    assert run.end.kind is EndKind.CHECKPOINTED


# --- reports


def test_last_word_of_the_sdk_arrives_though_nothing_was_scraped(tmp_path: Path) -> None:
    report = Observation(attempt=1, step=3, sequence=1, metrics={"loss": 0.5})
    code = f"import os; open(os.environ['PODIUM_TERMINATION_LOG'], 'w').write({termination_message([report])!r})"
    experiment = a_local_experiment(*BARE_PYTHON, code)

    async def story() -> None:
        async with opened(experiment, tmp_path) as backend:
            await start(backend, experiment)
            await ended(backend)
            for _ in range(2):
                assert (await backend.observe()).reports == {1: (report,)}, "told until it is acknowledged"
            backend.acknowledge()
            assert (await backend.observe()).reports == {}

    asyncio.run(story())


def log_reports(results: Path, experiment: Experiment, **status: Any) -> list[tuple[int, float]]:
    """Run a trial to its end, and return (step, loss) of what it printed."""

    async def story() -> list[tuple[int, float]]:
        async with opened(experiment, results) as backend:
            await start(backend, experiment, **status)
            await ended(backend)
            return [(report.step, report.metrics["loss"]) for report in backend._world.reports.get(1, ())]

    return asyncio.run(story())


def test_lines_of_the_log_are_reports_to_the_last_byte(tmp_path: Path) -> None:
    code = (
        "import os; print('é' * 3_000_000 + '\\n{\"loss\": 3}'); print('y' * 9_000_000); print('{\"loss\": 2}', end='')"
    )
    experiment = a_local_experiment(*BARE_PYTHON, code, metrics={"source": "log"})
    assert log_reports(tmp_path, experiment) == [(1, 3.0), (2, 2.0)]


def test_counting_goes_on_from_the_checkpoint_and_begins_anew_without_one(tmp_path: Path) -> None:
    experiment = a_local_experiment(*BARE_PYTHON, "print('{\"loss\": 3}')", metrics={"source": "log"})
    assert log_reports(tmp_path / "anew", experiment, step=5) == [(1, 3.0)]
    (tmp_path / "on" / "trials" / "00001" / "checkpoints" / "step-5").mkdir(parents=True)
    assert log_reports(tmp_path / "on", experiment, step=5) == [(6, 3.0)]


def test_log_that_is_read_again_after_a_restart_tells_the_same_steps(tmp_path: Path) -> None:
    (tmp_path / "trials" / "00001" / "checkpoints" / "step-5").mkdir(parents=True)
    experiment = a_local_experiment(*BARE_PYTHON, 'print(\'{"loss": 3}\\n{"loss": 2}\')', metrics={"source": "log"})
    first = log_reports(tmp_path, experiment, step=5)

    async def story() -> list[tuple[int, float]]:
        async with opened(experiment, tmp_path) as backend:
            status = a_trial_of(experiment, step=7).status
            await backend.perform(WriteTrial(1, status))  # what the first session has learnt
        async with opened(experiment, tmp_path) as backend:
            world = await backend.observe()
            return [(report.step, report.metrics["loss"]) for report in world.reports[1]]

    assert asyncio.run(story()) == first == [(6, 3.0), (7, 2.0)]


@pytest.fixture
def silent_endpoint() -> Iterator[tuple[int, threading.Event]]:
    """A server that takes a request and answers only when told to."""
    may_answer = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            may_answer.wait(LIMIT_SECONDS)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_address[1], may_answer
        may_answer.set()
        server.shutdown()
        thread.join()


def test_endpoint_that_never_answers_holds_up_nobody(
    tmp_path: Path, silent_endpoint: tuple[int, threading.Event]
) -> None:
    port, _ = silent_endpoint
    ready = tmp_path / "ready"
    code = f"open(os.environ['PODIUM_METRICS_PORT_FILE'], 'w').write('{port}')\n"
    experiment = a_local_experiment(*BARE_PYTHON, f"import os\n{code}" + telling(ready, "time.sleep(600)"))

    async def story() -> None:
        async with opened(experiment, tmp_path / "results") as backend:
            await start(backend, experiment)
            await appears(backend, ready)
            for _ in range(3):
                began = time.monotonic()
                await backend.observe()
                assert time.monotonic() - began < SCRAPE_TIMEOUT_SECONDS / 2
            await backend.perform(StopRun(1, 1, Reason.SUSPENDED, ""))
            await ended(backend)

    asyncio.run(story())


def test_page_of_another_trial_on_a_port_that_was_free_again_is_not_taken(tmp_path: Path) -> None:
    labels = {"experiment": "local", "trial": "local-00002"}
    page = metrics_page([Observation(attempt=1, step=9, sequence=1, metrics={"loss": 0.0})], labels)
    serve = (
        "import http.server, os\n"
        "class Handler(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        f"        self.send_response(200); self.end_headers(); self.wfile.write({page.encode()!r})\n"
        f"        open({str(tmp_path / 'asked')!r}, 'a').write('yes\\n')\n"
        "server = http.server.HTTPServer(('127.0.0.1', 0), Handler)\n"
        "open(os.environ['PODIUM_METRICS_PORT_FILE'], 'w').write(str(server.server_address[1]))\n"
        "while not os.path.exists('" + str(tmp_path / "enough") + "'): server.timeout = 0.1; server.handle_request()\n"
    )
    experiment = a_local_experiment(*BARE_PYTHON, serve)

    async def reports_of(number: int, results: Path) -> int:
        async with opened(experiment, results) as backend:
            await start(backend, experiment, number)
            await appears(backend, tmp_path / "asked")
            (tmp_path / "enough").touch()
            await ended(backend, number)
            return len(backend._world.reports.get(number, ()))

    assert asyncio.run(reports_of(1, tmp_path / "first")) == 0
    (tmp_path / "enough").unlink()
    (tmp_path / "asked").unlink()
    assert asyncio.run(reports_of(2, tmp_path / "second")) == 1


# --- the folder


def test_manifest_is_kept_word_for_word_and_limits_may_change(tmp_path: Path) -> None:
    async def generation(experiment: Experiment, text: str) -> tuple[str, int]:
        async with opened(experiment, tmp_path, manifest=text) as backend:
            metadata = (await backend.observe()).experiment.metadata
            return metadata.uid, metadata.generation

    uid, first = asyncio.run(generation(a_local_experiment("true", max_trials=3), "# mine\n"))
    assert uid
    assert first == 1
    assert asyncio.run(generation(a_local_experiment("true", max_trials=4), "# mine, more\n")) == (uid, 2)
    assert (tmp_path / "experiment.yaml").read_text() == "# mine, more\n"


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (a_local_experiment("false"), "spec.trial cannot change once an experiment has begun"),
        (
            a_local_experiment("true").model_copy(
                update={"metadata": a_local_experiment().metadata.model_copy(update={"name": "other"})}
            ),
            "holds the results of 'local', got a manifest of 'other'",
        ),
    ],
    ids=["another command", "another experiment"],
)
def test_manifest_that_the_results_were_not_made_with_is_refused(
    tmp_path: Path, second: Experiment, words: str
) -> None:
    async def visit(experiment: Experiment) -> None:
        async with opened(experiment, tmp_path):
            pass

    asyncio.run(visit(a_local_experiment("true")))
    for _ in range(2):  # a refusal gives the folder back
        with pytest.raises(BackendError, match=words):
            asyncio.run(visit(second))
    asyncio.run(visit(a_local_experiment("true")))


def test_template_that_no_laptop_can_run_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    async def visit() -> None:
        async with opened(a_local_experiment("true", container={"envFrom": [{}]}), tmp_path / "results"):
            pass

    with pytest.raises(ManifestError, match="envFrom"):
        asyncio.run(visit())
    assert not (tmp_path / "results").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of half a MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "podium-test", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a file system")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                continue
        except OSError:
            return ballast
    return ballast


def test_full_disk_fails_an_action_at_a_time_and_spoils_nothing(small_disk: Path) -> None:
    experiment = a_local_experiment(*BARE_PYTHON, "pass")
    results = small_disk / "results"

    async def story() -> None:
        async with opened(experiment, results) as backend:
            trial = a_trial_of(experiment)
            await backend.perform(CreateTrial(trial))
            before = {path: path.read_bytes() for path in results.rglob("*.json")}
            ballast = fill(small_disk)
            full = r"cannot .*: No space left on device; free some space"
            with pytest.raises(BackendError, match=full):
                await backend.perform(WriteTrial(1, trial.status.model_copy(update={"message": "x" * 8000})))
            with pytest.raises(BackendError, match=full):
                await backend.perform(StartRun(trial, 1))
            assert {path: path.read_bytes() for path in results.rglob("*.json")} == before
            assert not list(results.rglob(".*.part"))
            ballast.unlink()
            await backend.perform(StartRun(trial, 1))
            end = (await ended(backend)).end
            assert end is not None
            assert end.kind is EndKind.DONE

    asyncio.run(story())


def test_exit_that_the_disk_cannot_take_is_told_and_the_run_is_resumed_later(small_disk: Path) -> None:
    proceed = small_disk / "proceed"
    code = f"import os, time\nwhile not os.path.exists({str(proceed)!r}): time.sleep(0.02)"
    experiment = a_local_experiment(*BARE_PYTHON, code)

    async def first() -> None:
        async with opened(experiment, small_disk / "results") as backend:
            await start(backend, experiment)
            fill(small_disk)
            proceed.symlink_to("/dev/null")  # a name takes no room on a tmpfs
            with pytest.raises(BackendError, match=r"cannot write .*run-1\.exit: the disk is full or read-only"):
                await ended(backend)

    async def second() -> Run:
        async with opened(experiment, small_disk / "results") as backend:
            return (await backend.observe()).runs[1]

    asyncio.run(first())
    (small_disk / "ballast").unlink()
    run = asyncio.run(second())
    assert run.end is not None
    assert run.end.kind is EndKind.CHECKPOINTED


def test_read_only_folder_is_refused_in_a_sentence(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    async def visit() -> None:
        async with opened(a_local_experiment("true"), small_disk / "results"):
            pass

    with pytest.raises(BackendError, match=r"cannot write to .*results: Read-only file system"):
        asyncio.run(visit())
