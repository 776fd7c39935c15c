"""The network as the planners see it: links of paths as ids, capacities as integers, loads as exact sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from math import lcm
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collsched.errors import InputError
from collsched.routes.model import F64, I32, I64, Flows, PathTable, Subflows
from collsched.routes.paths import find_paths
from collsched.routes.ports import NO_PORT, Ports
from collsched.topology.model import Topology
from collsched.units import exact, suggest

GIGA = 10**9


def failed_links(topology: Topology, failed: Mapping[tuple[str, str], Fraction]) -> dict[int, Fraction]:
    """Link id → rate in GB/s (0: out) for links by the names of their ends, one direction each.

    Raises InputError for a link that does not exist or would become faster.
    """
    ids = {(link.src, link.dst): number for number, link in enumerate(topology.links)}
    nodes = {node.name: number for number, node in enumerate(topology.nodes)}
    rates = {}
    for (src, dst), rate in failed.items():
        for name in (src, dst):
            if name not in nodes:
                hint = suggest(name, tuple(nodes)) or "see `collsched topology show`"
                raise InputError(f"failed link {src}:{dst}: no node is named {name!r}; allowed are nodes; {hint}")
        link = ids.get((nodes[src], nodes[dst]))
        if link is None:
            raise InputError(
                f"failed link {src}:{dst}: there is no such link; allowed are links of the topology, one direction"
            )
        if not 0 <= rate <= topology.links[link].bandwidth:
            most = exact(topology.links[link].bandwidth)
            raise InputError(f"failed link {src}:{dst}: {exact(rate)} GB/s; allowed is from 0 to its {most} GB/s")
        rates[link] = rate
    return rates


def degrade(topology: Topology, rates: Mapping[int, Fraction]) -> Topology:
    """The topology with links (by id) at other rates in GB/s; those at 0 are taken out."""
    links = [
        replace(link, bandwidth=rates[number]) if number in rates else link
        for number, link in enumerate(topology.links)
        if rates.get(number) != 0
    ]
    return replace(topology, links=tuple(links))


@dataclass(frozen=True)
class Wires:
    """The links of a topology as arrays. A link that is out has capacity 0, and no path crosses it."""

    topology: Topology
    unit: int  # capacities are counted in 1 / unit GB/s
    capacity: I64  # [links]
    rates: Mapping[int, Fraction] = field(default_factory=dict)  # GB/s of links that differ from the topology

    @classmethod
    def of(cls, topology: Topology) -> Wires:
        unit = lcm(*{link.bandwidth.denominator for link in topology.links})
        rates = [(link.bandwidth.numerator * unit) // link.bandwidth.denominator for link in topology.links]
        return cls(topology, unit, np.array(rates, np.int64))

    def changed(self, rates: Mapping[int, Fraction]) -> Wires:
        """The same with some links (by id) at other rates in GB/s."""
        unit = lcm(self.unit, *(rate.denominator for rate in rates.values()))
        capacity = self.capacity * (unit // self.unit)
        for link, rate in rates.items():
            capacity[link] = int(rate * unit)
        wires = Wires(self.topology, unit, capacity, {**self.rates, **rates})
        wires.__dict__["index"] = self.index  # depends on the ends of links alone
        return wires

    @cached_property
    def rate(self) -> F64:
        """[links] bandwidth in bytes a second, rounded to floating point; 1 for links that are out, whose load is 0."""
        return np.where(self.capacity > 0, self.capacity * (GIGA / self.unit), 1.0)

    @cached_property
    def index(self) -> tuple[I64, I64]:
        """src · nodes + dst of every link, sorted, and the link of each."""
        nodes = len(self.topology.nodes)
        keys = np.array([link.src * nodes + link.dst for link in self.topology.links], np.int64)
        order = np.argsort(keys)
        return keys[order], order

    @cached_property
    def ports(self) -> tuple[Ports, Ports]:
        """The links from ranks to switches, and from switches to ranks, but for those that are out."""
        keys, order = self.index
        ranks, nodes = self.topology.ranks, len(self.topology.nodes)
        rank_of = np.full(nodes, NO_PORT, np.int64)
        rank_of[list(ranks)] = np.arange(len(ranks))
        src, dst = np.divmod(keys, nodes)
        sides = []
        for near, far in ((src, dst), (dst, src)):
            mine = np.flatnonzero((rank_of[near] >= 0) & (rank_of[far] < 0) & (self.capacity[order] > 0))
            sides.append(Ports.of(rank_of[near[mine]], far[mine], order[mine], len(ranks), nodes))
        return sides[0], sides[1]


@dataclass(frozen=True)
class Network:
    """Links, flows over them, and the paths they may take."""

    wires: Wires
    flows: Flows
    paths: PathTable

    @classmethod
    def of(cls, topology: Topology, flows: Flows) -> Network:
        """Raises UnreachableError where a flow has no path."""
        return cls(Wires.of(topology), flows, find_paths(topology, flows))

    def with_flows(self, flows: Flows) -> Network:
        """The same for other sizes of the same flows."""
        other = replace(self, flows=flows)
        other.__dict__.update({name: self.__dict__[name] for name in _OF_PATHS if name in self.__dict__})
        return other

    def chosen(self, flows: Flows, pair: I32, begin: I64, kept: I64, wires: Wires | None = None) -> Network:
        """These flows over some of the paths (by number), of pair p those at begin[p] … begin[p + 1]; what is known of
        the paths comes along."""
        node_ptr, at = _rows(self.paths.node_ptr, kept)
        inner_ptr, within = _rows(self.inner[0], kept)
        table = PathTable(pair, begin, node_ptr, self.paths.nodes[at], self.paths.chance[kept])
        other = Network(self.wires if wires is None else wires, flows, table)
        up, down = self.ends
        known = (inner_ptr, self.inner[1][within]), self.first[kept], self.last[kept], (up[kept], down[kept])
        other.__dict__.update(zip(_OF_PATHS, known, strict=True))
        return other

    @property
    def topology(self) -> Topology:
        return self.wires.topology

    @cached_property
    def judged(self) -> Topology:
        """The topology without what has failed."""
        return degrade(self.topology, self.wires.rates) if self.wires.rates else self.topology

    @property
    def unit(self) -> int:
        """Capacities are counted in 1 / unit GB/s."""
        return self.wires.unit

    @property
    def capacity(self) -> I64:
        """[links] bandwidth in 1 / unit GB/s."""
        return self.wires.capacity

    @property
    def rate(self) -> F64:
        """[links] bandwidth in bytes a second, rounded to floating point."""
        return self.wires.rate

    def seconds(self, load: int | Fraction, link: int) -> Fraction:
        """Time of `load` bytes on a link."""
        return Fraction(load) * self.unit / (int(self.capacity[link]) * GIGA)

    def congestion(self, loads: NDArray[np.int64]) -> Fraction:
        """The largest time of any link under these loads (bytes), exactly."""
        times = loads / self.rate
        near = np.flatnonzero((times >= times.max(initial=0) * (1 - 1e-12)) & (loads > 0))
        widths = self.capacity[near]
        fullest = [(int(loads[near[widths == width]].max()), int(width)) for width in set(widths.tolist())]
        return max((Fraction(load, width) for load, width in fullest), default=Fraction(0)) * self.unit / GIGA

    def link_ids(self, src: NDArray[Any], dst: NDArray[Any]) -> I32:
        """The links between these nodes, which must exist."""
        keys, order = self.wires.index
        wanted = src.astype(np.int64) * len(self.topology.nodes) + dst
        found: I32 = order[np.searchsorted(keys, wanted)].astype(np.int32)
        return found

    @cached_property
    def rank_nodes(self) -> I64:
        return np.array(self.topology.ranks, np.int64)

    @cached_property
    def first(self) -> I64:
        """[paths] the first switch; NO_PORT without one."""
        return self._end(self.paths.node_ptr[:-1])

    @cached_property
    def last(self) -> I64:
        """[paths] the last switch; NO_PORT without one."""
        return self._end(self.paths.node_ptr[1:] - 1)

    @cached_property
    def ends(self) -> tuple[I32, I32]:
        """[paths] the port that each path leaves its source by, and the one that it reaches its destination by;
        NO_PORT without switches."""
        pairs = len(self.paths.begin) - 1
        member = np.zeros(pairs, np.int64)  # a flow of each pair: its ranks stand for their groups
        member[self.paths.pair] = np.arange(len(self.flows))
        flow = np.repeat(member, np.diff(self.paths.begin))
        up, down = self.wires.ports
        return up.number(self.flows.src[flow], self.first), down.number(self.flows.dst[flow], self.last)

    def _end(self, position: I64) -> I64:
        ends = np.full(len(position), NO_PORT, np.int64)
        some = np.diff(self.paths.node_ptr) > 0
        ends[some] = self.paths.nodes[position[some]]
        return ends

    @cached_property
    def inner(self) -> tuple[I64, I32]:
        """(ptr, links): the links between the switches of each path."""
        ptr, nodes = self.paths.node_ptr, self.paths.nodes
        stays = np.ones(max(len(nodes) - 1, 0), bool)
        ends = ptr[1:-1]
        stays[ends[(ends > 0) & (ends < len(nodes))] - 1] = False
        at = np.flatnonzero(stays)
        counts = np.maximum(np.diff(ptr) - 1, 0)
        links = self.link_ids(nodes[at], nodes[at + 1])
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), links

    def access(self, flow: NDArray[Any], path: NDArray[Any]) -> tuple[I32, I32]:
        """The first and the last link of each (flow, path): those of the ranks. The same one where there is no
        switch."""
        src, dst = self.flows.src[flow], self.flows.dst[flow]
        first, last = (ends[path] for ends in self.ends)
        up, down = self.wires.ports
        direct = first == NO_PORT
        if not direct.any():
            return up.links(src, first), down.links(dst, last)
        some = np.flatnonzero(~direct)
        out = self.link_ids(self.rank_nodes[src], np.where(direct, self.rank_nodes[dst], self.first[path]))
        into = out.copy()
        into[some] = down.links(dst[some], last[some])
        return out, into

    def crossings(self, flow: NDArray[Any], path: NDArray[Any]) -> tuple[I64, I64]:
        """(entry, link) of every link that each (flow, path) crosses."""
        ptr, links = self.inner
        up, down = self.access(flow, path)
        counts = ptr[path + 1] - ptr[path]
        entries = np.repeat(np.arange(len(path)), counts)
        within = np.arange(len(entries)) - np.repeat(np.cumsum(counts) - counts, counts)
        inner = links[ptr[path][entries] + within]
        switched = np.flatnonzero(self.first[path] != NO_PORT)
        return (
            np.concatenate([np.arange(len(path)), entries, switched]),
            np.concatenate([up, inner, down[switched]]).astype(np.int64),
        )

    def crossing(self, subflows: Subflows, links: NDArray[Any]) -> NDArray[np.bool_]:
        """Which subflows cross one of these links."""
        ptr, inner = self.inner
        chosen = np.zeros(len(self.topology.links), bool)
        chosen[links] = True
        on_path = np.zeros(len(ptr) - 1, bool)
        on_path[np.repeat(np.arange(len(on_path)), np.diff(ptr))[chosen[inner]]] = True
        found = on_path[subflows.path]
        ranks = set(self.topology.ranks)
        if any(end in ranks for link in links.tolist() for end in self._link_ends(link)):
            up, down = self.access(subflows.flow, subflows.path)
            found |= chosen[up] | chosen[down]
        return found

    def _link_ends(self, link: int) -> tuple[int, int]:
        return self.topology.links[link].src, self.topology.links[link].dst

    def loads(self, subflows: Subflows) -> I64:
        """[links] bytes, exactly."""
        return self._carried(subflows, subflows.bytes)

    def crowds(self, subflows: Subflows) -> I64:
        """[links] number of pieces."""
        return self._carried(subflows, np.ones(len(subflows), np.int64))

    def _carried(self, subflows: Subflows, weight: I64) -> I64:
        """[links] the weights of the subflows that cross each: summed by path first, since many share one."""
        ptr, links = self.inner
        carried = np.zeros(len(self.topology.links), np.int64)
        on_path = np.zeros(len(ptr) - 1, np.int64)
        np.add.at(on_path, subflows.path, weight)
        np.add.at(carried, links, np.repeat(on_path, np.diff(ptr)))
        up, down = self.access(subflows.flow, subflows.path)
        np.add.at(carried, up, weight)
        if (self.first == NO_PORT).any():
            switched = np.flatnonzero(self.first[subflows.path] != NO_PORT)
            down, weight = down[switched], weight[switched]
        np.add.at(carried, down, weight)
        return carried


_OF_PATHS = ("inner", "first", "last", "ends")  # cached properties of `Network` that follow from its paths


def _rows(ptr: I64, kept: I64) -> tuple[I64, I64]:
    """Of rows ptr[r] … ptr[r + 1], those in `kept` end to end: their limits, and the old place of each entry."""
    counts = ptr[kept + 1] - ptr[kept]
    limits = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return limits, np.arange(limits[-1]) - np.repeat(limits[:-1] - ptr[kept], counts)
