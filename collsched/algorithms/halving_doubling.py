"""Recursive halving–doubling (Thakur, Rabenseifner and Gropp 2005).

Allgather doubles: in step i every rank exchanges all it has with the rank whose number differs in bit i. So a shard
spreads along a binomial tree. Reduce-scatter is the same backwards; allreduce is both.

    root 0, bit 0:  0 → 1        ⌈log₂ n⌉ steps, (n − 1) / n of the buffer out of every rank
            bit 1:  0 → 2, 1 → 3

The bits may also be taken from the highest down: then the far exchanges come first, with the least data.

Where n is no power of two, each of the last n − 2^m ranks has a partner among the first: it hands its own shard to the
partner before, and receives everything from it after.
"""

from __future__ import annotations

import numpy as np

from collsched.algorithms.trees import Trees


def halving_doubling(members: int, *, near_first: bool = True) -> Trees:
    """A binomial tree from every member, over ascending bits if `near_first`, else over descending ones; the last
    members hang on their partners."""
    core = 1 << (members.bit_length() - 1)
    member, root = np.arange(members), np.arange(members)[:, None]
    distance = np.arange(core) ^ (root % core)
    # A member received over the last bit, in the order taken, in which it differs from the root.
    last = np.zeros_like(distance)
    bits = [1 << i for i in range(core.bit_length() - 1)]
    for bit in bits if near_first else reversed(bits):
        last = np.where(distance & bit, bit, last)
    parent = np.empty((members, members), np.int64)
    parent[:, :core] = np.where(distance > 0, np.arange(core) ^ last, -1)
    parent[:, core:] = member[core:] - core
    late = member[core:]
    parent[late, late - core] = late  # a late root hands its data to its partner
    parent[late, late] = -1
    return Trees(member, parent)
