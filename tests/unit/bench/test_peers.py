import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.peers import environments
from bench.peers.client import PeerError, PeerProcess, PeerTuner, start_peer
from bench.peers.environments import PEERS, ROOT, PeerKind, install, is_installed, version_of
from bench.peers.protocol import Parameter, Setting, decoded, encoded, holds, is_active, lattice_of, only_active
from bench.simulator import Simulation
from bench.tasks import all_tasks
from bench.tasks.task import Task
from podium_contract.parameters import in_dependency_order
from podium_suggestion.space import Space

FAKE = Path(__file__).parents[2] / "builders" / "fake_peer.py"
TREE = all_tasks()["jenatton-tree-9d"]
CURVES = all_tasks()["boosting-diabetes"]


@contextmanager
def _peer(method: str, task: Task = TREE, scheduler: str = "") -> Iterator[PeerProcess]:
    setting = Setting(
        parameters=[each.to_json() for each in in_dependency_order(task.parameters)],
        objectives=len(task.objectives),
        constraints=len(task.constraints),
        method=method,
        scheduler=scheduler,
        seed=0,
        trials=task.budget,
        workers=1,
        steps=task.steps,
    )
    with PeerProcess([sys.executable, str(FAKE)], setting) as peer:
        yield peer


def test_a_peer_is_asked_and_told_across_processes() -> None:
    with _peer("plain") as peer:
        assert peer.version == "1.0"
        assert peer.ask() == (1, {"x1": "left", "x2": "left", "x4": -1, "r8": 0})
        assert peer.report(1, 1, 0.5) == "go"
        peer.tell(1, [float("nan")], [], 2.0)
        peer.load([{"x1": "left"}], [float("inf")])
        assert peer.seconds < 1.0


def test_what_a_peer_prints_does_not_mix_with_its_answers() -> None:
    with _peer("chatty") as peer:
        assert [peer.ask() for _ in range(2)][1] is not None


def test_a_method_that_a_peer_does_not_have_is_its_own_words() -> None:
    with pytest.raises(PeerError, match="NotOffered: there is no such method"), _peer("missing"):
        pass


def test_a_peer_whose_process_ends_is_an_error_not_a_hang() -> None:
    with _peer("dying") as peer:
        peer.ask()
        with pytest.raises(PeerError, match="ended at 'ask' without an answer, exit code 3: it said nothing"):
            peer.ask()


def test_a_process_serves_one_setting_after_another_and_a_new_one_follows_one_that_failed() -> None:
    def start() -> int:
        with _peer("counting") as peer:
            return int(peer.version.removeprefix("start "))

    first = start()
    assert start() == first + 1
    with pytest.raises(PeerError), _peer("missing"):
        pass
    assert start() == 1


def test_a_peer_in_the_simulator_is_asked_for_its_trials_and_no_more() -> None:
    with _peer("plain") as peer:
        run = Simulation(TREE, PeerTuner(TREE, peer, trials=5), workers=2).play()
    assert (run.trials, len(run.losses)) == (5, 5)


def test_a_trial_that_a_peer_stops_leaves_its_worker() -> None:
    task = replace(CURVES, budget=3)
    with _peer("stopping", task, "asha") as peer:
        run = Simulation(task, PeerTuner(task, peer, trials=3), workers=1).play()
    assert (run.trials, run.steps, run.losses) == (3, 6, [])


def test_a_peer_that_is_not_installed_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PODIUM_BENCH_CACHE", str(tmp_path))
    with pytest.raises(PeerError, match=r"run `python -m bench\.peers install optuna`"):
        start_peer(PEERS["optuna"], TREE, "tpe", "", seed=0, workers=1)


def test_an_environment_is_complete_once_its_versions_are_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PODIUM_BENCH_CACHE", str(tmp_path))
    kind = PeerKind("fake", ("Fake_Peer[all]>=1",), ("plain",))
    (tmp_path / "fake").mkdir()
    assert not is_installed(kind)
    (tmp_path / "fake" / "installed.txt").write_text("other==2.0\nfake-peer==1.4\n")
    assert version_of(kind) == "1.4"
    assert install(kind).startswith("other")


def test_a_failed_installation_tells_the_installers_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PODIUM_BENCH_CACHE", str(tmp_path))
    kind = PeerKind("fake", ("fake",), ("plain",))
    with pytest.raises(environments.InstallationError, match="fake cannot be installed"):
        install(kind, python=str(_failing(tmp_path)))
    assert not is_installed(kind)


def test_a_peer_whose_requirements_fit_nothing_is_installed_without_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PODIUM_BENCH_CACHE", str(tmp_path))
    kind = PeerKind("fake", ("torch", "numpy"), ("plain",), bare=("Fake_Peer==1.4",))
    install(kind, python=str(_recording(tmp_path)))
    assert (tmp_path / "calls").read_text().splitlines() == [
        "install --quiet torch numpy",
        "install --quiet --no-deps Fake_Peer==1.4",
        "freeze",
    ]
    assert version_of(kind) == "1.4"


def _recording(folder: Path) -> Path:
    """Return an interpreter whose environments' interpreters write down what pip is asked for."""
    script = folder / "python"
    script.write_text(
        "#!/bin/sh\n"
        'if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; exit; fi\n'
        "shift 3\n"
        f'echo "$@" >> {folder}/calls\n'
        'if [ "$1" = freeze ]; then echo fake-peer==1.4; fi\n'
    )
    script.chmod(0o755)
    return script


def _failing(folder: Path) -> Path:
    script = folder / "python"
    script.write_text("#!/bin/sh\necho 'ERROR: no space left' >&2\nexit 1\n")
    script.chmod(0o755)
    return script


@pytest.mark.parametrize("kind", PEERS.values(), ids=lambda kind: kind.name)
def test_every_peer_has_an_adapter(kind: PeerKind) -> None:
    assert (ROOT / f"{kind.module.replace('.', '/')}.py").exists()


# --- what adapters share --------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", all_tasks().values(), ids=lambda task: task.name)
def test_adapters_read_lattices_as_the_contract_does(task: Task) -> None:
    for parameter in task.parameters:
        size = parameter.lattice_size
        expected = None if size is None else [parameter.lattice_value(index) for index in range(size)]
        assert lattice_of(parameter.to_json()) == expected


@pytest.mark.parametrize("task", all_tasks().values(), ids=lambda task: task.name)
def test_a_value_counted_for_a_peer_is_read_back(task: Task) -> None:
    space, rng = Space(task.parameters), np.random.default_rng(0)
    known = {parameter.name: parameter.to_json() for parameter in task.parameters}
    for name, value in [item for _ in range(20) for item in space.sample(rng).items()]:
        there_and_back = decoded(known[name], encoded(known[name], value))
        assert there_and_back == pytest.approx(value) if isinstance(value, float) else there_and_back == value


def test_what_a_peer_exceeds_is_brought_to_the_nearest_value_in_bounds() -> None:
    assert decoded({"type": "int", "min": 1, "max": 9}, 8.4) == 9
    assert decoded({"type": "int", "min": 4, "max": 64, "scale": "log"}, 3.2) == 4
    assert decoded({"type": "float", "min": 0.0, "max": 1.0}, 1.5) == 1.0


def test_adapters_read_conditions_as_the_contract_does() -> None:
    assert holds([1, 2], 2)
    assert not holds({"min": 2}, 1)
    assert holds({"min": 2, "max": 3}, 3)
    child = {"name": "b", "when": {"a": ["x"]}}
    assert is_active(child, {"a": "x"})
    assert not is_active(child, {})
    parameters: list[Parameter] = [{"name": "a"}, child, {"name": "c", "when": {"b": {"min": 1}}}]
    assert only_active(parameters, {"a": "y", "b": 5, "c": 1}) == {"a": "y"}
    assert only_active(parameters, {"a": "x", "b": 5, "c": 1}) == {"a": "x", "b": 5, "c": 1}
