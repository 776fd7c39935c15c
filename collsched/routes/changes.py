"""How many subflows a re-plan changes, and how many it had to."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from collsched.routes.exact import overfull
from collsched.routes.model import Subflows
from collsched.routes.network import GIGA, Network


def changed(left: Subflows, lost: np.ndarray, found: Subflows) -> int:
    """Subflows that are not among the new ones as they were."""
    flows = 1 + max(int(left.flow.max(initial=-1)), int(found.flow.max(initial=-1)))
    single = (np.bincount(left.flow, minlength=flows) == 1) & (np.bincount(found.flow, minlength=flows) == 1)
    path = np.zeros(flows, np.int64)
    path[found.flow] = found.path
    alone = single[left.flow]
    moved = int((alone & (lost | (path[left.flow] != left.path))).sum())
    pieces, others = np.flatnonzero(~alone), np.flatnonzero(~single[found.flow])
    return moved + _changed_pieces(left.take(pieces), lost[pieces], found.take(others))


def _changed_pieces(left: Subflows, lost: np.ndarray, found: Subflows) -> int:
    """The same, one by one, for flows of several pieces."""
    now = set(zip(found.flow.tolist(), found.offset.tolist(), found.bytes.tolist(), found.path.tolist(), strict=True))
    before = zip(left.flow.tolist(), left.offset.tolist(), left.bytes.tolist(), left.path.tolist(), strict=True)
    return sum(missing or entry not in now for missing, entry in zip(lost.tolist(), before, strict=True))


def least_changed(network: Network, left: Subflows, lost: np.ndarray, congestion: Fraction) -> int:
    """Subflows that must change for this congestion: the lost ones, and what makes room on the link that is most
    overfull without them."""
    kept = left.take(np.flatnonzero(~lost))
    loads, most = network.loads(kept), 0
    for number in overfull(network, kept, congestion).tolist():
        sizes = np.sort(kept.bytes[network.crossing(kept, np.array([number]))])[::-1]
        room = int(congestion * int(network.capacity[number]) * GIGA / network.unit)
        most = max(most, int(np.searchsorted(np.cumsum(sizes), int(loads[number]) - room)) + 1)
    return int(lost.sum()) + most
