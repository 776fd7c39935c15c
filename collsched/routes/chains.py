"""Whole flows of one size on a leaf–spine, moved along alternating chains so that a lost flow finds room.

A link has room for ⌊target · bandwidth / size⌋ flows. A flow from leaf a to leaf b wants spine x, where the link a → x
has room but x → b has none; with a spine y whose link to b has room, one flow of x → b goes to y, one that is in its
way there to x, and so on (the Kempe chains of edge colouring). The chain ends where a link has room.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from collsched.routes.model import Subflows
from collsched.routes.network import GIGA, Network

MOST_STEPS = 10_000  # of one chain
MOST_TRIES = 64  # pairs of spines for one flow


def along_chains(network: Network, left: Subflows, lost: np.ndarray, target: Fraction) -> Subflows | None:
    """`left` with the lost subflows, and few others, on new paths within `target` seconds; None where this does not
    apply or finds nothing."""
    hops = np.diff(network.paths.node_ptr)
    across = hops[left.path] == 3
    sizes = np.unique(left.bytes[across])
    if len(sizes) != 1 or not across[lost].all() or not lost.any() or int(lost.sum()) > MOST_TRIES:
        return None
    if not _fits(network, left.take(np.flatnonzero(across)), left.take(np.flatnonzero(lost)), int(sizes[0]), target):
        return None
    board = _Board(network, left, across & ~lost, int(sizes[0]), target)
    if not all(board.place(number) for number in np.flatnonzero(lost).tolist()):
        return None
    path = left.path.copy()
    for number, spine in board.changed.items():
        path[number] = board.path(number, spine)
    return Subflows(left.flow, left.offset, left.bytes, path)


def _fits(network: Network, across: Subflows, lost: Subflows, size: int, target: Fraction) -> bool:
    """Whether the leaves of the lost flows have room for all of their flows, whole."""
    keys, order = network.wires.index
    src, dst = np.divmod(keys, len(network.topology.nodes))
    ranks = np.zeros(len(network.topology.nodes), bool)
    ranks[list(network.topology.ranks)] = True
    inner = ~ranks[src] & ~ranks[dst]
    for ends, side in ((network.first, src), (network.last, dst)):
        for leaf in np.unique(ends[lost.path]).tolist():
            widths = network.capacity[order[inner & (side == leaf)]].tolist()
            rooms = sum(int(target * width * GIGA / network.unit) // size for width in widths)
            if rooms < int((ends[across.path] == leaf).sum()):
                return False
    return True


class _Board:
    """Which flows are on which link between leaves and spines, and where there is room."""

    def __init__(self, network: Network, left: Subflows, placed: np.ndarray, size: int, target: Fraction) -> None:
        self._network, self._left, self._size, self._target = network, left, size, target
        second = np.minimum(network.paths.node_ptr[left.path] + 1, len(network.paths.nodes) - 1)  # unused within a leaf
        middle = network.paths.nodes[second]
        first, last = network.first[left.path], network.last[left.path]
        self._ends = list(zip(first.tolist(), last.tolist(), strict=True))
        self.changed: dict[int, int] = {}
        self._on: dict[tuple[int, int], set[int]] = defaultdict(set)
        self._spine: dict[int, int] = {}
        for number in np.flatnonzero(placed).tolist():
            self._put(number, int(middle[number]))
        self._rooms: dict[tuple[int, int], int] = {}
        self._reach: dict[int, list[int]] = {}  # spines of each pair, path after path

    def _links(self, number: int, spine: int) -> tuple[tuple[int, int], tuple[int, int]]:
        a, b = self._ends[number]
        return (a, spine), (spine, b)

    def _put(self, number: int, spine: int) -> None:
        if number in self._spine:
            for link in self._links(number, self._spine[number]):
                self._on[link].discard(number)
        self._spine[number] = spine
        for link in self._links(number, spine):
            self._on[link].add(number)

    def _room(self, link: tuple[int, int]) -> int:
        """Flows that a link could still take; below 0 where it has too many."""
        if link not in self._rooms:
            keys, order = self._network.wires.index
            wanted = link[0] * len(self._network.topology.nodes) + link[1]
            found = int(order[min(int(np.searchsorted(keys, wanted)), len(keys) - 1)])
            capacity = int(self._network.capacity[found])
            self._rooms[link] = int(self._target * capacity * GIGA / self._network.unit) // self._size
        return self._rooms[link] - len(self._on[link])

    def _spines(self, number: int) -> list[int]:
        pair = int(self._network.paths.pair[self._left.flow[number]])
        if pair not in self._reach:
            low, high = self._network.paths.begin[pair], self._network.paths.begin[pair + 1]
            self._reach[pair] = self._network.paths.nodes[self._network.paths.node_ptr[low:high] + 1].tolist()
        return self._reach[pair]

    def path(self, number: int, spine: int) -> int:
        pair = self._network.paths.pair[self._left.flow[number]]
        return int(self._network.paths.begin[pair]) + self._spines(number).index(spine)

    def place(self, number: int) -> bool:
        """Puts a lost flow somewhere, if some chain makes room for it."""
        a, b = self._ends[number]
        spines = self._spines(number)
        leaving = [spine for spine in spines if self._room((a, spine)) > 0]
        arriving = [spine for spine in spines if self._room((spine, b)) > 0]
        both = [spine for spine in leaving if spine in set(arriving)]
        if both:
            self._move([(number, both[0])])
            return True
        # The other colour of a chain may be a spine that the flow itself has no path over.
        everywhere = self._all_spines()
        out = [spine for spine in everywhere if self._room((a, spine)) > 0]
        into = [spine for spine in everywhere if self._room((spine, b)) > 0]
        tries = [(x, y, True) for x in leaving for y in into if x != y]
        tries += [(y, x, False) for y in arriving for x in out if x != y]
        chains = (self._chain(number, *choice) for choice in tries[:MOST_TRIES])
        found = [moves for moves in chains if moves is not None]
        if found:
            self._move(min(found, key=len))
        return bool(found)

    def _all_spines(self) -> Sequence[int]:
        return sorted(set(self._spine.values()))

    def _move(self, moves: list[tuple[int, int]]) -> None:
        for number, spine in moves:
            self._put(number, spine)
            self.changed[number] = spine

    def _chain(self, number: int, x: int, y: int, at_target: bool) -> list[tuple[int, int]] | None:
        """Moves that end with room everywhere: the flow goes to x, whoever is in the way at its target (or else its
        source) to y, and whoever is in the way there to x again."""
        moves = [(number, x)]
        moved = {number}
        used: Counter[tuple[int, int]] = Counter(self._links(number, x))
        spine = x
        while len(moves) < MOST_STEPS:
            current = moves[-1][0]
            link = self._links(current, spine)[1 if at_target else 0]
            if self._room(link) - used[link] >= 0:
                return moves
            other = y if spine == x else x
            away = next((one for one in sorted(self._on[link]) if one not in moved and self._open(one, other)), None)
            if away is None:
                return None
            for left in self._links(away, spine):
                used[left] -= 1
            for entered in self._links(away, other):
                used[entered] += 1
            moves.append((away, other))
            moved.add(away)
            spine, at_target = other, not at_target
        return None

    def _open(self, number: int, spine: int) -> bool:
        """Whether a flow has a path over this spine."""
        return spine in self._spines(number)
