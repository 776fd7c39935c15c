"""The order in which the ranks of an all-to-all serve each other: everyone from the next one on.

step     0        1        2            a sender takes up its transfers by index, and each takes a while to
0 →      1        2        3            prepare: were all to begin with rank 0, they would meet there
1 →      2        3        0
2 →      3        0        1
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from collsched.forest.model import Routes
from collsched.topology.model import Topology

Ints32 = NDArray[np.int32]


def in_turn(topology: Topology, routes: Routes, route: NDArray[np.uint32], step: Ints32) -> Ints32:
    """[transfers] Ranks of the transfers over the routes given: by step, then by how many ranks after its source the
    target comes."""
    rank_of = np.full(len(topology.nodes), -1, np.int32)
    rank_of[list(topology.ranks)] = np.arange(len(topology.ranks))
    src = np.fromiter((link.src for link in topology.links), np.int32, len(topology.links))
    dst = np.fromiter((link.dst for link in topology.links), np.int32, len(topology.links))
    ahead = rank_of[dst[routes.links[routes.ptr[1:] - 1]]] - rank_of[src[routes.links[routes.ptr[:-1]]]]
    count = np.int32(len(topology.ranks))
    ordered: Ints32 = step * count + (ahead % count)[route]
    return ordered
