"""A PostgreSQL server of one's own: in a temporary folder, on a socket, gone afterwards."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

INSTALLER = Path(__file__).parents[2] / "scripts" / "install-postgres"


class NoPostgresError(RuntimeError):
    """There is no PostgreSQL here, and none can be installed."""


@contextmanager
def a_postgres() -> Iterator[str]:
    """Start a server and give a format for URLs of its databases, `{}` for the name; `postgres` exists."""
    programs = _programs()
    # Not pytest's folder: the path of a socket has at most 107 bytes, and the server's user must be able to reach it.
    folder = Path(tempfile.mkdtemp(prefix="podium-pg-"))
    data, user = folder / "data", _unprivileged_user()
    if user is not None:
        shutil.chown(folder, user)
    try:
        _run(user, programs / "initdb", "--pgdata", data, "--username=podium", "--auth=trust", "--no-sync")
        options = f"-c listen_addresses='' -c unix_socket_directories='{folder}'"
        log = folder / "log"
        _run(user, programs / "pg_ctl", "start", "--wait", "--pgdata", data, "--options", options, "--log", log)
        try:
            yield f"postgresql://podium@/{{}}?host={folder}"
        finally:
            _run(user, programs / "pg_ctl", "stop", "--wait", "--mode=immediate", "--pgdata", data)
    finally:
        shutil.rmtree(folder)


def _programs() -> Path:
    """Return the folder of initdb and pg_ctl, installing them where that is possible."""
    found = _find_programs()
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run([INSTALLER], check=False)
        found = _find_programs()
    if found is None:
        raise NoPostgresError(
            "PostgreSQL is not installed, and installing it (scripts/install-postgres) needs root and apt"
        )
    return found


def _find_programs() -> Path | None:
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if installed:
        return installed[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


def _unprivileged_user() -> str | None:
    """Return whom to run the server as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _run(user: str | None, *command: str | Path) -> None:
    words = [str(word) for word in command]
    done = subprocess.run(
        words, user=user, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} failed: {done.stdout}")
