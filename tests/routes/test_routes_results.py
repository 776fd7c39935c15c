"""The results that the planner builds on, over random fabrics."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from math import gcd

import numpy as np
import pytest
from fabrics import fat_tree, flows, leaf_spine, permutation
from hypothesis import given, settings
from hypothesis import strategies as st

from collsched._core import edge_colouring
from collsched.routes.bounds import best_cut
from collsched.routes.clos import equitable
from collsched.routes.network import Network, failed_links
from collsched.routes.planner import RoutePlan, plan_flows
from collsched.routes.program import Commodities, solve
from collsched.routes.whole import route_whole
from collsched.routes.wrap import regular

few = settings(max_examples=40, deadline=None)
ends = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=120)


@few
@given(ends)
def test_colours_are_proper_and_as_few_as_the_degree(edges: list[tuple[int, int]]) -> None:
    left, right = (np.array(side, np.int32) for side in zip(*edges, strict=True))
    degree = max(max(Counter(side.tolist()).values()) for side in (left, right))
    colour = edge_colouring(left, right, degree)
    for side in (left, right):
        assert len(set(zip(side.tolist(), colour.tolist(), strict=True))) == len(edges)
    assert set(colour.tolist()) <= set(range(degree))
    if degree > 1:
        with pytest.raises(ValueError, match="more edges than"):
            edge_colouring(left, right, degree - 1)


@few
@given(ends, st.integers(1, 7))
def test_t1_every_vertex_has_each_colour_at_most_its_share_rounded_up(edges: list[tuple[int, int]], s: int) -> None:
    left, right = (np.array(side, np.int64) for side in zip(*edges, strict=True))
    colour = equitable(left, right, np.ones(len(left), np.int64), s)
    for side in (left, right):
        degree = Counter(side.tolist())
        used = Counter(zip(side.tolist(), colour.tolist(), strict=True))
        assert all(count <= -(-degree[vertex] // s) for (vertex, _), count in used.items())


@few
@given(ends, st.integers(1, 5), st.randoms(use_true_random=False))
def test_t3_any_sizes_exceed_the_mean_by_less_than_the_largest(edges: list, s: int, random) -> None:  # type: ignore
    left, right = (np.array(side, np.int64) for side in zip(*edges, strict=True))
    size = np.array([random.randint(1, 1000) for _ in edges], np.int64)
    colour = equitable(left, right, size, s)
    for side in (left, right):
        for vertex in set(side.tolist()):
            here = side == vertex
            loads = np.bincount(colour[here], weights=size[here], minlength=s)
            assert loads.max() <= size[here].sum() / s + size[here].max()


@few
@given(st.integers(2, 5), st.integers(1, 12), st.integers(1, 9), st.randoms(use_true_random=False))
def test_t2_regular_equal_flows_need_exactly_the_bound(leaves: int, degree: int, spines: int, random) -> None:  # type: ignore
    topology = leaf_spine(leaves, degree, spines, faster=16)
    src = list(range(leaves * degree))
    dst: list[int] = [0] * len(src)
    for port in range(degree):  # a matching of all leaves for every port, another one each time
        order = list(range(leaves))
        random.shuffle(order)
        for leaf, after in zip(order, order[1:] + order[:1], strict=True):
            dst[leaf * degree + port] = after * degree + port
    plan = plan_flows(topology, flows(src, dst, 10_007), mode="exact")
    pieces = leaves * (degree + spines - gcd(degree, spines))
    assert plan.spray_known
    assert len(plan.subflows) == pieces
    assert plan.splits == plan.lower_bound_splits == pieces - len(src)
    assert_within_a_byte_a_piece(plan)


def test_regular_adds_edges_until_all_degrees_are_one() -> None:
    left, right, degree = regular(np.array([3, 3, 5]), np.array([5, 8, 8]))
    assert degree == 2
    assert np.bincount(left).tolist() == np.bincount(right).tolist() == [2, 2, 2]


@few
@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 4), st.integers(2, 4))
def test_t4_a_vertex_cuts_less_often_than_links_are_tight(seed: int, leaves: int, hosts: int, spines: int) -> None:
    random = np.random.default_rng(seed)
    topology = leaf_spine(leaves, hosts, spines)
    ranks = leaves * hosts
    pairs = [(a, b) for a in range(ranks) for b in range(ranks) if a // hosts != b // hosts and random.random() < 0.4]
    if not pairs:
        return
    some = flows(*zip(*pairs, strict=True), random.integers(1_000_000, 9_000_000, len(pairs)).tolist())  # type: ignore
    slow = {(f"leaf{random.integers(leaves)}", f"spine{random.integers(spines)}"): Fraction(int(random.integers(0, 7)))}
    plan = plan_flows(topology, some, mode="exact", failed=failed_links(topology, slow))
    network = plan.network
    commodities = Commodities.of(network, whole_parts(network))
    vertex = solve(network, commodities, np.zeros(len(topology.links), np.int64))
    assert float(vertex.proven) == pytest.approx(vertex.seconds, rel=1e-6)  # the certificate meets the vertex
    assert float(plan.spray) == pytest.approx(vertex.seconds, rel=1e-6)
    positive = int((vertex.bytes > 1e-3).sum())
    assert positive <= len(commodities.bytes) + len(topology.links)
    assert plan.kept
    assert_within_a_byte_a_piece(plan)
    tight = int((network.loads(plan.subflows) / network.rate >= float(plan.spray) * (1 - 1e-6)).sum())
    if plan.method == "linear program":
        assert plan.splits <= max(tight - 1, 0)


def whole_parts(network: Network):  # type: ignore
    from collsched.routes.exact import whole_first

    return whole_first(network)


@pytest.mark.parametrize("half", [2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_t5_any_permutation_on_a_fat_tree_needs_no_split(half: int, seed: int) -> None:
    topology = fat_tree(half)
    plan = plan_flows(topology, permutation(len(topology.ranks), 1 << 20, seed), mode="nosplit")
    assert plan.splits == 0
    assert plan.congestion == plan.spray == Fraction(1 << 20, 12_500_000_000)


def test_cuts_are_limits_that_whole_routings_obey() -> None:
    for seed in range(20):
        random = np.random.default_rng(seed)
        topology = leaf_spine(3, 4, 3)
        pairs = random.integers(0, 12, (30, 2))
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        network = Network.of(topology, flows(*pairs.T.tolist(), random.integers(1, 10**6, len(pairs)).tolist()))
        assert best_cut(network).seconds <= network.congestion(network.loads(route_whole(network)))


def assert_within_a_byte_a_piece(plan: RoutePlan) -> None:
    """The promise, recomputed link by link."""
    loads, pieces = plan.network.loads(plan.subflows), plan.network.crowds(plan.subflows)
    for link, (load, count) in enumerate(zip(loads.tolist(), pieces.tolist(), strict=True)):
        if load:
            assert plan.network.seconds(load - count, link) <= plan.spray
