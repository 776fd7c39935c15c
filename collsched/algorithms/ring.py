"""Ring: every shard travels once round a cycle of all ranks (Patarasuk and Yuan 2009).

    0 → 1 → 2 → 3        n − 1 steps, (n − 1) / n of the buffer over every link of the cycle; an allreduce, twice that
    ↑           │
    └───────────┘

The second phase of an allreduce goes round the other way. Ranks follow each other host by host. Within a host the cycle
prefers short routes, so that it uses the links that join neighbours. From host to host it goes between ranks of one
index, which share a rail where there are rails. One ring enters and leaves every host at the same two ranks; with
several, ring r starts r places later, so that the rings use all of a host's ways in and out:

    ring 0   a0 → a3 → a2 → a1 ⇒ b1 → b2 → b3 → b0 ⇒ …
    ring 1   a1 → a0 → a3 → a2 ⇒ b2 → b3 → b0 → b1 ⇒ …
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from collsched.algorithms.grid import Grid
from collsched.algorithms.setting import Setting
from collsched.algorithms.trees import Ints, Trees, along

_PATIENCE = 20_000  # steps of the search for a cycle


Cycle = list[int]


def ring_orders(setting: Setting) -> list[list[Cycle]]:
    """One ring; and several, where there are several hosts of several ranks, or as many as there are directions."""
    hosts = [_cycle(setting, members) or list(members) for members in setting.hosts]
    if len(hosts) == len(setting.collective.group):
        order = range(len(hosts))
        hosts = [_cycle(setting, order) or next(map(snake, setting.grids), list(order))]
    if len(hosts) == 1:
        (one,) = hosts
        return [[one], [one, one[::-1]]] if len(one) > 2 else [[one]]
    several = min(map(len, hosts))
    turned = [_through(hosts, several, r) for r in range(several)]
    return [turned[:1], turned] if several > 1 else [turned]


def ring_trees(cycles: Sequence[Cycle]) -> Trees:
    """Round each of these cycles from every member."""
    members = len(cycles[0])
    return Trees(
        np.tile(np.arange(members), len(cycles)), np.concatenate([along(cycle) for cycle in cycles]), len(cycles)
    )


def _through(hosts: Sequence[Sequence[int]], width: int, start: int) -> list[int]:
    """A cycle through all hosts that enters the first at index `start`; indices are below `width`."""
    entries = [(start + i % 2) % width for i in range(len(hosts))]
    if len(hosts) % 2:
        entries[-1] = (start + 2) % width  # neither the index before nor the one after it, if there are three
    cycle = []
    for host, entry, leave in zip(hosts, entries, entries[1:] + entries[:1], strict=True):
        cycle += _between(host, entry, leave if leave != entry else (entry - 1) % len(host))
    return cycle


def _between(host: Sequence[int], entry: int, leave: int) -> list[int]:
    """All members of a host from one index to another, along its cycle as far as that goes."""
    forward = [*host[entry:], *host[:entry]]
    path = forward if host[leave] != forward[1 % len(host)] else [forward[0], *forward[:0:-1]]
    return path if path[-1] == host[leave] else [member for member in path if member != host[leave]] + [host[leave]]


def snake(grid: Grid) -> list[int]:
    """All members of a grid one after the other, along a dimension to and fro while the one before goes on a place
    (a reflected Gray code). The first and the last are neighbours if an even dimension closes, or has two places."""
    closed = [d.extent % 2 == 0 and (d.shape != "path" or d.extent == 2) for d in grid.dimensions]
    first = closed.index(True) if any(closed) else 0
    place = np.moveaxis(np.array(grid.order).reshape(grid.extents), first, 0)
    return _to_and_fro(place)


def _to_and_fro(place: Ints) -> list[int]:
    if place.ndim == 1:
        return [int(member) for member in place]
    rows = [_to_and_fro(row) for row in place]
    return [member for number, row in enumerate(rows) for member in (row[::-1] if number % 2 else row)]


def _cycle(setting: Setting, members: Sequence[int]) -> list[int] | None:
    """The members on a cycle through the nearest neighbours, if a bounded search finds one."""
    group, router = setting.collective.group, setting.router
    hops = {a: {b: router.hops(group[a]).get(group[b]) for b in members if b != a} for a in members}
    nearest = min((far for near in hops.values() for far in near.values() if far), default=0)
    near = {a: [b for b in members if b != a and hops[a][b] == nearest and hops[b][a] == nearest] for a in members}
    return _search(list(members), near)


def _search(members: list[int], near: dict[int, list[int]]) -> list[int] | None:
    """A Hamiltonian cycle of near neighbours by depth-first search, within a number of steps. Of the neighbours, first
    the next in the given order, then those with the fewest free neighbours of their own (Warnsdorff)."""
    if len(members) < 3:
        return members
    following = dict(zip(members, members[1:] + members[:1], strict=True))
    path, used = [members[0]], {members[0]}

    def options(at: int) -> list[int]:
        free = [b for b in near[at] if b not in used]
        return sorted(free, key=lambda b: (b == following[at], -sum(c not in used for c in near[b]), -b))

    stack = [options(path[0])]
    for _ in range(_PATIENCE):
        if len(path) == len(members) and path[0] in near[path[-1]]:
            return path
        if stack[-1]:
            path.append(stack[-1].pop())
            used.add(path[-1])
            stack.append(options(path[-1]))
            continue
        stack.pop()
        used.discard(path.pop())
        if not stack:
            return None
    return None
