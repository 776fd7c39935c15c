"""The fabric of a process group: the topology, or what remains of it for some of its ranks.

a ─ S ─ b       a group {a, b} keeps the switch S; it loses the rank c, and with it the way a ─ c ─ b:
a ─ c ─ b       a rank outside the group takes no part in its calls, so it cannot relay
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from collsched.collective import Kind, make_collective
from collsched.errors import UnreachableError
from collsched.forest.optimum import check_reachable
from collsched.topology import dump_yaml
from collsched.topology.model import Topology


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
