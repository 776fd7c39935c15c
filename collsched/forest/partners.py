"""Partners: every port of a rank towards another host serves one rank there, instead of whomever a switch can reach.

    u ──▶ s ──▶ v, w, x, …          u ══════▶ v   its partner, at the rate of both ports

What a switch offers is more than trees need: often the cuts of the fabric are the same if each port has one partner.
Then links stand for switches, and trees on them have fewer and wider parts than trees that spread over all pairs, and
no two routes of one port compete for another. Where a host has ranks enough, they reach all other hosts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from collsched.forest.model import Forest, Routes
from collsched.topology.model import Link, Topology

Ports = dict[int, dict[int, int]]  # node → neighbour → link


@dataclass(frozen=True, slots=True)
class Partners:
    """`topology` has the nodes of the fabric, and links that stand for paths of links of the fabric, `paths[link]`."""

    topology: Topology
    paths: tuple[tuple[int, ...], ...]

    def lifted(self, forest: Forest) -> Forest:
        """A forest of `topology` as one of the fabric."""
        routes = forest.routes
        links = routes.links.tolist()
        whole = [[link for step in links[a:b] for link in self.paths[step]] for a, b in pairwise(routes.ptr.tolist())]
        ptr = np.cumsum([0, *map(len, whole)], dtype=np.int64)
        return replace(forest, routes=Routes(ptr, np.array([link for path in whole for link in path], np.int32)))


def partners(topology: Topology) -> Partners | None:
    """The fabric with links in place of every switch that joins equally many ranks of each of several hosts and nothing
    else; None without one, or where two links would join the same ranks.

    The rank at place i among a host's ports sends to the one at place i of another: of n hosts, to that of the
    1 + i mod (n − 1)-th after it.
    """
    into, out = _ports(topology)
    replaced = {
        switch: hosts for switch in range(len(topology.nodes)) if (hosts := _hosts(topology, switch, into, out))
    }
    kept = [i for i, link in enumerate(topology.links) if link.src not in replaced and link.dst not in replaced]
    paths: list[tuple[int, ...]] = [(i,) for i in kept]
    links = [topology.links[i] for i in kept]
    for switch, hosts in replaced.items():
        for src, dst in _pairs(hosts):
            path = (out[src][switch], out[switch][dst])
            first, last = (topology.links[link] for link in path)
            links.append(Link(src, dst, min(first.bandwidth, last.bandwidth), first.alpha + last.alpha))
            paths.append(path)
    if not replaced or len({(link.src, link.dst) for link in links}) < len(links):
        return None
    return Partners(replace(topology, links=tuple(links), source=None, lines=None), tuple(paths))


def _ports(topology: Topology) -> tuple[Ports, Ports]:
    into, out = defaultdict[int, dict[int, int]](dict), defaultdict[int, dict[int, int]](dict)
    for i, link in enumerate(topology.links):
        into[link.dst][link.src] = i
        out[link.src][link.dst] = i
    return into, out


def _hosts(topology: Topology, switch: int, into: Ports, out: Ports) -> list[list[int]]:
    """The ranks of each host that the switch joins, if partners can stand for it; else nothing."""
    node = topology.nodes[switch]
    if node.kind == "rank" or node.multicast or node.reduce or into[switch].keys() != out[switch].keys():
        return []
    hosts = defaultdict[str | None, list[int]](list)
    for port in sorted(into[switch]):
        if topology.nodes[port].kind != "rank":
            return []
        hosts[topology.nodes[port].host].append(port)
    even = len({len(ranks) for ranks in hosts.values()}) == 1
    return list(hosts.values()) if even and len(hosts) > 1 and None not in hosts else []


def _pairs(hosts: list[list[int]]) -> Iterator[tuple[int, int]]:
    for number, ranks in enumerate(hosts):
        for place, src in enumerate(ranks):
            yield src, hosts[(number + 1 + place % (len(hosts) - 1)) % len(hosts)][place]
