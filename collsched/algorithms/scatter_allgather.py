"""Scatter–allgather, the broadcast of van de Geijn (Barnett et al. 1994; Thakur, Rabenseifner and Gropp 2005): the root
gives every rank one part, and the ranks exchange their parts as in an allgather. Backwards it is Rabenseifner's reduce:
reduce-scatter, then gather.

    part 1   root ──▶ 1 ──▶ 2 ──▶ 3        steps of a scatter and of an allgather;
    part 2   root ──▶ 2 ──▶ 3 ──▶ 1        2·(n − 1) / n of the buffer through every link
    part 3   root ──▶ 3 ──▶ 1 ──▶ 2

The root does not receive what it has. What would come to others from it does so at once.
"""

from __future__ import annotations

import numpy as np

from collsched.algorithms.trees import ROOT, Trees


def scatter_allgather(allgather: Trees, root: int) -> Trees:
    """A tree from `root` for the part of every member, along that member's tree in `allgather`."""
    parent = allgather.parent.copy()
    tree = np.arange(len(parent))
    parent[tree, allgather.root] = root
    parent[:, root] = ROOT
    return Trees(np.full(len(parent), root), parent, len(parent))
