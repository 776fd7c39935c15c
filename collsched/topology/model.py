"""The topology that everything else is computed from: nodes, directed links, exact bandwidths."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from numbers import Rational
from typing import Literal

from collsched.errors import TopologyError


@dataclass(frozen=True, slots=True)
class Node:
    """A vertex of the fabric: a rank (holds data) or a switch (forwards it; a NIC is one).

    A switch that can `multicast` sends a copy of what arrives over each of several links; one that can `reduce` sends
    the sum of what arrives over several.
    """

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

    `ranks[i]` is the node id of rank i, in the order in which rank nodes appear. Raises TopologyError unless names are
    distinct and every link joins two nodes at an exact, positive bandwidth and an exact latency of 0 or more.
    """

    name: str
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    source: str | None = field(default=None, compare=False)  # file or parameters it came from, for messages
    lines: tuple[int, ...] | None = field(default=None, compare=False, repr=False)  # of each node in `source`

    def __post_init__(self) -> None:
        names = [node.name for node in self.nodes]
        if len(set(names)) < len(names):
            twice = next(name for name, times in Counter(names).items() if times > 1)
            raise TopologyError(f"{self.name}: two nodes are called {twice!r}; allowed is each name once; rename one")
        for link in self.links:
            _check(self, link)
        pairs = [(link.src, link.dst) for link in self.links]
        if len(set(pairs)) < len(pairs):
            src, dst = next(pair for pair, times in Counter(pairs).items() if times > 1)
            raise TopologyError(
                f"{self.name}: two links from {names[src]!r} to {names[dst]!r}; allowed is one; add their bandwidths up"
            )

    def where(self, node: int) -> str:
        """The place that declares a node, `file.yaml:12`, for messages; the topology's name where none is known."""
        if self.lines is None or not self.lines[node]:
            return self.source or self.name
        return f"{self.source}:{self.lines[node]}"

    @cached_property
    def ranks(self) -> tuple[int, ...]:
        return tuple(i for i, node in enumerate(self.nodes) if node.kind == "rank")

    @cached_property
    def holders(self) -> tuple[int, ...]:
        """The nodes between which data moves: the ranks, then the switches that multicast or reduce."""
        return self.ranks + tuple(i for i, node in enumerate(self.nodes) if node.multicast or node.reduce)

    def without_in_network(self) -> Topology:
        """The same fabric with switches that only forward."""
        if len(self.holders) == len(self.ranks):
            return self
        return replace(self, nodes=tuple(replace(node, multicast=False, reduce=False) for node in self.nodes))

    @cached_property
    def rank_of(self) -> dict[int, int]:
        """Node id → rank number."""
        return {node: rank for rank, node in enumerate(self.ranks)}


def _check(topology: Topology, link: Link) -> None:
    """Raises TopologyError for a link that cannot be."""
    nodes, rate, alpha = len(topology.nodes), link.bandwidth, link.alpha
    if not (0 <= link.src < nodes and 0 <= link.dst < nodes and link.src != link.dst):
        raise TopologyError(
            f"{topology.name}: link from node {link.src} to node {link.dst}; allowed are two different ids from 0 to "
            f"{nodes - 1}; check the ids"
        )
    if not isinstance(rate, Rational) or rate.numerator <= 0:
        found, allowed = f"bandwidth {rate!r}", "a Fraction of GB/s above 0; write for example Fraction('12.5')"
    elif not isinstance(alpha, Rational) or alpha.numerator < 0:
        found, allowed = f"latency {alpha!r}", "a Fraction of µs from 0; write for example Fraction('1.5')"
    else:
        return
    ends = f"{topology.nodes[link.src].name!r} to {topology.nodes[link.dst].name!r}"
    raise TopologyError(f"{topology.name}: link from {ends} has {found}; allowed is {allowed}")
