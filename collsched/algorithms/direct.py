"""Direct: every shard goes from its owner straight to everyone.

    root 0:  0 → 1, 0 → 2, 0 → 3        1 step; (n − 1) / n of the buffer out of every rank, n − 1 transfers
    root 1:  1 → 2, 1 → 3, 1 → 0

A root serves the others in turn from the next one on, so that not all send to one rank at once. From a single root, a
star: the flat broadcast, reduce, gather and scatter.
"""

from __future__ import annotations

import numpy as np

from collsched.algorithms.trees import Trees


def direct(members: int) -> Trees:
    """A star from every member."""
    root = np.arange(members)
    parent = np.repeat(root[:, None], members, axis=1)
    np.fill_diagonal(parent, -1)
    return Trees(root, parent)
