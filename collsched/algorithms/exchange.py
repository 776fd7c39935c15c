"""Exchanges among few, by the parents of their trees: what multi-dimensional and hierarchical algorithms are made of.

Each is a table [n, n]: the parent of column m in the tree from row r, ROOT where m = r.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from collsched.algorithms.bruck import bruck
from collsched.algorithms.direct import direct
from collsched.algorithms.halving_doubling import halving_doubling
from collsched.algorithms.trees import ROOT, Ints, along


def ring(members: int, *, backwards: bool = False) -> Ints:
    """Once round: n − 1 steps."""
    return along(range(members)[::-1] if backwards else range(members))


def both_ways(members: int, *, backwards: bool = False) -> Ints:
    """Half round either way: ⌊n / 2⌋ steps. To the opposite place, if there is one, forwards, or `backwards`."""
    root, member = np.indices((members, members))
    ahead = (member - root) % members
    forwards = 2 * ahead < members if backwards else 2 * ahead <= members
    above = (member + np.where(forwards, -1, 1)) % members
    return np.where(ahead > 0, above, ROOT)


def line(members: int) -> Ints:
    """Along a path, to both its ends: as many steps as the longer way takes."""
    root, member = np.indices((members, members))
    return np.where(member == root, ROOT, member + np.sign(root - member))


EXCHANGES: dict[str, Callable[[int], Ints]] = {
    "ring": ring,
    "direct": lambda members: direct(members).parent,
    "halving-doubling": lambda members: halving_doubling(members, near_first=False).parent,
    "bruck": lambda members: bruck(members).parent,
}
