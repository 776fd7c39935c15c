"""Collects nodes and links into a Topology: distinct names, no self-loops, one link per ordered pair."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from typing import Literal

from collsched.errors import InputError
from collsched.topology.model import Link, Node, Topology
from collsched.units import suggest

MAX_NODES = 250_000
MAX_LINKS = 2_000_000
MAX_NAME = 255


class Builder:
    """A topology that grows. Methods raise InputError without a place: the caller knows the line."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.lines: list[int] = []
        self.ids: dict[str, int] = {}
        self._links: dict[tuple[int, int], tuple[Fraction, Fraction]] = {}

    def node(
        self,
        name: str,
        kind: Literal["rank", "switch"],
        *,
        line: int = 0,
        host: str | None = None,
        rail: str | None = None,
        plane: str | None = None,
        multicast: bool = False,
        reduce: bool = False,
    ) -> int:
        """Add a node and return its id."""
        if name in self.ids:
            first = self.lines[self.ids[name]]
            where = f" (first on line {first})" if first else ""
            raise InputError(f"duplicate node {name!r}{where}; allowed is each name once; rename one of the two")
        check_name(name)
        if len(self.nodes) == MAX_NODES:
            raise InputError(f"more than {MAX_NODES} nodes; allowed are no more; lower the counts or the parameters")
        if kind == "rank" and (multicast or reduce):
            word = "multicast" if multicast else "reduce"
            raise InputError(f"rank {name!r} has {word!r}; allowed on switches only; remove it or set kind: switch")
        self.ids[name] = len(self.nodes)
        self.nodes.append(Node(name, kind, host, rail, plane, multicast, reduce))
        self.lines.append(line)
        return len(self.nodes) - 1

    def enable(self, switches: Iterable[int], *, multicast: bool, reduce: bool) -> None:
        """Let switches that are there already copy or sum data."""
        for number in switches:
            self.nodes[number] = replace(self.nodes[number], multicast=multicast, reduce=reduce)

    def find(self, name: str, hint: str = "add it under 'nodes'") -> int:
        """The id of a node by its name; `hint` says how to mend an unknown one where no name is near."""
        try:
            return self.ids[name]
        except KeyError:
            hint = suggest(name, tuple(self.ids)) or hint
            raise InputError(f"link to unknown node {name!r}; allowed are the declared nodes; {hint}") from None

    def link(self, src: int, dst: int, bandwidth: Fraction, latency: Fraction) -> None:
        """Add a directed link, in GB/s and µs. Parallel links add up; the larger latency stays."""
        if src == dst:
            name = self.nodes[src].name
            raise InputError(
                f"link from {name!r} to itself; allowed are links between two nodes; "
                "for all pairs write gpu[i=0..7] and gpu[i+1..7]"
            )
        known = self._links.get((src, dst))
        if known is None:
            if len(self._links) == MAX_LINKS:
                raise InputError(
                    f"more than {MAX_LINKS} links; allowed are no more; lower the counts or the parameters"
                )
            self._links[src, dst] = (bandwidth, latency)
        else:
            self._links[src, dst] = (known[0] + bandwidth, max(known[1], latency))

    def both(self, a: int, b: int, bandwidth: Fraction, latency: Fraction) -> None:
        """Add a link in each direction."""
        self.link(a, b, bandwidth, latency)
        self.link(b, a, bandwidth, latency)

    def finish(self, name: str, source: str | None) -> Topology:
        """The topology so far."""
        if not any(node.kind == "rank" for node in self.nodes):
            raise InputError("no node is a rank; allowed is at least one; add a node with kind: rank")
        links = tuple(Link(src, dst, rate, alpha) for (src, dst), (rate, alpha) in self._links.items())
        lines = tuple(self.lines) if any(self.lines) else None
        return Topology(name, tuple(self.nodes), links, source, lines)


def check_name(name: str) -> None:
    """Raises InputError unless `name` can be printed and told apart by eye."""
    if len(name) > MAX_NAME:
        raise InputError(f"name {name[:24] + '…'!r} is too long; allowed are {MAX_NAME} characters; shorten it")
    if not name or name != name.strip() or not name.isprintable():
        raise InputError(f"name {name!r} is empty or cannot be printed; allowed are visible characters; rename it")
