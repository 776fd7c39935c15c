"""How long routes between ranks take, without what they carry."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from collsched.topology.model import Topology

Floats = NDArray[np.float64]

_LINK = 2.0**20  # counts for more than the latencies of a route together, in µs


_BLOCK = 1 << 22  # entries of the (start, link) table taken at once


def latencies(topology: Topology, ranks: tuple[int, ...]) -> tuple[Floats, NDArray[np.int64]]:
    """[ranks, ranks] The least latency of a route of the fewest links, in µs, and their number; infinite, and 0, where
    every path passes through a rank. In as many rounds as the longest route has links."""
    starts = np.array([topology.ranks[rank] for rank in ranks])
    step = max(1, _BLOCK // max(1, len(topology.links)))
    between = np.concatenate(
        [_distances(topology, starts[first : first + step])[:, starts] for first in range(0, len(starts), step)]
    )
    links = (np.where(np.isfinite(between), between, 0) // _LINK).astype(np.int64)
    return between - links * _LINK, links


def _distances(topology: Topology, starts: NDArray[np.int64]) -> Floats:
    """[starts, nodes] The latency of the best route, and _LINK for each of its links."""
    rank = np.array([node.kind == "rank" for node in topology.nodes])
    by_end = sorted(topology.links, key=lambda link: link.dst)
    src = np.array([link.src for link in by_end], np.int64)
    dst = np.array([link.dst for link in by_end], np.int64)
    cost = np.array([float(link.alpha) for link in by_end]) + _LINK
    distance = np.full((len(starts), len(topology.nodes)), np.inf)
    distance[np.arange(len(starts)), starts] = 0
    begin = np.flatnonzero(np.diff(dst, prepend=-1))
    while len(by_end):
        onward = distance[:, src] + cost
        onward[:, rank[src]] = np.where(src[rank[src]] == starts[:, None], cost[rank[src]], np.inf)
        shorter = np.minimum(distance[:, dst[begin]], np.minimum.reduceat(onward, begin, axis=1))
        if (shorter == distance[:, dst[begin]]).all():
            break
        distance[:, dst[begin]] = shorter
    return distance
