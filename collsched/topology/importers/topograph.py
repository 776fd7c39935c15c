"""topograph's YAML: `switches: {S: {switches: […]}}` and `blocks: [{switch, nodes}]`. It tells no bandwidths."""

from __future__ import annotations

from collsched.errors import InputError, TopologyError
from collsched.topology.document import Mapping, Scalar, Sequence, Source, Value, parse
from collsched.topology.importers.draft import MAX_HOSTS, Fabric, Request
from collsched.topology.importers.hierarchy import hostlist, tree


def read(text: str, source: Source, request: Request) -> Fabric:
    """The fabric in a topograph model. Raises TopologyError with the line."""
    root = parse(text, source)
    switches: dict[str, str] = {}
    parents: list[tuple[str, str, str]] = []
    leaves: list[tuple[str, str]] = []
    top = root.items.get("switches")
    for name, value in top.items.items() if isinstance(top, Mapping) else ():
        switches[name] = f"{source.name}:{value.line}"
        below = value.items.get("switches") if isinstance(value, Mapping) else None
        parents += [(name, lower, switches[name]) for lower in _names(below, source)]
    blocks = root.items.get("blocks")
    for number, block in enumerate(blocks.items if isinstance(blocks, Sequence) else ()):
        if not isinstance(block, Mapping):
            raise source.error(block.line, "a block is not a mapping; allowed is {switch: …, nodes: […]}; correct it")
        switch = block.items.get("switch", block.items.get("name"))
        name = switch.text if isinstance(switch, Scalar) and switch.text else f"block{number}"
        switches.setdefault(name, f"{source.name}:{block.line}")
        leaves += [(name, host) for host in _names(block.items.get("nodes"), source)]
        if len(leaves) > 4 * MAX_HOSTS:
            raise source.error(block.line, f"more than {4 * MAX_HOSTS} nodes; allowed are no more; import a part of it")
    if not leaves:
        raise TopologyError(f"{source.name}: no nodes in its blocks; allowed is one or more; give a model with nodes")
    return tree(parents, leaves, switches, request)


def _names(value: Value | None, source: Source) -> list[str]:
    """A list of names, each perhaps with brackets."""
    if value is None:
        return []
    items = value.items if isinstance(value, Sequence) else [value]
    found: list[str] = []
    for item in items:
        if not isinstance(item, Scalar):
            raise source.error(item.line, "not a name; allowed are names such as node[1-8]; correct it")
        try:
            found += hostlist(item.text)
        except InputError as error:
            raise source.error(item.line, error) from None
        if len(found) > MAX_HOSTS:
            raise source.error(item.line, f"more than {MAX_HOSTS} names; allowed are no more; shorten the list")
    return found
