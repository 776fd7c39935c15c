"""Trees whose ranks are joined by others: what becomes of them."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from catalogued import built
from hypothesis import given, settings
from hypothesis import strategies as st

from collsched.algorithms.direct import direct
from collsched.algorithms.relaying import Relays
from collsched.algorithms.trees import ABSENT, ROOT, Direction, Trees, Unreachable, depths
from collsched.collective import make_collective
from collsched.topology import bundled
from collsched.topology.model import Link, Node, Topology


def row(ranks: int, *, both: bool = True) -> Topology:
    pairs = [(i, i + 1) for i in range(ranks - 1)]
    pairs += [(b, a) for a, b in pairs] if both else []
    nodes = tuple(Node(f"r{i}", "rank") for i in range(ranks))
    return Topology("row", nodes, tuple(Link(a, b, Fraction(1)) for a, b in pairs))


def relays(fabric: Topology, group: str | None = None) -> Relays:
    return Relays(fabric, make_collective(fabric, "allgather", group=group))


def test_what_passes_a_rank_stays_there() -> None:
    """0 → 2, 0 → 1, 1 → 3 in a row: 1 has it before its turn, and 2 is nearer to 3."""
    parent = np.array([[ROOT, 0, 0, 1]])
    for direction in ("out", "in"):
        assert relays(row(4)).relayed(parent, direction).tolist() == [[ROOT, 0, 1, 2]]


def test_ranks_outside_the_group_are_numbered_behind_it() -> None:
    parent = np.array([[ROOT, 0, 1]])
    assert relays(row(5), "0,2,4").relayed(parent, "out").tolist() == [[ROOT, 3, 4, 0, 1]]


def test_one_way_links_lead_one_way() -> None:
    parent = np.array([[ROOT, 0, 0]])
    assert relays(row(3, both=False)).relayed(parent, "out").tolist() == [[ROOT, 0, 1]]
    with pytest.raises(Unreachable):
        relays(row(3, both=False)).relayed(parent, "in")


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), direction=st.sampled_from(["in", "out"]))
def test_stars_become_trees_of_shortest_paths(seed: int, direction: Direction) -> None:
    """On any strongly connected graph of ranks, as deep as breadth-first search."""
    draw = random.Random(seed)
    count = draw.randint(2, 9)
    order = draw.sample(range(count), count)
    arcs = {(a, b) for a, b in zip(order, order[1:] + order[:1], strict=True) if a != b}
    arcs |= {(a, b) for a in range(count) for b in range(count) if a != b and draw.random() < 0.2}
    nodes = tuple(Node(f"r{i}", "rank") for i in range(count))
    fabric = Topology("any", nodes, tuple(Link(a, b, Fraction(1)) for a, b in sorted(arcs)))
    parent = relays(fabric).relayed(direct(count).parent, direction)
    tree, child = np.nonzero(parent >= 0)
    used = set(zip(parent[tree, child].tolist(), child.tolist(), strict=True))
    assert used <= (arcs if direction == "out" else {(b, a) for a, b in arcs})
    assert (parent != ABSENT).all() and ((parent == ROOT) == np.eye(count, dtype=bool)).all()
    assert (depths(parent) == distances(arcs if direction == "out" else {(b, a) for a, b in arcs}, count)).all()


def distances(arcs: set[tuple[int, int]], count: int) -> np.ndarray:
    far = np.where(np.eye(count, dtype=bool), 0, count)
    for _ in range(count):
        for a, b in arcs:
            far[:, b] = np.minimum(far[:, b], far[:, a] + 1)
    return far


def test_equal_paths_are_used_alike() -> None:
    """Direct on a torus: the fullest link carries at most twice the mean."""
    forest = built(bundled("torus-2d", dims="7x7"), "allgather", "direct").forests[0]
    load = Counter(forest.edges.tolist())
    assert len(load) == 4 * 49 and max(load.values()) <= 2 * 48 * 49 / (4 * 49)


def test_a_tree_whose_pairs_all_have_routes_stays() -> None:
    trees = Trees(np.array([0]), np.array([[ROOT, 0, 1, 2]]))
    assert (relays(row(4)).relayed(trees.parent, "out") == trees.parent).all()
