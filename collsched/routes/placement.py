"""Which order of ranks would lower the traffic between leaves, and by how much.

A position (what an algorithm calls rank i) is given to a physical rank. Leaves are filled one by one: the next
position is the one that exchanges most with those already on the leaf.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np

from collsched.routes.model import Flows
from collsched.topology.model import Topology


@dataclass(frozen=True, slots=True)
class Advice:
    """Position rank i of today's order should be physical rank order[i]. Bytes that cross from leaf to leaf, now and
    then."""

    order: tuple[int, ...]
    crossing: int
    crossing_after: int


def advise(topology: Topology, flows: Flows) -> Advice:
    """An order of the ranks for these flows; today's where no better one was found."""
    leaf = leaves(topology)
    before = _crossing(leaf, flows, np.arange(len(leaf)))
    order = _fill(leaf, flows)
    after = _crossing(leaf, flows, order)
    if after >= before:
        return Advice(tuple(range(len(leaf))), before, before)
    return Advice(tuple(order.tolist()), before, after)


def leaves(topology: Topology) -> np.ndarray:
    """[ranks] number of the group of ranks that share all of their switches."""
    switches: dict[int, set[int]] = {node: set() for node in topology.ranks}
    for link in topology.links:
        if link.src in switches and link.dst not in switches:
            switches[link.src].add(link.dst)
    groups: dict[frozenset[int], int] = {}
    return np.array([groups.setdefault(frozenset(switches[node]), len(groups)) for node in topology.ranks])


def _crossing(leaf: np.ndarray, flows: Flows, order: np.ndarray) -> int:
    placed = leaf[order]
    return int(flows.bytes[placed[flows.src] != placed[flows.dst]].sum())


def _fill(leaf: np.ndarray, flows: Flows) -> np.ndarray:
    """[ranks] the physical rank of each position."""
    near: list[dict[int, int]] = [defaultdict(int) for _ in range(len(leaf))]
    for src, dst, size in zip(flows.src.tolist(), flows.dst.tolist(), flows.bytes.tolist(), strict=True):
        near[src][dst] += size
        near[dst][src] += size
    free = dict.fromkeys(range(len(leaf)))
    order = np.zeros(len(leaf), np.int64)
    for number in range(int(leaf.max()) + 1):
        pull: dict[int, int] = defaultdict(int)
        heap: list[tuple[int, int]] = []
        for rank in np.flatnonzero(leaf == number).tolist():
            position = _strongest(heap, pull, free)
            del free[position]
            order[position] = rank
            for other, size in near[position].items():
                if other in free:
                    pull[other] += size
                    heappush(heap, (-pull[other], other))
    return order


def _strongest(heap: list[tuple[int, int]], pull: dict[int, int], free: dict[int, None]) -> int:
    """The free position that the leaf pulls most, else the first one. Entries of the heap may be stale."""
    while heap:
        strength, position = heappop(heap)
        if position in free and -strength == pull[position]:
            return position
    return next(iter(free))
