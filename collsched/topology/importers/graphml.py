"""GraphML: keys that name attributes, nodes and edges with data. Attributes: see `graph.py`."""

from __future__ import annotations

from collsched.errors import TopologyError
from collsched.topology.document import Source
from collsched.topology.importers.draft import Host, Request
from collsched.topology.importers.graph import Item, build
from collsched.topology.importers.xml import Element, parse_xml


def read(text: str, source: Source, request: Request) -> Host:
    """The topology in a GraphML file. Raises TopologyError with the line."""
    root = parse_xml(text, source)
    graphs = list(root.all("graph"))
    if root.tag != "graphml" or len(graphs) != 1:
        raise TopologyError(f"{source.name}: {len(graphs)} graphs; allowed is one in a <graphml>; split the file")
    names = {key.get("id"): key.get("attr.name") for key in root.all("key")}
    default = {
        (key.get("for"), key.get("attr.name")): child.text.strip() for key in root.all("key") for child in key.children
    }

    def attributes(element: Element) -> dict[str, str]:
        found = {name: value for (kind, name), value in default.items() if kind in (element.tag, "all")}
        return found | {names.get(data.get("key"), ""): data.text.strip() for data in element.all("data")}

    graph = graphs[0]
    nodes = [Item((node.get("id"),), attributes(node), node.line) for node in graph.all("node")]
    edges = [
        Item(
            (edge.get("source"), edge.get("target")),
            attributes(edge),
            edge.line,
            edge.get("directed", str(graph.get("edgedefault") == "directed").lower()) == "true",
        )
        for edge in graph.all("edge")
    ]
    return build(nodes, edges, source, request)
