"""All-to-all: closed forms, cuts of all subsets, and rules that broken paths break."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import product

import growth
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collsched.collective import Collective, make_collective
from collsched.errors import VerificationError
from collsched.forest import concurrent
from collsched.forest.check import check_forest
from collsched.forest.concurrent import Exchange, exchange
from collsched.forest.fabric import Fabric
from collsched.forest.model import Forest
from collsched.forest.paths import decompose
from collsched.forest.spread import spread
from collsched.topology import bundled
from collsched.topology.model import Link, Node, Topology

B = Fraction(25)


def all_to_all(topology: Topology, group: tuple[int, ...] | None = None) -> Collective:
    return make_collective(topology, "all-to-all", group=group)


def found(topology: Topology, group: tuple[int, ...] | None = None) -> tuple[Exchange, Fraction]:
    """The paths, checked, and what they take."""
    collective = all_to_all(topology, group)
    result = exchange(topology, collective)
    report = check_forest(topology, collective, result.forest, reverse=False)
    assert report.ratio == result.optimum.reached >= result.optimum.ratio
    assert result.optimum.certified == (report.ratio == result.optimum.ratio)
    return result, report.ratio


def graph(ranks: int, switches: int, pairs: list[tuple[int, int]], bandwidth: Fraction = B) -> Topology:
    nodes = [Node(f"gpu{i}", "rank") for i in range(ranks)] + [Node(f"sw{i}", "switch") for i in range(switches)]
    return Topology("graph", tuple(nodes), tuple(Link(a, b, bandwidth) for a, b in pairs))


def star(ranks: int) -> Topology:
    return graph(ranks, 1, [pair for i in range(ranks) for pair in ((i, ranks), (ranks, i))])


def ring(ranks: int, both: bool) -> Topology:
    forth = [(i, (i + 1) % ranks) for i in range(ranks)]
    return graph(ranks, 0, forth + [(b, a) for a, b in forth] * both)


def two_boxes(ranks: int, between: Fraction) -> Topology:
    """Two switches with `ranks` ranks each at full rate, joined by one cable."""
    sw = 2 * ranks
    pairs = [pair for i in range(2 * ranks) for pair in ((i, sw + i // ranks), (sw + i // ranks, i))]
    topology = graph(2 * ranks, 2, pairs, 1000 * B)
    return replace(topology, links=(*topology.links, Link(sw, sw + 1, between), Link(sw + 1, sw, between)))


@pytest.mark.parametrize("ranks", [2, 3, 8, 40])
def test_a_switch_is_as_fast_as_a_port(ranks: int) -> None:
    result, ratio = found(star(ranks))
    assert result.optimum.certified and ratio == (ranks - 1) / B


@pytest.mark.parametrize("ranks", [2, 3, 4, 7, 10])
def test_rings(ranks: int) -> None:
    """One way, a unit crosses 1 … n − 1 links; both ways, those of the shorter side: floor(n² / 4) for each source."""
    result, ratio = found(ring(ranks, both=False))
    assert result.optimum.certified and ratio == Fraction(ranks * (ranks - 1), 2) / B
    if ranks > 2:
        result, ratio = found(ring(ranks, both=True))
        assert result.optimum.certified and ratio == Fraction(ranks**2 // 4, 2) / B


@pytest.mark.parametrize("ranks", [1, 3, 8])
def test_two_boxes_share_their_cable(ranks: int) -> None:
    result, ratio = found(two_boxes(ranks, Fraction(7)))
    assert result.optimum.certified and ratio == Fraction(ranks**2, 7)


@pytest.mark.parametrize("side", [3, 4, 5])
def test_tori(side: int) -> None:
    """Every source spends as many hops as lie on the way to all others; all links share them evenly."""
    pairs = set()
    for x, y in product(range(side), repeat=2):
        for a, b in ((x + 1) % side, y), (x, (y + 1) % side):
            pairs |= {(x * side + y, a * side + b), (a * side + b, x * side + y)}
    result, ratio = found(graph(side * side, 0, sorted(pairs)))
    hops = sum(min(x, side - x) + min(y, side - y) for x, y in product(range(side), repeat=2))
    assert result.optimum.certified and ratio == Fraction(hops, 4) / B


def test_ranks_relay_where_no_switch_does() -> None:
    result, ratio = found(ring(3, both=False), (0, 2))
    assert ratio == 1 / B and result.optimum.certified
    sizes = np.diff(result.forest.ptr)
    assert sorted(sizes.tolist()) == [1, 2]  # 0 → 1 → 2 in two hops


@pytest.mark.parametrize(
    "name", ["mi250", "degraded", "dgx1-v100", "rail-only", "random-irregular", "unequal-boxes", "pcie-bridge"]
)
def test_machines_reach_a_proven_optimum(name: str) -> None:
    result, _ = found(bundled(name))
    assert result.optimum.certified


def worst_cut(topology: Topology) -> Fraction:
    """The largest |ranks inside| · |ranks outside| / bandwidth out, over all node sets."""
    worst = Fraction(0)
    for bits in range(1, 1 << len(topology.nodes)):
        inside = [node for node in range(len(topology.nodes)) if bits >> node & 1]
        ranks = sum(rank in inside for rank in topology.ranks)
        out = sum((link.bandwidth for link in topology.links if bits >> link.src & ~bits >> link.dst & 1), Fraction(0))
        if out:
            worst = max(worst, Fraction(ranks * (len(topology.ranks) - ranks)) / out)
    return worst


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_paths_and_prices_close_in_on_random_fabrics(seed: int) -> None:
    rng = random.Random(seed)
    topology = growth.fabric(rng, rng.randint(2, 6), rng.randint(0, 3))
    result, ratio = found(topology)
    assert ratio >= worst_cut(topology)
    assert result.optimum.ratio >= worst_cut(topology) * Fraction(999, 1000)
    assert ratio <= result.optimum.ratio * Fraction(1001, 1000)  # small enough for the linear program


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_flow_becomes_whole_paths(seed: int) -> None:
    """Whatever spreading gives, also its averages, every pair gets all of its units."""
    rng = random.Random(seed)
    topology = growth.fabric(rng, rng.randint(2, 7), rng.randint(0, 3))
    fabric = Fabric.of(topology, all_to_all(topology))
    for flow in spread(fabric)[0]:
        paths = decompose(fabric, flow)
        pairs: dict[tuple[int, int], int] = {}
        for links, units in zip(paths.links, paths.units, strict=True):
            ends = (int(fabric.src[links[0]]), int(fabric.dst[links[-1]]))
            pairs[ends] = pairs.get(ends, 0) + units
        assert pairs == {(a, b): paths.k for a in topology.ranks for b in topology.ranks if a != b}
        exact = flow.sum(axis=1)
        assert (paths.load(len(topology.links)) / paths.k - exact).max() < 1e-2  # less, where a cycle is left out


def test_beyond_the_program_the_gap_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    topology = bundled("random-irregular")
    assert found(topology)[0].optimum.certified
    monkeypatch.setattr(concurrent, "MOST_VARIABLES", 0)
    result, ratio = found(topology)
    assert 0.8 * ratio < result.optimum.ratio < ratio and not result.optimum.certified


# -- rules -------------------------------------------------------------------------------------------------------------
#
#     a → b → c → a


TRIANGLE = ring(3, both=False)
ALL = all_to_all(TRIANGLE)
GOOD = growth.pack(
    "out", 1, [0, 0, 1, 1, 2, 2], [1] * 6, [0, 1, 3, 4, 6, 7, 9], [0, 0, 1, 1, 1, 2, 2, 2, 0], [[0], [1], [2]]
)


def changed(**columns: list[int]) -> Callable[[], Forest]:
    return lambda: replace(
        GOOD, **{name: np.array(values, getattr(GOOD, name).dtype) for name, values in columns.items()}
    )


BROKEN = {
    "spanning": changed(ptr=[0, 0, 2, 3, 5, 6, 8], edges=[0, 1, 1, 1, 2, 2, 2, 0]),
    "parents first": changed(edges=[0, 1, 0, 1, 1, 2, 2, 2, 0]),
    "once": changed(ptr=[0, 1, 4, 5, 7, 8, 10], edges=[0, 0, 1, 2, 1, 1, 2, 2, 2, 0]),
    "root weight": changed(multiplicity=[1, 1, 1, 1, 1, 2]),
}


def test_the_triangle_is_right() -> None:
    assert check_forest(TRIANGLE, ALL, GOOD, reverse=False).ratio == 3 / B


@pytest.mark.parametrize("rule", BROKEN)
def test_rule(rule: str) -> None:
    with pytest.raises(VerificationError, match=f"“{rule}”"):
        check_forest(TRIANGLE, ALL, BROKEN[rule](), reverse=False)


def test_every_pair_counts_by_itself() -> None:
    """Two paths to one target and none to the other: the source's total is right, the pairs are not."""
    twice = changed(ptr=[0, 1, 2, 3, 5, 6, 8], edges=[0, 0, 1, 1, 2, 2, 2, 0])()
    with pytest.raises(VerificationError, match="paths from gpu0 to gpu1 count 2"):
        check_forest(TRIANGLE, ALL, twice, reverse=False)


def test_a_path_does_not_fork() -> None:
    both = ring(3, both=True)
    links = {(link.src, link.dst): i for i, link in enumerate(both.links)}
    paths = [[links[a, b]] for a, b in ((0, 1), (0, 2))]
    fork = growth.pack("out", 1, [0], [1], [0, 2], [0, 1], paths)
    with pytest.raises(VerificationError, match="“one way”"):
        check_forest(both, all_to_all(both), fork, reverse=False)
