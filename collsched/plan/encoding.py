"""A plan's content as a JSON header and arrays of integers, and back; and the digest over both.

Names, kinds and fractions go into the header, everything that is long into arrays. The same description feeds file and
digest, so that what is stored is what is signed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collsched.collective import MAX_PAIRS_WEIGHT, MAX_TOTAL_WEIGHT, PROMISES, Collective, Kind
from collsched.errors import PlanError
from collsched.forest.model import Forest, Routes
from collsched.forest.optimum import Cut, Optimum
from collsched.forest.problem import directions
from collsched.plan.container import Arrays
from collsched.plan.fields import Field, Sections
from collsched.topology.model import Link, Node, Topology

_MAX_K = 1 << 31
_MAX_WEIGHT = 1 << 62
_MAX_NODES = 1 << 22
_MAX_PRICE = 1 << 32

Parts = tuple[Topology, Collective, tuple[Forest, ...], tuple[Optimum, ...], dict[str, Any], dict[str, Any]]


def encode(
    topology: Topology, collective: Collective, forests: Sequence[Forest], options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, NDArray[np.integer[Any]]]]:
    """What the digest covers."""
    speeds: dict[tuple[str, str], int] = {}
    speed = [speeds.setdefault((str(link.bandwidth), str(link.alpha)), len(speeds)) for link in topology.links]
    header = {
        "topology": {
            "name": topology.name,
            "nodes": [[n.name, n.kind, n.host, n.rail, n.plane, n.multicast, n.reduce] for n in topology.nodes],
            "speeds": [list(pair) for pair in speeds],
        },
        "collective": {"kind": str(collective.kind), "root": collective.root},
        "forests": [{"direction": forest.direction, "k": forest.k} for forest in forests],
        "options": dict(options),
    }
    arrays: dict[str, NDArray[np.integer[Any]]] = {
        "links.src": _column([link.src for link in topology.links]),
        "links.dst": _column([link.dst for link in topology.links]),
        "links.speed": _column(speed),
        "group": _column(collective.group),
        "owners": _column(collective.owners),
        "shards": _column(collective.shards),
    }
    for i, forest in enumerate(forests):
        arrays |= {
            f"forests.{i}.roots": forest.roots,
            f"forests.{i}.multiplicity": forest.multiplicity,
            f"forests.{i}.sizes": np.diff(forest.ptr),
            f"forests.{i}.edges": forest.edges,
            f"forests.{i}.routes.sizes": np.diff(forest.routes.ptr),
            f"forests.{i}.routes.links": forest.routes.links,
        }
    return header, arrays


def encode_bound(bound: Sequence[Optimum]) -> tuple[list[dict[str, Any]], dict[str, NDArray[np.integer[Any]]]]:
    """The claims about optimality, which follow from the rest and stay outside the digest. Only what a cut proves is
    kept: `Optimum.limit` comes from a linear program, and whoever reads the file could not check it."""
    header = [
        {
            "ratio": str(optimum.ratio),
            "k": optimum.k,
            "U": str(optimum.U),
            "cut": None
            if optimum.cut is None
            else {"weight_inside": optimum.cut.weight_inside, "exit_bandwidth": str(optimum.cut.exit_bandwidth)},
        }
        for optimum in bound
    ]
    arrays: dict[str, NDArray[np.integer[Any]]] = {}
    for i, optimum in enumerate(bound):
        if optimum.cut is not None:
            arrays[f"bound.{i}.side"] = _column(optimum.cut.side)
        if optimum.prices is not None:
            arrays[f"bound.{i}.prices"] = _column(optimum.prices)
    return header, arrays


def _column(values: Sequence[int]) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def digest(topology: Topology, collective: Collective, forests: Sequence[Forest], options: Mapping[str, Any]) -> str:
    """SHA-256 over the description: canonical JSON, then every array as 64-bit little-endian integers."""
    header, arrays = encode(topology, collective, forests, options)
    sha = hashlib.sha256(json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())
    for name, array in arrays.items():
        sha.update(f"\n{name} {len(array)}\n".encode())
        sha.update(np.ascontiguousarray(array, "<i8").data)
    return sha.hexdigest()


def check_digest(path: Path, claimed: object, found: str) -> None:
    """Raises PlanError if the digest that a file states is not that of its content."""
    if claimed != found:
        raise PlanError(
            f"{path}: the content has digest {found[:16]}…, the file states {str(claimed)[:16]}…; "
            "it was edited: compile the plan again"
        )


def decode(path: Path, header: Mapping[str, Any], arrays: Arrays) -> Parts:
    """The arguments of a Plan. Raises PlanError that names the place of the first mistake.

    Checked here is all that makes the parts well formed: types, ranges, references. Whether trees span and bounds
    hold is for verification.
    """
    top = Field(path, "$", header)
    names = ("topology", "collective", "forests", "options", "provenance", "digest", "bound")
    topology_at, collective_at, forests_at, options, provenance, _, bound_at = top.keys(*names)
    sections = Sections(path, {name: array.astype(np.int64, copy=False) for name, array in arrays.items()})
    topology = _topology(topology_at, sections)
    collective = _collective(collective_at, sections, len(topology.ranks))
    phases = directions(collective.kind)
    forests = tuple(
        _forest(field, sections, f"forests.{i}", topology, "in" if reverse else "out")
        for i, (field, reverse) in enumerate(zip(forests_at.items(len(phases)), phases, strict=True))
    )
    bound = tuple(
        _optimum(field, sections, f"bound.{i}", topology, collective.kind)
        for i, field in enumerate(bound_at.items(len(phases)))
    )
    sections.finish()
    return topology, collective, forests, bound, options.object(), provenance.object()


def _topology(field: Field, sections: Sections) -> Topology:
    name, nodes_at, speeds_at = field.keys("name", "nodes", "speeds")
    nodes = tuple(_node(node) for node in nodes_at.items())
    seen: set[str] = set()
    for at, node in zip(nodes_at.items(), nodes, strict=True):
        if node.name in seen:
            at.fail(f"node {node.name!r:.60} occurs twice")
        seen.add(node.name)
    if all(node.kind != "rank" for node in nodes) or len(nodes) > _MAX_NODES:
        nodes_at.fail(f"expected 1 … {_MAX_NODES} nodes, one of them a rank")
    speeds = []
    for pair in speeds_at.items():
        bandwidth, alpha = pair.items(2)
        speeds.append((bandwidth.fraction(positive=True), alpha.fraction(positive=False)))
    src = sections.take("links.src", len(nodes), "a node id")
    dst = sections.take("links.dst", len(nodes), "a node id")
    speed = sections.take("links.speed", len(speeds), "a speed")
    if not len(src) == len(dst) == len(speed):
        field.fail(f"links have {len(src)} sources, {len(dst)} destinations and {len(speed)} speeds")
    if (src == dst).any():
        field.fail(f"link {int(np.flatnonzero(src == dst)[0])} is a loop")
    if len(np.unique(src * len(nodes) + dst)) < len(src):
        field.fail("two links join the same nodes in the same direction")
    links = tuple(Link(a, b, *speeds[i]) for a, b, i in zip(src.tolist(), dst.tolist(), speed.tolist(), strict=True))
    return Topology(name.text(), nodes, links, source=str(field.file))


def _node(field: Field) -> Node:
    name, kind, host, rail, plane, multicast, reduce = field.items(7)
    return Node(
        name.text(),
        "rank" if kind.choice("rank", "switch") == "rank" else "switch",
        host.optional_text(),
        rail.optional_text(),
        plane.optional_text(),
        multicast.flag(),
        reduce.flag(),
    )


def _collective(field: Field, sections: Sections, ranks: int) -> Collective:
    kind_at, root_at = field.keys("kind", "root")
    kind = Kind(kind_at.choice(*(str(kind) for kind in PROMISES)))
    root = root_at.number(0, ranks - 1) if kind.rooted else None
    if root is None and root_at.value is not None:
        root_at.fail(f"{kind} has no root, got {root_at.value!r:.20}")
    group = sections.take("group", ranks, "a rank")
    owners = sections.take("owners", ranks, "a rank")
    most = MAX_PAIRS_WEIGHT if kind is Kind.ALL_TO_ALL else MAX_TOTAL_WEIGHT
    shards = sections.take("shards", most + 1, "a shard size")
    members = set(group.tolist())
    if not members or (np.diff(group) <= 0).any():
        field.fail("the group's ranks are not ascending, or there is none")
    if root is not None and root not in members:
        root_at.fail(f"root {root} is not in the group")
    single = kind in (Kind.BROADCAST, Kind.REDUCE)
    pairs = kind is Kind.ALL_TO_ALL
    expected = np.repeat(group, len(group)) if pairs and len(owners) == len(group) ** 2 else group
    if owners.tolist() != ([root] if single else expected.tolist()):
        field.fail("the shards' owners are not the root" if single else "the shards' owners are not the group")
    total = sum(shards.tolist())
    if len(shards) != len(owners) or not 0 < total <= most or gcd(*shards.tolist()) != 1:
        field.fail(f"expected {len(owners)} shard sizes, coprime and at most {most} in sum")
    if pairs and len(shards) != len(group) ** 2:
        field.fail("expected a shard for every pair of ranks")
    return Collective(kind, tuple(group.tolist()), tuple(owners.tolist()), tuple(shards.tolist()), root)


def _forest(field: Field, sections: Sections, name: str, topology: Topology, direction: str) -> Forest:
    direction_at, k_at = field.keys("direction", "k")
    direction_at.choice(direction)
    links = sections.take(f"{name}.routes.links", len(topology.links), "a link id")
    route_ptr = sections.take_sizes(f"{name}.routes.sizes", len(links), "route")
    edges = sections.take(f"{name}.edges", len(route_ptr) - 1, "a route id")
    ptr = sections.take_sizes(f"{name}.sizes", len(edges), "tree")
    roots = sections.take(f"{name}.roots", len(topology.nodes), "a node id")
    multiplicity = sections.take(f"{name}.multiplicity", _MAX_WEIGHT, "a number of trees")
    if not len(roots) == len(multiplicity) == len(ptr) - 1:
        field.fail(f"{len(roots)} roots, {len(multiplicity)} multiplicities and {len(ptr) - 1} trees")
    return Forest(
        "in" if direction == "in" else "out",
        k_at.number(1, _MAX_K),
        roots.astype(np.int32),
        multiplicity,
        ptr,
        edges.astype(np.uint32),
        Routes(route_ptr, links.astype(np.int32)),
    )


def _optimum(field: Field, sections: Sections, name: str, topology: Topology, kind: Kind) -> Optimum:
    ratio_at, k_at, slots_at, cut_at = field.keys("ratio", "k", "U", "cut")
    cut = None
    if cut_at.value is not None:
        weight, bandwidth = cut_at.keys("weight_inside", "exit_bandwidth")
        side = tuple(sections.take(f"{name}.side", len(topology.nodes), "a node id").tolist())
        cut = Cut(side, weight.number(0, _MAX_WEIGHT), bandwidth.fraction(positive=True))
    ratio, k, slots = ratio_at.fraction(positive=False), k_at.number(1, _MAX_WEIGHT), slots_at.fraction(positive=False)
    prices = None
    if kind is Kind.ALL_TO_ALL and ratio:
        prices = tuple(sections.take(f"{name}.prices", _MAX_PRICE, "a price").tolist())
        if len(prices) != len(topology.links):
            field.fail(f"{len(topology.links)} links have {len(prices)} prices")
    return Optimum(ratio, cut, k, slots, certified=slots / k == ratio, prices=prices)
