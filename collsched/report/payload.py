"""What a page shows, as one JSON value: names, places, numbers and texts; no markup. The scripts of the page draw it.

Times are in TICKS of the whole, loads in thousandths, rates over time in FULL steps of the bandwidth.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from collsched import __version__
from collsched.collective import Kind
from collsched.forest.optimum import Cut
from collsched.ir.schedule import REDUCE
from collsched.plan import Plan
from collsched.report.cell import Cell
from collsched.report.journeys import Journey, journeys
from collsched.report.kinds import link_kinds, role
from collsched.report.layout import layout
from collsched.report.motion import Motion
from collsched.report.structure import structure
from collsched.report.traffic import profile, shares
from collsched.report.trees import tree_kinds
from collsched.topology.model import Topology
from collsched.units import format_bandwidth, format_bytes

TICKS = 100_000
FULL = 63
MANY_LINKS = 1024
BINS, FEW_BINS = 180, 96  # parts of the time; few where there are many links


@dataclass(frozen=True, slots=True)
class Table:
    """Times of several algorithms, `seconds[name]` one a size; `source`: what they come from."""

    source: str
    sizes: tuple[int, ...]
    seconds: Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Story:
    """What a page tells beyond the fabric. `facts`: (label, value, remark). `sentences`: what bounds the collective;
    `cuts`: what of it is drawn, each with whether the data must enter (rather than leave) its side."""

    plan: Plan
    nbytes: int
    motion: Motion
    title: str
    facts: Sequence[tuple[str, str, str]] = ()
    sentences: Sequence[str] = ()
    cuts: Sequence[tuple[Cut, bool]] = ()
    notes: Sequence[str] = ()
    table: Table | None = field(default=None)


def payload(topology: Topology, story: Story | None = None) -> dict[str, Any]:
    """Everything that a page of this fabric, and of a plan on it, shows."""
    built = structure(topology)
    drawing = layout(built)
    wires, links = _wires(topology, drawing)
    value: dict[str, Any] = {
        "version": __version__,
        "fabric": {
            "name": topology.name,
            "ranks": len(topology.ranks),
            "hosts": len(built.hosts),
            "switches": len(topology.nodes) - len(topology.ranks),
            "grid": None if built.grid is None else list(built.grid.dims),
        },
        "drawing": {
            "width": _short(drawing.width),
            "height": _short(drawing.height),
            "frames": [[name, *map(_short, (r.x, r.y, r.width, r.height))] for name, r in drawing.frames],
            "wires": wires,
        },
        "nodes": _nodes(topology, drawing),
        "links": links,
        "kinds": [
            {"ends": kind.ends, "rate": format_bandwidth(kind.bandwidth), "links": len(kind.links)}
            for kind in link_kinds(topology)
        ],
    }
    value["links"]["kind"] = _kind_of_links(topology)
    value["plan"] = None if story is None else _plan(topology, story)
    return value


def _short(value: float) -> float:
    return round(value, 1)


def _nodes(topology: Topology, drawing: Cell) -> dict[str, Any]:
    rects = [drawing.place[node] for node in range(len(topology.nodes))]
    frames = {name: number for number, (name, _) in enumerate(drawing.frames)}
    return {
        "name": [node.name for node in topology.nodes],
        "rank": [topology.rank_of.get(node, -1) for node in range(len(topology.nodes))],
        "frame": [frames.get(node.host or "", -1) for node in topology.nodes],
        "box": [_short(part) for r in rects for part in (r.x, r.y, r.width, r.height)],
    }


def _wires(topology: Topology, drawing: Cell) -> tuple[list[list[list[float]]], dict[str, Any]]:
    """Wires as parts of coordinates x, y, x, y, …; links by their ends, wire, and whether they run against it."""
    number = {pair: i for i, pair in enumerate(drawing.wires)}
    wires = [
        [[_short(part) for point in points for part in point] for points in parts] for parts in drawing.wires.values()
    ]
    ends = [(link.src, link.dst) for link in topology.links]
    return wires, {
        "src": [src for src, _ in ends],
        "dst": [dst for _, dst in ends],
        "wire": [number[min(pair), max(pair)] for pair in ends],
        "back": [int(src > dst) for src, dst in ends],
    }


def _kind_of_links(topology: Topology) -> list[int]:
    kind_of = [0] * len(topology.links)
    for number, kind in enumerate(link_kinds(topology)):
        for link in kind.links:
            kind_of[link] = number
    return kind_of


def _plan(topology: Topology, story: Story) -> dict[str, Any]:
    plan, motion = story.plan, story.motion
    share = shares(plan)
    bins = BINS if len(topology.links) <= MANY_LINKS else FEW_BINS
    rates = profile(topology, motion, bins)
    packed = np.clip(np.rint(rates * FULL), 0, FULL).astype(np.uint8)
    found = journeys(plan, motion, story.nbytes)
    return {
        "title": story.title,
        "digest": plan.digest,
        "size": format_bytes(story.nbytes),
        "facts": [list(fact) for fact in story.facts],
        "sentences": list(story.sentences),
        "notes": list(story.notes),
        "cuts": _cuts(topology, story.cuts),
        "shares": np.rint(share * 1000).astype(int).tolist(),
        "loads": _loads(topology, share),
        "trees": _trees(topology, plan),
        "motion": {
            "source": motion.source,
            "seconds": motion.seconds,
            "segments": motion.segments,
            "bins": bins,
            "rates": base64.b64encode(packed.tobytes()).decode(),
            "phases": _phases(motion),
            "arrived": _arrived(motion, bins),
        },
        "groups": _groups(topology),
        **_journeys(motion, found),
        "chunks": len(plan.schedule().chunks.shard),
        "table": None if story.table is None else _table(story.table),
    }


def _cuts(topology: Topology, cuts: Sequence[tuple[Cut, bool]]) -> list[dict[str, Any]]:
    """Of each cut the smaller side and the links that cross it; equal ones once."""
    found: list[dict[str, Any]] = []
    for drawn, reverse in cuts:
        inside = set(drawn.side)
        ends = [(link.dst, link.src) if reverse else (link.src, link.dst) for link in topology.links]
        out = [number for number, (a, b) in enumerate(ends) if a in inside and b not in inside]
        side = sorted(inside if 2 * len(inside) <= len(topology.nodes) else set(range(len(topology.nodes))) - inside)
        cut = {"side": side, "links": out, "rate": format_bandwidth(drawn.exit_bandwidth)}
        same = next((known for known in found if known["side"] == side), None)
        if same is None:
            found.append(cut)
        else:
            same["links"] = sorted({*same["links"], *out})
    return found


def _loads(topology: Topology, share: Any) -> list[dict[str, Any]]:
    """Mean and largest share of the links of each kind."""
    return [
        {"mean": float(np.mean(share[list(kind.links)])), "max": float(np.max(share[list(kind.links)]))}
        for kind in link_kinds(topology)
    ]


def _trees(topology: Topology, plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "name": "paths" if plan.collective.kind is Kind.ALL_TO_ALL else f"{forest.direction}-trees",
            "kinds": [
                {"trees": kind.trees, "copies": kind.copies, "depth": kind.depth, "crossings": list(kind.crossings)}
                for kind in tree_kinds(topology, forest)[:8]
            ],
        }
        for forest in plan.forests
    ]


def _phases(motion: Motion) -> list[dict[str, Any]]:
    """When reductions and when copies are under way."""
    found = []
    for name, chosen in (("reduce", motion.op == REDUCE), ("copy", motion.op != REDUCE)):
        if chosen.any():
            first, last = motion.times[chosen, 0].min(), motion.times[chosen, 3].max()
            found.append({"name": name, "from": _tick(float(first), motion), "to": _tick(float(last), motion)})
    return found


def _arrived(motion: Motion, bins: int) -> list[int]:
    """Thousandths of the bytes of all hops that have arrived by the end of each part of the time."""
    if motion.seconds == 0:
        return [1000] * bins
    ends = motion.seconds * np.arange(1, bins + 1) / bins * (1 + 1e-9)
    if motion.source == "simulated":
        order = np.argsort(motion.arrived)
        passed = np.concatenate([[0.0], motion.nbytes[order].cumsum()])
        total = passed[np.searchsorted(motion.arrived[order], ends, side="right")]
    else:  # pieces arrive one by one; all hops of a step together
        spans, inverse = np.unique(motion.times[:, [1, 3]], axis=0, return_inverse=True)
        total = np.zeros(bins)
        for (begin, end), nbytes in zip(spans, np.bincount(inverse.reshape(-1), motion.nbytes), strict=True):
            total += nbytes * np.clip((ends - begin) / max(end - begin, 1e-15), 0, 1)
    return [int(value) for value in np.rint(1000 * total / max(1.0, motion.nbytes.sum()))]


def _groups(topology: Topology) -> list[dict[str, Any]]:
    """Links for the timeline: by the roles of their ends, in their direction, and bandwidth."""
    roles = [role(node.name) for node in topology.nodes]
    groups: dict[tuple[str, str, Any], list[int]] = {}
    for number, link in enumerate(topology.links):
        groups.setdefault((roles[link.src], roles[link.dst], link.bandwidth), []).append(number)
    return [
        {"name": f"{src} → {dst}", "rate": format_bandwidth(rate), "links": links}
        for (src, dst, rate), links in sorted(groups.items(), key=lambda item: (-item[0][2], item[0][:2]))
    ]


def _tick(seconds: float, motion: Motion) -> int:
    return round(seconds / motion.seconds * TICKS) if motion.seconds else 0


def _journeys(motion: Motion, found: Sequence[Journey]) -> dict[str, Any]:
    """Journeys, and the routes that they take, numbered anew."""
    links, ptr = motion.schedule.routes.links.tolist(), motion.schedule.routes.ptr.tolist()
    paths = [links[a:b] for a, b in pairwise(ptr)]
    number: dict[int, int] = {}
    listed = [
        {
            "start": journey.start,
            "end": journey.end,
            "part": journey.part,
            "parts": journey.parts,
            "bytes": format_bytes(journey.nbytes),
            "depth": journey.depth,
            "routes": [number.setdefault(route, len(number)) for route in journey.routes],
            "reduces": [int(reduces) for reduces in journey.reduces],
            "times": [_tick(time, motion) for times in journey.times for time in times],
        }
        for journey in found
    ]
    return {"journeys": listed, "routes": [paths[route] for route in number]}


def _table(table: Table) -> dict[str, Any]:
    return {
        "source": table.source,
        "sizes": list(table.sizes),
        "labels": [format_bytes(size) for size in table.sizes],
        "rows": [{"name": name, "seconds": list(values)} for name, values in table.seconds.items()],
    }
