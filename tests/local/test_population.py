"""A real population of real processes: whose bytes a clone starts from, and at which step, whatever is killed meanwhile."""

import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from builders.experiments import SOME_CHECKPOINTS, a_float, a_population, a_search, a_trial
from builders.workplace import SCRIPTS, Workplace, kill_outright, table_of

SIZE, LAST, INTERVAL = 4, 16, 4


def a_place(folder: Path, **spec: Any) -> Workplace:
    folder.mkdir(exist_ok=True)
    place = Workplace(folder)
    place.write(
        parameters=[a_float("rate", 1e-3, 1.0)],
        search=a_search("random", seed=5),
        scheduler=a_population(LAST, populationSize=SIZE, interval=INTERVAL),
        trial=a_trial("python", str(SCRIPTS / "member.py"), checkpoints=SOME_CHECKPOINTS),
        **{"max_trials": 30, **spec},
    )
    return place


def told(place: Workplace, word: str, number: int) -> list[tuple[int, str]]:
    """What all runs of a trial printed after a word, as (step, digest)."""
    logs = sorted((place.results / "trials" / f"{number:05d}").glob("run-*.log"))
    words = [line.split() for log in logs for line in log.read_text().splitlines()]
    return [(int(line[1]), line[2]) for line in words if line[0] == word]


def assert_lineage(place: Workplace, document: dict[str, Any]) -> None:
    """Every clone began with the very bytes of its parent at the very step, and every step of the population was trained."""
    trials = {trial["number"]: trial for trial in document["trials"]}
    clones = [trial for trial in trials.values() if trial["parent"] is not None]
    assert clones
    for clone in clones:
        parent = clone["parent"]
        step, digest = told(place, "restored", clone["number"])[0]
        assert step == parent["step"]
        assert (step, digest) in told(place, "saved", parent["trial"])
        assert clone["observations"][0]["step"] == parent["step"] + 1
        assert trials[parent["trial"]]["observations"][-1]["step"] >= parent["step"]
    finished = [trial for trial in trials.values() if trial["phase"] == "Succeeded"]
    assert len(finished) == SIZE
    assert all(trial["observations"][-1]["step"] == LAST for trial in finished)
    assert Counter(trial["phase"] for trial in trials.values()) == {"Succeeded": SIZE, "Pruned": len(clones)}


@pytest.mark.parametrize("parallelism", [2, SIZE])
def test_clones_start_from_the_winners_bytes_at_the_step_after_its_last(tmp_path: Path, parallelism: int) -> None:
    place = a_place(tmp_path, parallelism=parallelism)
    document = place.document()
    assert document["status"]["phase"] == "Complete"
    assert_lineage(place, document)
    for trial in document["trials"]:
        steps = [observation["step"] for observation in trial["observations"]]
        first = trial["parent"]["step"] + 1 if trial["parent"] else 1
        assert steps == list(range(first, steps[-1] + 1)), "no step is trained twice, none is left out"


def test_kill_dash_nine_at_any_moment_changes_nothing(tmp_path: Path) -> None:
    undisturbed, disturbed = a_place(tmp_path / "undisturbed"), a_place(tmp_path / "disturbed")
    began = time.monotonic()
    expected = undisturbed.document()
    duration = time.monotonic() - began
    moments = random.Random(3)
    for _ in range(4):
        process = disturbed.start("--quiet")
        time.sleep(moments.uniform(0.3, max(1.0, duration / 3)))
        kill_outright(process)
    document = disturbed.document()
    assert table_of(document) == table_of(expected)
    assert_lineage(disturbed, document)


def test_a_lost_store_is_restored_with_places_and_parents(tmp_path: Path) -> None:
    place = a_place(tmp_path)
    process = place.start("--quiet")
    deadline = time.monotonic() + 60
    while not list(place.results.glob("trials/00006/run-1.log")):  # the second clone trains
        assert time.monotonic() < deadline
        time.sleep(0.05)
    kill_outright(process)
    for file in place.results.glob("podium.db*"):
        file.unlink()
    document = place.document()
    assert document["status"]["phase"] == "Complete"
    assert_lineage(place, document)
