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
from collsched.forest.model import Forest, Routes
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
@given(seed=st.integers(0, 2**32), unequal=st.booleans())
def test_any_flow_becomes_whole_paths(seed: int, unequal: bool) -> None:
    """Whatever spreading gives, also its averages, every pair gets all of its units, and loads stay what they were."""
    rng = random.Random(seed)
    topology = growth.fabric(rng, rng.randint(2, 7), rng.randint(0, 3))
    fabric = Fabric.of(topology, matrix(rng, topology) if unequal else all_to_all(topology))
    for flow in spread(fabric)[0]:
        paths = decompose(fabric, flow)
        assert pairs(fabric, paths.forest) == wanted(fabric, paths.forest.k)
        assert np.array_equal(paths.load, loads(fabric, paths.forest))
        # Less, where a cycle is left out; more by what rounding to units makes of every path.
        assert (paths.load / paths.forest.k - flow.sum(axis=0)).max() < 1e-2


def test_few_parts_a_pair_stay_near_the_flow() -> None:
    """Beyond a number of edges, pairs are held to few paths: what one source rounds up, the next ones round down."""
    fabric = Fabric.of(bundled("torus-2d", dims="8x8"), all_to_all(bundled("torus-2d", dims="8x8")))
    (flow,), _ = spread(fabric)
    forest, load = traced(fabric, flow, 1, 1)
    assert len(forest.roots) == 64 * 63 and pairs(fabric, forest) == wanted(fabric, 1)
    assert load.max() <= flow.sum(axis=0).max() * 1.1


def test_cycles_are_taken_out() -> None:
    """a → b → c and a circle b → c → b beside it, through the target and through the source."""
    topology = graph(3, 0, [(0, 1), (1, 0), (1, 2), (2, 1), (2, 0)])
    fabric = Fabric.of(topology, demands(topology, [[0, 0, 1], [0, 0, 0], [0, 0, 0]]))
    flow = np.zeros((3, 5))
    flow[0] = [1.5, 0, 2, 1, 0.5]  # 0.5 goes round through all three, 1 to and fro between b and c
    flow[0, 3] = 0.5
    forest, load = traced(fabric, flow, 2, 2)
    assert load.tolist() == [2, 0, 2, 0, 0] and forest.multiplicity.tolist() == [2]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_unequal_demands_meet_the_program_of_single_pairs(seed: int) -> None:
    """The optimum lies between what is proven and what is reached, and both are near it."""
    rng = random.Random(seed)
    topology = growth.fabric(rng, rng.randint(2, 5), rng.randint(0, 3))
    collective = matrix(rng, topology)
    result = exchange(topology, collective)
    report = check_forest(topology, collective, result.forest, reverse=False)
    assert report.ratio == result.optimum.reached >= result.optimum.ratio
    best = pair_program(topology, collective)
    assert float(result.optimum.ratio) <= best * (1 + 1e-6) and best * (1 - 1e-6) <= float(report.ratio)
    assert float(report.ratio) <= best * 1.001 + 1e-12 and float(result.optimum.ratio) >= best * 0.999


@pytest.mark.parametrize("name", ["random-irregular", "degraded", "dragonfly", "random-switched"])
def test_balancing_comes_close_where_the_program_is_too_large(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrent, "MOST_VARIABLES", 0)
    monkeypatch.setattr(concurrent, "spread", lambda fabric: ([spread(fabric)[0][-1]], []))
    result, ratio = found(bundled(name))
    assert ratio <= result.optimum.ratio * Fraction(1005, 1000)


def test_nothing_to_send() -> None:
    topology = star(3)
    collective = demands(topology, [[1, 0, 0], [0, 2, 0], [0, 0, 0]])
    result = exchange(topology, collective)
    assert result.optimum.ratio == 0 and result.optimum.certified and not len(result.forest.roots)
    assert check_forest(topology, collective, result.forest, reverse=False).ratio == 0


def demands(topology: Topology, sizes: list[list[int]]) -> Collective:
    names = [topology.nodes[rank].name for rank in topology.ranks]
    given = {a: dict(zip(names, row, strict=True)) for a, row in zip(names, sizes, strict=True)}
    return make_collective(topology, "all-to-all", matrix=given)


def matrix(rng: random.Random, topology: Topology) -> Collective:
    count = len(topology.ranks)
    sizes = [[rng.choice((0, 0, 1, 2, 7, 1000)) for _ in range(count)] for _ in range(count)]
    sizes[0][-1] += 1
    return demands(topology, sizes)


def traced(fabric: Fabric, flow: np.ndarray, k: int, parts: int) -> tuple[Forest, np.ndarray]:
    (roots, multiplicity, ptr, edges, *routes), load = fabric.native.trace(flow.ravel(), k, parts)
    return Forest("out", k, roots, multiplicity, ptr, edges, Routes(*routes)), load


def pairs(fabric: Fabric, forest: Forest) -> dict[tuple[int, int], int]:
    """Units by the ends of the paths, whose links must follow each other."""
    units: dict[tuple[int, int], int] = {}
    for tree, root in enumerate(forest.roots.tolist()):
        at = root
        for link in path(forest, tree):
            assert fabric.src[link] == at
            at = int(fabric.dst[link])
        units[root, at] = units.get((root, at), 0) + int(forest.multiplicity[tree])
    return units


def path(forest: Forest, tree: int) -> list[int]:
    routes = forest.edges[forest.ptr[tree] : forest.ptr[tree + 1]].tolist()
    return [link for r in routes for link in forest.routes.links[forest.routes.ptr[r] : forest.routes.ptr[r + 1]]]


def wanted(fabric: Fabric, k: int) -> dict[tuple[int, int], int]:
    nodes = fabric.sources.tolist()
    return {
        (a, b): k * units
        for a, row in zip(nodes, fabric.demand.tolist(), strict=True)
        for b, units in zip(nodes, row, strict=True)
        if units
    }


def loads(fabric: Fabric, forest: Forest) -> list[int]:
    load = [0] * len(fabric.src)
    for tree, units in enumerate(forest.multiplicity.tolist()):
        for link in path(forest, tree):
            load[link] += units
    return load


def pair_program(topology: Topology, collective: Collective) -> float:
    """The optimum by a program with a commodity for each pair, in 1/(GB/s): slow, sharing nothing with the planner."""
    from ortools.linear_solver import pywraplp

    solver = pywraplp.Solver.CreateSolver("GLOP")
    full = solver.NumVar(0, solver.infinity(), "full")
    used = [0 for _ in topology.links]
    count = len(collective.group)
    for shard, size in enumerate(collective.shards):
        a, b = (topology.ranks[collective.group[i]] for i in divmod(shard, count))
        if a == b or not size:
            continue
        flows = [solver.NumVar(0, solver.infinity(), "") for _ in topology.links]
        used = [total + flow for total, flow in zip(used, flows, strict=True)]
        for node in range(len(topology.nodes)):
            gain = sum(
                ((link.dst == node) - (link.src == node)) * flow
                for link, flow in zip(topology.links, flows, strict=True)
            )
            solver.Add(gain == size * ((node == b) - (node == a)))
    for total, link in zip(used, topology.links, strict=True):
        solver.Add(total <= float(link.bandwidth) * full)
    solver.Minimize(full)
    assert solver.Solve() == pywraplp.Solver.OPTIMAL
    return float(full.solution_value())


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
