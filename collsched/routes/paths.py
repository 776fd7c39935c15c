"""Minimal paths between ranks through switches, enumerated once for each pair of groups of ranks.

Ranks that are linked to the same switches form a group; the paths between two ranks are those between their groups,
with the ranks' own links before and after. Paths never pass through a third rank, so a port of one plane leads
to ports of that plane only.

    rank – leaf – spine – leaf – rank          groups: the ranks of a leaf
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain

import numpy as np

from collsched.errors import InputError, UnreachableError
from collsched.routes.model import I32, I64, Flows, PathTable
from collsched.topology.model import Topology

MOST_PATHS = 4_096  # of one pair of groups
MOST_HOPS = 20_000_000  # of all paths together

Nodes = tuple[int, ...]
Exits = tuple[Nodes, Nodes]  # switches that a rank sends to; those among them with its widest links
Ends = tuple[Exits, Nodes]  # where the paths of a pair begin and end


@dataclass(frozen=True, slots=True)
class _Fabric:
    """Switches by what they are linked to, and the groups of ranks."""

    after: dict[int, list[int]]  # switch → switches it sends to
    before: dict[int, list[int]]
    exits: tuple[Exits, ...]  # of each rank
    entries: tuple[Nodes, ...]  # of each rank: switches that it receives from
    direct: frozenset[tuple[int, int]]  # ranks with a link of their own


def _read(topology: Topology) -> _Fabric:
    rank_of = topology.rank_of
    after: dict[int, list[int]] = defaultdict(list)
    before: dict[int, list[int]] = defaultdict(list)
    sends: list[dict[int, Fraction]] = [{} for _ in rank_of]
    receives: list[list[int]] = [[] for _ in rank_of]
    direct = set()
    for link in topology.links:
        src, dst = rank_of.get(link.src), rank_of.get(link.dst)
        if src is not None and dst is not None:
            direct.add((src, dst))
        elif src is not None:
            sends[src][link.dst] = link.bandwidth
        elif dst is not None:
            receives[dst].append(link.src)
        else:
            after[link.src].append(link.dst)
            before[link.dst].append(link.src)
    entries = tuple(tuple(sorted(down)) for down in receives)
    return _Fabric(after, before, tuple(_exits(up) for up in sends), entries, frozenset(direct))


def _exits(ports: Mapping[int, Fraction]) -> Exits:
    widest = max(ports.values(), default=Fraction(0))
    return tuple(sorted(ports)), tuple(sorted(switch for switch, width in ports.items() if width == widest))


class _Towards:
    """All shortest switch paths to one group."""

    def __init__(self, fabric: _Fabric, last: Nodes) -> None:
        self._after = fabric.after
        self.hops = dict.fromkeys(last, 0)
        front = list(last)
        while front:
            found = []
            for node in front:
                for other in fabric.before.get(node, ()):
                    if other not in self.hops:
                        self.hops[other] = self.hops[node] + 1
                        found.append(other)
            front = found
        self._known: dict[int, list[tuple[Nodes, float]]] = {}

    def paths(self, exits: Exits) -> list[tuple[Nodes, float]]:
        """Every shortest path from one of these switches, with its chance: a rank chooses evenly among its widest
        ports, a switch by a hash among its next hops."""
        starts = [node for node in exits[0] if node in self.hops]
        nearest = min((self.hops[node] for node in starts), default=0)
        starts = [node for node in starts if self.hops[node] == nearest]
        chosen = set(starts).intersection(exits[1]) or set(starts)
        return [
            (path, chance / len(chosen) if node in chosen else 0.0)
            for node in starts
            for path, chance in self._from(node)
        ]

    def _from(self, node: int) -> list[tuple[Nodes, float]]:
        known = self._known.get(node)
        if known is None:
            left = self.hops[node]
            known = [((node,), 1.0)]
            if left:
                nexts = [other for other in self._after[node] if self.hops.get(other, left) < left]
                known = [((node, *path), chance / len(nexts)) for other in nexts for path, chance in self._from(other)]
            if len(known) > MOST_PATHS:
                raise InputError(
                    f"more than {MOST_PATHS} shortest paths between two ranks; allowed are that many; use a topology "
                    "with fewer switches in parallel"
                )
            self._known[node] = known
        return known


def find_paths(topology: Topology, flows: Flows) -> PathTable:
    """The shortest paths that each flow may take. Raises UnreachableError where there is none."""
    fabric = _read(topology)
    wanted, pair = _pairs(fabric, len(topology.ranks), flows)
    return _table(fabric, wanted, pair, lambda number: _unreachable(topology, flows, pair, number))


def paths_between(topology: Topology, ends: Sequence[tuple[int, int] | None], pair: I32) -> PathTable:
    """The shortest paths between the first and the last switch (node ids) of each pair, which must be joined; None for
    ranks linked directly."""
    wanted: list[Ends | None] = [None if end is None else (((end[0],), (end[0],)), (end[1],)) for end in ends]
    return _table(_read(topology), wanted, pair, lambda number: InputError(f"no path joins pair {number}"))


def _table(fabric: _Fabric, wanted: Sequence[Ends | None], pair: I32, missing: Callable[[int], Exception]) -> PathTable:
    """The shortest paths of each pair; None stands for a link between ranks."""
    towards: dict[Nodes, _Towards] = {}
    sizes, paths = [], list[Nodes]()
    chances = list[float]()
    hops = 0
    for number, key in enumerate(wanted):
        found: list[tuple[Nodes, float]] = [((), 1.0)]
        if key is not None:
            first, last = key
            if last not in towards:
                towards[last] = _Towards(fabric, last)
            found = towards[last].paths(first)
        if not found:
            raise missing(number)
        sizes.append(len(found))
        hops += len(found) * max(len(found[0][0]), 1)
        if hops > MOST_HOPS:
            raise InputError(
                f"the paths of these flows have more than {MOST_HOPS:,} hops together; allowed are that many; plan "
                "fewer flows at a time"
            )
        paths += [path for path, _ in found]
        chances += [chance for _, chance in found]
    return PathTable(
        pair,
        _starts(sizes),
        _starts([len(path) for path in paths]),
        np.fromiter(chain.from_iterable(paths), np.int32),
        np.array(chances, np.float64),
    )


def _pairs(fabric: _Fabric, ranks: int, flows: Flows) -> tuple[list[Ends | None], I32]:
    """The distinct ends of the flows' paths, None for ranks linked directly, and each flow's number among them."""
    ups = {up: number for number, up in enumerate(dict.fromkeys(fabric.exits))}
    downs = {down: number for number, down in enumerate(dict.fromkeys(fabric.entries))}
    up_of = np.array([ups[up] for up in fabric.exits])
    down_of = np.array([downs[down] for down in fabric.entries])
    code = up_of[flows.src].astype(np.int64) * len(downs) + down_of[flows.dst]
    if fabric.direct:
        near = np.array(sorted(a * ranks + b for a, b in fabric.direct), np.int64)
        code[np.isin(flows.src.astype(np.int64) * ranks + flows.dst, near)] = -1
    distinct, pair = np.unique(code, return_inverse=True)
    up_list, down_list = list(ups), list(downs)
    wanted: list[Ends | None] = [
        None if value < 0 else (up_list[value // len(downs)], down_list[value % len(downs)])
        for value in distinct.tolist()
    ]
    return wanted, pair.astype(np.int32)


def _starts(sizes: list[int]) -> I64:
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)


def _unreachable(topology: Topology, flows: Flows, pair: I32, number: int) -> UnreachableError:
    flow = int(np.flatnonzero(pair == number)[0])
    src, dst = (topology.ranks[int(ends[flow])] for ends in (flows.src, flows.dst))
    return UnreachableError(
        f"{topology.where(src)}: no path through switches leads from {topology.nodes[src].name!r} to "
        f"{topology.nodes[dst].name!r}; a flow must not pass through a third rank; add links, or plan with `collsched "
        "compile`, whose ranks relay"
    )
