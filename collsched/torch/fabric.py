"""The fabric of a process group: the topology, what remains of it for some of its ranks, or one machine's memory.

a ─ S ─ b       a group {a, b} keeps the switch S; it loses the rank c, and with it the way a ─ c ─ b:
a ─ c ─ b       a rank outside the group takes no part in its calls, so it cannot relay
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from collsched.collective import Kind, make_collective
from collsched.errors import UnreachableError
from collsched.forest.optimum import check_reachable
from collsched.topology import dump_yaml
from collsched.topology.builder import Builder
from collsched.topology.model import Topology

_MEMORY = Fraction(10)  # GB/s of every rank: only the proportions matter, and they are equal


def one_machine(ranks: int) -> Topology:
    """Ranks that reach each other through one shared memory: a hub, without links to prefer."""
    builder = Builder()
    for rank in range(ranks):
        builder.node(f"rank{rank}", "rank")
    memory = builder.node("memory", "switch")
    for rank in range(ranks):
        builder.both(rank, memory, _MEMORY, Fraction(1))
    return builder.finish(f"one machine with {ranks} ranks", None)


def restricted(topology: Topology, ranks: Sequence[int]) -> Topology | None:
    """The fabric that a group of ranks has for itself, numbered in the order given: its ranks, all switches, and the
    links between these. None where that leaves some of them unreachable."""
    if list(ranks) == list(range(len(topology.ranks))):
        return topology
    switches = [number for number, node in enumerate(topology.nodes) if node.kind == "switch"]
    kept = [topology.ranks[rank] for rank in ranks] + switches
    number = {node: new for new, node in enumerate(kept)}
    links = tuple(
        replace(link, src=number[link.src], dst=number[link.dst])
        for link in topology.links
        if link.src in number and link.dst in number
    )
    part = Topology(f"{topology.name}, {len(ranks)} ranks", tuple(topology.nodes[node] for node in kept), links)
    try:
        check_reachable(part, make_collective(part, Kind.ALLGATHER))
    except UnreachableError:
        return None
    return part


def digest(topology: Topology) -> str:
    """SHA-256 over nodes and links, as 64 hex digits: equal for equal topologies, wherever they came from."""
    return hashlib.sha256(dump_yaml(topology).encode()).hexdigest()
