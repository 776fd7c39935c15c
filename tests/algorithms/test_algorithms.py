"""The usual algorithms: verified wherever they apply, with the shapes and loads that they are known for."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import pairwise
from math import ceil, log2

import numpy as np
import pytest

from collsched.algorithms import baselines
from collsched.algorithms.double_tree import chained, double_tree
from collsched.algorithms.exchange import EXCHANGES
from collsched.algorithms.halving_doubling import halving_doubling
from collsched.algorithms.hierarchical import hierarchical
from collsched.algorithms.routing import Router
from collsched.algorithms.trees import Ints, Trees
from collsched.collective import make_collective
from collsched.ir.verify import verify
from collsched.lower import lower
from collsched.topology import bundled
from collsched.topology.model import Link, Node, Topology

KINDS = ("allgather", "reduce-scatter", "allreduce")
FABRICS = {
    "dgx-a100": {"boxes": "3"},
    "mi250": {},
    "torus-2d": {},
    "unequal-boxes": {},
    "degraded": {},
    "leaf-spine": {},
    "rail-only": {},
    "hypercube": {},
    "random-switched": {},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FABRICS)
def test_all_are_verified(name: str, kind: str) -> None:
    fabric = bundled(name, **FABRICS[name])
    found = baselines(fabric, make_collective(fabric, kind))
    for baseline in found:
        verify(fabric, lower(fabric, baseline.collective, baseline.forests))
    assert {"ring", "halving-doubling", "direct"} <= {baseline.name for baseline in found}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ranks", [2, 3, 5, 6, 8, 13])
def test_any_number_of_ranks_with_unequal_shards_and_relays(ranks: int, kind: str) -> None:
    fabric = star(ranks + 2)
    shards = {f"r{i + 1}": Fraction(i % 3) + (i == 0) for i in range(ranks)}
    collective = make_collective(fabric, kind, group=list(range(1, ranks + 1)), shards=shards)
    found = baselines(fabric, collective)
    for baseline in found:
        verify(fabric, lower(fabric, baseline.collective, baseline.forests))
    expected = {"ring", "halving-doubling", "direct"} | ({"double-binary-tree"} if kind == "allreduce" else set())
    assert {baseline.name for baseline in found} == expected


def test_all_apply_to_boxes_and_load_what_is_known() -> None:
    """Two boxes of 8, a NIC of 25 GB/s a rank: the load of the fullest link per byte of the buffer, in s/GB."""
    fabric = bundled("dgx-a100", boxes="2")
    loads: dict[str, set[Fraction]] = {}
    for baseline in baselines(fabric, make_collective(fabric, "allreduce")):
        report = verify(fabric, lower(fabric, baseline.collective, baseline.forests))
        loads.setdefault(baseline.name, set()).add(report.ratio / sum(baseline.collective.shards))
    nic, nvlink = Fraction(1, 25), Fraction(1, 300)
    # One ring has a direction of its own in each phase; several use every direction in both.
    assert loads["ring"] == {Fraction(15, 16) * nic, Fraction(30, 16) * nic / 8}
    assert min(loads["hierarchical"]) == 2 * Fraction(7, 8) * nvlink
    # Far first, 8 of 16 shards of a rank's half cross: less than near first, when all 8 shards of a box do.
    assert min(loads["halving-doubling"]) < max(loads["halving-doubling"]) == 2 * Fraction(8, 16) * nic


def test_none_where_nothing_is_exchanged() -> None:
    fabric = star(4)
    assert baselines(fabric, make_collective(fabric, "all-to-all", group="1")) == []
    assert baselines(fabric, make_collective(fabric, "allreduce", group="1")) == []


def test_a_ring_on_a_torus_joins_neighbours() -> None:
    fabric = bundled("torus-2d")
    rings = [b for b in baselines(fabric, make_collective(fabric, "allgather")) if b.name == "ring"]
    assert rings and all(set(np.diff(ring.forests[0].routes.ptr).tolist()) == {1} for ring in rings)


def test_several_rings_use_every_network_port_alike() -> None:
    fabric = bundled("rail-only")
    rings = [b for b in baselines(fabric, make_collective(fabric, "allgather")) if b.name == "ring"]
    several = max(rings, key=lambda ring: ring.forests[0].k)
    used = set(several.forests[0].routes.links.tolist())
    ports = [i for i, link in enumerate(fabric.links) if "rail" in fabric.nodes[link.dst].name]
    assert ports and set(ports) <= used


def spans(trees: Trees) -> bool:
    """Whether every parent chain ends at the tree's root."""
    return all(depths(parent)[root] == 0 for root, parent in zip(trees.root, trees.parent, strict=True))


def depths(parent: Ints) -> list[int]:
    found = []
    for member in range(len(parent)):
        steps, at = 0, member
        while parent[at] >= 0:
            at, steps = int(parent[at]), steps + 1
            assert steps <= len(parent), "a cycle"
        found.append(steps)
    assert found.count(0) == 1
    return found


@pytest.mark.parametrize("members", range(2, 34))
def test_double_trees_share_no_inner_member(members: int) -> None:
    trees = double_tree(members)
    assert spans(trees) and len(set(trees.root.tolist())) == 2
    first, second = (set(parent[parent >= 0].tolist()) for parent in trees.parent)
    assert not first & second
    assert max(Counter(trees.parent[0].tolist()).values()) <= 2
    assert max(depths(trees.parent[0])) <= ceil(log2(members + 1))


def test_chained_trees_span_hosts_of_any_size() -> None:
    assert spans(chained([[0, 1, 2], [3], [4, 5], [6, 7, 8, 9], [10]]))


@pytest.mark.parametrize("near_first", [True, False])
@pytest.mark.parametrize("members", range(2, 34))
def test_halving_doubling_is_as_deep_as_its_bits(members: int, near_first: bool) -> None:
    trees = halving_doubling(members, near_first=near_first)
    assert spans(trees)
    core = members.bit_length() - 1
    assert max(max(depths(parent)) for parent in trees.parent) <= core + 2 * (members > 1 << core)


@pytest.mark.parametrize("between", EXCHANGES)
def test_hierarchical_enters_every_group_once(between: str) -> None:
    """Groups of 3, 1, 4 and 2 in two groups of groups, in no order."""
    inner = np.array([0, 2, 1, 2, 0, 3, 2, 3, 0, 2])
    outer = np.where(inner < 2, 0, 1)
    trees = hierarchical([outer, inner], [EXCHANGES[between], EXCHANGES["ring"], EXCHANGES["direct"]])
    assert spans(trees)
    tree, child = np.nonzero(trees.parent >= 0)
    parent = trees.parent[tree, child]
    for level in (outer, inner):
        across = level[parent] != level[child]
        entering = Counter(zip(tree[across].tolist(), level[child[across]].tolist(), strict=True))
        assert set(entering.values()) == {1}
        assert len(entering) == len(trees.root) * (len(set(level)) - 1)


def star(ranks: int) -> Topology:
    nodes = (*(Node(f"r{i}", "rank") for i in range(ranks)), Node("sw", "switch"))
    pairs = [pair for i in range(ranks) for pair in ((i, ranks), (ranks, i))]
    return Topology("star", nodes, tuple(Link(a, b, Fraction(10)) for a, b in pairs))


def test_routes_are_shortest_and_balanced() -> None:
    """a and b behind leaf l, c and d behind leaf m, two spines of unequal width, and a detour through rank b."""
    names = ("a", "b", "c", "d", "l", "m", "wide", "thin")
    nodes = tuple(Node(name, "rank" if i < 4 else "switch") for i, name in enumerate(names))
    both = [("a", "l", 10), ("b", "l", 10), ("c", "m", 10), ("d", "m", 10), ("a", "b", 99), ("b", "c", 99)]
    both += [(leaf, spine, 20 if spine == "wide" else 10) for leaf in "lm" for spine in ("wide", "thin")]
    at = {name: i for i, name in enumerate(names)}
    links = [Link(at[x], at[y], Fraction(rate)) for a, b, rate in both for x, y in ((a, b), (b, a))]
    fabric = Topology("leaves", nodes, tuple(links))
    router = Router(fabric)
    numbers = [router.route(*pair) for pair in ((0, 2), (0, 3), (1, 3), (0, 1))]
    routes = router.routes()
    paths = [routes.links[a:b].tolist() for a, b in pairwise(routes.ptr.tolist())]
    through = [[names[fabric.links[link].dst] for link in path] for path in paths]
    assert numbers == [0, 1, 2, 3] and router.route(0, 2) == 0
    assert [len(path) for path in paths] == [4, 4, 4, 1]
    assert [path[1] for path in through[:3]] == ["wide", "wide", "thin"]
    assert router.hops(0) == {0: 0, 1: 1, 2: 4, 3: 4}


def test_routes_do_not_pass_through_ranks() -> None:
    links = tuple(Link(a, b, Fraction(1)) for a, b in ((0, 1), (1, 0), (1, 2), (2, 1)))
    line = Topology("line", tuple(Node(name, "rank") for name in "abc"), links)
    assert Router(line).route(0, 2) is None
