"""`ibnetdiscover`: the switches, HCAs and links of an InfiniBand fabric, with the width and speed of every port.

Each cable stands at both of its ends and counts once. HCAs belong to the host that their description begins with.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from collsched.errors import TopologyError
from collsched.topology.document import Source
from collsched.topology.importers.draft import Fabric, Port, Rate, Request, Vertex, Wire
from collsched.topology.importers.rates import infiniband
from collsched.units import exact

_NODE = re.compile(r'(Switch|Ca|Rt)\s+\d+\s+"([^"]{1,64})"\s*#\s*"([^"]*)"', re.ASCII)
_PORT = re.compile(r'\[(\d{1,4})\]\S*\s+"([^"]{1,64})"\[(\d{1,4})\].*\s(\d{1,2}x[A-Z]{3}\d*)\s*', re.ASCII)
_HCA = re.compile(r"(\S+) (\S*?)(\d*)")
_NO_HOST = ("localhost", "MT")  # what unconfigured HCAs call themselves


@dataclass(slots=True)
class _Net:
    """Descriptions by GUID, and each cable once: its ends, speed and line."""

    switches: dict[str, str] = field(default_factory=dict)
    hcas: dict[str, str] = field(default_factory=dict)
    cables: dict[frozenset[tuple[str, str]], tuple[str, str, str, int]] = field(default_factory=dict)


def read(text: str, source: Source, request: Request) -> Fabric:
    """The fabric in the output of ibnetdiscover. Raises TopologyError with the line."""
    net = _parse(text, source)
    names = _names(net.switches)
    fabric = Fabric(shared=False)
    for guid, name in names.items():
        fabric.nodes[name] = Vertex("switch", f"{source.name}: {guid}")
    hosts = _hosts(net, fabric, request)
    ports: dict[str, dict[tuple[str, int, str], list[Port]]] = defaultdict(lambda: defaultdict(list))
    for a, b, speed, line in net.cables.values():
        value = infiniband(speed)
        if value is None:
            raise source.error(line, f"speed {speed!r} is not known; allowed are such as 4xHDR and 4xNDR; correct it")
        rate = Rate(value, f"{source.name}:{line} {speed} = {exact(value)} GB/s")
        if a in names and b in names:
            fabric.wires.append(Wire(names[a], names[b], rate))
            continue
        hca, switch = (b, a) if a in names else (a, b)
        if hca in hosts and switch in names:
            host, order = hosts[hca]
            ports[host][order].append(Port(names[switch], rate))
    for host, found in ports.items():
        fabric.hosts[host] = [port for order in sorted(found) for port in found[order]]
    if not fabric.hosts and not request.missing:
        raise TopologyError(f"{source.name}: no HCA of a host; allowed is one or more; give the whole output")
    return fabric


def _parse(text: str, source: Source) -> _Net:
    net, here = _Net(), ""
    for number, line in enumerate(text.split("\n"), 1):
        node = _NODE.match(line)
        if node is not None:
            kind, here, description = node.groups()
            if kind == "Switch":
                net.switches[here] = description
            elif "Aggregation Node" not in description:
                net.hcas[here] = description
            continue
        if not line.startswith("["):
            here = here if line.strip() else ""
            continue
        port = _PORT.fullmatch(line)
        if port is None or not here:
            raise source.error(
                number,
                'not a port of a switch or HCA; allowed is [1] "S-…"[2] # "…" lid 3 4xNDR below one; give all of it',
            )
        mine, peer, theirs, speed = port.groups()
        net.cables.setdefault(frozenset(((here, mine), (peer, theirs))), (here, peer, speed, number))
    for a, b, _, number in net.cables.values():
        if a == b:
            raise source.error(number, f"{a!r} is linked to itself; allowed are links between two; remove it")
    return net


def _names(switches: dict[str, str]) -> dict[str, str]:
    """GUID → description where that is a name of its own, else the GUID."""
    times = Counter(switches.values())
    return {
        guid: text if text.strip() == text and 0 < len(text) < 200 and times[text] == 1 and text.isprintable() else guid
        for guid, text in switches.items()
    }


def _hosts(net: _Net, fabric: Fabric, request: Request) -> dict[str, tuple[str, tuple[str, int, str]]]:
    """GUID of an HCA → its host, and its place among the HCAs of that host."""
    hosts: dict[str, tuple[str, tuple[str, int, str]]] = {}
    unnamed = 0
    for guid, text in net.hcas.items():
        match = _HCA.fullmatch(text)
        if match is None or match[1].startswith(_NO_HOST) or not match[1].isprintable() or len(match[3]) > 6:
            unnamed += 1
        else:
            hosts[guid] = (match[1], (match[2], int(match[3] or 0), guid))
    if unnamed and request.ask("unnamed", f"{unnamed} HCAs say no host in their description; leave-out drops them"):
        fabric.notes.append(f"{unnamed} HCAs are left out, whose descriptions name no host")
    return hosts
