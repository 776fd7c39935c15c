"""Graphs with attributes, as GraphML and node-link JSON hold them, to a draft.

Node attributes: kind (rank or switch; all are ranks where no node has one), host, rail, plane, multicast, reduce.
Edge attributes: bandwidth (GB/s, or text with a unit), latency (µs, or text with a unit).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from collsched.errors import InputError
from collsched.topology.document import Source
from collsched.topology.importers.draft import Host, Rate, Request, Vertex, Wire
from collsched.units import exact, parse_bandwidth, parse_latency

_FALSE = ("", "0", "false")


@dataclass(frozen=True, slots=True)
class Item:
    """A node (`ends` is its id) or an edge (`ends` are two), its attributes as text, and its line, 0 if not known."""

    ends: tuple[str, ...]
    attributes: Mapping[str, str]
    place: int = 0
    directed: bool = False


def build(nodes: list[Item], edges: list[Item], source: Source, request: Request) -> Host:
    """The draft of a graph. Raises TopologyError."""
    if request.networked:
        raise InputError(f"{source.name}: a graph is a whole topology; allowed is this file alone; leave --hosts out")
    host = Host()
    kinds = any("kind" in node.attributes for node in nodes)
    if not kinds:
        host.notes.append("no node has a kind: all are ranks")
    for node in nodes:
        try:
            host.nodes[_new(node.ends[0], host)] = _vertex(node, kinds, source)
        except InputError as error:
            raise source.error(node.place, error) from None
    for edge in edges:
        try:
            host.wires.append(_wire(edge, host, source, request))
        except InputError as error:
            raise source.error(edge.place, error) from None
    return host


def _new(name: str, host: Host) -> str:
    if name in host.nodes:
        raise InputError(f"two nodes are called {_short(name)}; allowed is each name once; rename one")
    return name


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")


def _vertex(node: Item, kinds: bool, source: Source) -> Vertex:
    kind: Literal["rank", "switch"] = "rank"
    found = node.attributes.get("kind", "" if kinds else "rank")
    if found == "switch":
        kind = "switch"
    elif found != "rank":
        raise InputError(f"node {_short(node.ends[0])} has kind {_short(found)}; allowed are rank and switch; set it")
    more = [(key, value) for key in ("rail", "plane") if (value := node.attributes.get(key))]
    more += [(key, "true") for key in ("multicast", "reduce") if node.attributes.get(key, "").lower() not in _FALSE]
    return Vertex(kind, f"{source.name}:{node.place}", node.attributes.get("host") or None, tuple(more))


def _wire(edge: Item, host: Host, source: Source, request: Request) -> Wire:
    for end in edge.ends:
        if end not in host.nodes:
            raise InputError(f"edge to {_short(end)}, which is no node; allowed are the graph's nodes; add it")
    text = edge.attributes.get("bandwidth")
    if text is None:
        rate = request.rate("link-rate", "GB/s of the edges that have no bandwidth, one direction")
    else:
        rate = Rate(parse_bandwidth(text), f"{source.name}:{edge.place} bandwidth={text}")
    latency = edge.attributes.get("latency")
    shown = None if latency is None else exact(parse_latency(latency))
    return Wire(edge.ends[0], edge.ends[1], rate, not edge.directed, shown)
