"""Forests to a schedule: every tree edge becomes one transfer of every chunk that its tree carries.

Chunks. The whole buffer is an axis of k·W units (W: total weight, k: least common multiple of the forests' k), shard
after shard, and the trees of a forest cut it. Two forests of an allreduce may cut it differently; chunks are the pieces
between all cuts, so that each lies in one tree of either forest:

    reduce-scatter trees  ├──── 0 ────┼──────── 1 ────────┤
    allgather trees       ├──────── 0 ────────┼──── 1 ────┤
    chunks                ├──── 0 ────┼── 1 ──┼──── 2 ────┤

Joins. Down an out-tree an edge waits for the transfer that entered its parent; up an in-tree the edge v → p waits for
all transfers into v; the second phase waits, at the root, for all transfers into the root: one join, shared by the
edges that leave it.

Order. Transfers are issued by step: the s-th step of a chunk holds its edges that s hops precede. A join's members
belong to earlier steps, so the order of indices is itself the proof that no transfer waits for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from collsched.collective import Collective, Kind
from collsched.errors import InputError
from collsched.forest.model import Forest, Routes
from collsched.ir.schedule import COPY, REDUCE, Chunks, Joins, Schedule, Transfers
from collsched.lower.relays import copy_first_at_relays
from collsched.lower.turns import in_turn
from collsched.topology.model import Topology

_BLOCK = 1 << 22  # entries of the (tree, holder) table taken at once
_MAX_UNITS = 1 << 62  # of the buffer's axis
_NONE = -1

Ints = NDArray[np.int64]
Ints32 = NDArray[np.int32]  # of whatever is as long as all edges
T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, slots=True)
class _Phase:
    """The edges of one forest, once for every chunk that their tree carries, chunk by chunk and parents first."""

    forest: Forest
    chunk: Ints32
    route: NDArray[np.uint32]
    above: Ints32  # the transfer over the edge that enters this edge's parent; _NONE at the root
    depth: Ints32
    height: Ints32  # [chunks] of the chunk's tree


def lower(topology: Topology, collective: Collective, forests: Sequence[Forest]) -> Schedule:
    """The schedule of a collective whose phases run over `forests` (see `forest.problem.directions`), which must have
    passed `check_forest`. Linear in tree edges."""
    chunks, trees = _cut(topology, collective, forests)
    phases = [_expand(topology, forest, tree) for forest, tree in zip(forests, trees, strict=True)]
    routes = _merge([forest.routes for forest in forests])
    join, joins = _joins(phases, len(chunks.shard))
    transfers = _transfers(collective, phases, join)
    steps = _steps(phases)
    if collective.kind is Kind.ALL_TO_ALL:
        steps = in_turn(topology, routes, transfers.route, steps)
    transfers, joins = _issue(steps, transfers, joins)
    transfers, joins, late = copy_first_at_relays(topology, collective, routes, transfers, joins)
    if late.any():
        transfers, joins = _issue(2 * np.sort(steps) + late, transfers, joins)
    return Schedule(collective, chunks, routes, transfers, joins)


def _transfers(collective: Collective, phases: Sequence[_Phase], join: Ints32) -> Transfers:
    """The phases' transfers one after another; routes are numbered as `_merge` numbers them."""
    sums = [collective.kind.reduces and phase.forest.direction == "in" for phase in phases]
    first = np.cumsum([0, *(len(phase.forest.routes.ptr) - 1 for phase in phases)])
    return Transfers(
        _concat([phase.chunk for phase in phases], np.int32),
        _concat([phase.route + np.uint32(shift) for phase, shift in zip(phases, first, strict=False)], np.uint32),
        np.repeat(np.where(sums, REDUCE, COPY).astype(np.uint8), [len(phase.chunk) for phase in phases]),
        join,
        np.zeros(len(join), np.int16),
    )


def _steps(phases: Sequence[_Phase]) -> Ints32:
    """How many hops of its chunk precede each transfer: up an in-tree, then down the out-tree."""
    steps, passed = [], np.int32(0) * phases[0].height
    for phase in phases:
        up = phase.forest.direction == "in"
        steps.append((passed + phase.height * up)[phase.chunk] + (-phase.depth if up else phase.depth - 1))
        passed = passed + phase.height
    return _concat(steps, np.int32)


def _cut(topology: Topology, collective: Collective, forests: Sequence[Forest]) -> tuple[Chunks, list[Ints]]:
    """The chunks, and for each forest the tree that carries each of them (_NONE: the shard stays where it is)."""
    k = lcm(*(forest.k for forest in forests))
    if k * sum(collective.shards) >= _MAX_UNITS:
        raise InputError(
            f"{' and '.join(str(forest.k) for forest in forests)} trees per unit of {sum(collective.shards)} cut the "
            "buffer too finely; choose one --trees-per-root for both phases, or rounder shard sizes"
        )
    border = np.cumsum([0, *(k * weight for weight in collective.shards)])
    parts = []
    for forest in forests:
        shard = _shards(topology, collective, forest)
        order = np.argsort(shard, kind="stable")
        length = forest.multiplicity[order] * (k // forest.k)
        end = np.cumsum(length)
        first = np.searchsorted(shard[order], np.arange(len(border)))  # the first tree of each shard
        passed = np.concatenate([[0], end])[first]  # length of all trees before it
        start = end - length + (border - passed)[shard[order]]
        parts.append((order, start, start + length))
    cuts = np.unique(np.concatenate([border, *(edge for _, start, end in parts for edge in (start, end))]))
    start, length = cuts[:-1], np.diff(cuts)
    shard = np.searchsorted(border, start, side="right") - 1
    size = np.diff(border)[shard]
    chunks = Chunks(shard.astype(np.int32), start - border[shard], length, size)
    return chunks, [_carrier(part, start) for part in parts]


def _shards(topology: Topology, collective: Collective, forest: Forest) -> Ints:
    """The shard that each tree carries: its root's, or of an all-to-all, that of its root and its last rank."""
    place = np.full(len(topology.nodes), _NONE, np.int64)
    if collective.kind is not Kind.ALL_TO_ALL:
        place[[topology.ranks[owner] for owner in collective.owners]] = np.arange(len(collective.owners))
        return place[forest.roots]
    place[[topology.ranks[rank] for rank in collective.group]] = np.arange(len(collective.group))
    _, end = forest.routes.ends(topology)
    return place[forest.roots] * len(collective.group) + place[end[forest.edges[forest.ptr[1:] - 1]]]


def _carrier(part: tuple[Ints, Ints, Ints], at: Ints) -> Ints:
    """The tree whose interval contains each position."""
    order, start, end = part
    if not len(order):
        return np.full(len(at), _NONE, np.int64)
    last = np.searchsorted(start, at, side="right") - 1
    return np.where((last >= 0) & (end[last] > at), order[last], _NONE)


def _expand(topology: Topology, forest: Forest, tree: Ints) -> _Phase:
    above, depth = shape(topology, forest)
    sizes = np.where(tree >= 0, np.diff(np.append(forest.ptr, forest.ptr[-1]))[tree], 0)
    begin = np.cumsum(sizes) - sizes
    moved = np.repeat((begin - forest.ptr[tree]).astype(np.int32), sizes)  # from an edge's place to its transfer's
    edge = np.arange(sizes.sum(), dtype=np.int32) - moved
    above, depth = above[edge], depth[edge]
    height = np.zeros(len(tree), np.int32)
    full = np.flatnonzero(sizes)
    if len(full):
        height[full] = np.maximum.reduceat(depth, begin[full])
    return _Phase(
        forest,
        np.repeat(np.arange(len(tree), dtype=np.int32), sizes),
        forest.edges[edge],
        np.where(above >= 0, above + moved, _NONE),
        depth,
        height,
    )


def shape(topology: Topology, forest: Forest) -> tuple[Ints32, Ints32]:
    """For each edge, the edge that enters its parent (or _NONE), and its distance from the root in hops."""
    places = len(topology.holders)
    holder_of = np.full(len(topology.nodes), _NONE, np.int32)
    holder_of[list(topology.holders)] = np.arange(places)
    begin, end = forest.routes.ends(topology)
    above_node, below_node = (begin, end) if forest.direction == "out" else (end, begin)
    parent, child = holder_of[above_node][forest.edges], holder_of[below_node][forest.edges]
    above = np.empty(len(forest.edges), np.int32)
    step = max(1, _BLOCK // places)
    for first in range(0, len(forest.roots), step):
        ptr = forest.ptr[first : first + step + 1]
        edges = slice(ptr[0], ptr[-1])
        row = np.repeat(np.arange(len(ptr) - 1) * places, np.diff(ptr))
        entering = np.full((len(ptr) - 1) * places, _NONE, np.int32)
        entering[row + child[edges]] = np.arange(ptr[0], ptr[-1])
        above[edges] = entering[row + parent[edges]]
    depth, over = np.ones(len(above), np.int32), above.copy()
    while len(moving := np.flatnonzero(over >= 0)):
        depth[moving] += depth[over[moving]]
        over[moving] = over[over[moving]]
    return above, depth


def _joins(phases: Sequence[_Phase], chunks: int) -> tuple[Ints32, Joins]:
    """What each transfer waits for, in the numbering before `_issue`; the phases' transfers follow one another."""
    join, members, counts = [], [], []
    at_root = np.zeros(chunks, np.int32)  # join of all that arrived at a chunk's root in the phase before
    first, known = 0, 1  # transfers of earlier phases; joins so far
    for phase in phases:
        inner, size = phase.above >= 0, len(phase.chunk)
        if phase.forest.direction == "in":
            goal = np.where(inner, phase.above, size + phase.chunk)  # what waits for an edge: a transfer or the root
            arrivals = np.bincount(goal, minlength=size + chunks)
            if phase is phases[-1]:
                arrivals[size:] = 0  # nothing follows at the root
            number = np.where(arrivals > 0, known - 1 + np.cumsum(arrivals > 0, dtype=np.int32), 0)
            join.append(number[:size])
            at_root = number[size:]
            members.append(first + np.argsort(goal, kind="stable")[: arrivals.sum()])
            counts.append(arrivals[arrivals > 0])
        else:
            passed_on = np.zeros(size, bool)
            passed_on[phase.above[inner]] = True
            number = known - 1 + np.cumsum(passed_on, dtype=np.int32)
            join.append(np.where(inner, number[phase.above], at_root[phase.chunk]))
            members.append(first + np.flatnonzero(passed_on))
            counts.append(np.ones(len(members[-1]), np.int64))
        first, known = first + size, known + len(counts[-1])
    ptr = np.concatenate([[0, 0], np.cumsum(_concat(counts, np.int64))])
    return _concat(join, np.int32), Joins(ptr.astype(np.int64), _concat(members, np.int32))


def _issue(step: Ints32, transfers: Transfers, joins: Joins) -> tuple[Transfers, Joins]:
    """Order transfers by step; within a step the order stays."""
    narrow = step.astype(np.uint16) if step.max(initial=0) < 1 << 16 else step  # a radix sort, where it is possible
    order = np.argsort(narrow, kind="stable")
    position = np.empty(len(order), np.int32)
    position[order] = np.arange(len(order), dtype=np.int32)
    moved = Transfers(
        transfers.chunk[order],
        transfers.route[order],
        transfers.op[order],
        transfers.join[order],
        transfers.channel[order],
    )
    return moved, Joins(joins.ptr, position[joins.member])


def _merge(routes: Sequence[Routes]) -> Routes:
    shift = np.cumsum([0, *(len(part.links) for part in routes)])
    ptr = [part.ptr[1:] + first for part, first in zip(routes, shift, strict=False)]
    return Routes(_concat([[0], *ptr], np.int64), _concat([part.links for part in routes], np.int32))


def _concat(parts: Sequence[ArrayLike], dtype: type[T]) -> NDArray[T]:
    return np.concatenate([np.asarray(part) for part in parts]).astype(dtype, copy=False)
