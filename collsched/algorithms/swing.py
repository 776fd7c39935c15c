"""Swing (De Sensi, Bonato, Saam and Hoefler, NSDI 2024): halving–doubling whose partners stay close on a ring.

In step s an even rank r exchanges with r + ρ(s) and an odd one with r − ρ(s), modulo n, where
ρ(s) = (1 − (−2)^(s+1)) / 3 = 1, −1, 3, −5, 11, …: two thirds as far as halving–doubling, to either side in turn.

    s = 0   0 ⇄ 1  2 ⇄ 3  4 ⇄ 5  6 ⇄ 7        log₂ n steps, (n − 1) / n of the buffer out of every rank;
    s = 1   1 ⇄ 2  3 ⇄ 4  5 ⇄ 6  7 ⇄ 0        reduce-scatter takes near partners first, allgather far ones
    s = 2   0 ⇄ 3  2 ⇄ 5  4 ⇄ 7  6 ⇄ 1

For an even n that is no power of two the same partners do, in ⌈log₂ n⌉ steps: nothing is sent where it is known
already. For an odd n, the last rank hangs on a partner (`stepwise.folded`).

Distances count where routers join the ranks. Where ranks themselves relay, what passes a rank stays there
(`relaying`), and on a ring all the steps together send every shard both ways round.
"""

from __future__ import annotations

import numpy as np

from collsched.algorithms.stepwise import folded, spread
from collsched.algorithms.trees import Ints, Trees


def swing(members: int, *, near_first: bool = False) -> Trees | None:
    """A tree from every member, far partners first unless `near_first`; None where the steps do not reach everyone."""
    core = members - members % 2
    steps = swing_steps(core)
    parent = spread(steps if near_first else steps[::-1], core)
    return None if parent is None else Trees(np.arange(members), folded(parent, members))


def swing_steps(members: int) -> list[Ints]:
    """The partners in each step, near ones first; `members` is even, or 1, which has no step."""
    rank = np.arange(members)
    away = np.where(rank % 2, -1, 1)
    distances = [(1 - (-2) ** (s + 1)) // 3 for s in range((members - 1).bit_length())]
    return [(rank + away * distance) % members for distance in distances]
