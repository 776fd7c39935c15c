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
from collsched.passes.segment import MAX_PIECES
from collsched.passes.shape import PACINGS, Shape
from collsched.plan.container import Arrays
from collsched.plan.fields import Field, Sections
from collsched.plan.parts import Range, Variant
from collsched.topology.model import Link, Node, Topology

_VARIANT = ("collective", "forests", "bound", "options")
_MAX_K = 1 << 31
_MAX_WEIGHT = 1 << 62
_MAX_NODES = 1 << 22
_MAX_PRICE = 1 << 32

_MAX_BYTES = 1 << 62

Encoded = tuple[dict[str, Any], dict[str, NDArray[np.integer[Any]]]]
Parts = tuple[Topology, Variant, dict[str, Any], tuple[Variant, ...], tuple[Range, ...]]


def encode(topology: Topology, variant: Variant, variants: Sequence[Variant], ranges: Sequence[Range]) -> Encoded:
    """What the digest covers."""
    speeds: dict[tuple[str, str], int] = {}
    speed = [speeds.setdefault((str(link.bandwidth), str(link.alpha)), len(speeds)) for link in topology.links]
    header: dict[str, Any] = {
        "topology": {
            "name": topology.name,
            "nodes": [[n.name, n.kind, n.host, n.rail, n.plane, n.multicast, n.reduce] for n in topology.nodes],
            "speeds": [list(pair) for pair in speeds],
        },
    }
    arrays: dict[str, NDArray[np.integer[Any]]] = {
        "links.src": _column([link.src for link in topology.links]),
        "links.dst": _column([link.dst for link in topology.links]),
        "links.speed": _column(speed),
    }
    own, columns = _encode_variant(variant, "")
    others = [_encode_variant(other, f"variants.{i}.") for i, other in enumerate(variants)]
    header |= own
    header["variants"] = [described for described, _ in others]
    header["ranges"] = [
        {"upto": part.upto, "variant": part.variant, "segments": part.shape.segments, "pacing": part.shape.pacing}
        for part in ranges
    ]
    for more in (columns, *(each for _, each in others)):
        arrays |= more
    return header, arrays


def _encode_variant(variant: Variant, prefix: str) -> Encoded:
    """Names of arrays begin with `prefix`."""
    collective, forests = variant.collective, variant.forests
    header = {
        "collective": {"kind": str(collective.kind), "root": collective.root},
        "forests": [{"direction": forest.direction, "k": forest.k} for forest in forests],
        "options": dict(variant.options),
    }
    arrays: dict[str, NDArray[np.integer[Any]]] = {
        f"{prefix}group": _column(collective.group),
        f"{prefix}owners": _column(collective.owners),
        f"{prefix}shards": _column(collective.shards),
    }
    for i, forest in enumerate(forests):
        name = f"{prefix}forests.{i}"
        arrays |= {
            f"{name}.roots": forest.roots,
            f"{name}.multiplicity": forest.multiplicity,
            f"{name}.sizes": np.diff(forest.ptr),
            f"{name}.edges": forest.edges,
            f"{name}.routes.sizes": np.diff(forest.routes.ptr),
            f"{name}.routes.links": forest.routes.links,
        }
    return header, arrays


def encode_bound(
    bound: Sequence[Optimum], prefix: str = ""
) -> tuple[list[dict[str, Any]], dict[str, NDArray[np.integer[Any]]]]:
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
            arrays[f"{prefix}bound.{i}.side"] = _column(optimum.cut.side)
        if optimum.prices is not None:
            arrays[f"{prefix}bound.{i}.prices"] = _column(optimum.prices)
    return header, arrays


def _column(values: Sequence[int]) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def digest(topology: Topology, variant: Variant, variants: Sequence[Variant], ranges: Sequence[Range]) -> str:
    """SHA-256 over the description: canonical JSON, then every array as 64-bit little-endian integers."""
    header, arrays = encode(topology, variant, variants, ranges)
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
    names = ("topology", *_VARIANT, "variants", "ranges", "provenance", "digest")
    topology_at, *variant_at, variants_at, ranges_at, provenance, _ = top.keys(*names)
    sections = Sections(path, {name: array.astype(np.int64, copy=False) for name, array in arrays.items()})
    topology = _topology(topology_at, sections)
    variant = _variant(variant_at, sections, "", topology)
    variants = tuple(
        _variant(other.keys(*_VARIANT), sections, f"variants.{i}.", topology)
        for i, other in enumerate(variants_at.items())
    )
    for other, at in zip(variants, variants_at.items(), strict=True):
        if (other.collective.kind, other.collective.group) != (variant.collective.kind, variant.collective.group):
            at.fail("a variant is for another collective or group than its plan")
    ranges = _ranges(ranges_at, len(variants))
    sections.finish()
    return topology, variant, provenance.object(), variants, ranges


def _variant(fields: Sequence[Field], sections: Sections, prefix: str, topology: Topology) -> Variant:
    collective_at, forests_at, bound_at, options = fields
    collective = _collective(collective_at, sections, prefix, len(topology.ranks))
    phases = directions(collective.kind)
    forests = tuple(
        _forest(field, sections, f"{prefix}forests.{i}", topology, "in" if reverse else "out")
        for i, (field, reverse) in enumerate(zip(forests_at.items(len(phases)), phases, strict=True))
    )
    bound = tuple(
        _optimum(field, sections, f"{prefix}bound.{i}", topology, collective.kind)
        for i, field in enumerate(bound_at.items(len(phases)))
    )
    return Variant(collective, forests, bound, options.object())


def _ranges(field: Field, variants: int) -> tuple[Range, ...]:
    """Ascending, the last without an end."""
    found: list[Range] = []
    for at in field.items():
        upto_at, variant_at, segments_at, pacing_at = at.keys("upto", "variant", "segments", "pacing")
        upto = None if upto_at.value is None else upto_at.number(0, _MAX_BYTES)
        before = found[-1].upto if found else -1
        if before is None or (upto is not None and upto <= before):
            upto_at.fail("ranges end in ascending order, and only the last has no end (null)")
        pacing = pacing_at.choice(*PACINGS)
        shape = Shape(segments_at.number(1, MAX_PIECES), next(known for known in PACINGS if known == pacing))
        found.append(Range(upto, variant_at.number(0, variants), shape))
    if found and found[-1].upto is not None:
        field.fail("the last range has an end, so that some sizes are in none")
    if bool(found) < bool(variants):
        field.fail("there are variants, but no ranges of sizes that they are for")
    return tuple(found)


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


def _collective(field: Field, sections: Sections, prefix: str, ranks: int) -> Collective:
    kind_at, root_at = field.keys("kind", "root")
    kind = Kind(kind_at.choice(*(str(kind) for kind in PROMISES)))
    root = root_at.number(0, ranks - 1) if kind.rooted else None
    if root is None and root_at.value is not None:
        root_at.fail(f"{kind} has no root, got {root_at.value!r:.20}")
    group = sections.take(f"{prefix}group", ranks, "a rank")
    owners = sections.take(f"{prefix}owners", ranks, "a rank")
    most = MAX_PAIRS_WEIGHT if kind is Kind.ALL_TO_ALL else MAX_TOTAL_WEIGHT
    shards = sections.take(f"{prefix}shards", most + 1, "a shard size")
    members = set(group.tolist())
    if not members or (np.diff(group) <= 0).any():
        field.fail("the group's ranks are not ascending, or there is none")
    if root is not None and root not in members:
        root_at.fail(f"root {root} is not in the group")
    single = kind in (Kind.BROADCAST, Kind.REDUCE)
    pairs = kind is Kind.ALL_TO_ALL
    expected = np.repeat(group, len(group)) if pairs and len(owners) == len(group) ** 2 else group
    if kind is Kind.ALLREDUCE and len(set(owners.tolist())) == len(owners) and members >= set(owners.tolist()):
        expected = owners  # who sums what is the plan's to choose
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
