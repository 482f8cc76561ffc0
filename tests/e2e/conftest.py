"""What every end-to-end test starts from: a cluster (KUBECONFIG) with the CRDs of this tree, and Podium at work on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from builders.operator_at_work import ROOT, Podium, at_work, kubectl


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
