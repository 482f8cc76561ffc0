"""Fronts: what they dominate, and what they leave."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.experiments import a_float
from builders.spaces import a_history, with_trial
from podium_suggestion.pareto import (
    front_of,
    given_reference,
    growing_hypervolume,
    hypervolume,
    non_dominated,
    undominated_boxes,
)
from podium_suggestion.ranking import ranking


@given(st.integers(1, 4), st.integers(0, 12), st.integers(0, 10_000))
def test_front_is_what_no_row_dominates_and_equal_rows_are_all_of_it(objectives: int, points: int, seed: int) -> None:
    losses = np.random.default_rng(seed).integers(0, 4, size=(points, objectives)) / 2.0
    losses[1::5, -1] = np.inf
    ordered = losses[np.lexsort(losses.T[::-1])]
    worse = [[(row >= other).all() and (row > other).any() for other in ordered] for row in ordered]
    undominated = [not any(others) for others in worse]
    np.testing.assert_array_equal(non_dominated(ordered), undominated)
    np.testing.assert_array_equal(front_of(losses), ordered[undominated])


def test_hypervolume_of_overlapping_boxes_counts_the_overlap_once() -> None:
    assert hypervolume(np.array([[1.0, 3.0], [2.0, 1.0], [2.5, 2.5]]), (4.0, 4.0)) == pytest.approx(3 + 6 - 2)
    assert hypervolume(np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]), (2.0, 2.0, 2.0)) == pytest.approx(4 + 4 - 2)


def test_hypervolume_ignores_what_is_beyond_the_reference() -> None:
    assert hypervolume(np.array([[5.0, 0.0], [np.inf, np.inf]]), (4.0, 4.0)) == 0.0


@given(st.integers(2, 4), st.integers(0, 10_000))
def test_hypervolume_is_the_share_of_random_points_that_are_dominated(objectives: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    losses = rng.random((6, objectives))
    darts = rng.random((4000, objectives))
    share = np.any(np.all(darts[:, np.newaxis] >= losses, axis=2), axis=1).mean()
    assert hypervolume(losses, (1.0,) * objectives) == pytest.approx(share, abs=0.05)


@given(st.integers(1, 4), st.integers(0, 8), st.integers(0, 10_000))
def test_hypervolume_grows_row_by_row_as_that_of_all_rows_so_far(objectives: int, points: int, seed: int) -> None:
    losses = np.random.default_rng(seed).integers(0, 6, size=(points, objectives)) / 4.0
    losses[1::3] = np.inf
    whole = [hypervolume(losses[: count + 1], np.ones(objectives)) for count in range(points)]
    np.testing.assert_array_equal(growing_hypervolume(losses, np.ones(objectives)), whole)


@given(st.integers(1, 4), st.integers(0, 8), st.integers(0, 10_000))
def test_what_a_front_dominates_and_the_boxes_that_it_leaves_make_up_the_whole(
    objectives: int, points: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    losses = rng.integers(0, 6, size=(points, objectives)) / 4.0  # with ties, and some beyond the reference
    reference = np.ones(objectives)
    lower, upper = undominated_boxes(losses, reference)
    left = np.prod(upper - np.maximum(lower, 0.0), axis=1).sum()
    assert left + hypervolume(losses, reference) == pytest.approx(1.0)


@given(st.integers(2, 4), st.integers(0, 10_000))
def test_boxes_do_not_overlap_and_hold_nothing_that_is_dominated(objectives: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    losses, darts = rng.random((6, objectives)), rng.random((500, objectives))
    lower, upper = undominated_boxes(losses, np.ones(objectives))
    inside = (darts[:, None] > lower).all(axis=2) & (darts[:, None] < upper).all(axis=2)
    is_dominated = np.any(np.all(darts[:, None] >= losses, axis=2), axis=1)
    np.testing.assert_array_equal(inside.sum(axis=1), np.where(is_dominated, 0, 1))


def test_a_stated_reference_is_a_loss_whatever_the_goal() -> None:
    history = a_history(
        a_float(),
        objectives=(
            {"metric": "accuracy", "goal": "maximize", "reference": 0.5},
            {"metric": "latency", "goal": "minimize", "reference": 100.0},
            {"metric": "size", "goal": "minimize"},
        ),
    )
    np.testing.assert_array_equal(given_reference(history.objectives), [-0.5, 100.0, np.inf])


def test_what_is_worse_than_a_stated_reference_ranks_behind_what_is_not() -> None:
    objectives = (
        {"metric": "accuracy", "goal": "maximize"},
        {"metric": "latency", "goal": "minimize", "reference": 100.0},
    )
    history = a_history(a_float(), objectives=objectives)
    for accuracy, latency in ((0.9, 200.0), (0.5, 50.0), (0.4, 60.0), (0.8, 300.0)):
        with_trial(history, {"lr": 0.01}, accuracy=accuracy, latency=latency)
    assert ranking(history).tolist() == [1, 2, 0, 3]
