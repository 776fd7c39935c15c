"""The oracle itself, against hand-made answers and networkx."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction

import networkx as nx
import pytest

from collsched.graph import oracle


@pytest.mark.parametrize("seed", range(40))
def test_max_flow_agrees_with_networkx(seed: int) -> None:
    draw = random.Random(seed)
    nodes = draw.randint(2, 8)
    arcs = {(u, v): draw.randint(1, 9) for u in range(nodes) for v in range(nodes) if u != v and draw.random() < 0.4}
    graph = nx.DiGraph()
    graph.add_nodes_from(range(nodes))
    for (u, v), capacity in arcs.items():
        graph.add_edge(u, v, capacity=capacity)
    assert oracle.max_flow(nodes, arcs, 0, nodes - 1) == nx.maximum_flow_value(graph, 0, nodes - 1)


def test_ratio_of_a_ring() -> None:
    ring = {(v, (v + 1) % 4): 5 for v in range(4)}
    assert oracle.ratio(4, ring, [1] * 4, range(4)) == Fraction(3, 5)


def test_ratio_without_a_way_out() -> None:
    assert oracle.ratio(2, {(0, 1): 1}, [1, 1], [0, 1]) is None


def test_pack_spans_and_stays_within_slots() -> None:
    slots = {(u, v): 1 for u in range(4) for v in range(4) if u != v}
    trees = oracle.pack(4, slots, [1, 1, 1, 0])
    assert [root for root, _ in trees] == [0, 1, 2]
    used = Counter(arc for _, tree in trees for arc in tree)
    assert all(used[arc] <= slots[arc] for arc in used)
    for root, tree in trees:
        assert {v for _, v in tree} == set(range(4)) - {root}


def test_pack_refuses_too_many() -> None:
    with pytest.raises(ValueError, match="do not support"):
        oracle.pack(3, {(0, 1): 1, (1, 2): 1, (2, 0): 1}, [1, 1, 1])
