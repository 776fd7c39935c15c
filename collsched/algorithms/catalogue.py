"""Which algorithms apply to a collective on a topology, each in the variants worth trying."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import gcd

import numpy as np

from collsched.algorithms.double_tree import chained, double_tree
from collsched.algorithms.halving_doubling import halving_doubling
from collsched.algorithms.hierarchical import hierarchical
from collsched.algorithms.hosts import by_host
from collsched.algorithms.ring import rings
from collsched.algorithms.routing import Router
from collsched.algorithms.trees import Trees, Unreachable, to_forest
from collsched.collective import Collective, Kind
from collsched.forest.model import Forest
from collsched.forest.problem import directions
from collsched.topology.model import Topology


@dataclass(frozen=True, slots=True)
class Baseline:
    """An algorithm as forests, in the order of `forest.problem.directions`.

    `collective` is what was asked for; an allreduce, which promises the whole buffer to everyone, may be cut into other
    shards.
    """

    name: str
    collective: Collective
    forests: tuple[Forest, ...]

    @property
    def transfers(self) -> int:
        """At least so many transfers come of it."""
        return sum(len(forest.edges) for forest in self.forests)


def baselines(topology: Topology, collective: Collective) -> list[Baseline]:
    """All that apply, variants of one name side by side; none for other collectives than allgather, reduce-scatter and
    allreduce, or for a single rank.

    An algorithm does not apply where two ranks that it connects have no route that avoids other ranks.
    """
    if collective.kind not in (Kind.ALLGATHER, Kind.REDUCE_SCATTER, Kind.ALLREDUCE) or len(collective.group) < 2:
        return []
    found = []
    for name, family in _FAMILIES.items():
        for build in family(topology, collective):
            # A router for each, since a router balances what it routes.
            try:
                found.append(build(Router(topology), name))
            except Unreachable:
                continue
    return found


Build = Callable[[Router, str], Baseline]


def _baseline(topology: Topology, collective: Collective, trees: Trees, router: Router, name: str) -> Baseline:
    forests = tuple(
        to_forest(topology, router, collective, trees, "in" if reverse else "out")
        for reverse in directions(collective.kind)
    )
    return Baseline(name, collective, forests)


def _ring(topology: Topology, collective: Collective) -> Iterator[Build]:
    for trees in rings(topology, Router(topology), collective):
        yield partial(_baseline, topology, collective, trees)


def _double_tree(topology: Topology, collective: Collective) -> Iterator[Build]:
    """One pair of trees; and several, turned within the hosts as rings are; and several that span the hosts alone."""
    if collective.kind is not Kind.ALLREDUCE:
        return
    hosts = by_host(topology, collective)
    flat = double_tree(len(collective.group))
    turned = [[host[r:] + host[:r] for host in hosts] for r in range(min(map(len, hosts)))]
    pairs = [flat.renumbered([member for host in order for member in host]) for order in turned]
    variants = [pairs[:1]]
    if len(hosts) > 1 and len(pairs) > 1:
        variants += [pairs, [chained(order) for order in turned]]
    for variant in variants:
        trees = Trees(
            np.concatenate([pair.root for pair in variant]), np.concatenate([pair.parent for pair in variant])
        )
        yield partial(_baseline, topology, *_shared_by_roots(collective, trees))


def _shared_by_roots(collective: Collective, trees: Trees) -> tuple[Collective, Trees]:
    """The buffer cut into equal parts, one a tree, that belong to the trees' roots."""
    roots, counts = np.unique(trees.root, return_counts=True)
    common = gcd(*counts.tolist())
    owners = tuple(collective.group[root] for root in roots.tolist())
    shards = tuple((counts // common).tolist())
    return replace(collective, owners=owners, shards=shards), replace(trees, per_root=common)


def _halving_doubling(topology: Topology, collective: Collective) -> Iterator[Build]:
    order = [member for host in by_host(topology, collective) for member in host]
    for near_first in (True, False):
        trees = halving_doubling(len(order), near_first=near_first).renumbered(order)
        yield partial(_baseline, topology, collective, trees)


def _hierarchical(topology: Topology, collective: Collective) -> Iterator[Build]:
    trees = hierarchical(by_host(topology, collective))
    if trees is not None:
        yield partial(_baseline, topology, collective, trees)


_FAMILIES: dict[str, Callable[[Topology, Collective], Iterator[Build]]] = {
    "ring": _ring,
    "double-binary-tree": _double_tree,
    "halving-doubling": _halving_doubling,
    "hierarchical": _hierarchical,
}
