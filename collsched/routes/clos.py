"""Uniform Clos fabrics, where colouring edges tells every flow its path.

Equal sizes, no splits (T1): vertices are leaves, an edge is a flow, a colour a spine. The edges of a leaf are cut into
groups of s; each group is a vertex of degree at most s, so s colours suffice (König), and a leaf of degree D sends at
most ⌈D / s⌉ flows to a spine. Any sizes (T3): with a leaf's flows in order of size, a link's i-th largest flow is no
larger than each of the flows of the group before, so it carries at most D / s plus the largest flow.

Three tiers (T5): leaves → plane first, then within each plane pods → core.

    core   core        colour within a plane
      |  ×  |
    agg   agg          the plane is the first colour
      |  ×  |
    leaf  leaf
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collsched._core import edge_colouring
from collsched.routes.bounds import hops_of
from collsched.routes.model import I32, I64, Flows
from collsched.routes.network import Network


@dataclass(frozen=True, slots=True)
class Clos:
    """A uniform fabric of two or three tiers, as the paths of a network show it.

    The path of pair p with plane a and core b (0 within a pod and where there are two tiers) is path[p, a, b].
    """

    planes: int  # spines, where there are two tiers
    cores: int  # of each plane; 1 where there are two tiers
    leaf: I64  # [pairs, 2] first and last switch
    pod: I64  # [pairs, 2]
    path: I64  # [pairs, planes, cores]

    @property
    def tiers(self) -> int:
        return 2 if self.cores == 1 else 3


def find_clos(network: Network) -> Clos | None:
    """The uniform Clos fabric that these paths make, if they do."""
    hops = [hops_of(network, pair) for pair in range(len(network.paths.begin) - 1)]
    if not hops or any(links.shape[1] not in (2, 4) for links in hops):
        return None
    leaf = np.empty((len(hops), 2), np.int64)
    for column, ends in enumerate((network.first, network.last)):
        begin = network.paths.begin[:-1]
        leaf[:, column] = ends[begin]
        if (np.minimum.reduceat(ends, begin) != np.maximum.reduceat(ends, begin)).any():
            return None
    if not _equal_tiers(network, hops):
        return None
    return _arrange(network, hops, leaf)


def _equal_tiers(network: Network, hops: list[np.ndarray]) -> bool:
    """One bandwidth on all links next to leaves, and one on those above."""
    low = np.concatenate([links[:, [0, -1]].ravel() for links in hops])
    high = np.concatenate([links[:, 1:-1].ravel() for links in hops])
    return all(len(np.unique(network.capacity[np.unique(tier)])) <= 1 for tier in (low, high))


def _arrange(network: Network, hops: list[np.ndarray], leaf: I64) -> Clos | None:
    """Numbers planes and cores, if every pair reaches each of them once."""
    middles = [_middle(network, pair, links.shape[1] + 1) for pair, links in enumerate(hops)]
    plane_of = _planes(middles)
    planes = len(set(plane_of.values()))
    longest = max(middle.shape[1] for middle in middles)
    core_of: dict[int, int] = {}
    if longest == 3:
        by_plane: dict[int, set[int]] = {}
        for middle in middles:
            if middle.shape[1] == 3:
                for aggregation, core in {(row[0], row[1]) for row in middle.tolist()}:
                    by_plane.setdefault(plane_of[aggregation], set()).add(core)
        for cores_here in by_plane.values():
            core_of.update({core: number for number, core in enumerate(sorted(cores_here))})
    cores = 1 + max(core_of.values(), default=0)
    path = np.full((len(hops), planes, cores), -1, np.int64)
    pod = np.empty((len(hops), 2), np.int64)
    for pair, middle in enumerate(middles):
        first = int(network.paths.begin[pair])
        rows = middle.tolist()
        across = middle.shape[1] == 3
        if len(rows) != planes * (cores if across else 1):
            return None
        for number, row in enumerate(rows):
            path[pair, plane_of[row[0]], core_of[row[1]] if across else 0] = first + number
        if not across:
            path[pair, :, 1:] = path[pair, :, :1]
        pod[pair] = min(row[0] for row in rows), min(row[-1] for row in rows)
    return None if (path < 0).any() else Clos(planes, cores, leaf, pod, path)


def _middle(network: Network, pair: int, length: int) -> np.ndarray:
    """[paths of the pair, switches between the leaves]"""
    low, high = (int(network.paths.begin[pair + end]) for end in (0, 1))
    ptr = network.paths.node_ptr
    return network.paths.nodes[ptr[low] : ptr[high]].reshape(high - low, length)[:, 1:-1]


def _planes(middles: list[np.ndarray]) -> dict[int, int]:
    """Plane of each switch above the leaves: aggregation switches that share a core are of one plane."""
    leader: dict[int, int] = {}

    def find(node: int) -> int:
        while (above := leader.setdefault(node, node)) != node:
            node = above
        return node

    for middle in middles:
        find(int(middle[0, 0]))
        for row in np.unique(middle, axis=0).tolist():
            for node in row:
                leader[find(node)] = find(row[0])
    roots = sorted({find(node) for node in leader})
    number = {root: plane for plane, root in enumerate(roots)}
    return {node: number[find(node)] for node in leader}


def grouped(vertex: np.ndarray, size: I64, each: int) -> I32:
    """Number of the group of each edge: the edges of a vertex, largest first, in groups of `each`."""
    order = np.lexsort((-size, vertex))
    sorted_vertex = vertex[order]
    starts = np.flatnonzero(np.concatenate([[True], sorted_vertex[1:] != sorted_vertex[:-1]]))
    length = np.diff(np.concatenate([starts, [len(order)]]))
    within = (np.arange(len(order)) - np.repeat(starts, length)) // each
    new = np.ones(len(order), bool)
    new[1:] = (sorted_vertex[1:] != sorted_vertex[:-1]) | (within[1:] != within[:-1])
    group = np.empty(len(order), np.int32)
    group[order] = np.cumsum(new) - 1
    return group


def equitable(left: np.ndarray, right: np.ndarray, size: I64, colours: int) -> I32:
    """A colour for every edge such that each vertex has its edges spread evenly over the colours, large ones too."""
    if not len(left):
        return np.zeros(0, np.int32)
    return edge_colouring(grouped(left, size, colours), grouped(right, size, colours), colours)


def colour_paths(clos: Clos, flows: Flows, pair: I32) -> I64:
    """[flows] the path of each whole flow (T1, T3, T5)."""
    leaf = clos.leaf[pair]
    plane = equitable(leaf[:, 0], leaf[:, 1], flows.bytes, clos.planes).astype(np.int64)
    core = np.zeros(len(pair), np.int64)
    if clos.cores > 1:
        pod = clos.pod[pair]
        across = pod[:, 0] != pod[:, 1]
        for number in range(clos.planes):
            here = np.flatnonzero(across & (plane == number))
            core[here] = equitable(pod[here, 0], pod[here, 1], flows.bytes[here], clos.cores)
    return clos.path[pair, plane, core]
