"""What the trials of examples/hypergradients.yaml must show, wherever they ran."""

from collections.abc import Mapping, Sequence
from typing import Any

Trial = tuple[Mapping[str, Any], Mapping[str, float]]
"""Parameters, and the metrics of the last update."""


def assert_hypergradients_beat_constants(trials: Sequence[Trial]) -> None:
    """Both methods end at less than half the loss of the best constant strength, on rows that they never saw as well."""
    (constant,) = [metrics for parameters, metrics in trials if parameters["method"] == "constant"]
    for method in ("unrolled", "implicit"):
        metrics = min((m for p, m in trials if p["method"] == method), key=lambda m: m["val_loss"])
        assert metrics["val_loss"] < 0.5 * constant["val_loss"]
        assert metrics["test_loss"] < 0.5 * constant["test_loss"]
        assert metrics["test_accuracy"] > constant["test_accuracy"] + 0.02
        assert metrics["weight_if_right"] > 3 * metrics["weight_if_wrong"], "nobody told it which labels are wrong"
    assert constant["weight_if_right"] == constant["weight_if_wrong"] == 1.0
