"""The judge of a routing: recomputes everything from topology, flows and explicit paths, with no planner's help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collsched.errors import VerificationError
from collsched.topology.model import Topology

Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class Routing:
    """Subflow i is bytes [offset[i], offset[i] + bytes[i]) of flow[i], from rank src[i] to rank dst[i], over the
    switches switches[path[i]] in that order (node ids)."""

    flow: Ints
    src: Ints
    dst: Ints
    offset: Ints
    bytes: Ints
    path: Ints
    switches: Sequence[tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Extents:
    """What has to be carried: [offset[i], offset[i] + bytes[i]) of flow[i], from rank src[i] to rank dst[i]."""

    flow: Ints
    src: Ints
    dst: Ints
    offset: Ints
    bytes: Ints


@dataclass(frozen=True, slots=True)
class Loads:
    """What a routing puts on the links of its topology."""

    bytes: Ints  # [links]
    pieces: Ints  # [links] subflows that cross it
    congestion: Fraction  # seconds, the largest of bytes / bandwidth


def check_routing(topology: Topology, extents: Extents, routing: Routing) -> Loads:
    """The loads of a routing that carries each extent exactly once over paths that exist.

    Raises VerificationError, which names the first subflow that breaks a rule.
    """
    _check_partition(extents, routing)
    return _check_paths(topology, routing)


def _check_partition(extents: Extents, routing: Routing) -> None:
    """Sorted by flow and offset, the subflows of a flow run through its extents without gap or overlap."""
    if len(routing.bytes) and int(routing.bytes.min()) < 0:
        raise VerificationError(f"subflow {int(np.argmin(routing.bytes))} has a negative number of bytes")
    want, have = _covered(extents), _covered(routing)
    if len(want[0]) == len(have[0]) and all(np.array_equal(a, b) for a, b in zip(want, have, strict=True)):
        return
    for position in range(max(len(want[0]), len(have[0]))):
        needed = tuple(int(column[position]) for column in want) if position < len(want[0]) else None
        found = tuple(int(column[position]) for column in have) if position < len(have[0]) else None
        if needed != found:
            raise VerificationError(
                f"subflows do not partition their flows: expected (flow, from byte, to byte, source, destination) "
                f"{needed}, found {found}"
            )


def _covered(parts: Extents | Routing) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """Maximal runs (flow, from, to, src, dst) of non-empty parts. Overlaps stay separate, so they differ from a
    partition."""
    order = np.lexsort((parts.offset + parts.bytes, parts.offset, parts.flow))
    order = order[parts.bytes[order] > 0]
    flow, low = parts.flow[order].astype(np.int64), parts.offset[order].astype(np.int64)
    high = low + parts.bytes[order]
    src, dst = parts.src[order], parts.dst[order]
    goes_on = (flow[1:] == flow[:-1]) & (low[1:] == high[:-1]) & (src[1:] == src[:-1]) & (dst[1:] == dst[:-1])
    begins = np.flatnonzero(np.concatenate([np.ones(min(len(flow), 1), bool), ~goes_on]))
    ends = np.concatenate([begins[1:], [len(flow)]])[: len(begins)] - 1
    return flow[begins], low[begins], high[ends], src[begins], dst[begins]


def _check_paths(topology: Topology, routing: Routing) -> Loads:
    nodes = len(topology.nodes)
    for node in {node for path in routing.switches for node in path}:
        if not 0 <= node < nodes or topology.nodes[node].kind != "switch":
            raise VerificationError(f"a path passes through node {node}, which is no switch")
    for name, numbers, limit in (
        ("path", routing.path, len(routing.switches)),
        ("source", routing.src, len(topology.ranks)),
        ("destination", routing.dst, len(topology.ranks)),
    ):
        if len(numbers) and (int(numbers.min()) < 0 or int(numbers.max()) >= limit):
            raise VerificationError(f"the {name} of a subflow does not exist; there are {limit}")
    link_of = {(link.src, link.dst): number for number, link in enumerate(topology.links)}
    loads = np.zeros(len(topology.links), np.int64)
    pieces = np.zeros(len(topology.links), np.int64)
    ranks = np.array(topology.ranks, np.int64)
    first = np.array([path[0] if path else -1 for path in routing.switches], np.int64)[routing.path]
    last = np.array([path[-1] if path else -1 for path in routing.switches], np.int64)[routing.path]
    src, dst = ranks[routing.src], ranks[routing.dst]
    direct = first < 0
    _add(topology, link_of, loads, pieces, src, np.where(direct, dst, first), routing.bytes)
    _add(topology, link_of, loads, pieces, last[~direct], dst[~direct], routing.bytes[~direct])
    on_path, count = _sums(routing)
    for path, carried, times in zip(routing.switches, on_path, count, strict=True):
        for hop in pairwise(path):
            if times:
                link = _link(topology, link_of, hop)
                loads[link] += carried
                pieces[link] += times
    worst = [Fraction(int(load)) / (link.bandwidth * 10**9) for load, link in _fullest(topology, loads)]
    return Loads(loads, pieces, max(worst, default=Fraction(0)))


def _sums(routing: Routing) -> tuple[list[int], list[int]]:
    """Bytes and subflows on each path."""
    carried = np.zeros(len(routing.switches), np.int64)
    np.add.at(carried, routing.path, routing.bytes)
    return carried.tolist(), np.bincount(routing.path, minlength=len(routing.switches)).tolist()


def _add(
    topology: Topology,
    link_of: dict[tuple[int, int], int],
    loads: Ints,
    pieces: Ints,
    src: Ints,
    dst: Ints,
    size: Ints,
) -> None:
    """Adds one hop of every subflow."""
    keys, where = np.unique(src.astype(np.int64) * len(topology.nodes) + dst, return_inverse=True)
    hops = [divmod(key, len(topology.nodes)) for key in keys.tolist()]
    links = np.array([_link(topology, link_of, hop) for hop in hops], np.int64)
    if len(links):
        np.add.at(loads, links[where], size)
        np.add.at(pieces, links[where], 1)


def _link(topology: Topology, link_of: dict[tuple[int, int], int], hop: tuple[int, int]) -> int:
    link = link_of.get(hop)
    if link is None:
        ends = " to ".join(repr(topology.nodes[node].name) for node in hop)
        raise VerificationError(f"a path goes from {ends}, where there is no link")
    return link


def _fullest(topology: Topology, loads: Ints) -> list[tuple[int, Any]]:
    """One link of each bandwidth: the fullest."""
    fullest: dict[Fraction, tuple[int, Any]] = {}
    for load, link in zip(loads.tolist(), topology.links, strict=True):
        if load > fullest.get(link.bandwidth, (-1, None))[0]:
            fullest[link.bandwidth] = (load, link)
    return list(fullest.values())
