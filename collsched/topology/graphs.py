"""networkx graphs in and out."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from collsched.errors import InputError, TopologyError
from collsched.topology.builder import Builder
from collsched.topology.fields import DEFAULT_LATENCY
from collsched.topology.model import Topology
from collsched.units import check_bandwidth, check_latency, parse_bandwidth, parse_latency

if TYPE_CHECKING:
    import networkx as nx


def to_networkx(topology: Topology) -> nx.DiGraph[str]:
    """A DiGraph keyed by node name, in node order.

    Nodes have `kind`, and `host`, `rail`, `plane`, `multicast`, `reduce` where set; edges have `bandwidth`
    (GB/s) and `latency` (µs), both Fractions.
    """
    import networkx as nx

    graph: nx.DiGraph[str] = nx.DiGraph(name=topology.name)
    for node in topology.nodes:
        places = {key: value for key in ("host", "rail", "plane") if (value := getattr(node, key)) is not None}
        flags = {key: True for key in ("multicast", "reduce") if getattr(node, key)}
        graph.add_node(node.name, kind=node.kind, **places, **flags)
    for link in topology.links:
        src, dst = topology.nodes[link.src].name, topology.nodes[link.dst].name
        graph.add_edge(src, dst, bandwidth=link.bandwidth, latency=link.alpha)
    return graph


def from_networkx(graph: nx.Graph[Any]) -> Topology:
    """A topology from any networkx graph: directed or not, with parallel edges or not.

    Node attributes: `kind` ("rank" if absent, or "switch"), `host`, `rail`, `plane`, `multicast`, `reduce`.
    Edge attributes: `bandwidth` (a number in GB/s or text with a unit), `latency` (a number in µs or text; 1
    if absent). An undirected edge is a link in each direction; parallel edges add up. A float counts as the
    decimal that prints it, so 12.5 is 25/2. Raises TopologyError.
    """
    name = str(graph.graph.get("name") or "graph")
    builder, ids = Builder(), {}
    try:
        for node, data in graph.nodes(data=True):
            ids[node] = _add_node(builder, str(node), data)
        for src, dst, data in graph.edges(data=True):
            rate, alpha = _rates(data, f"edge {src} – {dst}")
            builder.link(ids[src], ids[dst], rate, alpha)
            if not graph.is_directed():
                builder.link(ids[dst], ids[src], rate, alpha)
        return builder.finish(name, None)
    except InputError as error:
        raise TopologyError(f"graph {name!r}: {error}") from None


def _add_node(builder: Builder, name: str, data: Mapping[str, Any]) -> int:
    kind = data.get("kind", "rank")
    if kind not in ("rank", "switch"):
        raise InputError(f"node {name!r} has kind {kind!r}; allowed are rank and switch; set the node attribute 'kind'")
    host, rail, plane = (None if data.get(key) is None else str(data[key]) for key in ("host", "rail", "plane"))
    multicast, reduce = (bool(data.get(key, False)) for key in ("multicast", "reduce"))
    return builder.node(name, kind, host=host, rail=rail, plane=plane, multicast=multicast, reduce=reduce)


def _rates(data: Mapping[str, Any], edge: str) -> tuple[Fraction, Fraction]:
    if "bandwidth" not in data:
        raise InputError(
            f"{edge} has no bandwidth; allowed is a number in GB/s or text; set the edge attribute 'bandwidth'"
        )
    try:
        rate, alpha = data["bandwidth"], data.get("latency", DEFAULT_LATENCY)
        return (
            check_bandwidth(rate, str(rate)) if isinstance(rate, Fraction) else parse_bandwidth(str(rate)),
            check_latency(alpha, str(alpha)) if isinstance(alpha, Fraction) else parse_latency(str(alpha)),
        )
    except InputError as error:
        raise InputError(f"{edge}: {error}") from None
