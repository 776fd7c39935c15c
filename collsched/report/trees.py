"""Trees folded: those that look alike counted once, and one tree as an outline in which equal branches are one.

box0/gpu0
├─ box0/gpu[1-7]          gpu → nvswitch → gpu
└─ box1/gpu0              gpu → ib → gpu
   └─ box1/gpu[1-7]       gpu → nvswitch → gpu
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from collsched.forest.model import Forest
from collsched.lower.forests import shape
from collsched.report.kinds import route_names
from collsched.topology.model import Topology

_BLOCK = 1 << 22  # entries of the (tree, kind of route) table taken at once


@dataclass(frozen=True, slots=True)
class TreeKind:
    """Trees of equal depth that cross equally many routes of each kind. `copies` counts each as often as its
    multiplicity; `example` is the first of them."""

    trees: int
    copies: int
    depth: int
    crossings: tuple[tuple[str, int], ...]
    example: int


@dataclass(frozen=True, slots=True)
class Branch:
    """A line of an outline: equal branches at `nodes`, entered over routes of the kind `via`, `level` hops deep."""

    level: int
    nodes: tuple[int, ...]
    via: str
    last: bool


def tree_kinds(topology: Topology, forest: Forest) -> list[TreeKind]:
    """The kinds of trees of a forest, those that stand for most trees first."""
    if not len(forest.roots) or not len(forest.edges):
        return []
    kind_of, names = _route_kinds(topology, forest)
    _, depth = shape(topology, forest)
    table = np.zeros((len(forest.roots), len(names) + 1), np.int64)
    step = max(1, _BLOCK // len(names))
    for first in range(0, len(forest.roots), step):
        part = slice(forest.ptr[first], forest.ptr[min(first + step, len(forest.roots))])
        tree = np.repeat(
            np.arange(len(forest.roots[first : first + step])), np.diff(forest.ptr[first : first + step + 1])
        )
        kind = kind_of[forest.edges[part]]
        counts = np.bincount(tree * len(names) + kind, minlength=len(forest.roots[first : first + step]) * len(names))
        table[first : first + step, 1:] = counts.reshape(-1, len(names))
    full = np.flatnonzero(np.diff(forest.ptr))
    table[full, 0] = np.maximum.reduceat(depth, forest.ptr[:-1][full])
    rows, example, inverse = np.unique(table, axis=0, return_index=True, return_inverse=True)
    copies = np.bincount(inverse.reshape(-1), forest.multiplicity).astype(np.int64)
    trees = np.bincount(inverse.reshape(-1))
    kinds = [
        TreeKind(int(trees[i]), int(copies[i]), int(row[0]),
                 tuple((names[j], int(count)) for j, count in enumerate(row[1:]) if count), int(example[i]))
        for i, row in enumerate(rows)
    ]  # fmt: skip
    return sorted(kinds, key=lambda kind: (-kind.copies, kind.depth, kind.example))


def _route_kinds(topology: Topology, forest: Forest) -> tuple[NDArray[np.int64], list[str]]:
    """The kind of each route of a forest, and the kinds' names in order of their number."""
    links = forest.routes.links.tolist()
    texts = route_names(topology, [links[a:b] for a, b in pairwise(forest.routes.ptr.tolist())])
    names = sorted(set(texts))
    number = {name: i for i, name in enumerate(names)}
    return np.array([number[text] for text in texts], np.int64), names


def outline(topology: Topology, forest: Forest, tree: int) -> Iterator[Branch]:
    """The branches of a tree below its root, depth first."""
    kind_of, names = _route_kinds(topology, forest)
    edges = forest.edges[forest.ptr[tree] : forest.ptr[tree + 1]].astype(np.int64)
    first, last = forest.routes.links[forest.routes.ptr[edges]], forest.routes.links[forest.routes.ptr[edges + 1] - 1]
    children: dict[int, list[tuple[int, int]]] = {}
    ends = [(topology.links[a].src, topology.links[b].dst) for a, b in zip(first.tolist(), last.tolist(), strict=True)]
    if forest.direction == "in":
        ends = [(b, a) for a, b in ends]
    for (parent, child), kind in zip(ends, kind_of[edges].tolist(), strict=True):
        children.setdefault(parent, []).append((child, kind))
    looks: dict[object, int] = {}
    look: dict[int, int] = {}
    for _, child in reversed(ends):  # parents first, so children before parents now
        key = tuple(sorted((kind, look[below]) for below, kind in children.get(child, [])))
        look[child] = looks.setdefault(key, len(looks))
    stack = _branches(children, look, names, (int(forest.roots[tree]),), 0)
    while stack:
        branch = stack.pop()
        yield branch
        stack += _branches(children, look, names, branch.nodes, branch.level + 1)


def _branches(
    children: dict[int, list[tuple[int, int]]],
    look: dict[int, int],
    names: list[str],
    nodes: tuple[int, ...],
    level: int,
) -> list[Branch]:
    """What hangs below equal nodes, equal branches together; the first one at the end."""
    groups: dict[tuple[int, int], list[int]] = {}
    for node in nodes:
        for child, kind in children.get(node, []):
            groups.setdefault((kind, look[child]), []).append(child)
    found = [(tuple(members), names[kind]) for (kind, _), members in groups.items()]
    return [Branch(level, members, via, last=number == len(found) - 1) for number, (members, via) in enumerate(found)][
        ::-1
    ]
