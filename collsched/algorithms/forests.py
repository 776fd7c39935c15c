"""Trees given by parents, as forests on routes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from collsched.algorithms.relaying import Relays
from collsched.algorithms.routing import Router
from collsched.algorithms.trees import Direction, Ints, Trees, depths, heights, pruned
from collsched.collective import Collective, Kind
from collsched.forest.model import Forest
from collsched.topology.model import Topology


def to_forest(
    topology: Topology,
    router: Router,
    relays: Relays,
    collective: Collective,
    trees: Trees,
    direction: Direction,
) -> Forest:
    """The trees with their roots' shares of the data and routes, without what leads to no terminal.

    Trees whose root owns nothing are left out. Where no route between two ranks avoids all others, those relay, in the
    way that `relays` knows. Raises Unreachable where there is no way at all.
    """
    weight = dict(zip(collective.owners, collective.shards, strict=True))
    ranks = np.array(collective.group)
    whole = np.array([weight.get(rank, 0) for rank in ranks[trees.root].tolist()], np.int64) * trees.per_root
    multiplicity = whole // np.bincount(trees.root)[trees.root]
    used = np.flatnonzero(multiplicity)
    root, parent = trees.root[used], trees.parent[used]
    terminals = _terminals(collective)
    if len(terminals) < len(ranks):
        parent = pruned(parent, terminals)
    numbers = _numbers(router, ranks, parent, direction)
    if numbers is None:
        ranks = relays.ranks
        router = Router(topology)  # without the routes that were asked for in vain
        parent = pruned(relays.relayed(parent, direction), terminals)
        numbers = _numbers(router, ranks, parent, direction)
        assert numbers is not None, "relays are joined by routes"
    tree, child = _in_order(root, parent)
    return Forest(
        direction,
        trees.per_root,
        np.array(topology.ranks, np.int32)[ranks[root]],
        multiplicity[used],
        np.append(0, np.cumsum(np.bincount(tree, minlength=len(used)))),
        numbers[_pair(parent[tree, child], child, len(ranks), direction)],
        router.routes(),
    )


def _in_order(root: Ints, parent: Ints) -> tuple[Ints, Ints]:
    """Tree and child of every edge: tree by tree, by depth; within a depth the higher a child's own tree is, the
    earlier; and of equals one after another from the root on, so that roots begin with different ones."""
    members = parent.shape[1]
    tree, child = np.nonzero(parent >= 0)
    depth = depths(parent)[tree, child]
    turn = (child - root[tree]) % members
    below = members - 1 - heights(parent, tree, child, depth)
    order = np.argsort(((tree * members + depth) * members + below) * members + turn)
    return tree[order], child[order]


def _terminals(collective: Collective) -> Ints:
    """Positions of the ranks that every tree has to reach."""
    if collective.kind in (Kind.GATHER, Kind.SCATTER):
        return np.flatnonzero(np.array(collective.group) == collective.root)
    return np.arange(len(collective.group))


def _pair(above: Ints, below: Ints, count: int, direction: Direction) -> Ints:
    """A number for each pair of sender and receiver."""
    return above * count + below if direction == "out" else below * count + above


def _numbers(router: Router, ranks: Ints, parent: Ints, direction: Direction) -> NDArray[np.uint32] | None:
    """[pairs] The route of every pair that the trees use; None if one is missing."""
    count = len(ranks)
    tree, child = np.nonzero(parent >= 0)
    used = np.bincount(_pair(parent[tree, child], child, count, direction), minlength=count**2)
    numbers = np.zeros(count**2, np.uint32)
    for pair in np.flatnonzero(used).tolist():
        number = router.route(int(ranks[pair // count]), int(ranks[pair % count]))
        if number is None:
            return None
        numbers[pair] = number
    return numbers
