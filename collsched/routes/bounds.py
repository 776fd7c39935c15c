"""Limits that no routing beats, and what ideal spraying reaches.

A *hop set* of a flow is the set of links one of which every path of the flow crosses at the i-th hop. Flows whose hop
sets lie in a set T of links put all of their bytes on T, so the fullest link of T needs Σ bytes / Σ bandwidth (T) at
least.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np

from collsched.routes.model import F64, I64
from collsched.routes.network import GIGA, Network

TIGHT = 1e-9  # relative; two floating-point congestions this near are one


@dataclass(frozen=True, slots=True)
class Cut:
    """Links that together must carry `bytes`."""

    links: tuple[int, ...]
    bytes: int
    seconds: Fraction


def best_cut(network: Network) -> Cut:
    """The hop set, or union of overlapping ones, that binds most. Seconds 0 where nothing has to move."""
    carried: dict[tuple[int, ...], int] = defaultdict(int)
    _add_inner(network, carried)
    _add_access(network, carried)
    for links, size in list(_merged(carried).items()):
        carried[links] = max(size, carried.get(links, 0))
    best = Cut((), 0, Fraction(0))
    capacity = network.capacity
    for links, size in carried.items():
        seconds = Fraction(size * network.unit, int(capacity[list(links)].sum()) * GIGA) if size else Fraction(0)
        if seconds > best.seconds:
            best = Cut(links, size, seconds)
    return best


def volumes(network: Network) -> I64:
    """[pairs] bytes between each pair of groups."""
    total = np.zeros(len(network.paths.begin) - 1, np.int64)
    np.add.at(total, network.paths.pair, network.flows.bytes)
    return total


def hops_of(network: Network, pair: int) -> np.ndarray:
    """[paths of the pair, inner hops] links between switches; all shortest paths have equally many."""
    low, high = network.paths.begin[pair], network.paths.begin[pair + 1]
    ptr, links = network.inner
    return links[ptr[low] : ptr[high]].reshape(high - low, -1)


def _add_inner(network: Network, carried: dict[tuple[int, ...], int]) -> None:
    for pair, size in enumerate(volumes(network).tolist()):
        for column in hops_of(network, pair).T:
            carried[tuple(sorted(set(column.tolist())))] += size


def _add_access(network: Network, carried: dict[tuple[int, ...], int]) -> None:
    """The ranks' own links. A rank may have a choice of ports."""
    begin, pair = network.paths.begin, network.paths.pair
    for ends, rank, switch_first in (
        (network.first, network.flows.src, True),
        (network.last, network.flows.dst, False),
    ):
        choices = [tuple(dict.fromkeys(ends[low:high].tolist())) for low, high in pairwise(begin.tolist())]
        single = np.array([len(choice) == 1 for choice in choices], bool)[pair]
        alone = np.flatnonzero(single)
        links = network.access(alone, begin[pair[alone]])[0 if switch_first else 1]
        loads = np.zeros(len(network.topology.links), np.int64)
        np.add.at(loads, links, network.flows.bytes[alone])
        for link in np.flatnonzero(loads).tolist():
            carried[link,] += int(loads[link])
        for flow in np.flatnonzero(~single).tolist():
            switches = np.array(choices[pair[flow]])
            node = np.full(len(switches), network.topology.ranks[int(rank[flow])])
            ports = network.link_ids(node, switches) if switch_first else network.link_ids(switches, node)
            carried[tuple(sorted(ports.tolist()))] += int(network.flows.bytes[flow])


def _merged(carried: dict[tuple[int, ...], int]) -> dict[tuple[int, ...], int]:
    """Unions of the sets that overlap, directly or through others."""
    leader: dict[int, int] = {}

    def find(link: int) -> int:
        while (above := leader.setdefault(link, link)) != link:
            leader[link] = leader[above]
            link = leader[link]
        return link

    for links in carried:
        for link in links[1:]:
            leader[find(link)] = find(links[0])
    members: dict[int, set[int]] = defaultdict(set)
    sizes: dict[int, int] = defaultdict(int)
    for links, size in carried.items():
        members[find(links[0])].update(links)
        sizes[find(links[0])] += size
    return {tuple(sorted(members[root])): size for root, size in sizes.items()}


def spread(network: Network, weight: F64) -> F64:
    """[links] mean bytes where every flow spreads over its paths in proportion to `weight` [paths]."""
    counts = np.diff(network.paths.begin)
    owner = np.repeat(np.arange(len(counts)), counts)
    share = weight / np.bincount(owner, weights=weight, minlength=len(counts))[owner]
    loads = np.zeros(len(network.topology.links))
    ptr, links = network.inner
    on_path = volumes(network)[owner] * share
    loads += np.bincount(links, weights=np.repeat(on_path, np.diff(ptr)), minlength=len(loads))
    (alone, single), (flow, path) = port_choices(network)
    for owner, over, carried in (
        (alone, single, network.flows.bytes[alone]),
        (flow, path, network.flows.bytes[flow] * share[path]),
    ):
        up, down = network.access(owner, over)
        switched = network.first[over] >= 0
        loads += np.bincount(up, weights=carried, minlength=len(loads))
        loads += np.bincount(down[switched], weights=carried[switched], minlength=len(loads))
    return loads


def forced_ports(network: Network) -> np.ndarray:
    """[pairs] whether all paths of a pair start at one switch and end at one switch."""
    begin = network.paths.begin[:-1]
    same = np.ones(len(begin), bool)
    for ends in (network.first, network.last):
        same &= np.minimum.reduceat(ends, begin) == np.maximum.reduceat(ends, begin)
    return same


def port_choices(network: Network) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """(flow, path): each flow once where its ports are forced, else once for each of its paths."""
    begin, pair = network.paths.begin, network.paths.pair
    forced = forced_ports(network)[pair]
    alone, free = np.flatnonzero(forced), np.flatnonzero(~forced)
    counts = (begin[pair[free] + 1] - begin[pair[free]]).astype(np.int64)
    flow = np.repeat(free, counts)
    path = np.arange(len(flow)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(begin[pair[free]], counts)
    return (alone, begin[pair[alone]]), (flow, path)


def widths(network: Network) -> F64:
    """[paths] the least bandwidth between the switches of each path; 1 where there are no such links."""
    ptr, links = network.inner
    narrow = np.ones(len(ptr) - 1)
    some = np.flatnonzero(np.diff(ptr))
    if len(some):
        narrow[some] = np.minimum.reduceat(network.rate[links], ptr[:-1][some])
    return narrow


def spray_seconds(network: Network) -> float:
    """The congestion of a spraying in proportion to the widths of the paths: an upper limit of the best one's."""
    return float((spread(network, widths(network)) / network.rate).max(initial=0.0))
