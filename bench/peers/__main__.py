"""Installs peers:  python -m bench.peers install optuna smac;  lists them:  python -m bench.peers."""

import argparse
import subprocess
import sys

from bench.peers.environments import PEERS, InstallationError, environment, install, is_installed, remove, version_of


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("do", nargs="?", default="list", choices=["list", "install", "remove"])
    arguments.add_argument("peers", nargs="*", choices=[[], *PEERS], help="which; all of them by default")
    arguments.add_argument("--python", default=sys.executable, help="the interpreter that their environments use")
    options = arguments.parse_args()
    failed = False
    for name in options.peers or PEERS:
        kind = PEERS[name]
        if options.do == "install":
            failed |= not _install(name, options.python)
        elif options.do == "remove":
            remove(kind)
        else:
            state = f"installed in {environment(kind)}" if is_installed(kind) else "not installed"
            methods = [f"{name}:{method}" for method in kind.methods]
            pairs = [f"{methods[0]}+{scheduler}" for scheduler in kind.schedulers]
            print(f"{name:16} {state}: {', '.join(methods + pairs)}")
    sys.exit(1 if failed else 0)


def _install(name: str, python: str) -> bool:
    print(f"installing {name} ...", flush=True)
    try:
        install(PEERS[name], python)
    except (InstallationError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)
        return False
    print(f"{name} {version_of(PEERS[name])}", flush=True)
    return True


if __name__ == "__main__":
    main()
