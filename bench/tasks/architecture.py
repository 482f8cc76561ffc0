"""Architectures: choices without order alone, whose worth is in how they combine. Every one has been counted."""

from itertools import product

import numpy as np

from bench.tasks.task import Task, choice, loss_of, space_of
from podium_contract.parameters import Assignment
from podium_suggestion.space import FloatArray

_OPERATIONS = ("none", "skip", "conv1", "conv3", "pool")
_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""From node to node; data flow from node 0 to node 3."""


def architecture_tasks() -> list[Task]:
    return [_cell(), _backbone()]


def _cell() -> Task:
    """A cell of four nodes, five operations on each of its six edges: what no path uses is worth nothing."""
    rng = np.random.default_rng(6)
    worth = rng.uniform(0.0, 1.0, (len(_EDGES), len(_OPERATIONS))) + np.array([0.0, 0.3, 0.6, 1.0, 0.2])
    pairs = rng.normal(0.0, 0.25, (len(_EDGES), len(_EDGES), len(_OPERATIONS), len(_OPERATIONS)))

    def loss(operations: tuple[int, ...]) -> float:
        used = _used_edges(operations)
        if not used:
            return 9.0
        own = sum(float(worth[edge, operations[edge]]) for edge in used)
        joint = sum(
            float(pairs[one, other, operations[one], operations[other]])
            for one in used
            for other in used
            if one < other
        )
        return float(9.0 * np.exp(-(own + joint) / 3))

    names = [f"edge{start}{end}" for start, end in _EDGES]
    every = np.array([loss(each) for each in product(range(len(_OPERATIONS)), repeat=len(_EDGES))])
    return Task(
        name="cell-6x5",
        group="architecture",
        about=_cell.__doc__ or "",
        parameters=space_of(*(choice(name, *_OPERATIONS) for name in names)),
        advance=loss_of(lambda chosen: loss(tuple(_OPERATIONS.index(chosen[name]) for name in names))),
        optimum=float(every.min()),
        budget=60,
        all_losses=every,
    )


def _used_edges(operations: tuple[int, ...]) -> list[int]:
    """Return the edges with an operation that lie on a path from the first node to the last."""
    edges = [edge for edge, operation in enumerate(operations) if _OPERATIONS[operation] != "none"]
    forward, backward = {0}, {3}
    for edge in edges:  # edges are in the order of their ends
        if _EDGES[edge][0] in forward:
            forward.add(_EDGES[edge][1])
    for edge in reversed(edges):
        if _EDGES[edge][1] in backward:
            backward.add(_EDGES[edge][0])
    return [edge for edge in edges if _EDGES[edge][0] in forward and _EDGES[edge][1] in backward]


def _backbone() -> Task:
    """Ten blocks of three kinds in a row: each block's worth depends on its own kind and on its neighbour's."""
    blocks, kinds = 10, ("plain", "bottleneck", "attention")
    rng = np.random.default_rng(10)
    own, neighbours = rng.normal(0.0, 1.0, (blocks, 3)), rng.normal(0.0, 1.0, (blocks - 1, 3, 3))

    def losses(chosen: FloatArray) -> FloatArray:
        """Return the losses of architectures, shape (n, blocks) to (n,)."""
        kind = chosen.astype(np.int64)
        total = own[np.arange(blocks), kind].sum(axis=1)
        return np.asarray(-total - neighbours[np.arange(blocks - 1), kind[:, :-1], kind[:, 1:]].sum(axis=1))

    def loss(chosen: Assignment) -> float:
        return float(losses(np.array([[kinds.index(chosen[f"block{index}"]) for index in range(blocks)]]))[0])

    every = losses(np.array(list(product(range(3), repeat=blocks)), dtype=np.float64))
    return Task(
        name="backbone-10x3",
        group="architecture",
        about=_backbone.__doc__ or "",
        parameters=space_of(*(choice(f"block{index}", *kinds) for index in range(blocks))),
        advance=loss_of(loss),
        optimum=float(every.min()),
        budget=60,
        all_losses=every,
    )
