"""The small parent of one local run: it starts the command, keeps its exit for certain, and leaves no process behind.

Run as a script of its own (`python -I -S launcher.py ORDERS`), with the standard library alone, because it must start in
milliseconds. Its standard input is a pipe from `podium run`:

- a byte on it asks for the end: SIGTERM to the command's process group, SIGKILL after the grace period;
- the pipe's end means that `podium run` itself is gone: the same follows, so that a killed podium leaves no orphan.

When the command has ended, whatever it forked is killed: its process group, and every process that carries the run's mark in
its environment. Then the exit record is written, whole or not at all.
"""

import json
import os
import select
import signal
import sys
import time

CANNOT_RECORD = 74
"""Exit code of a launcher that could not write the exit record: the disk is full, or has gone read-only (EX_IOERR)."""

_TICK_SECONDS = 0.5
_LEFTOVER_SECONDS = 5.0


def main(orders_path: str) -> None:
    """Carry out the orders of a JSON file (command, cwd, log, exit, grace, mark) in this process's own environment."""
    with open(orders_path, encoding="utf-8") as file:  # noqa: PTH123  (pathlib costs a fifth of the start)
        orders = json.load(file)
    wakeup, wakeup_end = os.pipe()
    os.set_blocking(wakeup_end, False)
    signal.set_wakeup_fd(wakeup_end)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # only the pipe gives orders
    child, fault = _start(orders)
    record: dict[str, object] = {"code": None, "signal": None, "fault": fault, "orphaned": False}
    if fault is None:
        status, record["orphaned"] = _wait(child, wakeup, orders["grace"])
        if os.WIFSIGNALED(status):
            record["signal"] = os.WTERMSIG(status)
        else:
            record["code"] = os.WEXITSTATUS(status)
        _signal_group(child, signal.SIGKILL)
        kill_marked(orders["mark"])
    try:
        _write_whole(orders["exit"], json.dumps({**record, "at": time.time()}))
    except OSError:
        sys.exit(CANNOT_RECORD)


def kill_marked(mark: str) -> None:
    """Kill every process that carries the run's mark, until none is left. Only where there is /proc."""
    deadline = time.monotonic() + _LEFTOVER_SECONDS
    while (found := marked(mark)) and time.monotonic() < deadline:
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.005)


def marked(mark: str) -> list[int]:
    """Return the processes that carry the run's mark in their environment; the caller itself is left out."""
    wanted, found = mark.encode(), []
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208
    except OSError:
        return []
    for pid in pids:
        if pid == os.getpid():
            continue
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
                if wanted in file.read():
                    found.append(pid)
        except OSError:
            continue  # it ended meanwhile, or belongs to somebody else
    return found


def _start(orders: dict) -> tuple[int, str | None]:  # type: ignore[type-arg]  # plain JSON
    """Fork the command into a session of its own; returns its pid, and why it could not be executed."""
    failure, failure_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            log = os.open(orders["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            nothing = os.open(os.devnull, os.O_RDONLY)
            for source, target in ((nothing, 0), (log, 1), (log, 2)):
                os.dup2(source, target)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            os.chdir(orders["cwd"])
            os.execvp(orders["command"][0], orders["command"])  # noqa: S606  (as written, without a shell, is the point)
        except BaseException as fault:  # noqa: BLE001  (the child must not return into the parent's code)
            os.write(failure_end, f"{orders['command'][0]}: {getattr(fault, 'strerror', None) or fault}".encode())
        finally:
            os._exit(127)
    os.close(failure_end)
    with os.fdopen(failure, "rb") as pipe:
        fault_text = pipe.read().decode() or None
    if fault_text is not None:
        os.waitpid(child, 0)
    return child, fault_text


def _wait(child: int, wakeup: int, grace: float) -> tuple[int, bool]:
    """Wait for the command's end; returns its status, and whether podium went away meanwhile."""
    inputs, orphaned, deadline = [wakeup, 0], False, None
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status, orphaned
        timeout = _TICK_SECONDS if deadline is None else max(min(deadline - time.monotonic(), _TICK_SECONDS), 0.0)
        ready, _, _ = select.select(inputs, [], [], timeout)
        if wakeup in ready:
            os.read(wakeup, 512)
        if 0 in ready:
            if not os.read(0, 512):
                orphaned = True
                inputs.remove(0)
            if deadline is None:
                _signal_group(child, signal.SIGTERM)
                deadline = time.monotonic() + grace
        if deadline is not None and time.monotonic() >= deadline:
            _signal_group(child, signal.SIGKILL)


def _signal_group(leader: int, number: int) -> None:
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return  # nobody is left in it


def _write_whole(path: str, text: str) -> None:
    temporary = f"{path}.part"
    with open(temporary, "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)  # noqa: PTH105


if __name__ == "__main__":
    main(sys.argv[1])
