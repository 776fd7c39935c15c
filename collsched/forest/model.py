"""Forests of spanning trees on physical routes, in flat arrays: at 1,024 ranks a forest has a million edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from collsched.topology.model import Topology


@dataclass(frozen=True, slots=True)
class Routes:
    """Distinct paths. Route r crosses links[ptr[r]:ptr[r+1]] in travel order, through switches only.

    It runs from rank to rank; or it starts or ends at a switch that multicasts or reduces.
    """

    ptr: NDArray[np.int64]  # [routes + 1]
    links: NDArray[np.int32]  # link ids of the topology

    def ends(self, topology: Topology) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The nodes at which each route starts and ends."""
        src = np.fromiter((link.src for link in topology.links), np.int64, len(topology.links))
        dst = np.fromiter((link.dst for link in topology.links), np.int64, len(topology.links))
        return src[self.links[self.ptr[:-1]]], dst[self.links[self.ptr[1:] - 1]]

    def switches(self, topology: Topology) -> tuple[int, ...]:
        """The switches at which some route starts or ends, ascending: they copy or sum data on its way."""
        ends = {int(node) for nodes in self.ends(topology) for node in np.unique(nodes)}
        return tuple(sorted(ends - set(topology.ranks)))


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees that together carry every shard.

    Tree t stands for `multiplicity[t]` identical trees of root node `roots[t]`. Its edges are the route ids
    `edges[ptr[t]:ptr[t+1]]`, parents first. An out-tree's route runs from parent to child; an in-tree's from child to
    parent (the data flows to the root, so an in-tree executes its edges in reverse order). A rank occurs at most once
    in a tree. `k` is the number of trees per unit of shard weight: the multiplicities of a root with weight w sum to
    k·w, and a tree carries multiplicity / (k·w) of its root's shard. A switch may be a node of an out-tree if it
    multicasts, of an in-tree if it reduces.
    """

    direction: Literal["out", "in"]
    k: int
    roots: NDArray[np.int32]  # [trees] node ids
    multiplicity: NDArray[np.int64]  # [trees]
    ptr: NDArray[np.int64]  # [trees + 1]
    edges: NDArray[np.uint32]  # [tree edges] route ids
    routes: Routes
