"""Trees of the least time for messages of no size, in the postal model: a rank that holds the message sends it to one
rank after another, every c µs, and each has it c + α after its turn began (Bar-Noy and Kipnis 1992; Karp, Sahay, Santos
and Schauser 1993).

    c = α = 1     0 at 0          greedy: of all ranks that can send next, the one that would arrive first does.
                  ├─ 1 at 2       Where α is one and the same this is the least time; for α = 0 a binomial tree,
                  │  └─ 4 at 4    for large α / c a star.
                  ├─ 2 at 3
                  └─ 3 at 4       n − 1 transfers; the whole message into every rank

α is that of the route, so ranks of one host come first where routes differ. The second form goes to one rank of every
host first, so that the slow routes are on their way early, and then on within the hosts (two levels).

A reduction is the same in reverse: with c for every message that a rank takes in, as many as it would send.

For an allreduce one rank is the root of all the data, which goes up and then down the same tree; or a few are, each of
an equal part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf

import numpy as np
from numpy.typing import NDArray

from collsched.algorithms.trees import ROOT, Ints, Trees

COST = 1.0  # µs for which a transfer occupies its sender, as in the simulator unless given

Floats = NDArray[np.float64]


def postal(latency: Floats, roots: Sequence[int], groups: Sequence[int] | None = None) -> Trees | None:
    """A tree from each of `roots`; None where a member is not reached. `latency`: [members, members] µs, infinite where
    there is no route. `groups`: the group of each member, if one of every group is to be reached before the others."""
    near = np.argsort(_turned(latency), axis=1, kind="stable")
    near = (near + np.arange(len(latency))[:, None]) % len(latency)
    parents = [_grow(latency, near, root, groups) for root in roots]
    if any(parent is None for parent in parents):
        return None
    return Trees(np.array(roots), np.stack([parent for parent in parents if parent is not None]))


def _turned(latency: Floats) -> Floats:
    """Each row from its diagonal on: of equally near members, the next one comes first."""
    member = np.arange(len(latency))
    turned: Floats = latency[member[:, None], (member[:, None] + member) % len(latency)]
    return turned


def _grow(latency: Floats, near: Ints, root: int, groups: Sequence[int] | None) -> Ints | None:
    """The parents of one tree, greedily."""
    growth = _Growth(latency, near, np.full(len(latency), ROOT), {root: 0.0})
    if groups is not None:
        growth.reach(_heads(groups, root))
    return growth.parent if growth.reach(range(len(latency))) else None


def _heads(groups: Sequence[int], root: int) -> list[int]:
    """One member of every group: of those that stand where the root stands in its own, if there is one there."""
    members: dict[int, list[int]] = {}
    for member, group in enumerate(groups):
        members.setdefault(group, []).append(member)
    place = members[groups[root]].index(root)
    return [inside[place % len(inside)] for inside in members.values()]


@dataclass(frozen=True, slots=True)
class _Growth:
    """A tree that grows. `ready`: when each member in it can send next, in µs."""

    latency: Floats
    near: Ints  # [members, members] for each, all others, the nearest first
    parent: Ints
    ready: dict[int, float]

    def reach(self, members: Iterable[int]) -> bool:
        """Let these join, in the order of their arrival; False if some cannot be reached."""
        missing = set(members) - self.ready.keys()
        targets: dict[int, Iterator[int]] = {}
        heap: list[tuple[float, int, int]] = []  # of every sender the next arrival

        def offer(sender: int) -> None:
            for target in targets.setdefault(sender, iter(self.near[sender].tolist())):
                if target in missing:
                    heappush(heap, (self.ready[sender] + COST + self.latency[sender, target], sender, target))
                    return

        for sender in self.ready:
            offer(sender)
        while missing and heap and heap[0][0] < inf:
            arrival, sender, target = heappop(heap)
            if target in missing:
                missing.discard(target)
                self.parent[target] = sender
                self.ready[sender] += COST
                self.ready[target] = arrival
                offer(target)
            offer(sender)
        return not missing
