"""The mirror image of a forest, on a fabric whose every link has an equal one the other way.

    out-tree   r ──▶ s ──▶ a ──▶ s ──▶ b        in-tree   r ◀── s ◀── a ◀── s ◀── b

Turning every link of every route round turns an out-forest into an in-forest with the same loads, depths and ratio.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from collsched.forest.model import Forest, Routes
from collsched.topology.model import Topology


def opposite_links(topology: Topology) -> NDArray[np.int32] | None:
    """Link id → id of the link the other way, if every link has one of equal bandwidth, and every switch multicasts if
    it reduces; else None."""
    if any(node.multicast != node.reduce for node in topology.nodes):
        return None
    ids = {(link.src, link.dst): i for i, link in enumerate(topology.links)}
    opposite = np.empty(len(topology.links), np.int32)
    for i, link in enumerate(topology.links):
        other = ids.get((link.dst, link.src))
        if other is None or topology.links[other].bandwidth != link.bandwidth:
            return None
        opposite[i] = other
    return opposite


def mirrored(forest: Forest, opposite: NDArray[np.int32]) -> Forest:
    """The same trees with every route turned round. `opposite` is as from `opposite_links`."""
    ptr = forest.routes.ptr
    # Entry j of a route that lies at [a, b) takes the place a + b − 1 − j.
    turned = np.repeat(ptr[:-1] + ptr[1:], np.diff(ptr)) - 1 - np.arange(len(forest.routes.links))
    return Forest(
        direction="in" if forest.direction == "out" else "out",
        k=forest.k,
        roots=forest.roots,
        multiplicity=forest.multiplicity,
        ptr=forest.ptr,
        edges=forest.edges,
        routes=Routes(ptr, opposite[forest.routes.links[turned]]),
    )
