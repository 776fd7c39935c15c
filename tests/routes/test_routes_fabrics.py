"""Every mode on every kind of fabric: planes, rails, dragonflies, three tiers, slow and failed links, unequal sizes."""

from __future__ import annotations

from fractions import Fraction
from math import gcd

import numpy as np
import pytest
from fabrics import (
    all_to_all,
    any_fabric,
    any_failure,
    any_flows,
    dragonfly,
    fat_tree,
    flows,
    leaf_spine,
    permutation,
    rails,
    two_planes,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from collsched.errors import InputError, UnreachableError
from collsched.routes.check import Extents, Routing, check_routing
from collsched.routes.exact import whole_first, within
from collsched.routes.model import Flows
from collsched.routes.network import Network, degrade, failed_links
from collsched.routes.planner import RoutePlan, plan_flows
from collsched.routes.program import Commodities, solve
from collsched.topology.model import Topology

MIB = 1 << 20
NEARLY = 1 + Fraction(1, 10**7)


def names_of(plan: RoutePlan) -> list[list[str]]:
    """The switches of every subflow, by name."""
    nodes = plan.network.topology.nodes
    return [[nodes[node].name for node in plan.network.paths.interior(path)] for path in plan.subflows.path.tolist()]


def judged(topology: Topology, wanted: Flows, plan: RoutePlan) -> Fraction:
    """The congestion that the judge finds for the explicit paths."""
    sub, count = plan.subflows, len(wanted)
    extents = Extents(np.arange(count), wanted.src, wanted.dst, np.zeros(count, np.int64), wanted.bytes)
    switches = [plan.network.paths.interior(path) for path in sub.path.tolist()]
    ends = wanted.src[sub.flow], wanted.dst[sub.flow]
    routing = Routing(sub.flow, *ends, sub.offset, sub.bytes, np.arange(len(sub)), switches)
    return check_routing(topology, extents, routing).congestion


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["nosplit", "exact", "epsilon", "per-source"]))
def test_every_mode_keeps_its_promise_on_any_fabric(seed: int, mode: str) -> None:
    random = np.random.default_rng(seed)
    topology = any_fabric(random)
    wanted = any_flows(random, len(topology.ranks))
    failed = failed_links(topology, any_failure(random, topology)) if random.random() < 0.5 else {}
    try:
        plan = plan_flows(topology, wanted, mode=mode, epsilon=Fraction(1, 10), failed=failed)  # type: ignore[arg-type]
    except UnreachableError:
        return
    assert judged(degrade(topology, failed), wanted, plan) == plan.congestion
    vertex = solve(
        plan.network, Commodities.of(plan.network, whole_first(plan.network)), np.zeros(len(topology.links), np.int64)
    )
    assert plan.spray_known and float(plan.spray) == pytest.approx(vertex.seconds, rel=1e-6)
    assert plan.kept
    if mode == "nosplit":
        assert plan.splits == 0
    elif mode != "per-source":
        assert within(plan.network, plan.subflows, plan.spray * (NEARLY if mode == "exact" else Fraction(11, 10)))
    if within(plan.network, plan.subflows, plan.spray):
        assert plan.splits >= plan.lower_bound_splits


def test_ports_stay_on_their_plane() -> None:
    topology = two_planes(3, 3, 2)
    plan = plan_flows(topology, permutation(9, MIB), mode="exact")
    for switches in names_of(plan):
        assert len({name[:-1].removeprefix("leaf").removeprefix("spine") for name in switches}) == 1
    used = {name[:-1][-1] for switches in names_of(plan) for name in switches}
    assert used == {"a", "b"}
    assert plan.kept and plan.spray_known


def test_a_plane_that_is_lost_leaves_half_of_the_rate() -> None:
    topology, wanted = two_planes(2, 2, 4), flows([0, 1], [2, 3], MIB)
    out = {(f"rank{rank}", "leafa0"): Fraction(0) for rank in (0, 1)}
    both, one = (plan_flows(topology, wanted, failed=failed_links(topology, gone)) for gone in ({}, out))
    assert one.spray == 2 * both.spray
    assert {switches[0] for switches in names_of(one)} == {"leafb0"}


def test_dragonfly_paths_are_minimal() -> None:
    topology = dragonfly(4)
    plan = plan_flows(topology, all_to_all(24, MIB), mode="exact")
    for switches in names_of(plan):
        groups = [name.split("/")[0] for name in switches]
        assert len(switches) <= 4 and groups == sorted(groups, key=groups.index)  # one global hop at most
        assert len(set(groups)) <= 2
    assert plan.kept


def test_rails_are_joined_by_spines() -> None:
    topology = rails(4, 4, 3)
    same, other = flows([0, 1], [4, 5], MIB), flows([0, 1], [5, 6], MIB)
    assert {len(switches) for switches in names_of(plan_flows(topology, same))} == {1}
    assert {len(switches) for switches in names_of(plan_flows(topology, other))} == {3}


@pytest.mark.parametrize("half", [2, 3])
def test_three_tiers_with_a_failure_are_as_good_as_spraying(half: int) -> None:
    topology = fat_tree(half)
    wanted = permutation(len(topology.ranks), MIB, 1)
    for link in ({("edge0", "pod0/aggregation0"): Fraction(0)}, {("pod1/aggregation0", "core0"): Fraction(3)}):
        plan = plan_flows(topology, wanted, failed=failed_links(topology, link))
        assert plan.kept and plan.spray_known and within(plan.network, plan.subflows, plan.spray)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([Fraction(1, 20), Fraction(1, 4), Fraction(1)]))
def test_t3_within_epsilon_takes_few_pieces(seed: int, epsilon: Fraction) -> None:
    random = np.random.default_rng(seed)
    leaves, hosts, spines = (int(random.integers(2, most)) for most in (6, 9, 7))
    topology = leaf_spine(leaves, hosts, spines, faster=16)
    pairs = random.integers(0, leaves * hosts, (int(random.integers(1, 4 * leaves * hosts)), 2))
    pairs = np.concatenate([[[0, hosts]], pairs[pairs[:, 0] // hosts != pairs[:, 1] // hosts]])
    wanted = flows(*pairs.T.tolist(), random.integers(10**6, 10**8, len(pairs)).tolist())  # type: ignore[misc]
    plan = plan_flows(topology, wanted, mode="epsilon", epsilon=epsilon)
    assert plan.kept and within(plan.network, plan.subflows, plan.spray * (1 + epsilon))
    assert len(plan.subflows) <= len(wanted) + leaves * spines / epsilon
    exact = plan_flows(topology, wanted, mode="exact")
    assert len(plan.subflows) <= len(exact.subflows)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_a_limit_on_pieces_is_obeyed(seed: int) -> None:
    random = np.random.default_rng(seed)
    topology = leaf_spine(3, 5, 4, faster=16)
    pairs = [(a, b) for a in range(15) for b in range(15) if a // 5 != b // 5 and random.random() < 0.3] or [(0, 5)]
    wanted = flows(*zip(*pairs, strict=True), random.integers(10**6, 10**8, len(pairs)).tolist())  # type: ignore[misc]
    exact = plan_flows(topology, wanted, mode="exact")
    most = int(random.integers(len(wanted), len(exact.subflows) + 2))
    plan = plan_flows(topology, wanted, mode="epsilon", epsilon=Fraction(1, 100), max_pieces=most)
    assert len(plan.subflows) <= most
    assert plan.kept == within(plan.network, plan.subflows, plan.spray * Fraction(101, 100))
    if most >= len(exact.subflows):
        assert plan.kept


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 20), st.integers(1, 8))
def test_the_papers_planner_cuts_the_last_flows_of_each_source(count: int, spines: int) -> None:
    topology = leaf_spine(2, count, spines, faster=64)
    size = 840 * 840
    wanted = flows([0] * count, list(range(count, 2 * count)), size)
    plan = plan_flows(topology, wanted, mode="per-source")
    rest = count % spines
    assert len(plan.subflows) == count + rest * (spines // gcd(rest, spines) - 1)
    uplinks = plan.network.loads(plan.subflows)[
        [i for i, link in enumerate(topology.links) if topology.nodes[link.dst].name.startswith("spine")]
    ]
    assert sorted(uplinks.tolist())[-spines:] == [count * size // spines] * spines


def test_limits_that_make_no_sense_are_refused() -> None:
    topology, wanted = leaf_spine(2, 2, 2), flows([0, 1], [2, 3], MIB)
    with pytest.raises(InputError, match="epsilon is -1"):
        plan_flows(topology, wanted, mode="epsilon", epsilon=Fraction(-1))
    with pytest.raises(InputError, match="a piece for each flow at least"):
        plan_flows(topology, wanted, mode="epsilon", max_pieces=1)


def test_ranks_that_only_ranks_join_have_no_path() -> None:
    topology = two_planes(2, 2, 2)
    gone = {(f"leaf{plane}0", f"spine{plane}{spine}"): Fraction(0) for plane in "ab" for spine in (0, 1)}
    with pytest.raises(UnreachableError, match="no path through switches leads from 'rank0' to 'rank2'"):
        plan_flows(topology, flows([0], [2], MIB), failed=failed_links(topology, gone))


def test_sizes_from_one_byte_to_a_petabyte() -> None:
    topology = leaf_spine(2, 4, 3, faster=8)
    wanted = flows([0, 1, 2, 3, 0], [4, 5, 6, 7, 4], [1, 1 << 50, 3, 0, 1 << 20])
    for mode in ("nosplit", "exact", "epsilon", "per-source"):
        plan = plan_flows(topology, wanted, mode=mode)  # type: ignore[arg-type]
        assert plan.kept
        assert judged(topology, wanted, plan) == plan.congestion
    assert within(*(lambda plan: (plan.network, plan.subflows, plan.spray))(plan_flows(topology, wanted)))


def test_a_fabric_of_direct_links_has_one_path_each() -> None:
    from collsched.topology import bundled

    topology = bundled("hypercube", dimension="2")
    plan = plan_flows(topology, flows([0, 1], [1, 3], MIB))
    assert plan.method == "no split needed" and names_of(plan) == [[], []]
    assert isinstance(plan.network, Network)
