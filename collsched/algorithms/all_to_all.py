"""All-to-alls as libraries run them: which ranks a shard visits on its way from its source to its target.

direct          s → t. Every rank sends n − 1 messages, to the next one first. Where no route avoids other ranks, these
                relay.

hierarchical    s = (host a, index i) → (a, j) → (b, j) = t: first within the host to the rank of the target's index, in
                one message for all hosts; then between hosts along one index, in one message for all ranks of the host.

                host a   a0 ──▶ a1          (w − 1) + (h − 1) messages a rank, instead of h·w − 1;
                                 ║          w times as much in a message between hosts, h times in one within
                host b   b0     b1

bruck           s → s + 2^i → … → t: in step i everyone sends to the rank 2^i on, host by host, what has this bit in the
                distance that it still has to go (Bruck, Ho, Kipnis, Upfal and Weathersby 1997). ⌈log₂ n⌉ messages a
                rank, of half the buffer each.

The last two gain by their few messages, so they count as such (`passes.fuse`). Between two ranks the route of fewest
links is taken; of equal ones, pairs take different ones so that links are used alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from collsched.algorithms.setting import Setting
from collsched.algorithms.trees import Ints, Unreachable
from collsched.forest.fabric import Fabric
from collsched.forest.model import Forest
from collsched.forest.paths import traced

_RELAY = 1 << 10  # links that a detour through switches may be longer than a way through another rank


@dataclass(frozen=True, slots=True)
class PathFamily:
    """An all-to-all that may apply. `transfers`: as many as it will have, where no other ranks relay. `fused`: what
    crosses a route is one message. `build` raises Unreachable where it does not apply."""

    name: str
    transfers: int
    fused: bool
    build: Callable[[], Forest]


def path_families(setting: Setting) -> Iterator[PathFamily]:
    """All that may apply to an all-to-all in which something moves."""
    source, target = _pairs(setting)
    if not len(source):
        return
    fabric = Fabric.of(setting.topology, setting.collective)
    yield PathFamily("direct", len(source), False, lambda: shortest(fabric))
    grid = _grid(setting)
    if grid is not None:
        yield _through("hierarchical", fabric, _over_hosts(grid, source, target))
    if setting.members > 2:
        yield _through("bruck", fabric, _by_bits(np.array(setting.order), source, target))


def shortest(fabric: Fabric) -> Forest:
    """One path a pair: through as few ranks, then links, as can be; balanced among equal ones."""
    price = 1 + _RELAY * fabric.rank[fabric.dst].astype(np.int64)
    return traced(fabric, fabric.even(price), 1, 1).forest


def _pairs(setting: Setting) -> tuple[Ints, Ints]:
    """Sources and targets of all shards that move: positions in the group, as are all members below."""
    count = setting.members
    source, target = np.divmod(np.flatnonzero(np.array(setting.collective.shards)), count)
    moves = source != target
    return source[moves], target[moves]


def _grid(setting: Setting) -> Ints | None:
    """[hosts, width] members; None unless there are several hosts, of one and the same number of ranks above 1."""
    widths = {len(host) for host in setting.hosts}
    return np.array(setting.hosts) if len(setting.hosts) > 1 and len(widths) == 1 and min(widths) > 1 else None


def _over_hosts(grid: Ints, source: Ints, target: Ints) -> Ints:
    """[pairs, 3] The members that every pair's shard visits; one that waits stays where it is for a while."""
    host, index = np.empty(grid.size, np.int64), np.empty(grid.size, np.int64)
    host[grid], index[grid] = np.indices(grid.shape)
    return np.stack([source, grid[host[source], index[target]], target], axis=1)


def _by_bits(order: Ints, source: Ints, target: Ints) -> Ints:
    """[pairs, steps + 1] The same, where members stand in a circle in some order."""
    place = np.argsort(order)
    at = place[source]
    ahead = (place[target] - at) % len(order)
    visits = [source]
    for bit in range(int(len(order) - 1).bit_length()):
        at = (at + (ahead & 1 << bit)) % len(order)
        visits.append(order[at])
    return np.stack(visits, axis=1)


def _through(name: str, fabric: Fabric, visits: Ints) -> PathFamily:
    moves = int((visits[:, 1:] != visits[:, :-1]).sum())
    return PathFamily(name, moves, True, lambda: _visiting(fabric, visits))


def _visiting(fabric: Fabric, visits: Ints) -> Forest:
    """A tree for every pair. Raises Unreachable where a hop has no route that avoids other ranks."""
    count = len(fabric.sources)
    begin, end = visits[:, :-1], visits[:, 1:]
    sizes = fabric.demand[visits[:, 0], visits[:, -1]]
    crossing = np.zeros((count, count), np.int64)
    np.add.at(crossing, (begin, end), sizes[:, None])
    np.fill_diagonal(crossing, 0)
    hops = shortest(replace(fabric, demand=crossing))
    if len(hops.edges) > len(hops.roots):
        raise Unreachable
    number = np.zeros((count, count), np.uint32)
    number[np.nonzero(crossing)] = hops.edges  # one path a pair, in their order
    moves = begin != end
    return Forest(
        "out",
        1,
        fabric.sources[visits[:, 0]].astype(np.int32),
        sizes,
        np.append(0, np.cumsum(moves.sum(axis=1))),
        number[begin, end][moves],
        hops.routes,
    )
