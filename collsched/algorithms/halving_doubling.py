"""Recursive halving–doubling (Thakur, Rabenseifner and Gropp 2005).

Allgather doubles: in step i every rank exchanges all it has with the rank whose number differs in bit i. So a shard
spreads along a binomial tree. Reduce-scatter is the same backwards; allreduce is both.

    root 0, bit 0:  0 → 1        ⌈log₂ n⌉ steps, (n − 1) / n of the buffer out of every rank
            bit 1:  0 → 2, 1 → 3

The bits may also be taken from the highest down: then the far exchanges come first, with the least data.

Where n is no power of two, each of the last n − 2^m ranks has a partner among the first: it hands its own shard to the
partner before, and receives everything from it after. That takes two steps more.

From one root alone it is the binomial tree, the broadcast of ⌈log₂ n⌉ steps.
"""

from __future__ import annotations

import numpy as np

from collsched.algorithms.stepwise import folded, spread
from collsched.algorithms.trees import Ints, Trees


def halving_doubling(members: int, *, near_first: bool = True) -> Trees:
    """A binomial tree from every member, over ascending bits if `near_first`, else over descending ones; the last
    members hang on their partners."""
    core = 1 << (members.bit_length() - 1)
    steps = doubling_steps(core)
    parent = spread(steps if near_first else steps[::-1], core)
    assert parent is not None, "the bits of a number tell it from every other"
    return Trees(np.arange(members), folded(parent, members))


def doubling_steps(members: int) -> list[Ints]:
    """x ↦ x ⊕ 2^i; `members` is a power of two."""
    return [np.arange(members) ^ (1 << i) for i in range(members.bit_length() - 1)]
