"""The forest certificate: valid forests pass with exact figures, and every rule catches what it is for."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction

import growth
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collsched.collective import KINDS, Collective, Kind
from collsched.errors import VerificationError
from collsched.forest.check import check_forest
from collsched.forest.model import Forest
from collsched.forest.problem import directions
from collsched.topology.model import Link, Node, Topology


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_random_forests_pass_with_exact_figures(seed: int) -> None:
    rng = random.Random(seed)
    topology = growth.fabric(rng, rng.randint(1, 8), rng.randint(0, 5))
    topology = growth.able(rng, topology) if rng.random() < 0.4 else topology
    ranks = len(topology.ranks)
    group = tuple(sorted(rng.sample(range(ranks), rng.randint(1, ranks))))
    collective = growth.collective(rng, topology, rng.choice(KINDS), group)
    reverse = rng.choice(directions(collective.kind))
    forest = growth.grow(rng, topology, collective, reverse=reverse, k=rng.randint(1, 4))
    report = check_forest(topology, collective, forest, reverse=reverse)
    ratio, heights = measure(topology, forest)
    assert report.ratio == ratio
    assert report.depth_max == max(heights, default=0)
    weights = forest.multiplicity.tolist()
    assert report.depth_mean == pytest.approx(float(np.average(heights, weights=weights)) if heights else 0)
    if report.max_load_link is None:
        assert ratio == 0


def measure(topology: Topology, forest: Forest) -> tuple[Fraction, list[int]]:
    """Ratio and heights, the slow way."""
    load = [0] * len(topology.links)
    heights = []
    for t, count in enumerate(forest.multiplicity.tolist()):
        depth = {int(forest.roots[t]): 0}
        for route in forest.edges[forest.ptr[t] : forest.ptr[t + 1]].tolist():
            links = forest.routes.links[forest.routes.ptr[route] : forest.routes.ptr[route + 1]].tolist()
            ends = topology.links[links[0]].src, topology.links[links[-1]].dst
            parent, child = ends if forest.direction == "out" else ends[::-1]
            depth[child] = depth[parent] + 1
            for link in links:
                load[link] += count
        heights.append(max(depth.values()))
    ratio = max(
        (Fraction(x) / (forest.k * link.bandwidth) for x, link in zip(load, topology.links, strict=True)), default=0
    )
    return Fraction(ratio), heights


# -- one small fabric, every rule by name ------------------------------------------------------------------------------
#
#     a ⇄ sw ⇄ b,  b → c → a,  b → sw2 → c, and sw → sw2 → sw

NODES = (Node("a", "rank"), Node("b", "rank"), Node("c", "rank"), Node("sw", "switch"), Node("sw2", "switch"))
PAIRS = [(0, 3), (3, 0), (1, 3), (3, 1), (1, 2), (2, 0), (1, 4), (4, 2), (3, 4), (4, 3)]
TOPOLOGY = Topology("small", NODES, tuple(Link(a, b, Fraction(10)) for a, b in PAIRS))
BROADCAST = Collective(Kind.BROADCAST, (0, 1, 2), (0,), (1,), 0)
AB, BC, CA, BSC, BA = [0, 3], [4], [5], [6, 7], [2, 1]


def tree(*paths: list[int], roots: tuple[int, ...] = (0,), **changes: object) -> Forest:
    """One tree from a, whose edges run over these links."""
    forest = growth.pack("out", 1, roots, [1] * len(roots), [0, *[len(paths)] * len(roots)], range(len(paths)), paths)
    return replace(forest, **changes)  # type: ignore[arg-type]


GOOD = tree(AB, BC)
SHORT = replace(GOOD.routes, ptr=np.array([0, 2, 2, 3], np.int64))
BROKEN = {
    "direction": replace(GOOD, direction="in"),
    "tree bounds": replace(GOOD, ptr=np.array([0, 1], np.int64)),
    "route bounds": replace(GOOD, routes=replace(GOOD.routes, ptr=np.array([0, 2, 9], np.int64))),
    "empty route": replace(GOOD, routes=SHORT),
    "link ids": tree(AB, [99]),
    "route ids": replace(GOOD, edges=np.array([0, 7], np.uint32)),
    "root ids": tree(AB, BC, roots=(3,)),
    "multiplicity": replace(GOOD, multiplicity=np.array([0])),
    "path": tree([0, 1, 3], BC),
    "route ends": tree(AB, [6]),
    "route inside": tree([0, 3, 4], AB),
    "simple route": tree([0, 8, 9, 3], BC),
    "once": tree(AB, BC, BSC),
    "parents first": tree(BC, AB),
    "spanning": tree(AB),
    "root weight": replace(GOOD, multiplicity=np.array([2])),
}


def test_the_small_tree_is_right() -> None:
    report = check_forest(TOPOLOGY, BROADCAST, GOOD, reverse=False)
    assert (report.ratio, report.depth_max, report.depth_mean, report.trees) == (Fraction(1, 10), 2, 2.0, 1)
    assert report.max_load_link in (0, 3, 4)


@pytest.mark.parametrize("rule", BROKEN)
def test_rule(rule: str) -> None:
    with pytest.raises(VerificationError, match=f"“{rule}”"):
        check_forest(TOPOLOGY, BROADCAST, BROKEN[rule], reverse=False)


def test_a_relay_must_relay() -> None:
    collective = replace(BROADCAST, group=(0, 1))
    assert check_forest(TOPOLOGY, collective, tree(AB), reverse=False).depth_max == 1
    with pytest.raises(VerificationError, match="“idle relay”"):
        check_forest(TOPOLOGY, collective, GOOD, reverse=False)
    assert check_forest(TOPOLOGY, replace(BROADCAST, group=(0, 2)), GOOD, reverse=False).depth_max == 2


@pytest.mark.parametrize("reverse", [False, True])
def test_a_switch_branches_only_if_it_can(reverse: bool) -> None:
    """a → sw → b and a → sw → sw2 → c, with one copy into sw; or all of it backwards, with one sum out of it."""
    ends = [(a, b) for a, b in PAIRS if (a, b) in ((0, 3), (3, 1), (3, 4), (4, 2))]
    links = tuple(Link(*(pair[::-1] if reverse else pair), Fraction(10)) for pair in ends)
    paths = [[ends.index((0, 3))], [ends.index((3, 1))], [ends.index((3, 4)), ends.index((4, 2))]]
    paths = [path[::-1] if reverse else path for path in paths]
    direction = "in" if reverse else "out"
    forest = growth.pack(direction, 1, (0,), [1], [0, 3], range(3), paths)
    collective = Collective(Kind.REDUCE if reverse else Kind.BROADCAST, (0, 1, 2), (0,), (1,), 0)
    for multicast, reduce in ((False, False), (True, False), (False, True), (True, True)):
        nodes = (*NODES[:3], replace(NODES[3], multicast=multicast, reduce=reduce), NODES[4])
        topology = Topology("branch", nodes, links)
        if reduce if reverse else multicast:
            assert check_forest(topology, collective, forest, reverse=reverse).ratio == Fraction(1, 10)
        else:
            with pytest.raises(VerificationError, match="“route ends”"):
                check_forest(topology, collective, forest, reverse=reverse)


def test_a_root_with_several_trees() -> None:
    both = growth.pack("out", 2, [0, 0], [1, 1], [0, 2, 4], [0, 1, 0, 2], [AB, BC, BSC])
    report = check_forest(TOPOLOGY, BROADCAST, both, reverse=False)
    assert (report.ratio, report.trees) == (Fraction(1, 10), 2)


@pytest.mark.parametrize("large", [2**20, 2**21 - 1, 2**45 + 12345, 2**61])
def test_large_multiplicities_are_exact(large: int) -> None:
    both = growth.pack("out", large + 1, [0, 0], [large, 1], [0, 2, 4], [0, 1, 0, 2], [AB, BC, BSC])
    slower = replace(TOPOLOGY.links[4], bandwidth=Fraction(1))
    topology = replace(TOPOLOGY, links=(*TOPOLOGY.links[:4], slower, *TOPOLOGY.links[5:]))
    report = check_forest(topology, BROADCAST, both, reverse=False)
    assert (report.ratio, report.max_load_link) == (Fraction(large, large + 1), 4)


def test_messages(golden) -> None:  # type: ignore[no-untyped-def]
    lines = []
    for rule, forest in BROKEN.items():
        with pytest.raises(VerificationError) as caught:
            check_forest(TOPOLOGY, BROADCAST, forest, reverse=False)
        lines.append(f"{rule}\n    {caught.value}")
    golden.check("\n".join(lines), "forest-errors")
