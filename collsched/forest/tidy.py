"""Trees without the switches that are of no use to them.

A tree that spans a switch may leave it at once, or end in it:

    r ──▶ s ──▶ a        becomes   r ─────▶ a        r ──▶ s ──▶ a        becomes   r ──▶ a
    │                              (over s)          └───▶ z                        (over s)
    └───▶ b                        └──▶ b

All of this only lowers loads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import lcm

import numpy as np
from numpy.typing import NDArray

from collsched.forest.model import Forest, Routes
from collsched.forest.problem import Problem

_NONE = -1

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Nodes = NDArray[np.int32]  # [links]


def tidy(problem: Problem, forest: Forest) -> Forest:
    """The forest without leaves at switches, and with routes that pass through a switch at which no tree branches."""
    ends = (problem.dst, problem.src) if problem.reversed else (problem.src, problem.dst)
    shape = _shape(problem, forest, *ends)
    if not shape.switch.any():
        return forest
    alive, children = _without_idle(shape)
    route, routes = forest.edges.astype(np.int64), _paths(forest.routes)
    known = {path: number for number, path in enumerate(routes)}
    merged: dict[tuple[int, int], int] = {}
    above = shape.above.copy()
    passing = alive & shape.switch & (children == 1)
    while passing.any():
        # Only below what stays, so that a chain of switches is taken up from its upper end.
        lower = np.flatnonzero(alive & (above >= 0))
        lower = lower[passing[above[lower]]]
        upper = above[lower]
        settled = (above[upper] < 0) | ~passing[above[upper]]
        lower, upper = lower[settled], upper[settled]
        pairs, which = np.unique(np.stack([route[upper], route[lower]], axis=1), axis=0, return_inverse=True)
        numbers = []
        for one, two in pairs.tolist():
            if (one, two) not in merged:
                way = (routes[one], routes[two]) if forest.direction == "out" else (routes[two], routes[one])
                path = _joined(*way, *ends)
                merged[one, two] = known.setdefault(path, len(routes))
                if merged[one, two] == len(routes):
                    routes.append(path)
            numbers.append(merged[one, two])
        route[lower] = np.array(numbers)[which.reshape(-1)]
        above[lower] = above[upper]
        alive[upper] = passing[upper] = False
    return _rebuilt(forest, shape.tree, route, alive, routes)


def together(forests: Sequence[Forest]) -> Forest:
    """All trees of forests of one direction, whose shards add up."""
    if len(forests) == 1:
        return forests[0]
    k = lcm(*(forest.k for forest in forests))
    links = np.cumsum([0, *(len(forest.routes.links) for forest in forests)])
    routes = np.cumsum([0, *(len(forest.routes.ptr) - 1 for forest in forests)])
    edges = np.cumsum([0, *(len(forest.edges) for forest in forests)])
    return Forest(
        forests[0].direction,
        k,
        np.concatenate([forest.roots for forest in forests]),
        np.concatenate([forest.multiplicity * (k // forest.k) for forest in forests]),
        np.concatenate([[0], *(forest.ptr[1:] + at for forest, at in zip(forests, edges, strict=False))]),
        np.concatenate([forest.edges + np.uint32(at) for forest, at in zip(forests, routes, strict=False)]),
        Routes(
            np.concatenate([[0], *(forest.routes.ptr[1:] + at for forest, at in zip(forests, links, strict=False))]),
            np.concatenate([forest.routes.links for forest in forests]),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Shape:
    """Of every edge: its tree, the edge that enters its parent (_NONE at the root), whether it enters a switch, and
    whether it enters a node that needs no data: a switch, or a rank outside the group."""

    tree: Ints
    above: Ints
    switch: Mask
    relay: Mask


def _shape(problem: Problem, forest: Forest, src: Nodes, dst: Nodes) -> _Shape:
    nodes, routes = problem.nodes, forest.routes
    tree = np.repeat(np.arange(len(forest.roots)), np.diff(forest.ptr))
    begin, end = src[routes.links[routes.ptr[:-1]]], dst[routes.links[routes.ptr[1:] - 1]]
    parent, child = (begin, end) if forest.direction == "out" else (end, begin)
    entered = tree * nodes + child[forest.edges]
    order = np.argsort(entered)
    wanted = tree * nodes + parent[forest.edges]
    place = np.minimum(np.searchsorted(entered[order], wanted), max(len(order) - 1, 0))
    above = np.where(entered[order][place] == wanted, order[place], _NONE)
    below = child[forest.edges]
    return _Shape(tree, above, problem.rank[below] == 0, problem.terminal[below] == 0)


def _without_idle(shape: _Shape) -> tuple[Mask, Ints]:
    """The edges that lead to some terminal, and how many of them leave the child of each."""
    alive = np.ones(len(shape.above), bool)
    while True:
        children = np.bincount(shape.above[alive & (shape.above >= 0)], minlength=len(alive))
        idle = alive & shape.relay & (children == 0)
        if not idle.any():
            return alive, children
        alive &= ~idle


def _paths(routes: Routes) -> list[tuple[int, ...]]:
    links = routes.links.tolist()
    return [tuple(links[a:b]) for a, b in pairwise(routes.ptr.tolist())]


def _joined(one: tuple[int, ...], two: tuple[int, ...], src: Nodes, dst: Nodes) -> tuple[int, ...]:
    """Both paths, one after the other, without the round trips that this makes."""
    path: list[int] = []
    nodes = [int(src[one[0]])]
    for link in (*one, *two):
        head = int(dst[link])
        if head in nodes:
            back = nodes.index(head)
            del path[back:], nodes[back + 1 :]
        else:
            path.append(link)
            nodes.append(head)
    return tuple(path)


def _rebuilt(forest: Forest, tree: Ints, route: Ints, alive: Mask, routes: list[tuple[int, ...]]) -> Forest:
    """The edges that are left, and of the routes those in use."""
    used, edges = np.unique(route[alive], return_inverse=True)
    kept = [routes[number] for number in used.tolist()]
    sizes = np.bincount(tree[alive], minlength=len(forest.roots))
    return Forest(
        forest.direction,
        forest.k,
        forest.roots,
        forest.multiplicity,
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        edges.reshape(-1).astype(np.uint32),
        Routes(
            np.cumsum([0, *map(len, kept)]).astype(np.int64),
            np.array([link for path in kept for link in path], np.int32),
        ),
    )
