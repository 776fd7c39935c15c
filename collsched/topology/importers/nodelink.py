"""networkx's node-link JSON: `{"directed": …, "nodes": [{"id": …}], "edges" | "links": [{"source", "target"}]}`.

Attributes: see `graph.py`. Numbers are read as the decimals that are written.
"""

from __future__ import annotations

import json
from typing import Any

from collsched.errors import TopologyError
from collsched.topology.document import Source
from collsched.topology.importers.draft import Host, Request
from collsched.topology.importers.graph import Item, build

MAX_ITEMS = 1_000_000


def read(text: str, source: Source, request: Request) -> Host:
    """The topology in a node-link file. Raises TopologyError."""
    try:
        data = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except json.JSONDecodeError as error:
        raise source.error(error.lineno, f"not JSON: {error.msg}; allowed is one JSON object; correct it") from None
    except RecursionError:
        raise TopologyError(f"{source.name}: JSON nested too deep; allowed are nodes and edges; flatten it") from None
    if not isinstance(data, dict):
        raise TopologyError(f"{source.name}: not a JSON object; allowed is one with nodes and edges; correct it")
    directed = data.get("directed") is True
    nodes = [Item((_text(node, "id", source),), _attributes(node)) for node in _list(data, "nodes", source)]
    edges = [
        Item((_text(edge, "source", source), _text(edge, "target", source)), _attributes(edge), directed=directed)
        for edge in _list(data, "edges" if "edges" in data else "links", source)
    ]
    return build(nodes, edges, source, request)


def _list(data: dict[str, Any], key: str, source: Source) -> list[dict[str, Any]]:
    found = data.get(key)
    if not isinstance(found, list) or len(found) > MAX_ITEMS or not all(isinstance(item, dict) for item in found):
        raise TopologyError(
            f"{source.name}: {key!r} is not a list of at most {MAX_ITEMS} objects; allowed is what networkx's "
            "node_link_data writes; correct it"
        )
    return found


def _text(item: dict[str, Any], key: str, source: Source) -> str:
    value = item.get(key)
    if not isinstance(value, str) or not value:
        raise TopologyError(f"{source.name}: a node or edge has no {key!r}; allowed is text or a number; add it")
    return value


def _attributes(item: dict[str, Any]) -> dict[str, str]:
    """The attributes that are text, numbers or flags."""
    return {
        key: str(value).lower() if isinstance(value, bool) else value
        for key, value in item.items()
        if isinstance(value, str | bool)
    }
