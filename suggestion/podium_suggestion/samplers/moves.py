"""Steps from configurations to their neighbours, and which to take: what samplers that search around trials share."""

import numpy as np

from podium_suggestion.history import History
from podium_suggestion.space import BoolArray, Column, FloatArray, Space

_AT_ONCE = 64
"""Points looked up together: most often one of the first is untried."""


def first_untried(history: History, points: FloatArray) -> FloatArray:
    """Return the first of encoded points, shape (k, dimension), that no trial has had; else the very first."""
    for few in np.array_split(points, range(_AT_ONCE, len(points), _AT_ONCE)):
        for point, key in zip(few, history.space.keys(few), strict=True):
            if key not in history.tried:
                return np.asarray(point)
    return np.asarray(points[0])


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number between two, evenly by orders of magnitude."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def completed(points: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return full points of encoded ones, shape (n, dimension) for both: what is inactive gets a uniform coordinate."""
    return np.where(np.isnan(points), rng.random(points.shape), points)


def neighbours(
    space: Space, points: FloatArray, rng: np.random.Generator, width: float, changes: float = 1.0
) -> FloatArray:
    """Return one neighbour of each encoded point, encoded, shape (n, dimension) for both.

    About `changes` active parameters differ, at least one. Ordered ones take a Gaussian step of standard deviation
    `width` (on a lattice at least to the next value), choices take another value; what a choice makes active is drawn
    uniformly.
    """
    moves = _moving(points, rng, changes)
    full = completed(points, rng)
    for position, column in enumerate(space.columns):
        full[:, position] = np.where(
            moves[:, position], _moved(column, full[:, position], rng, width), full[:, position]
        )
    return space.encode(full)


def reflected(units: FloatArray) -> FloatArray:
    """Return coordinates folded back into [0, 1], as if its ends were mirrors; any shape."""
    folded = np.mod(units, 2.0)
    return np.where(folded > 1.0, 2.0 - folded, folded)


def _moving(points: FloatArray, rng: np.random.Generator, changes: float) -> BoolArray:
    """Draw which active parameters change, shape (n, dimension)."""
    is_active = ~np.isnan(points)
    chance = changes / np.maximum(is_active.sum(axis=1, keepdims=True), 1)
    moves = is_active & (rng.random(points.shape) < chance)
    surely = np.argmax(np.where(is_active, rng.random(points.shape), -1.0), axis=1)
    moves[~moves.any(axis=1), surely[~moves.any(axis=1)]] = True
    return np.asarray(moves)


def _moved(column: Column, units: FloatArray, rng: np.random.Generator, width: float) -> FloatArray:
    """Return coordinates a step away, shape (n,) for both; the only value of a column stays."""
    if column.size == 1:
        return units
    if not column.is_ordered:
        assert column.size is not None
        leap = 1.0 + np.floor(rng.random(len(units)) * (column.size - 1))
        return column.centre((column.cell(units) + leap) % column.size)
    steps = rng.normal(0.0, width, len(units))
    moved = reflected(units + steps)
    if column.size is None:
        return moved
    cells = column.cell(units)
    stays = column.cell(moved) == cells
    nearest = cells + np.where(steps < 0.0, -1.0, 1.0)
    nearest = np.where((nearest < 0) | (nearest > column.size - 1), 2.0 * cells - nearest, nearest)
    return np.where(stays, column.centre(nearest), moved)
