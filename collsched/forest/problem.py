"""From a topology and a collective to the integer packing instance that planners solve."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import numpy as np
from numpy.typing import NDArray

from collsched.collective import Collective, Kind
from collsched.errors import InputError
from collsched.topology.model import Topology
from collsched.units import exact

MOST_SLOTS = 1 << 61  # capacities or slots of all links together, so that no sum overflows

Arrays = tuple[
    int,
    NDArray[np.int32],
    NDArray[np.int32],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.uint8],
    NDArray[np.uint8],
]


@dataclass(frozen=True, slots=True)
class Problem:
    """Pack out-trees: from every node v with weight[v] > 0, spanning all terminals.

    Arc i is link i of the topology, turned round if `reversed`: in-trees are out-trees of the reversed fabric.
    `capacity[i]` = bandwidth in GB/s × `scale`, an integer. `copies` marks nodes at which trees may
    branch: ranks, and switches that multicast (reduce, if `reversed`); all others only forward.
    """

    nodes: int
    src: NDArray[np.int32]
    dst: NDArray[np.int32]
    capacity: NDArray[np.int64]
    weight: NDArray[np.int64]
    terminal: NDArray[np.uint8]
    rank: NDArray[np.uint8]
    copies: NDArray[np.uint8]
    scale: int
    reversed: bool


def arrays(problem: Problem, capacity: NDArray[np.int64] | None = None) -> Arrays:
    """The problem as the native core takes it, with other capacities (slots) if given."""
    return (
        problem.nodes,
        problem.src,
        problem.dst,
        problem.capacity if capacity is None else capacity,
        problem.weight,
        problem.terminal,
        problem.rank,
    )


def floor_slots(problem: Problem, U: Fraction) -> NDArray[np.int64]:
    """[arcs] ⌊U·bandwidth⌋, exactly. Raises InputError if the slots do not fit into 64 bits."""
    distinct, index = np.unique(problem.capacity, return_inverse=True)
    counts = [int(c) * U.numerator // (U.denominator * problem.scale) for c in distinct]
    if max(counts, default=0) * max(len(problem.capacity), 1) >= MOST_SLOTS:
        raise InputError(
            "the link bandwidths have no common measure small enough for exact trees; "
            "round them to fewer digits, or ask for few trees with --trees-per-root"
        )
    return np.array(counts, np.int64)[index].astype(np.int64)


def directions(kind: Kind) -> tuple[bool, ...]:
    """The phases of a collective, in order: False for out-trees, True for in-trees (the reversed fabric)."""
    match kind:
        case Kind.ALLREDUCE:
            return (True, False)
        case Kind.REDUCE_SCATTER | Kind.REDUCE | Kind.SCATTER:
            return (True,)
        case _:
            return (False,)


def problem(topology: Topology, collective: Collective, *, reverse: bool) -> Problem:
    """The packing instance of one phase. Gather and scatter have one terminal, the root; all others the whole group.

    Raises InputError if the bandwidths have no common measure, or the shards a sum, that fits into 64 bits.
    """
    if sum(collective.shards) > MOST_SLOTS:
        raise InputError("the shard sizes add up to more than 2^61; allowed is less; divide them by a common factor")
    capacity, scale = _capacities(topology)
    src = np.fromiter((link.src for link in topology.links), np.int32, len(topology.links))
    dst = np.fromiter((link.dst for link in topology.links), np.int32, len(topology.links))
    weight = np.zeros(len(topology.nodes), np.int64)
    for owner, size in zip(collective.owners, collective.shards, strict=True):
        weight[topology.ranks[owner]] += size
    terminal = np.zeros(len(topology.nodes), np.uint8)
    if collective.kind in (Kind.GATHER, Kind.SCATTER):
        assert collective.root is not None
        terminal[topology.ranks[collective.root]] = 1
    else:
        terminal[[topology.ranks[rank] for rank in collective.group]] = 1
    rank = np.zeros(len(topology.nodes), np.uint8)
    rank[list(topology.ranks)] = 1
    able = (node.reduce if reverse else node.multicast for node in topology.nodes)
    copies = rank | np.fromiter(able, np.uint8, len(rank))
    if reverse:
        src, dst = dst, src
    return Problem(len(topology.nodes), src, dst, capacity, weight, terminal, rank, copies, scale, reverse)


def _capacities(topology: Topology) -> tuple[NDArray[np.int64], int]:
    """[links] bandwidths as integers, and how many of them make 1 GB/s."""
    scale = 1
    for denominator in sorted({link.bandwidth.denominator for link in topology.links}):
        scale = min(lcm(scale, denominator), MOST_SLOTS)  # no larger: thousands of denominators make a huge number
    counts = [link.bandwidth.numerator * (scale // link.bandwidth.denominator) for link in topology.links]
    if scale == MOST_SLOTS or sum(counts) >= MOST_SLOTS:
        finest = max(topology.links, key=lambda link: link.bandwidth.denominator)
        shown = (
            f"{exact(finest.bandwidth)} GB/s of {topology.nodes[finest.src].name} → {topology.nodes[finest.dst].name}"
        )
        raise InputError(
            f"{topology.source or topology.name}: the link bandwidths, such as {shown}, have no "
            "common measure; allowed is one of which all links hold less than 2^61 together; round them to fewer digits"
        )
    return np.array(counts, np.int64), scale


def bandwidth(problem: Problem, arc: int) -> Fraction:
    """The bandwidth of an arc in GB/s, exactly."""
    return Fraction(int(problem.capacity[arc]), problem.scale)
