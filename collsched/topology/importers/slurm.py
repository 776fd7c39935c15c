"""SLURM's topology.conf: `SwitchName= Switches=|Nodes=` and `BlockName= Nodes=`. It tells no bandwidths."""

from __future__ import annotations

import re

from collsched.errors import InputError, TopologyError
from collsched.topology.document import Source
from collsched.topology.importers.draft import MAX_HOSTS, Fabric, Request
from collsched.topology.importers.hierarchy import hostlist, tree

_FIELD = re.compile(r"(\w+)\s*=\s*(\S*)", re.ASCII)


def read(text: str, source: Source, request: Request) -> Fabric:
    """The fabric in a topology.conf. Raises TopologyError with the line."""
    parents: list[tuple[str, str, str]] = []
    leaves: list[tuple[str, str]] = []
    switches: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        fields = {key.lower(): value for key, value in _FIELD.findall(line.partition("#")[0])}
        where = f"{source.name}:{number}"
        name = fields.get("switchname") or fields.get("blockname")
        if not name:
            continue
        if name in switches:
            raise source.error(number, f"{name[:40]!r} is declared twice; allowed is each name once; rename one")
        switches[name] = where
        try:
            parents += [(name, lower, where) for lower in hostlist(fields.get("switches", ""))]
            leaves += [(name, host) for host in hostlist(fields.get("nodes", ""))]
        except InputError as error:
            raise source.error(number, error) from None
        if len(parents) + len(leaves) > 4 * MAX_HOSTS:
            raise source.error(number, f"more than {4 * MAX_HOSTS} names; allowed are no more; import a part of it")
    if not leaves:
        raise TopologyError(f"{source.name}: no Nodes=; allowed is one or more; give the file of a cluster with nodes")
    return tree(parents, leaves, switches, request)
