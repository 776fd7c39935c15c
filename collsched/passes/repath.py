"""repath: the same trees over other paths, so that the fullest link is as empty as under ideal spraying.

What two ranks send one another by given ports in a phase is one flow of `routes.planner`, which spreads flows over the
shortest paths and cuts as few as it can. The tree edges of a flow lie end to end, and so do its subflows:

    edges      ├── tree 0 ──┼── tree 3 ──┼── tree 7 ──┤
    subflows   ├──── spine 2 ─────┼───── spine 5 ─────┤

A border of subflows within an edge cuts its tree in two: equal trees but for that edge's path, each with its share of
the multiplicity. Every tree edge keeps one path, so whatever is made of forests is made of these as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import gcd, lcm

import numpy as np

from collsched.forest.model import Forest, Routes
from collsched.lower.forests import shape
from collsched.passes.alternatives import Alternatives, alternatives, routes_over
from collsched.routes.model import I64, Flows, Subflows, join
from collsched.routes.network import GIGA, Network
from collsched.routes.planner import plan_network
from collsched.topology.model import Topology

MOST_EDGES = 1 << 23  # of the new forests
MOST_STEPS = 64  # that are planned one by one
_MOST_UNITS = 1 << 52  # of all flows, and of a finer k
_NEARLY = 1 + Fraction(1, 4096)


def repath(
    topology: Topology, forests: Sequence[Forest], *, together: bool = False, by_step: bool = False
) -> tuple[Forest, ...]:
    """The forests with the paths that the planner gives them, each for itself, or all at once if they run `together`;
    `by_step`: each step of a forest for itself, for schedules whose steps do not overlap. What is no better then stays
    as it is, and so do forests of more than MOST_STEPS steps and those whose trees pass through switches that copy or
    sum: these are placed by the fabric's manager.

    Where the optimum for the trees is known, the fullest link of what was planned is at most 1/4096 above it.
    """
    groups = [list(range(len(forests)))] if together and not by_step else [[number] for number in range(len(forests))]
    found = list(forests)
    for group in groups:
        made = _repath(topology, [forests[number] for number in group], by_step=by_step)
        for number, forest in zip(group, made, strict=True):
            found[number] = forest
    return tuple(found)


def _repath(topology: Topology, forests: Sequence[Forest], *, by_step: bool) -> Sequence[Forest]:
    """Forests that share the links at one time."""
    if any(forest.routes.switches(topology) for forest in forests):
        return forests
    edges = _Edges.of(forests)
    step = _steps(topology, forests[0]) if by_step else np.zeros(len(edges.units), np.int64)
    count = 1 + int(step.max(initial=0))
    if not len(edges.units) or count > MOST_STEPS:
        return forests
    ways = alternatives(topology, edges.routes, keep=True)
    plans = [_plan(ways, edges, np.flatnonzero(step == number)) for number in range(count)]
    if not any(plan.better for plan in plans):
        return forests
    scale = max(plan.scale for plan in plans)
    flows = len(ways.network.flows)
    subflows = join([plan.scaled(scale, number * flows) for number, plan in enumerate(plans)])
    axis = _Axis.of(ways.connection[edges.route] + step * flows, edges.units * scale, subflows)
    made = [
        _cut(forest, forest_edges, axis, ways.network, edges.k * scale)
        for forest, forest_edges in zip(forests, edges.slices, strict=True)
    ]
    return forests if sum(len(forest.edges) for forest in made) > MOST_EDGES else made


def _steps(topology: Topology, forest: Forest) -> I64:
    """[edges] the step of each: hops of its tree that come before it."""
    _, depth = shape(topology, forest)
    if forest.direction == "out" or not len(depth):
        return depth.astype(np.int64) - 1
    sizes = np.diff(forest.ptr)
    height = np.zeros(len(sizes), np.int64)
    full = np.flatnonzero(sizes)
    height[full] = np.maximum.reduceat(depth, forest.ptr[:-1][full])
    steps: I64 = np.repeat(height, sizes) - depth
    return steps


@dataclass(frozen=True, slots=True)
class _Edges:
    """All tree edges of some forests in one unit, 1 / k of a unit of shard weight."""

    k: int
    routes: Routes
    route: I64  # [edges]
    units: I64  # [edges]
    slices: list[slice]  # of each forest

    @classmethod
    def of(cls, forests: Sequence[Forest]) -> _Edges:
        k = lcm(*(forest.k for forest in forests))
        shift = np.cumsum([0, *(len(forest.routes.ptr) - 1 for forest in forests)])
        link = np.cumsum([0, *(len(forest.routes.links) for forest in forests)])
        ptr = [forest.routes.ptr[1:] + first for forest, first in zip(forests, link, strict=False)]
        units = [np.repeat(forest.multiplicity * (k // forest.k), np.diff(forest.ptr)) for forest in forests]
        ends = np.cumsum([0, *map(len, units)]).tolist()
        return cls(
            k,
            Routes(np.concatenate([[0], *ptr]), np.concatenate([forest.routes.links for forest in forests])),
            np.concatenate([forest.edges + first for forest, first in zip(forests, shift, strict=False)]).astype(
                np.int64
            ),
            np.concatenate(units).astype(np.int64),
            [slice(low, high) for low, high in pairwise(ends)],
        )


@dataclass(frozen=True, slots=True)
class _Planned:
    """Subflows in units of 1 / scale; whether they are better than what was there."""

    scale: int
    subflows: Subflows
    better: bool

    def scaled(self, scale: int, first: int) -> Subflows:
        """In finer units, with flows numbered from `first`."""
        parts, factor = self.subflows, scale // self.scale
        return Subflows(parts.flow + first, parts.offset * factor, parts.bytes * factor, parts.path)


def _plan(ways: Alternatives, edges: _Edges, chosen: I64) -> _Planned:
    """Subflows for these edges. The planner does not cut units, so it balances better on a finer scale; the coarsest
    one that is good enough is taken."""
    network, connection = ways.network, ways.connection[edges.route[chosen]]
    best = _Planned(1, _as_it_is(ways, edges, chosen), False)
    least = network.congestion(network.loads(best.subflows))
    sizes = np.zeros(len(network.flows), np.int64)
    np.add.at(sizes, connection, edges.units[chosen])
    for scale in _scales(network, sizes):
        plan = plan_network(network.with_flows(Flows(network.flows.src, network.flows.dst, sizes * scale)))
        seconds = plan.congestion / scale
        if seconds < least:
            least, best = seconds, _Planned(scale, plan.subflows, True)
        if seconds <= plan.spray / scale * _NEARLY:
            break
    return best


def _as_it_is(ways: Alternatives, edges: _Edges, chosen: I64) -> Subflows:
    """Every edge as a subflow on its path, end to end."""
    order = chosen[np.argsort(ways.connection[edges.route[chosen]], kind="stable")]
    flow, units = ways.connection[edges.route[order]], edges.units[order]
    before = np.cumsum(units) - units
    begins = np.concatenate([[True], flow[1:] != flow[:-1]])
    offset = before - np.maximum.accumulate(np.where(begins, before, 0))
    return Subflows(flow, offset, units, ways.path[edges.route[order]])


def _scales(network: Network, sizes: I64) -> Iterator[int]:
    counts = np.diff(network.paths.begin)
    paths = lcm(*set(counts.tolist())) if len(counts) else 1
    paths = paths if paths <= GIGA else int(counts.max())
    scale = 1
    for factor in (paths, 16, 16, 16):
        if scale * int(sizes.sum()) > _MOST_UNITS:
            return
        yield scale
        scale *= factor


@dataclass(frozen=True, slots=True)
class _Axis:
    """All flows end to end. Piece i starts at start[i] and takes path[i] of connection[i]; edge e starts at edge[e]."""

    edge: I64
    start: I64
    connection: I64
    path: I64

    @classmethod
    def of(cls, connection: I64, units: I64, subflows: Subflows) -> _Axis:
        order = np.argsort(connection, kind="stable")
        edge = np.empty(len(units), np.int64)
        edge[order] = np.cumsum(units[order]) - units[order]
        used = subflows.take(np.flatnonzero(subflows.bytes)).in_order()
        return cls(edge, np.cumsum(used.bytes) - used.bytes, used.flow, used.path)

    def piece(self, place: I64) -> I64:
        """The piece at each place."""
        found: I64 = np.searchsorted(self.start, place, side="right") - 1
        return found


def _cut(forest: Forest, edges: slice, axis: _Axis, network: Network, k: int) -> Forest:
    """The forest in units of 1 / k, its trees cut where the pieces of one of their edges meet."""
    sizes = np.diff(forest.ptr)
    tree = np.repeat(np.arange(len(sizes)), sizes)
    whole = forest.multiplicity * (k // forest.k)
    start = axis.edge[edges]
    first, last = axis.piece(start), axis.piece(start + whole[tree] - 1)
    cut = np.repeat(np.arange(len(start)), last - first)
    piece = np.arange(len(cut)) - np.repeat(np.cumsum(last - first) - (last - first), last - first) + first[cut] + 1
    places = np.stack([tree[cut], axis.start[piece] - start[cut]])
    places = np.concatenate([np.stack([np.arange(len(sizes)), np.zeros(len(sizes), np.int64)]), places], axis=1)
    part_tree, part_start = np.unique(places, axis=1)
    part_end = np.append(part_start[1:], 0)
    closes = np.append(part_tree[1:] != part_tree[:-1], True)
    multiplicity = np.where(closes, whole[part_tree], part_end) - part_start
    counts = sizes[part_tree]
    ptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    edge = np.arange(ptr[-1]) - np.repeat(ptr[:-1] - forest.ptr[part_tree], counts)
    pieces = axis.piece(start[edge] + np.repeat(part_start, counts))
    connection = axis.connection[pieces] % len(network.flows)
    over, route = np.unique(np.stack([connection, axis.path[pieces]]), axis=1, return_inverse=True)
    common = gcd(k, *np.unique(multiplicity).tolist())
    return replace(
        forest,
        k=k // common,
        roots=forest.roots[part_tree],
        multiplicity=multiplicity // common,
        ptr=ptr,
        edges=route.reshape(-1).astype(np.uint32),
        routes=routes_over(network, *over),
    )
