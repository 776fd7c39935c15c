"""Small plans without the compiler: random trees over ranks that are all linked to each other."""

from __future__ import annotations

import random
from dataclasses import dataclass
from fractions import Fraction
from itertools import permutations

import numpy as np

from collsched.collective import Collective, Kind, make_collective
from collsched.forest.model import Forest, Routes
from collsched.forest.problem import directions
from collsched.ir.schedule import Schedule
from collsched.lower import lower
from collsched.passes.segment import Segment
from collsched.topology.model import Link, Node, Topology


@dataclass(frozen=True)
class Handmade:
    topology: Topology
    collective: Collective
    forests: tuple[Forest, ...]
    digest: str

    def schedule(self, segments: int = 1) -> Schedule:
        return Segment(segments)(lower(self.topology, self.collective, self.forests))


def mesh(ranks: int) -> Topology:
    nodes = tuple(Node(f"r{i}", "rank") for i in range(ranks))
    return Topology("mesh", nodes, tuple(Link(a, b, Fraction(1)) for a, b in permutations(range(ranks), 2)))


def handmade(ranks: int, kind: Kind | str, *, seed: int = 0, k: int = 1, **options: object) -> Handmade:
    """A plan of random trees; with a `group`, some of the other ranks relay."""
    topology = mesh(ranks)
    collective = make_collective(topology, kind, **options)  # type: ignore[arg-type]
    rng = random.Random(seed)
    forests = tuple(_forest(topology, collective, reverse, rng, k) for reverse in directions(collective.kind))
    return Handmade(topology, collective, forests, f"handmade-{ranks}-{kind}-{seed}")


def _forest(topology: Topology, collective: Collective, reverse: bool, rng: random.Random, k: int) -> Forest:
    arc = {(link.src, link.dst): i for i, link in enumerate(topology.links)}
    roots, multiplicity, ptr, edges = [], [], [0], []
    for owner, weight in zip(collective.owners, collective.shards, strict=True):
        for share in _shares(k * weight, rng):
            roots.append(owner)
            multiplicity.append(share)
            for parent, child in _tree(topology, collective, owner, rng):
                edges.append(arc[child, parent] if reverse else arc[parent, child])
            ptr.append(len(edges))
    routes = Routes(np.arange(len(topology.links) + 1), np.arange(len(topology.links), dtype=np.int32))
    return Forest(
        "in" if reverse else "out",
        k,
        np.array(roots, np.int32),
        np.array(multiplicity, np.int64),
        np.array(ptr, np.int64),
        np.array(edges, np.uint32),
        routes,
    )


def _shares(total: int, rng: random.Random) -> list[int]:
    """`total` trees as distinct ones with multiplicities."""
    shares = []
    while total:
        shares.append(rng.randint(1, total))
        total -= shares[-1]
    return shares


def _tree(topology: Topology, collective: Collective, root: int, rng: random.Random) -> list[tuple[int, int]]:
    """(parent, child), parents first, over all that must be reached and some ranks that relay."""
    if collective.kind in (Kind.GATHER, Kind.SCATTER):
        goals = [collective.root] if collective.root != root else []
    else:
        goals = [rank for rank in collective.group if rank != root]
    if not goals:
        return []
    relays = [rank for rank in range(len(topology.nodes)) if rank != root and rank not in goals]
    rng.shuffle(goals)
    order = [*(relay for relay in relays if rng.random() < 0.5), *goals]
    reached, edges = [root], []
    for rank in order:
        edges.append((rng.choice(reached), rank))
        reached.append(rank)
    return _pruned(edges, set(goals))


def _pruned(edges: list[tuple[int, int]], goals: set[int]) -> list[tuple[int, int]]:
    """Without the branches that reach no goal."""
    needed = set(goals)
    kept = []
    for parent, child in reversed(edges):
        if child in needed:
            needed.add(parent)
            kept.append((parent, child))
    return kept[::-1]
