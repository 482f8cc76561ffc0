"""Linear algebra stays in one thread, whatever the machine has."""

import subprocess
import sys

_COUNT = """
import numpy, scipy.linalg
from threadpoolctl import threadpool_info, threadpool_limits
threadpool_limits(4)
{made}
print(sorted({{pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}}))
"""
_ENGINE = (
    "from podium_suggestion.engine import Engine; from podium_suggestion.store import open_store; Engine(open_store())"
)


def threads_of_a_process(made: str) -> str:
    done = subprocess.run([sys.executable, "-c", _COUNT.format(made=made)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_an_engine_has_every_blas_of_its_process_work_in_one_thread() -> None:
    assert threads_of_a_process("") == "[4]"
    assert threads_of_a_process(_ENGINE) == "[1]"
