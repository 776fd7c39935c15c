"""Hosts and fabrics to one file in the explicit form, with the source of every number in a comment."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from collsched.errors import InputError, TopologyError
from collsched.topology.builder import MAX_LINKS, MAX_NODES
from collsched.topology.dump import quote
from collsched.topology.importers.draft import Fabric, Host, Port, Request, Vertex, Wire, slower
from collsched.topology.pattern import escape
from collsched.units import exact


def combine(host: Host | None, fabric: Fabric | None, count: int | None, request: Request) -> Host:
    """One draft of everything: `count` copies of the host on the fabric, or either alone."""
    if fabric is None:
        assert host is not None
        if count in (None, 1):
            return host
        assert count is not None
        fabric = _invented(host, count, request)
    names = list(fabric.hosts)
    if count is not None and count > len(names):
        raise InputError(
            f"--hosts {count}, and the fabric has {len(names)}; allowed are no more; leave --hosts out for all of them"
        )
    names = names[:count]
    whole = Host(dict(fabric.nodes), list(fabric.wires), notes=[*fabric.notes, *(host.notes if host else [])])
    if host is None:
        _hosts_as_ranks(whole, fabric, names, request)
        return whole
    size = len(names) * (len(host.wires) + len(host.nics)) + len(fabric.wires)
    if len(names) * len(host.nodes) > MAX_NODES or size > MAX_LINKS:
        raise InputError(f"{len(names)} hosts of this kind are too many; allowed are {MAX_NODES} nodes; use --hosts")
    for name in names:
        _plug(whole, host, fabric, name, request)
    return whole


def _invented(host: Host, count: int, request: Request) -> Fabric:
    """What joins copies of a host where no file tells it: one switch, or one a rail, that does not block."""
    shape = request.ask("fabric", "what joins the hosts, switch or rails; or give a fabric file too")
    fabric = Fabric(notes=[f"the fabric is that of --fabric {shape}: switches that do not block"])
    rails = len(host.nics) if shape == "rails" else 1
    fabric.shared = shape != "rails"
    names = [f"rail{i}" for i in range(rails)] if shape == "rails" else ["fabric"]
    fabric.nodes = {name: Vertex("switch", f"--fabric {shape}") for name in names}
    fabric.hosts = {f"host{i}": [Port(name, None) for name in names] for i in range(count)}
    return fabric


def _hosts_as_ranks(whole: Host, fabric: Fabric, names: list[str], request: Request) -> None:
    if request.ask("hosts-are-ranks", "each host is one rank; or give the file of a host too") is None:
        if any(port.rate is None for name in names for port in fabric.hosts[name]):
            request.rate("link-rate", _LINK)
        return
    for name in names:
        label = name if name not in fabric.nodes else f"host/{name}"
        whole.nodes[label] = Vertex("rank", host=name)
        for port in fabric.hosts[name]:
            whole.wires.append(Wire(label, port.node, port.rate or request.rate("link-rate", _LINK)))


_LINK = "GB/s of the link from a host to its switch, one direction; the file does not tell it"


def _plug(whole: Host, host: Host, fabric: Fabric, name: str, request: Request) -> None:
    """A copy of the host under `name`, its NICs linked to its ports of the fabric."""
    for node, vertex in host.nodes.items():
        whole.nodes[f"{name}/{node}"] = Vertex(vertex.kind, vertex.about, name)
    for wire in host.wires:
        whole.wires.append(Wire(f"{name}/{wire.a}", f"{name}/{wire.b}", wire.rate, wire.both, wire.latency))
    ports = fabric.hosts[name]
    if not host.nics:
        raise TopologyError(
            f"the host file has no NIC, and {name} needs one to reach the others; allowed are files with NICs; "
            "give --nics-per-gpu and --nic-rate where the format supports them, or another file of the host"
        )
    if fabric.shared:
        pairs = [(nic, port) for nic in host.nics for port in ports]
    elif len(ports) == len(host.nics):
        pairs = list(zip(host.nics, ports, strict=True))
    else:
        raise TopologyError(
            f"{name} has {len(ports)} ports in the fabric file and {len(host.nics)} NICs in the host file; "
            "allowed are equal numbers; choose the hosts of this kind with --only-hosts 'PATTERN'"
        )
    for nic, port in pairs:
        rate = slower(port.rate, nic.rate) or request.rate("link-rate", _LINK)
        whole.wires.append(Wire(f"{name}/{nic.node}", port.node, rate))


def write(draft: Host, name: str, files: tuple[str, ...], rates: str) -> str:
    """The explicit form with comments."""
    return "".join(line + "\n" for line in _lines(draft, name, files, rates))


def _lines(draft: Host, name: str, files: tuple[str, ...], rates: str) -> Iterator[str]:
    yield f"# Imported by collsched from {_comment(', '.join(files))}, at {rates} rates."
    if any(wire.latency is None for wire in draft.wires):
        yield "# Where a link has no latency, the files tell none: 1 µs counts, as everywhere."
    yield from (f"# {_comment(note)}." for note in draft.notes)
    yield from ("collsched: topology/1", f"name: {quote(name)}", "nodes:")
    for node, vertex in draft.nodes.items():
        host = f", host: {quote(escape(vertex.host))}" if vertex.host else ""
        host += "".join(f", {key}: {quote(escape(value))}" for key, value in vertex.more)
        about = f"  # {_comment(vertex.about)}" if vertex.about else ""
        yield f"  - {{name: {quote(escape(node))}, kind: {vertex.kind}{host}}}{about}"
    if draft.wires:
        yield "links:"
    for wire in draft.wires:
        yield _link(wire)


def _link(wire: Wire) -> str:
    ends = ("a", "b") if wire.both else ("src", "dst")
    latency = "" if wire.latency is None else f", latency: {wire.latency}"
    return (
        f"  - {{{ends[0]}: {quote(escape(wire.a))}, {ends[1]}: {quote(escape(wire.b))}, "
        f"bandwidth: {exact(wire.rate.value)}{latency}}}  # {_comment(wire.rate.source)}"
    )


def _comment(text: str) -> str:
    """One printable line."""
    return "".join(letter if letter.isprintable() else "?" for letter in islice(text, 1000))
