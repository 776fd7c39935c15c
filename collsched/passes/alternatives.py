"""The paths that a fabric has beside those that a schedule names.

A *connection* joins two ranks by given ports: what leaves the source by one port for one port of the destination. Which
port a rank uses is its own choice; between the first switch and the last the fabric chooses, by hash or packet by
packet, unless something pins the path. So a connection's alternatives are the shortest paths between these two.

    rank – leaf – [ spine or spine or … ] – leaf – rank
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collsched.forest.model import Routes
from collsched.routes.model import I32, I64, Flows, PathTable
from collsched.routes.network import Network, Wires
from collsched.routes.paths import paths_between
from collsched.routes.ports import NO_PORT
from collsched.topology.model import Topology

_BLOCK = 1 << 22  # (route, path) pairs that are compared at once


@dataclass(frozen=True)
class Alternatives:
    """`network` has a flow for each connection, without bytes yet, and its alternatives."""

    network: Network
    connection: I64  # [routes] the flow of each
    path: I64  # [routes] the number of its path there; below 0 if it is none of the shortest


def alternatives(topology: Topology, routes: Routes, *, keep: bool) -> Alternatives:
    """The connections of these routes, which join ranks, not switches that copy or sum. With `keep` a route that is
    none of the shortest is a connection of its own, of that path alone; else it shares those of its ends."""
    wires = Wires.of(topology)
    ends = _ends(topology, routes)
    shared = _connect(topology, wires, ends)
    path = _find(shared, routes)
    if not keep or (path >= 0).all():
        return Alternatives(shared.network, shared.connection, path)
    return _with_longer(shared, routes, path)


@dataclass(frozen=True, slots=True)
class _Ends:
    """Of each route: its ranks (rank numbers), its first and its last switch (node ids; NO_PORT without one)."""

    src: I64
    dst: I64
    first: I64
    last: I64


def _ends(topology: Topology, routes: Routes) -> _Ends:
    rank_of = np.full(len(topology.nodes), NO_PORT, np.int64)
    rank_of[list(topology.ranks)] = np.arange(len(topology.ranks))
    after = np.array([link.dst for link in topology.links], np.int64)
    before = np.array([link.src for link in topology.links], np.int64)
    direct = np.diff(routes.ptr) == 1
    src, dst = routes.ends(topology)
    return _Ends(
        rank_of[src],
        rank_of[dst],
        np.where(direct, NO_PORT, after[routes.links[routes.ptr[:-1]]]),
        np.where(direct, NO_PORT, before[routes.links[routes.ptr[1:] - 1]]),
    )


def _connect(topology: Topology, wires: Wires, ends: _Ends) -> Alternatives:
    """Connections, those between equal ports of equal switches with the same alternatives."""
    rows = np.stack([ends.src, ends.dst, ends.first, ends.last])
    distinct, connection = np.unique(rows, axis=1, return_inverse=True)
    src, dst, first, last = distinct
    up, down = wires.ports
    ports = up.number(src, first), down.number(dst, last)
    pairs, pair = np.unique(np.stack([first, last, *ports]), axis=1, return_inverse=True)
    joined = [None if a == NO_PORT else (a, b) for a, b in pairs[:2].T.tolist()]
    table = paths_between(topology, joined, pair.reshape(-1).astype(np.int32))
    flows = Flows(src.astype(np.int32), dst.astype(np.int32), np.zeros(len(src), np.int64))
    return Alternatives(Network(wires, flows, table), connection.reshape(-1), np.zeros(0, np.int64))


def _find(shared: Alternatives, routes: Routes) -> I64:
    """[routes] the path that crosses the same links, found by sums of a random number a link; below 0 without one."""
    network = shared.network
    marks = np.random.default_rng(0).integers(1 << 62, size=len(network.topology.links), dtype=np.uint64)
    own = np.add.reduceat(marks[routes.links], routes.ptr[:-1]) if len(routes.links) else np.zeros(0, np.uint64)
    pair = network.paths.pair[shared.connection]
    begin = network.paths.begin
    counts = begin[pair + 1] - begin[pair]
    found = np.full(len(counts), -1, np.int64)
    borders = [0, *(np.flatnonzero(np.diff(np.cumsum(counts) // _BLOCK)) + 1).tolist(), len(counts)]
    for low, high in pairwise(borders):
        here = np.repeat(np.arange(low, high), counts[low:high])
        path = np.arange(len(here)) - np.repeat(np.cumsum(counts[low:high]) - counts[low:high], counts[low:high])
        path += begin[pair[here]]
        entry, link = network.crossings(shared.connection[here], path)
        sums = np.zeros(len(here), np.uint64)
        np.add.at(sums, entry, marks[link])
        same = np.flatnonzero(sums == own[here])
        found[here[same]] = path[same]
    return found


def _with_longer(shared: Alternatives, routes: Routes, path: I64) -> Alternatives:
    """With a connection, a pair and a path more for each route that is none of the shortest."""
    network, longer = shared.network, np.flatnonzero(path < 0)
    table, flows = network.paths, network.flows
    ends = np.array([link.dst for link in network.topology.links], np.int32)
    inner = [ends[routes.links[routes.ptr[route] : routes.ptr[route + 1] - 1]] for route in longer.tolist()]
    more = np.cumsum([len(nodes) for nodes in inner])
    extended = PathTable(
        np.concatenate([table.pair, np.arange(len(longer)) + len(table.begin) - 1]).astype(np.int32),
        np.concatenate([table.begin, table.begin[-1] + 1 + np.arange(len(longer))]),
        np.concatenate([table.node_ptr, table.node_ptr[-1] + more]),
        np.concatenate([table.nodes, *inner]).astype(np.int32),
        np.concatenate([table.chance, np.ones(len(longer))]),
    )
    mates = shared.connection[longer]
    wider = Flows(*(np.concatenate([column, column[mates]]) for column in (flows.src, flows.dst, flows.bytes)))
    connection, found = shared.connection.copy(), path.copy()
    connection[longer] = len(flows) + np.arange(len(longer))
    found[longer] = table.begin[-1] + np.arange(len(longer))
    return Alternatives(Network(network.wires, wider, extended), connection, found)


def routes_over(network: Network, flow: NDArray[Any], path: NDArray[Any]) -> Routes:
    """The route of each (flow, path), as links in travel order."""
    ptr, links = network.inner
    up, down = network.access(flow, path)
    inner = ptr[path + 1] - ptr[path]
    counts = inner + 1 + (network.first[path] != NO_PORT)
    limits = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    found: I32 = np.empty(limits[-1], np.int32)
    found[limits[:-1]] = up
    found[limits[1:] - 1] = down
    place = np.arange(inner.sum()) - np.repeat(np.cumsum(inner) - inner, inner)
    found[np.repeat(limits[:-1] + 1, inner) + place] = links[np.repeat(ptr[path], inner) + place]
    return Routes(limits, found)
