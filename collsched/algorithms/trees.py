"""Trees given by parents, as forests on routes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from collsched.algorithms.routing import Router
from collsched.collective import Collective
from collsched.forest.model import Forest
from collsched.topology.model import Topology

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Trees:
    """Trees on the members of a group, which are numbered by position. In tree t, parent[t, i] is the parent of member
    i, and −1 where i = root[t] is the root. All trees of a root carry equal parts of its data; there are `per_root` of
    them per unit of its weight, or fewer that stand for as many."""

    root: Ints
    parent: Ints  # [trees, members]
    per_root: int = 1

    def renumbered(self, order: Sequence[int]) -> Trees:
        """The same shapes where order[i] takes the place of member i."""
        member = np.array(order)
        place = np.argsort(member)
        above = self.parent[:, place]
        return Trees(member[self.root], np.where(above < 0, -1, member[above]), self.per_root)


class Unreachable(Exception):
    """Two ranks that an algorithm wants to connect have no route that avoids other ranks."""


def to_forest(
    topology: Topology, router: Router, collective: Collective, trees: Trees, direction: Literal["in", "out"]
) -> Forest:
    """The trees with their roots' shares of the data and routes. Raises Unreachable where one is missing."""
    weight = dict(zip(collective.owners, collective.shards, strict=True))
    group = np.array(collective.group)
    whole = np.array([weight[rank] for rank in group[trees.root].tolist()], np.int64) * trees.per_root
    multiplicity = whole // np.bincount(trees.root)[trees.root]
    used = np.flatnonzero(multiplicity)
    root, parent = trees.root[used], trees.parent[used]
    tree, child = np.nonzero(parent >= 0)
    order = np.argsort(tree * len(group) + _depth(parent)[tree, child], kind="stable")
    tree, child = tree[order], child[order]
    begin, end = (parent[tree, child], child) if direction == "out" else (child, parent[tree, child])
    pair = begin * len(group) + end
    number = np.zeros(len(group) ** 2, np.uint32)
    for used_pair in np.flatnonzero(np.bincount(pair, minlength=len(number))).tolist():
        src, dst = divmod(used_pair, len(group))
        number[used_pair] = _route(router, int(group[src]), int(group[dst]))
    return Forest(
        direction,
        trees.per_root,
        np.array(topology.ranks, np.int32)[group[root]],
        multiplicity[used],
        np.arange(len(used) + 1) * (len(group) - 1),
        number[pair],
        router.routes(),
    )


def _route(router: Router, src: int, dst: int) -> int:
    number = router.route(src, dst)
    if number is None:
        raise Unreachable
    return number


def _depth(parent: Ints) -> Ints:
    """[trees, members] hops from the root: every pointer is followed, twice as far each round."""
    trees, members = parent.shape
    above = np.where(parent < 0, np.arange(members), parent)
    depth = (parent >= 0).astype(np.int64)
    row = np.arange(trees)[:, None]
    for _ in range(members.bit_length()):
        depth = depth + depth[row, above]
        above = above[row, above]
    return depth


def along(order: Sequence[int]) -> Ints:
    """[n, n] For every root, the path that starts there and follows the cycle `order`."""
    cycle = np.array(order)
    parent = np.empty(len(cycle), np.int64)
    parent[cycle] = np.roll(cycle, 1)
    paths = np.tile(parent, (len(cycle), 1))
    np.fill_diagonal(paths, -1)
    return paths
