"""Hierarchical: between hosts only ranks of one index talk.

Allgather: first each shard goes round the ranks of its own index in all hosts (a ring); then each of them hands it to
the others in its host. Reduce-scatter is the same backwards, so that an allreduce is reduce-scatter within the hosts,
allreduce between hosts, allgather within the hosts.

    host a   a0  a1        a0's shard:  a0 ──▶ b0 ──▶ c0      h − 1 steps between hosts, one within
    host b   b0  b1                      │      │      │
    host c   c0  c1                      ▼      ▼      ▼
                                         a1     b1     c1
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from collsched.algorithms.trees import Trees


def hierarchical(hosts: Sequence[Sequence[int]]) -> Trees | None:
    """A tree from every member; None unless there are several hosts, of one and the same number of ranks above 1."""
    width = len(hosts[0])
    if len(hosts) < 2 or width < 2 or any(len(host) != width for host in hosts):
        return None
    grid = np.array(hosts)  # [hosts, width] members
    members = grid.size
    parent = np.empty((members, members), np.int64)
    for home in range(len(hosts)):
        for index in range(width):
            root = grid[home, index]
            parent[root, grid] = grid[:, index][:, None]  # within a host: from the rank of the root's index
            parent[root, grid[:, index]] = np.roll(grid[:, index], 1)
            parent[root, root] = -1
    return Trees(np.arange(members), parent)
