"""Slow and obvious: every answer by its definition, to judge the native core on small graphs.

A graph is its number of nodes and a mapping (tail, head) → capacity. Enumerations are exponential in nodes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

Arcs = Mapping[tuple[int, int], int]


def max_flow(nodes: int, arcs: Arcs, source: int, sink: int) -> int:
    """Edmonds and Karp: shortest augmenting paths on a matrix of residuals."""
    residual = [[0] * nodes for _ in range(nodes)]
    for (u, v), capacity in arcs.items():
        residual[u][v] += capacity
    flow = 0
    while (path := _shortest_path(residual, source, sink)) is not None:
        amount = min(residual[u][v] for u, v in path)
        for u, v in path:
            residual[u][v] -= amount
            residual[v][u] += amount
        flow += amount
    return flow


def _shortest_path(residual: Sequence[Sequence[int]], source: int, sink: int) -> list[tuple[int, int]] | None:
    before = {source: source}
    queue = deque([source])
    while queue and sink not in before:
        u = queue.popleft()
        for v, room in enumerate(residual[u]):
            if room > 0 and v not in before:
                before[v] = u
                queue.append(v)
    if sink not in before:
        return None
    path = [(before[sink], sink)]
    while path[-1][0] != source:
        path.append((before[path[-1][0]], path[-1][0]))
    return path


def cuts(
    nodes: int, arcs: Arcs, weight: Sequence[int], terminals: Sequence[int]
) -> Iterator[tuple[set[int], int, int]]:
    """Every node set S that misses a terminal, with w(S) and c⁺(S)."""
    for mask in range(1 << nodes):
        side = {v for v in range(nodes) if mask >> v & 1}
        if not side.issuperset(terminals):
            leaving = sum(c for (u, v), c in arcs.items() if u in side and v not in side)
            yield side, sum(weight[v] for v in side), leaving


def ratio(nodes: int, arcs: Arcs, weight: Sequence[int], terminals: Sequence[int]) -> Fraction | None:
    """The largest w(S) / c⁺(S); None if some data cannot leave where it must."""
    best = Fraction(0)
    for _, inside, leaving in cuts(nodes, arcs, weight, terminals):
        if inside and not leaving:
            return None
        if inside:
            best = max(best, Fraction(inside, leaving))
    return best


def supports(nodes: int, slots: Arcs, weight: Sequence[int], terminals: Sequence[int], k: int) -> bool:
    """Whether k·W can flow to every terminal, from a source with k·w(v) to every node v."""
    network = dict(slots) | {(nodes, v): k * weight[v] for v in range(nodes) if weight[v]}
    return all(max_flow(nodes + 1, network, nodes, t) >= k * sum(weight) for t in terminals)


def pack(nodes: int, slots: Arcs, supply: Sequence[int]) -> list[tuple[int, list[tuple[int, int]]]]:
    """supply[v] spanning out-trees of every node v within the slots, as (root, arcs), by Lovász' proof of Edmonds'
    theorem: tree by tree and arc by arc; an arc is good if the rest can still flow everywhere without it.

    Raises ValueError if the slots do not support them.
    """
    left, waiting = dict(slots), list(supply)
    trees: list[tuple[int, list[tuple[int, int]]]] = []
    for root in range(nodes):
        for _ in range(supply[root]):
            waiting[root] -= 1
            tree: list[tuple[int, int]] = []
            while len(tree) < nodes - 1:
                tree.append(_good_arc(nodes, left, waiting, {root} | {v for _, v in tree}))
                left[tree[-1]] -= 1
            trees.append((root, tree))
    return trees


def _good_arc(nodes: int, left: dict[tuple[int, int], int], waiting: list[int], reached: set[int]) -> tuple[int, int]:
    need = sum(waiting) + 1
    for (u, v), capacity in left.items():
        if not capacity or u not in reached or v in reached:
            continue
        network = {arc: c - (arc == (u, v)) for arc, c in left.items()}
        network |= {(nodes, root): count for root, count in enumerate(waiting) if count}
        network[nodes, nodes + 1] = 1  # the growing tree feeds what it has reached
        network |= {(nodes + 1, x): need for x in reached | {v}}
        if all(max_flow(nodes + 2, network, nodes, t) >= need for t in range(nodes)):
            return u, v
    raise ValueError("the slots do not support that many trees")
