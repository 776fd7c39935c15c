"""Exchanges in steps: in each, every member sends what it holds to one other member.

A step is a permutation: member x sends to step[x]. A shard starts at its root; whoever holds it when a step begins
passes it on, to a member that does not hold it yet. So it spreads along a tree, and no member receives it twice:

    steps x ↦ x ⊕ 1, x ↦ x ⊕ 2        root 0:  0 → 1,  then 0 → 2, 1 → 3

With involutions, what a sequence of steps does for allgather, the reversed one undoes for reduce-scatter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from collsched.algorithms.trees import Ints


def spread(steps: Sequence[NDArray[np.integer]], members: int) -> Ints | None:
    """[members, members] The parents along which every root's shard spreads; None if it does not reach all members."""
    parent = np.full((members, members), -1)
    holds = np.eye(members, dtype=bool)
    for step in steps:
        arriving = np.zeros_like(holds)
        arriving[:, step] = holds
        arriving &= ~holds
        sender = np.empty(members, np.int64)
        sender[step] = np.arange(members)
        parent = np.where(arriving, sender, parent)
        holds |= arriving
    return parent if holds.all() else None


def folded(core: Ints, members: int) -> Ints:
    """The trees of `core` for the first members, and a partner among them for each of the others: it hands its shard to
    the partner before, and receives everything from it after."""
    size = len(core)
    member = np.arange(members)
    parent = np.empty((members, members), np.int64)
    parent[:, :size] = core[member % size]
    parent[:, size:] = member[size:] - size
    late = member[size:]
    parent[late, late - size] = late  # a late root hands its data to its partner
    parent[late, late] = -1
    return parent


def lifted(step: NDArray[np.integer], shape: Sequence[int], dimension: int) -> Ints:
    """A step along one dimension of a grid, as a step of all its members; they are numbered with the last coordinate
    fastest."""
    place = np.arange(int(np.prod(shape))).reshape(shape)
    moved: Ints = np.take(place, step, axis=dimension).ravel()
    return moved
