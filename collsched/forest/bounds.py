"""What no allreduce by copying and combining can beat: cuts, and partitions of the fabric (lemma 9)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collsched.collective import Collective
from collsched.forest.optimum import Cut, optimum
from collsched.forest.problem import Problem, problem
from collsched.topology.model import Topology

Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class Bound:
    """A proven lower bound on the time per unit of weight: T ≥ (M / W)·ratio, in 1/(GB/s).

    Proven by `cut`, or by `parts`: disjoint node sets, ascending node ids, each with ranks of the group; nodes
    in no part only forward. Both are None where nothing has to move (ratio 0).
    """

    ratio: Fraction
    cut: Cut | None
    parts: tuple[tuple[int, ...], ...] | None


@dataclass(frozen=True, slots=True)
class _Part:
    """A connected piece of the fabric that can be kept whole, or replaced by the smaller pieces it consists of."""

    nodes: tuple[int, ...]
    capacity: int  # of the links that leave it, or of those that enter it
    children: tuple[_Part, ...]


def allreduce_bound(topology: Topology, collective: Collective) -> Bound:
    """The best of these bounds on an allreduce of M bytes in the collective's group (lemma 9):

    - M / c⁺(S) for every node set S with ranks of the group inside and outside;
    - 2(m − 1)·M / Σ c⁺(P) over m disjoint parts P that hold ranks of the group and cover every node that can copy, and
      2(m − 1)·M / Σ c⁻(P) where they cover every node that can combine, the best among those nested in the fabric's
      levels.

    Raises UnreachableError as `optimum` does.
    """
    instance = problem(topology, collective, reverse=False)
    total = int(instance.weight.sum())
    if int(instance.terminal.sum()) < 2:
        return Bound(Fraction(0), None, None)
    best = _best_cut(instance, total)
    for reverse in (False, True):
        able = problem(topology, collective, reverse=reverse)
        parts = _best_parts(_hierarchy(able, _join_helpers(able), able.src, able.dst))
        if len(parts) > 1:
            capacity = Fraction(sum(part.capacity for part in parts), instance.scale)
            ratio = total * 2 * (len(parts) - 1) / capacity
            if ratio > best.ratio:
                best = Bound(ratio, None, tuple(part.nodes for part in parts))
    return best


def _best_cut(instance: Problem, total: int) -> Bound:
    """The smallest cut that separates the group: from its first rank to some other, or from some other to it."""
    root = np.zeros_like(instance.weight)
    root[np.flatnonzero(instance.terminal)[0]] = 1
    best = Bound(Fraction(0), None, None)
    for reverse in (False, True):
        ends = (instance.dst, instance.src) if reverse else (instance.src, instance.dst)
        found = optimum(replace(instance, src=ends[0], dst=ends[1], weight=root, reversed=reverse))
        if found.cut is None or found.ratio * total <= best.ratio:
            continue
        side = set(found.cut.side)
        nodes = tuple(v for v in range(instance.nodes) if (v in side) != reverse)
        weight = sum(int(instance.weight[v]) for v in nodes)
        best = Bound(found.ratio * total, Cut(nodes, weight, found.cut.exit_bandwidth), None)
    return best


def _join_helpers(instance: Problem) -> Ints:
    """[nodes] The representative of each node: a rank of the group for itself and for the nodes nearest to it that can
    copy (combine, if the problem is reversed) without being in the group; every other node for itself."""
    joined = np.arange(instance.nodes)
    helper = (instance.copies != 0) & (instance.terminal == 0)
    if not helper.any():
        return joined
    neighbours = _neighbours(instance.nodes, instance.src, instance.dst)
    nearest = np.full(instance.nodes, -1)
    queue = deque(np.flatnonzero(instance.terminal).tolist())
    nearest[list(queue)] = list(queue)
    while queue:
        v = queue.popleft()
        for u in neighbours[v]:
            if nearest[u] < 0:
                nearest[u] = nearest[v]
                queue.append(u)
    helper &= nearest >= 0  # one that nothing joins to a rank is of no help
    joined[helper] = nearest[helper]
    return joined


def _hierarchy(instance: Problem, joined: Ints, tail: Ints, head: Ints) -> _Part:
    """Nested pieces: single ranks; then what is connected over ever more levels of switches; at last everything.

    A level is the switches of equal distance from the ranks and equal degree, the nearest and smallest first.
    """
    tail, head = joined[tail], joined[head]
    levels = _levels(instance, joined, tail, head)
    ranks = np.flatnonzero(instance.terminal)
    members: dict[int, list[int]] = {int(v): [] for v in ranks}
    for v in range(instance.nodes):
        if instance.terminal[joined[v]]:
            members[int(joined[v])].append(v)
    label = np.full(instance.nodes, -1)
    label[ranks] = ranks
    pieces = {v: _Part(tuple(members[v]), c, ()) for v, c in _exits(label, tail, head, instance).items()}
    allowed = instance.terminal != 0
    for level in [np.empty(0, np.int64), *levels]:
        allowed[level] = True
        grown = _components(instance.nodes, tail, head, allowed)
        pieces = _grow(pieces, grown, members, _exits(grown, tail, head, instance))
    return _Part(tuple(range(instance.nodes)), 0, tuple(pieces.values()))


def _grow(
    pieces: dict[int, _Part], grown: Ints, members: dict[int, list[int]], exits: dict[int, int]
) -> dict[int, _Part]:
    """The pieces of the next level by their label, which is their smallest node, with the former pieces inside them."""
    inside: dict[int, list[_Part]] = {}
    for name, piece in pieces.items():
        inside.setdefault(int(grown[name]), []).append(piece)
    nodes: dict[int, list[int]] = {name: [] for name in inside}
    for v in np.flatnonzero(grown >= 0).tolist():
        if int(grown[v]) in nodes:
            nodes[int(grown[v])].extend(members.get(v, [v]))
    return {name: _Part(tuple(sorted(nodes[name])), exits[name], tuple(parts)) for name, parts in inside.items()}


def _levels(instance: Problem, joined: Ints, tail: Ints, head: Ints) -> list[Ints]:
    neighbours = _neighbours(instance.nodes, tail, head)
    distance = np.where(instance.terminal != 0, 0, -1)
    queue = deque(np.flatnonzero(instance.terminal).tolist())
    while queue:
        v = queue.popleft()
        for u in neighbours[v]:
            if distance[u] < 0:
                distance[u] = distance[v] + 1
                queue.append(u)
    by_key: dict[tuple[int, int], list[int]] = {}
    for v in np.flatnonzero((distance > 0) & (joined == np.arange(instance.nodes))).tolist():
        by_key.setdefault((int(distance[v]), len(neighbours[v])), []).append(v)
    return [np.array(by_key[key]) for key in sorted(by_key)]


def _neighbours(nodes: int, tail: Ints, head: Ints) -> list[list[int]]:
    neighbours: list[set[int]] = [set() for _ in range(nodes)]
    for u, v in zip(tail.tolist(), head.tolist(), strict=True):
        if u != v:
            neighbours[u].add(v)
            neighbours[v].add(u)
    return [sorted(near) for near in neighbours]


def _components(nodes: int, tail: Ints, head: Ints, allowed: NDArray[np.bool_]) -> Ints:
    """[nodes] The smallest node of each node's component among the allowed nodes; -1 elsewhere."""
    parent = list(range(nodes))

    def root(v: int) -> int:
        while parent[v] != v:
            parent[v] = v = parent[parent[v]]
        return v

    inner = allowed[tail] & allowed[head]
    for u, v in zip(tail[inner].tolist(), head[inner].tolist(), strict=True):
        a, b = root(u), root(v)
        parent[max(a, b)] = min(a, b)
    return np.array([root(v) if allowed[v] else -1 for v in range(nodes)])


def _exits(label: Ints, tail: Ints, head: Ints, instance: Problem) -> dict[int, int]:
    """Label → capacity of the links that leave the nodes of that label."""
    exits = {int(name): 0 for name in np.unique(label) if name >= 0}
    leaving = (label[tail] != label[head]) & (label[tail] >= 0)
    for name, capacity in zip(label[tail][leaving].tolist(), instance.capacity[leaving].tolist(), strict=True):
        exits[name] += capacity
    return exits


def _best_parts(top: _Part) -> list[_Part]:
    """The nested parts with the largest (m − 1) / Σ capacity, by Dinkelbach's method: for a price per capacity, each
    piece is kept whole or replaced by its children, whichever is worth more, on its own."""
    parts = list(top.children)
    if len(parts) == 1:
        parts = _expand(parts[0])
    while True:
        capacity = sum(part.capacity for part in parts)
        if len(parts) < 2 or capacity == 0:
            return parts
        price = Fraction(len(parts) - 1, capacity)
        _, chosen = _worth(top, price)
        if len(chosen) < 2:
            return parts
        if Fraction(len(chosen) - 1, max(1, sum(part.capacity for part in chosen))) <= price:
            return parts
        parts = chosen


def _expand(part: _Part) -> list[_Part]:
    """The pieces below a chain of only children."""
    while len(part.children) == 1:
        part = part.children[0]
    return list(part.children)


def _worth(part: _Part, price: Fraction) -> tuple[Fraction, list[_Part]]:
    whole = 1 - price * part.capacity
    if not part.children:
        return whole, [part]
    worths = [_worth(child, price) for child in part.children]
    split = sum((worth for worth, _ in worths), Fraction(0))
    if part.capacity > 0 and whole >= split:
        return whole, [part]
    return split, [piece for _, pieces in worths for piece in pieces]
