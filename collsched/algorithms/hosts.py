"""The group by hosts: who shares a box."""

from __future__ import annotations

from collsched.collective import Collective
from collsched.topology.model import Topology


def by_host(topology: Topology, collective: Collective) -> list[list[int]]:
    """Positions in the group, host by host, both in order of appearance. A rank that names no host is one by itself."""
    hosts: dict[str, list[int]] = {}
    for position, rank in enumerate(collective.group):
        node = topology.nodes[topology.ranks[rank]]
        hosts.setdefault(f"host {node.host}" if node.host is not None else f"rank {rank}", []).append(position)
    return list(hosts.values())
