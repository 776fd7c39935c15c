"""A fabric as flat arrays for the planners of an all-to-all: distances and shares for all sources at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collsched.collective import Collective
from collsched.forest.problem import problem
from collsched.topology.model import Topology

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Fabric:
    """Link e runs from node src[e] to dst[e] with the integer capacity capacity[e]: GB/s × `scale`. `sources` are the
    nodes of the group's ranks, in rank order; every one sends to every other. `rank` marks all ranks."""

    nodes: int
    src: NDArray[np.int32]
    dst: NDArray[np.int32]
    capacity: Ints
    scale: int
    sources: Ints
    rank: NDArray[np.bool_]

    @staticmethod
    def of(topology: Topology, collective: Collective) -> Fabric:
        """Raises InputError if the bandwidths have no common measure that fits into 64 bits."""
        part = problem(topology, collective, reverse=False)
        sources = np.array([topology.ranks[rank] for rank in collective.group], np.int64)
        return Fabric(part.nodes, part.src, part.dst, part.capacity, part.scale, sources, part.rank != 0)

    @cached_property
    def _entering(self) -> tuple[Ints, Ints, Ints]:
        """Links by the node they enter, where each node's begin among them, and those nodes."""
        return _grouped(self.dst)

    @cached_property
    def _leaving(self) -> tuple[Ints, Ints, Ints]:
        return _grouped(self.src)

    def distances(self, price: NDArray[Any]) -> NDArray[Any]:
        """[nodes, sources] The least price of a path from each source. Bellman–Ford for all sources at once: a round
        a hop, links · sources each. Prices are integers below 2^32 or floats; what cannot be reached is very far."""
        order, begin, heads = self._entering
        far = price.dtype.type(1 << 40)
        distance = np.full((self.nodes, len(self.sources)), far, price.dtype)
        distance[self.sources, np.arange(len(self.sources))] = 0
        tail, step = self.src[order], price[order][:, None]
        while True:
            through = np.minimum.reduceat(distance[tail] + step, begin, axis=0)
            nearer = np.minimum(distance[heads], through)
            if (nearer == distance[heads]).all():
                return distance
            distance[heads] = nearer

    def cheapest(self, price: Floats, slack: float) -> Floats:
        """[links, sources] The flow of one unit from each source to every other along its cheapest paths (to within
        `slack`, below every price), split among the links into a node by capacity."""
        order, begin, heads = self._entering
        distance = self.distances(price)
        tight: NDArray[np.bool_] = distance[self.src] + price[:, None] <= distance[self.dst] + slack
        share: Floats = np.where(tight, self.capacity[:, None], 0).astype(np.float64)
        total = np.zeros((self.nodes, len(self.sources)))
        total[heads] = np.add.reduceat(share[order], begin, axis=0)
        share /= np.where(total > 0, total, 1)[self.dst]
        order, begin, tails = self._leaving
        wanted = np.zeros_like(total)
        wanted[self.sources] = 1 - np.eye(len(self.sources))
        through, flow = wanted, share
        for _ in range(self.nodes):  # a hop closer to the sources each; the cheapest paths have no cycle
            flow = share * through[self.dst]
            above = wanted.copy()
            above[tails] += np.add.reduceat(flow[order], begin, axis=0)
            if np.array_equal(above, through):
                break
            through = above
        return flow


def _grouped(ends: NDArray[np.int32]) -> tuple[Ints, Ints, Ints]:
    order = np.argsort(ends, kind="stable")
    nodes, begin = np.unique(ends[order], return_index=True)
    return order.astype(np.int64), begin.astype(np.int64), nodes.astype(np.int64)
