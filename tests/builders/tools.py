"""Tools that tests need and a machine may lack: Helm, Prometheus, PostgreSQL."""

import os

import pytest

SKIP_NOTHING = "PODIUM_SKIP_NOTHING" in os.environ
"""Set where everything is to be tested, as in .ci/run: what lacks its tool fails there, instead of being skipped unseen."""


def needs(found: object, otherwise: str) -> pytest.MarkDecorator:
    """Mark tests to be skipped where a tool was not found, for a reason."""
    return pytest.mark.skipif(found is None and not SKIP_NOTHING, reason=otherwise)
