"""What every end-to-end test starts from: a cluster (KUBECONFIG) with the CRDs of this tree, and Podium at work on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from builders.operator_at_work import ROOT, Podium, at_work, kubectl

SHARING = {"test_crds.py", "test_helm.py", "test_monitoring.py"}
"""Files whose tests share what is dear to set up, an installation for example."""


class Spread(LoadScopeScheduling):  # type: ignore[misc]  # xdist's schedulers have no types
    """Gives each test to whichever worker is free, but those of a file that shares something to one."""

    def _split_scope(self, nodeid: str) -> str:
        path = Path(nodeid.split("::", maxsplit=1)[0])
        return path.name if path.name in SHARING else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return Spread(config, log)


@pytest.fixture(scope="session")
def crds() -> None:
    """The generated CRDs, installed in the cluster."""
    files = sorted((ROOT / "crds").glob("*.yaml"))
    kubectl("apply", "--server-side", "--force-conflicts", *(f"-f={path}" for path in files))


@pytest.fixture
def podium(crds: None, tmp_path: Path) -> Iterator[Podium]:  # noqa: ARG001  (a fixture for its effect)
    """An operator and a suggestion service of this tree, in a namespace of their own."""
    with at_work(tmp_path) as podium:
        yield podium
