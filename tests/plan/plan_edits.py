"""Plan files made by hand: damaged, edited, and edited with a new signature."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import growth
import numpy as np

from collsched.collective import Collective, Kind
from collsched.forest.optimum import optimum
from collsched.forest.problem import problem
from collsched.plan import Plan, container
from collsched.topology.model import Link, Node, Topology

Edit = Callable[[dict[str, Any], dict[str, np.ndarray]], None]  # type: ignore[type-arg]
PREFIX = struct.Struct("<8sIIIQ32s")
RANGE = {"upto": None, "variant": 0, "segments": 1, "pacing": "none"}


def small_plan() -> Plan:
    """A broadcast from a to b and on to c, over one switch."""
    nodes = (Node("a", "rank", host="box"), Node("b", "rank"), Node("c", "rank"), Node("sw", "switch", multicast=True))
    pairs = [(0, 3), (1, 3), (2, 3), (3, 0), (3, 1), (3, 2)]
    topology = Topology("small", nodes, tuple(Link(a, b, Fraction(25, 2)) for a, b in pairs))
    collective = Collective(Kind.BROADCAST, (0, 1, 2), (0,), (1,), 0)
    forest = growth.pack("out", 1, [0], [1], [0, 2], [0, 1], [[0, 4], [1, 5]])
    bound = optimum(problem(topology, collective, reverse=False))
    return Plan(topology, collective, (forest,), (bound,), {"seed": 7}, {"version": "1"})


def edited(path: Path, edit: Edit) -> None:
    """Write a plan whose sizes and checksum are right and whose content was edited."""
    small_plan().save(path, force=True)
    header, arrays = container.read(path)
    edit(header, arrays)
    container.write(path, header, arrays, force=True)


def sign(path: Path) -> None:
    """Compute the digest again, as docs/plan-format.md says it."""
    header, arrays = container.read(path)
    content = {name: header[name] for name in ("topology", "collective", "forests", "options", "variants", "ranges")}
    sha = hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())
    parts = ("roots", "multiplicity", "sizes", "edges", "routes.sizes", "routes.links")
    names = ["links.src", "links.dst", "links.speed", "group", "owners", "shards", *(f"forests.0.{p}" for p in parts)]
    for name in names:
        sha.update(f"\n{name} {len(arrays[name])}\n".encode() + arrays[name].astype("<i8").tobytes())
    container.write(path, header | {"digest": sha.hexdigest()}, arrays, force=True)


def at(place: str, value: object) -> Edit:
    """Set a value of the header: keys and positions with dots between."""

    def edit(header: dict[str, Any], _: object) -> None:
        *way, last = [int(step) if step.isdigit() else step for step in place.split(".")]
        target: Any = header
        for step in way:
            target = target[step]
        target[last] = value

    return edit


def section(name: str, values: list[int] | None) -> Edit:
    """Replace an array, or remove it."""

    def edit(_: object, arrays: dict[str, np.ndarray]) -> None:  # type: ignore[type-arg]
        arrays.pop(name, None)
        if values is not None:
            arrays[name] = np.array(values)

    return edit


def without(key: str) -> Edit:
    def edit(header: dict[str, Any], _: object) -> None:
        del header[key]

    return edit


EDITS: dict[str, Edit] = {
    "missing key": without("collective"),
    "unknown key": at("extra", 1),
    "text for an object": at("topology", "small"),
    "number for a text": at("topology.nodes.0.0", 5),
    "short row": at("topology.nodes.0", ["a", "rank"]),
    "kind of node": at("topology.nodes.0.1", "router"),
    "flag": at("topology.nodes.0.5", 1),
    "name twice": at("topology.nodes.1.0", "a"),
    "no rank": at("topology.nodes", []),
    "bandwidth of zero": at("topology.speeds.0.0", "0"),
    "bandwidth by zero": at("topology.speeds.0.0", "1/0"),
    "bandwidth not finite": at("topology.speeds.0.0", "inf"),
    "negative latency": at("topology.speeds.0.1", "-1"),
    "link to nowhere": section("links.dst", [3, 3, 3, 0, 1, 9]),
    "loop": section("links.dst", [0, 3, 3, 0, 1, 2]),
    "link twice": section("links.src", [0, 0, 2, 3, 3, 3]),
    "fewer speeds": section("links.speed", [0, 0]),
    "collective": at("collective.kind", "all-to-all"),
    "no root": at("collective.root", None),
    "root out of range": at("collective.root", 17),
    "root outside the group": section("group", [1, 2]),
    "group out of order": section("group", [1, 0, 2]),
    "rank out of range": section("group", [0, 1, 3]),
    "another owner": section("owners", [1]),
    "shard sizes": section("shards", [0]),
    "direction": at("forests.0.direction", "in"),
    "k": at("forests.0.k", 0),
    "two phases": at("forests", [{"direction": "out", "k": 1}] * 2),
    "route id": section("forests.0.edges", [0, 2]),
    "link id": section("forests.0.routes.links", [0, 4, 1, 6]),
    "root id": section("forests.0.roots", [4]),
    "tree sizes": section("forests.0.sizes", [1]),
    "two roots": section("forests.0.roots", [0, 0]),
    "missing section": section("forests.0.edges", None),
    "unknown section": section("surprise", [1]),
    "bound": at("bound.0.ratio", "two"),
    "side of the cut": section("bound.0.side", [0, 7]),
    "digest": at("digest", "0" * 64),
    "digest of another type": at("digest", 5),
    "options": at("options", [1]),
    "provenance": at("provenance", None),
    "variants no list": at("variants", 3),
    "a variant without keys": at("variants", [{}]),
    "ranges no list": at("ranges", {}),
    "a range of no variant": at("ranges", [RANGE | {"variant": 1}]),
    "a range with an unknown pacing": at("ranges", [RANGE | {"pacing": "slow"}]),
    "a range in too many segments": at("ranges", [RANGE | {"segments": 1 << 20}]),
    "ranges out of order": at("ranges", [RANGE | {"upto": 8}, RANGE | {"upto": 4}, RANGE]),
    "a range after the last": at("ranges", [RANGE, RANGE]),
    "ranges with an end": at("ranges", [RANGE | {"upto": 8}]),
    "seed changed, digest kept": at("options.seed", 8),
    "edges changed, digest kept": section("forests.0.edges", [1, 0]),
}


def sealed(header: bytes, body: bytes, *, unpacked: int | None = None, version: int = container.VERSION) -> bytes:
    """A file whose sizes and checksum are right, whatever it holds."""
    packed = zlib.compress(header)
    size = PREFIX.size + len(packed) + len(body)
    checksum = hashlib.sha256(packed + body).digest()
    length = len(header) if unpacked is None else unpacked
    return PREFIX.pack(container.MAGIC, version, len(packed), length, size, checksum) + packed + body


def sections(*rows: object, body: bytes = b"") -> bytes:
    return sealed(json.dumps({"sections": rows}).encode(), body)


def raw_files(directory: Path) -> dict[str, bytes]:
    """Files that no edit of the content gives."""
    small_plan().save(directory / "good.cs")
    good = (directory / "good.cs").read_bytes()
    packed, wide = zlib.compress(b"\0\0\0"), zlib.compress(b"\xff" * 8)
    entry = {"name": "a", "width": 1, "count": 3, "stored": len(packed)}
    plain = (
        PREFIX.pack(container.MAGIC, container.VERSION, 2, 2, PREFIX.size + 2, hashlib.sha256(b"{}").digest()) + b"{}"
    )
    return {
        "empty file": b"",
        "another file": b"collsched: topology/1\n",
        "cut off early": good[:20],
        "cut off late": good[:-5],
        "longer": good + b"!!",
        "checksum": good[:-1] + bytes([good[-1] ^ 1]),
        "version": sealed(b"{}", b"", version=container.VERSION + 1),
        "huge header": sealed(b"{}", b"", unpacked=4_000_000_000),
        "header size": sealed(b"{}", b"", unpacked=3),
        "header not packed": plain,
        "header not JSON": sealed(b"{'a': 1}", b""),
        "header nested too deep": sealed(b"[" * 100_000, b""),
        "header not an object": sealed(b"[]", b""),
        "section without keys": sections({"name": "a"}),
        "section name": sections({**entry, "name": 5}),
        "section width": sections({**entry, "width": 9}),
        "section count": sections({**entry, "count": -1}),
        "section count of a text": sections({**entry, "count": "3"}),
        "section twice": sections(entry, entry),
        "section past the end": sections({**entry, "stored": len(packed) + 1}, body=packed),
        "huge section": sections({**entry, "count": 200_000_000}, body=packed),
        "endless section": sections({**entry, "count": 4_000_000_000}, body=packed),
        "many large sections": sections(*({**entry, "name": n, "count": 1 << 27} for n in "abc"), body=packed * 3),
        "section size": sections({**entry, "count": 4}, body=packed),
        "section not packed": sections(entry, body=b"x" * len(packed)),
        "section above 63 bits": sections({"name": "a", "width": 8, "count": 1, "stored": len(wide)}, body=wide),
    }
