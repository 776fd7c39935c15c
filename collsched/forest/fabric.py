"""A fabric and the demands of an all-to-all as flat arrays, for its planners."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from collsched import _core
from collsched.collective import Collective
from collsched.forest.problem import problem
from collsched.topology.model import Topology

_MOST = 1 << 62

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Fabric:
    """Link e runs from node src[e] to dst[e] with the integer capacity capacity[e]: GB/s × `scale`. `sources` are the
    nodes of the group's ranks, in rank order; demand[s, t] units go from source s to source t. `rank` marks all ranks.

    Flows are [sources, links], in units.
    """

    nodes: int
    src: NDArray[np.int32]
    dst: NDArray[np.int32]
    capacity: Ints
    scale: int
    sources: Ints
    demand: Ints
    rank: NDArray[np.uint8]

    @staticmethod
    def of(topology: Topology, collective: Collective) -> Fabric:
        """Raises InputError if the bandwidths have no common measure that fits into 64 bits."""
        part = problem(topology, collective, reverse=False)
        sources = np.array([topology.ranks[rank] for rank in collective.group], np.int64)
        demand = np.array(collective.shards, np.int64).reshape(len(sources), len(sources))
        np.fill_diagonal(demand, 0)
        return Fabric(part.nodes, part.src, part.dst, part.capacity, part.scale, sources, demand, part.rank)

    @cached_property
    def native(self) -> _core.Exchange:
        width = self.capacity / float(self.capacity.max())
        sources, demand = self.sources.astype(np.int32), self.demand.astype(np.float64).ravel()
        return _core.Exchange(self.nodes, self.src, self.dst, width, sources, demand, self.rank)

    def even(self, price: Ints) -> Floats:
        """The flow along cheapest paths at positive prices, split by capacity among equal ones."""
        return self.native.even(price).reshape(len(self.sources), -1)

    def bound(self, price: Ints) -> Fraction | None:
        """Lemma 12: what all pairs pay at the least over what all links can earn, in 1/(GB/s); None if they earn
        nothing. Exact."""
        earned = int(price.astype(object) @ self.capacity)
        if not earned:
            return None
        far = self.native.distances(price).reshape(self.demand.shape)
        fits = int(far.max()) * int(self.demand.sum()) < _MOST
        paid = (self.demand * far).sum() if fits else (self.demand.astype(object) * far).sum()
        return Fraction(int(paid) * self.scale, earned)

    def fullest(self, load: Ints, k: int) -> Fraction:
        """What the fullest link takes, in 1/(GB/s), where it carries load[link] / k units. Exact."""
        found = Fraction(0)
        for capacity in np.unique(self.capacity).tolist():
            most = int(load[self.capacity == capacity].max())
            found = max(found, Fraction(most * self.scale, k * capacity))
        return found
