"""Partners: every port of a rank towards another host serves one rank there, instead of whomever a switch can reach.

    u ──▶ s ──▶ v, w, x, …          u ══════▶ v   its partner, at the rate of both ports

What a switch offers is more than trees need: often the cuts of the fabric are the same if each port has one partner.
Then links stand for switches, and trees on them have fewer and wider parts than trees that spread over all pairs, and
no two routes of one port compete for another. Where a host has ranks enough, they reach all other hosts.

A port carries what its one link carries, at no smaller a rate, so trees keep their loads when they are lifted. Linear
in links. Whether the cuts are the same is for the caller to compare, by the optimum of both fabrics.
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

    The rank at place i among a host's ports has the one at place i of another host as its partner, in both directions
    if the number of hosts is even; consecutive places lead to different hosts.
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
    """Who sends to whom: places take turns with the other hosts; in the second half of a host one ahead of the first,
    where that is long enough to meet all of them."""
    rounds, places = _rounds(len(hosts)), len(hosts[0])
    for place in range(places):
        turn = place + (2 * place >= places >= 2 * len(rounds))
        for number, other in enumerate(rounds[turn % len(rounds)]):
            yield hosts[number][place], hosts[other][place]


def _rounds(count: int) -> list[list[int]]:
    """Every host's partner in rounds, in which each meets every other once. An even number of hosts meet in pairs, as
    players do (the last one stays, the others move on round a circle); an odd number cannot, and follow each other."""
    if count % 2:
        return [[(number + step) % count for number in range(count)] for step in range(1, count)]
    last, circle = count - 1, []
    for step in range(last):
        partner = [(2 * step - number) % last for number in range(last)]
        partner[step] = last  # it would meet itself
        circle.append([*partner, step])
    return circle
