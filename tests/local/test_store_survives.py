"""kill -9 of a process that writes the store, at ten moments: nothing that was answered is lost, and nothing doubled."""

import os
import random
import subprocess
import sys
from pathlib import Path

from local.scripts import tune_a_study
from podium_suggestion.store import open_store

SCRIPT = Path(tune_a_study.__file__)
TESTS = SCRIPT.parents[2]


def start(url: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    return subprocess.Popen([sys.executable, str(SCRIPT), url], stdout=subprocess.PIPE, text=True, env=environment)


def test_a_killed_writer_loses_nothing_that_it_had_answered(tmp_path: Path) -> None:
    url, chance = f"sqlite:///{tmp_path / 'podium.db'}", random.Random(3)
    answered: set[tuple[int, int]] = set()
    for _ in range(10):
        process = start(url)
        assert process.stdout is not None
        for _ in range(chance.randint(0, 4)):
            number, step = process.stdout.readline().split()
            answered.add((int(number), int(step)))
        process.kill()
        process.communicate()
        store = open_store(url)
        study = tune_a_study.a_study(store)
        stored = {(record.number, told.step) for record in study.records() for told in record.observations}
        assert answered <= stored
        store.close()
    process = start(url)
    output, _ = process.communicate(timeout=60)
    assert output.splitlines()[-1] == "done"
    undisturbed = tune_a_study.a_study(open_store())
    tune_a_study.tune(undisturbed)
    assert tune_a_study.a_study(open_store(url)).records() == undisturbed.records()
