"""The small parent of one local run: it starts the command, keeps its exit for certain, and leaves no process behind.

Run as a script of its own (`python -I -S launcher.py ORDERS`), with the standard library alone, because it must start in
milliseconds. Its standard input is a pipe from `podium run`:

- a byte on it asks for the end: SIGTERM to the command's process group, SIGKILL after the grace period;
- the pipe's end means that `podium run` itself is gone: the same follows, so that a killed podium leaves no orphan.

When the command has ended, its exit record is written, whole or not at all; then whatever it has left behind is ended:
SIGTERM, and SIGKILL after a moment, or after the rest of the grace period when the run was asked to end (the training
under a shell that ended at once is still writing its checkpoint). On Linux the launcher adopts what its command leaves
behind, so nothing escapes it, whatever session or environment it has made for itself; elsewhere the process group is
what it knows. Should somebody kill the launcher itself, the kernel kills the command with it (Linux).
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False  # typing's own constant costs its import: a third of the start
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

CANNOT_RECORD = 74
"""Exit code of a launcher that cannot write the log or exit record: the disk is full, or read-only (EX_IOERR)."""
TIDY_UP_SECONDS = 1.0
"""What processes that outlive their command are given to end by themselves, when nobody asked the run to end."""

_KILL_SECONDS = 5.0
_KILL_AGAIN_SECONDS = 0.2
_TICK_SECONDS = 0.01
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


def main(orders_path: str) -> None:
    """Carry out the orders of a JSON file (command, cwd, log, exit, grace, mark) in this process's own environment."""
    with open(orders_path, encoding="utf-8") as file:  # noqa: PTH123  (pathlib costs a fifth of the start)
        orders = json.load(file)
    try:
        log = os.open(orders["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError:
        sys.exit(CANNOT_RECORD)
    prctl = _prctl()
    adopts = prctl(_PR_SET_CHILD_SUBREAPER, 1)
    wakeup = _wake_on_children()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # only the pipe gives orders
    if _is_orphaned_already():
        return  # podium was killed before anything began, so nothing has to begin
    child, fault = _start(orders, log, lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL))
    record: dict[str, Any] = {"code": None, "signal": None, "fault": fault, "orphaned": False}
    deadline = None
    if fault is None:
        status, record["orphaned"], deadline = _wait(child, wakeup, orders["grace"])
        if os.WIFSIGNALED(status):
            record["signal"] = os.WTERMSIG(status)
        else:
            record["code"] = os.WEXITSTATUS(status)
    is_recorded = _write_whole(orders["exit"], json.dumps({**record, "at": time.time()}))
    if fault is None:
        _end_leftovers(child, orders["mark"], adopts=adopts, deadline=deadline)
    if not is_recorded:
        sys.exit(CANNOT_RECORD)


def kill_marked(mark: str) -> None:
    """Kill every process that carries the run's mark, until none is left. Only where there is /proc."""
    deadline = time.monotonic() + _KILL_SECONDS
    while (found := marked(mark)) and time.monotonic() < deadline:
        _signal_all(found, signal.SIGKILL)
        time.sleep(_TICK_SECONDS)


def marked(mark: str) -> list[int]:
    """Return the processes that carry the run's mark in their environment; the caller itself is left out."""
    wanted, found = mark.encode(), []
    for pid in _pids():
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
                if wanted in file.read():
                    found.append(pid)
        except OSError:
            continue  # it ended meanwhile, or belongs to somebody else
    return found


def _start(orders: dict[str, Any], log: int, before_command: Callable[[], object]) -> tuple[int, str | None]:
    """Fork the command into a session of its own; returns its pid, and why it could not be executed."""
    failure, failure_end = os.pipe()
    launcher = os.getpid()
    child = os.fork()
    if child == 0:
        words = orders["command"]
        try:
            os.setsid()
            nothing = os.open(os.devnull, os.O_RDONLY)
            for source, target in ((nothing, 0), (log, 1), (log, 2)):
                os.dup2(source, target)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, *_IGNORED_BY_PYTHON):
                signal.signal(number, signal.SIG_DFL)
            before_command()
            if os.getppid() != launcher:
                os._exit(127)
            os.chdir(orders["cwd"])
            os.execvp(words[0], words)  # noqa: S606  (as written, without a shell, is the point)
        except BaseException as fault:  # noqa: BLE001  (the child must not return into the parent's code)
            os.write(failure_end, f"{words[0]}: {getattr(fault, 'strerror', None) or fault}".encode())
        finally:
            os._exit(127)
    os.close(failure_end)
    with os.fdopen(failure, "rb") as pipe:
        fault_text = pipe.read().decode() or None
    if fault_text is not None:
        os.waitpid(child, 0)
    return child, fault_text


def _wait(child: int, wakeup: int, grace: float) -> tuple[int, bool, float | None]:
    """Wait for the command's end; returns its status, whether podium went away, and when its grace ends if that runs."""
    inputs, orphaned = [wakeup, 0], False
    deadline: float | None = None
    while (status := _reap(child)) is None:
        ready, _, _ = select.select(inputs, [], [], _seconds_until(deadline))
        if wakeup in ready:
            os.read(wakeup, 512)
        if 0 in ready:
            if not os.read(0, 512):
                orphaned = True
                inputs.remove(0)
            if deadline is None:
                _signal_all([-child], signal.SIGTERM)
                deadline = time.monotonic() + grace
        if deadline is not None and time.monotonic() >= deadline:
            _signal_all([-child], signal.SIGKILL)
    return status, orphaned, deadline


def _seconds_until(deadline: float | None) -> float | None:
    """Return how long to sleep; what SIGKILL does not end at once is killed again a few times a second."""
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    return left if left > 0 else _KILL_AGAIN_SECONDS


def _reap(child: int) -> int | None:
    """Collect whatever has ended, adopted processes too; returns the command's status once it is among them."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid in (0, child):
            return status if pid else None


def _end_leftovers(child: int, mark: str, *, adopts: bool, deadline: float | None) -> None:
    """End what the command has left behind: first asked, then killed; gives up only on what the kernel cannot kill."""
    now = time.monotonic()
    patient_until = now + TIDY_UP_SECONDS if deadline is None else deadline
    asked: set[int] = set()
    while (left := _leftovers(child, mark, adopts=adopts)) and now < patient_until + _KILL_SECONDS:
        if now >= patient_until:
            _signal_all(left, signal.SIGKILL)
        else:
            _signal_all([pid for pid in left if pid not in asked], signal.SIGTERM)
            asked.update(left)
        time.sleep(_TICK_SECONDS)
        now = time.monotonic()


def _leftovers(child: int, mark: str, *, adopts: bool) -> list[int]:
    if not adopts:
        return sorted({*_group(child), *marked(mark)})
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
    except ChildProcessError:
        return []  # everything has ended: the common case, for the price of one call
    return _descendants()


def _descendants() -> list[int]:
    """Return every process below this one that still lives."""
    children: dict[int, list[int]] = {}
    alive = set()
    for pid in _pids():
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
                state, parent = file.read().rpartition(b") ")[2].split()[:2]
        except (OSError, ValueError):
            continue
        children.setdefault(int(parent), []).append(pid)
        if state not in (b"Z", b"X"):
            alive.add(pid)
    below, pending = [], [os.getpid()]
    while pending:
        found = children.get(pending.pop(), [])
        below += found
        pending += found
    return [pid for pid in below if pid in alive]


def _group(leader: int) -> list[int]:
    """Return the process group as what `kill` takes for all of it, if anybody is left in it."""
    try:
        os.killpg(leader, 0)
    except (ProcessLookupError, PermissionError):
        return []
    return [-leader]


def _signal_all(pids: list[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue  # it has ended meanwhile, or became somebody else's


def _pids() -> list[int]:
    """Return the processes of this machine, this one left out; none where there is no /proc."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]  # noqa: PTH208
    except OSError:
        return []


def _wake_on_children() -> int:
    """Return a descriptor that becomes readable when a child has ended."""
    wakeup, wakeup_end = os.pipe()
    os.set_blocking(wakeup_end, False)
    signal.set_wakeup_fd(wakeup_end)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return wakeup


def _is_orphaned_already() -> bool:
    """Answer whether the pipe has ended; an order that waits in it is left there."""
    poll = select.poll()
    poll.register(0, 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


def _prctl() -> Callable[[int, int], bool]:
    """Return Linux's prctl as a question that answers whether it took effect; elsewhere it never does."""
    try:
        import ctypes  # noqa: PLC0415  (not every Python has it)

        call = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return lambda _option, _value: False
    return lambda option, value: bool(call(option, value, 0, 0, 0) == 0)


def _write_whole(path: str, text: str) -> bool:
    """Write a file whole or not at all; answers whether the disk took it."""
    temporary = f"{path}.part"
    try:
        with open(temporary, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105
        folder = os.open(os.path.dirname(path), os.O_RDONLY)  # noqa: PTH120
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1])
