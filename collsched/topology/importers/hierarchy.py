"""Trees of switches with hosts at their leaves, as SLURM and topograph describe them, and lists of host names."""

from __future__ import annotations

import re

from collsched.errors import InputError
from collsched.topology.importers.draft import MAX_HOSTS, Fabric, Port, Rate, Request, Vertex, Wire

_LEAVES = "GB/s of the link from a host to its switch, one direction; the file does not tell it"
_UPLINK = "GB/s of a link between two switches, one direction; the file does not tell it"
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?", re.ASCII)
_PART = re.compile(r"\[([^\[\]]*)\]|([^\[\],]+)|(,)")


def hostlist(text: str, limit: int = MAX_HOSTS) -> list[str]:
    """The names of a host list such as `srv[01-16,20],login`. Raises InputError without a place."""
    names: list[str] = []
    current: list[str] | None = None
    at = 0
    while at < len(text):
        match = _PART.match(text, at)
        if match is None:
            raise InputError(f"host list {_short(text)} has unpaired brackets; allowed is a form such as srv[1-8,12]")
        at = match.end()
        if match[3]:
            names += current or []
            current = None
            continue
        pieces = [match[2].strip()] if match[2] else _numbers(match[1], text, limit)
        current = [head + piece for head in current or [""] for piece in pieces[: limit + 1]][: limit + 1]
        if len(names) + len(current) > limit:
            raise InputError(f"host list {_short(text)} has more than {limit} names; allowed are no more; shorten it")
    return [name for name in names + (current or []) if name]


def _numbers(text: str, whole: str, limit: int) -> list[str]:
    found: list[str] = []
    for item in text.split(","):
        match = _RANGE.fullmatch(item.strip())
        if match is None:
            raise InputError(f"host list {_short(whole)} has {_short(item)}; allowed are ranges; correct it")
        low, high = int(match[1]), int(match[2] or match[1])
        if high < low or high - low + len(found) >= limit:
            raise InputError(f"host list {_short(whole)} has {_short(item)}; allowed are at most {limit} names upwards")
        found += [str(number).zfill(len(match[1])) for number in range(low, high + 1)]
    return found


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")


def tree(
    parents: list[tuple[str, str, str]], leaves: list[tuple[str, str]], switches: dict[str, str], request: Request
) -> Fabric:
    """The fabric of (upper switch, lower switch, where) and (switch, host); `switches` says where each is declared.

    Switches that nothing joins are joined by one of their own, which a note says.
    """
    fabric = Fabric(nodes={name: Vertex("switch", where) for name, where in switches.items()})
    up = request.rate("uplink-rate", _UPLINK) if parents else None
    for upper, lower, where in parents:
        for name in (upper, lower):
            fabric.nodes.setdefault(name, Vertex("switch", where))
        if upper == lower:
            raise InputError(f"{where}: switch {upper!r} is below itself; allowed is a tree; correct it")
        assert up is not None
        fabric.wires.append(Wire(upper, lower, Rate(up.value, f"{up.source}; {where}")))
    for switch, host in leaves:
        fabric.hosts.setdefault(host, []).append(Port(switch, _own(request)))
    if len(fabric.nodes) > 1 and not parents:
        up = request.rate("uplink-rate", _UPLINK)
        core = "core"
        while core in fabric.nodes or core in fabric.hosts:
            core += "-0"
        fabric.wires = [Wire(name, core, up) for name in fabric.nodes]
        fabric.nodes[core] = Vertex("switch", "joins the blocks; the file does not tell what does")
        fabric.notes.append("the file does not tell what joins its blocks: one switch, at the rate of --uplink-rate")
    return fabric


def _own(request: Request) -> Rate | None:
    return request.rate("link-rate", _LEAVES) if "link-rate" in request.given else None
