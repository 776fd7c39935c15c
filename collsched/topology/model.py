"""The topology that everything else is computed from: nodes, directed links, exact bandwidths."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Literal


@dataclass(frozen=True, slots=True)
class Node:
    """A vertex of the fabric: a rank (holds data) or a switch (forwards it; a NIC is one)."""

    name: str
    kind: Literal["rank", "switch"]
    host: str | None = None
    rail: str | None = None
    plane: str | None = None
    multicast: bool = False
    reduce: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """A directed link. `bandwidth` in GB/s (1e9 bytes), `alpha` in microseconds, both exact."""

    src: int
    dst: int
    bandwidth: Fraction
    alpha: Fraction = Fraction(1)


@dataclass(frozen=True)
class Topology:
    """A fabric. Ids are positions; there is at most one link per ordered pair of nodes (parallel ones are merged).

    `ranks[i]` is the node id of rank i, in the order in which rank nodes appear.
    """

    name: str
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    source: str | None = field(default=None, compare=False)  # file or parameters it came from, for messages
    lines: tuple[int, ...] | None = field(default=None, compare=False, repr=False)  # of each node in `source`

    def where(self, node: int) -> str:
        """The place that declares a node, `file.yaml:12`, for messages; the topology's name where none is known."""
        if self.lines is None or not self.lines[node]:
            return self.source or self.name
        return f"{self.source}:{self.lines[node]}"

    @cached_property
    def ranks(self) -> tuple[int, ...]:
        return tuple(i for i, node in enumerate(self.nodes) if node.kind == "rank")

    @cached_property
    def rank_of(self) -> dict[int, int]:
        """Node id → rank number."""
        return {node: rank for rank, node in enumerate(self.ranks)}
