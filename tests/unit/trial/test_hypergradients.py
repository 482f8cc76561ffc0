"""Hypergradients agree with closed forms and finite differences; the same claims are run in a pod by the e2e suite."""

from collections.abc import Callable

import pytest

pytest.importorskip(
    "torch", reason="hypergradients need torch (pip install 'podium[torch]'); `make e2e` runs these in a pod"
)

from builders.hypergradient_claims import CLAIMS


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_claim(claim: Callable[[], None]) -> None:
    claim()
