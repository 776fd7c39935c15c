"""How long routes between ranks take, without what they carry."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from collsched.topology.model import Topology

Floats = NDArray[np.float64]

_LINK = 2.0**20  # counts for more than the latencies of a route together, in µs


def latencies(topology: Topology, ranks: tuple[int, ...]) -> tuple[Floats, NDArray[np.int64]]:
    """[ranks, ranks] The least latency of a route of the fewest links, in µs, and their number; infinite, and 0, where
    every path passes through a rank. All pairs at once, in as many rounds as the longest route has links."""
    start = np.array([topology.ranks[rank] for rank in ranks])
    rank = np.array([node.kind == "rank" for node in topology.nodes])
    by_end = sorted(topology.links, key=lambda link: link.dst)
    src = np.array([link.src for link in by_end], np.int64)
    dst = np.array([link.dst for link in by_end], np.int64)
    cost = np.array([float(link.alpha) for link in by_end]) + _LINK
    distance = np.full((len(ranks), len(topology.nodes)), np.inf)
    distance[np.arange(len(ranks)), start] = 0
    begin = np.flatnonzero(np.diff(dst, prepend=-1))
    while len(by_end):
        onward = distance[:, src] + cost
        onward[:, rank[src]] = np.where(src[rank[src]] == start[:, None], cost[rank[src]], np.inf)
        reached = np.minimum.reduceat(onward, begin, axis=1)
        shorter = np.minimum(distance[:, dst[begin]], reached)
        if (shorter == distance[:, dst[begin]]).all():
            break
        distance[:, dst[begin]] = shorter
    between = distance[:, start]
    links = (np.where(np.isfinite(between), between, 0) // _LINK).astype(np.int64)
    return between - links * _LINK, links
