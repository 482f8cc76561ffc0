"""How alike data sets are: by ratios, in units of how much they differ, over what both state."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium_suggestion.transfer.similarity import similarities

FEATURES = st.dictionaries(st.sampled_from(["rows", "columns", "classes"]), st.floats(0, 1e12), max_size=3)


@given(FEATURES, st.lists(FEATURES, max_size=5))
def test_it_is_a_share_and_one_for_the_same(own: dict[str, float], others: list[dict[str, float]]) -> None:
    alike = similarities(own, [*others, own])
    assert alike.shape == (len(others) + 1,)
    assert ((alike >= 0.0) & (alike <= 1.0)).all()
    assert alike[-1] == (1.0 if own else 0.0)


def test_what_is_nearer_by_ratio_is_more_alike() -> None:
    alike = similarities({"rows": 1_000}, [{"rows": 500}, {"rows": 2_000}, {"rows": 1_500}, {"rows": 100_000}])
    assert alike[0] == pytest.approx(alike[1], rel=0.01)
    assert alike[2] > alike[1] > alike[3]


def test_each_feature_counts_in_its_own_spread() -> None:
    """Rows differ by orders of magnitude among the data sets and classes hardly, so twice the classes is further off."""
    others: list[dict[str, float]] = [
        {"rows": 20_000, "classes": 2},
        {"rows": 10_000, "classes": 4},
        {"rows": 1e7, "classes": 2},
    ]
    twice_the_rows, twice_the_classes, _ = similarities({"rows": 10_000, "classes": 2}, others)
    assert twice_the_rows > twice_the_classes


def test_only_what_both_state_is_compared_and_nothing_in_common_is_no_likeness() -> None:
    own = {"rows": 100.0, "columns": 7.0}
    others: list[dict[str, float]] = [{"rows": 100.0}, {"classes": 3.0}, {}]
    assert similarities(own, others).tolist() == [1.0, 0.0, 0.0]


def test_data_sets_that_are_nearly_the_same_are_not_told_apart_by_a_hair() -> None:
    alike = similarities({"rows": 1_000}, [{"rows": 1_001}, {"rows": 1_002}])
    assert alike.min() > 0.99
