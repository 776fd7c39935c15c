"""Bruck's allgather (Bruck, Ho, Kipnis, Upfal and Weathersby 1997), by dissemination: any n in ⌈log₂ n⌉ steps.

In step i every rank r sends to r + 2^i, modulo n, what that one does not hold yet; with radix k, to r + j·k^i for
0 < j < k.

    root 0, i = 0:  0 → 1                ⌈log_k n⌉ steps, (n − 1) / n of the buffer out of every rank;
            i = 1:  0 → 2, 1 → 3         all trees are one tree, turned: all links of a switch are used alike
            i = 2:  0 → 4                (n = 5)

Bruck's messages hold blocks of many owners, and are put in order at the end; here each shard has its place in the
receiver's buffer, so that nothing is to be moved.
"""

from __future__ import annotations

import numpy as np

from collsched.algorithms.trees import Trees


def bruck(members: int, *, radix: int = 2, near_first: bool = True) -> Trees:
    """A tree from every member: a place at distance δ after the root hangs on the one without the highest digit of δ,
    without the lowest one unless `near_first`."""
    distance = np.arange(members)
    above = np.full(members, -1)
    power = 1
    while power < members:
        digit = distance // power % radix
        last = (digit > 0) & (near_first | (above < 0))  # ascending powers: the highest overwrites, the lowest stays
        above = np.where(last, distance - digit * power, above)
        power *= radix
    root = distance[:, None]
    place = (distance - root) % members
    return Trees(distance, np.where(place > 0, (root + above[place]) % members, -1))
