"""Nodes and links of one kind, as people would group them: by role and bandwidth."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from collsched.topology.model import Topology


@dataclass(frozen=True, slots=True)
class LinkKind:
    """Links whose ends have the roles `one` and `two`, in both directions, at one bandwidth in GB/s."""

    one: str
    two: str
    bandwidth: Fraction
    links: tuple[int, ...]

    @property
    def ends(self) -> str:
        return f"{self.one} ↔ {self.two}"


def role(name: str) -> str:
    """What a node is, judged by its name: `box3/gpu12` is a `gpu`."""
    last = re.split(r"[/:]", name)[-1]
    return re.sub(r"[\d_.,\-\[\]]+", "", last) or "node"


def link_kinds(topology: Topology) -> list[LinkKind]:
    """All links by kind: the fastest first, then the most numerous."""
    roles = [role(node.name) for node in topology.nodes]
    ranks = {roles[node] for node in topology.ranks}
    found: dict[tuple[str, str, Fraction], list[int]] = {}
    for number, link in enumerate(topology.links):
        one, two = sorted((roles[link.src], roles[link.dst]), key=lambda name: (name not in ranks, name))
        found.setdefault((one, two, link.bandwidth), []).append(number)
    kinds = [LinkKind(*key, tuple(links)) for key, links in found.items()]
    return sorted(kinds, key=lambda kind: (-kind.bandwidth, -len(kind.links), kind.ends))


def route_names(topology: Topology, routes: Sequence[Sequence[int]]) -> list[str]:
    """Each route (links in travel order) in roles: `gpu → ib → gpu`."""
    roles = [role(node.name) for node in topology.nodes]
    return [
        " → ".join([roles[topology.links[route[0]].src], *(roles[topology.links[link].dst] for link in route)])
        for route in routes
    ]
