"""Topologies: the data model, the YAML reader, bundled machines and fabrics, networkx graphs in and out."""

from collsched.topology.dump import dump_yaml
from collsched.topology.graphs import from_networkx, to_networkx
from collsched.topology.library import Bundled, bundled, bundled_names, list_bundled, resolve
from collsched.topology.memory import one_machine
from collsched.topology.model import Link, Node, Topology
from collsched.topology.reader import load_topology

__all__ = [
    "Bundled",
    "Link",
    "Node",
    "Topology",
    "bundled",
    "bundled_names",
    "dump_yaml",
    "from_networkx",
    "list_bundled",
    "load_topology",
    "one_machine",
    "resolve",
    "to_networkx",
]
