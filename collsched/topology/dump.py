"""A topology as YAML in the explicit form; reading it back gives an equal topology."""

from __future__ import annotations

import re

from collsched.topology.model import Link, Node, Topology
from collsched.topology.pattern import escape
from collsched.units import exact

# Text that every YAML parser takes as a plain word, in lists and braces too.
_PLAIN = re.compile(r"[A-Za-z_][\w./-]*", re.ASCII)


def dump_yaml(topology: Topology) -> str:
    """The explicit form of a topology: every node, every directed link, exact numbers."""
    lines = ["collsched: topology/1", f"name: {quote(topology.name)}", "nodes:"]
    lines += [_node(node) for node in topology.nodes]
    if topology.links:
        names = [quote(escape(node.name)) for node in topology.nodes]
        lines.append("links:")
        lines += [_link(link, names) for link in topology.links]
    return "\n".join(lines) + "\n"


def _node(node: Node) -> str:
    text = f"  - {{name: {quote(escape(node.name))}, kind: {node.kind}"
    for key, place in (("host", node.host), ("rail", node.rail), ("plane", node.plane)):
        if place is not None:
            text += f", {key}: {quote(escape(place))}"
    for key, flag in (("multicast", node.multicast), ("reduce", node.reduce)):
        if flag:
            text += f", {key}: true"
    return text + "}"


def _link(link: Link, names: list[str]) -> str:
    rate, alpha = exact(link.bandwidth), exact(link.alpha)
    return f"  - {{src: {names[link.src]}, dst: {names[link.dst]}, bandwidth: {rate}, latency: {alpha}}}"


def quote(text: str) -> str:
    """A name as YAML: plain where that is safe, else in double quotes with YAML's escapes."""
    if _PLAIN.fullmatch(text):
        return text
    return '"' + "".join(_escaped(letter) for letter in text) + '"'


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return "\\" + letter
    if letter.isprintable():
        return letter
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
