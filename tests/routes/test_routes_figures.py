"""Figures that are known from elsewhere: one ring step whose every hop crosses leaves, and large fabrics in time."""

from __future__ import annotations

import time
from fractions import Fraction

import numpy as np
import pytest
from fabrics import all_to_all, flows, leaf_spine, permutation, strided_ring

from collsched.routes.ecmp import expect
from collsched.routes.model import Flows
from collsched.routes.network import Network, failed_links
from collsched.routes.planner import check, plan_flows
from collsched.routes.replan import replan
from collsched.topology import bundled

MIB = 1 << 20


def test_sixteen_spines_need_no_split() -> None:
    topology, ring = leaf_spine(16, 16, 16), strided_ring(16, 16, 8 * MIB)
    exact, paper = (plan_flows(topology, ring, mode=mode) for mode in ("exact", "per-source"))  # type: ignore[arg-type]
    assert (exact.splits, exact.congestion) == (0, exact.spray)
    assert len(paper.subflows) == 4096


@pytest.mark.parametrize(("parts", "times"), [(1, 4.5), (2, 3.36), (8, 2.08), (16, 1.74)])
def test_hashing_is_as_uneven_as_known(parts: int, times: float) -> None:
    network = Network.of(leaf_spine(16, 16, 16), strided_ring(16, 16, 8 * MIB))
    found = expect(network, parts)
    ideal = 8 * MIB / 12.5e9
    assert found.mean / ideal == pytest.approx(times, rel=0.02)
    assert 0 < found.stderr < found.mean / 100 and found.p99 > found.mean


def test_eight_spines_and_eleven_flows_take_eighteen_pieces_a_leaf() -> None:
    topology, ring = leaf_spine(16, 11, 8), strided_ring(16, 11, 8 * MIB)
    plan = plan_flows(topology, ring, mode="exact")
    assert len(plan.subflows) == 16 * 18
    assert plan.splits == plan.lower_bound_splits
    assert plan.spray == Fraction(11 * 8 * MIB, 8 * 12_500_000_000)
    assert len(plan_flows(topology, ring, mode="per-source").subflows) == 1408


def test_one_spine_at_a_quarter_is_exact() -> None:
    topology, ring = leaf_spine(16, 16, 16), strided_ring(16, 16, 8 * MIB)
    quarter = {}
    for leaf in range(16):
        quarter[f"leaf{leaf}", "spine15"] = quarter["spine15", f"leaf{leaf}"] = Fraction(25, 8)
    plan = plan_flows(topology, ring, mode="exact", failed=failed_links(topology, quarter))
    assert plan.kept and plan.spray == Fraction(16 * 8 * MIB) / (Fraction(61, 4) * 12_500_000_000)
    assert len(plan.subflows) == 496  # 31 a leaf: 61 quarters of a link are full, and 16 shares no divisor with 61
    assert plan.splits == plan.lower_bound_splits


def test_a_rank_hashes_over_its_widest_ports_alone() -> None:
    topology = bundled("fat-tree", boxes="8")  # boxes have NVLink switches, nine times as fast as the NICs
    network = Network.of(topology, flows([0, 0], [1, 8], MIB))
    inside, outside = (network.paths.begin[network.paths.pair[flow] :][:2].tolist() for flow in (0, 1))
    first = [topology.nodes[node].name for node in network.first[inside[0] : inside[1]].tolist()]
    assert sorted(zip(first, network.paths.chance[inside[0] : inside[1]].tolist(), strict=True)) == [
        ("box0/nvswitch", 1.0),
        ("edge0", 0.0),
    ]
    assert network.paths.chance[outside[0] : outside[1]].sum() == pytest.approx(1)
    assert expect(network, 1).mean == pytest.approx(MIB / 50e9)


def test_epsilon_takes_fewer_pieces_than_exact() -> None:
    topology, ring = leaf_spine(8, 11, 8), strided_ring(8, 11, 8 * MIB)
    exact = plan_flows(topology, ring, mode="exact")
    loose = plan_flows(topology, ring, mode="epsilon", epsilon=Fraction(1, 4))
    assert loose.kept and loose.congestion <= exact.spray * Fraction(5, 4) + Fraction(1, 10**6)
    assert loose.splits < exact.splits
    tight = plan_flows(topology, ring, mode="epsilon", epsilon=Fraction(0), max_pieces=len(ring))
    assert not tight.kept and tight.splits == 0


@pytest.mark.parametrize("traffic", ["ring", "permutation"])
def test_four_thousand_hosts_are_planned_in_seconds(traffic: str) -> None:
    topology = leaf_spine(64, 64, 64)
    wanted = strided_ring(64, 64, MIB) if traffic == "ring" else permutation(4096, MIB)
    start = time.process_time()
    plan = plan_flows(topology, wanted, mode="exact")
    assert time.process_time() - start < 5  # below 1 s on a machine with nothing else to do
    assert (plan.splits, plan.congestion) == (0, plan.spray)


def test_a_direct_exchange_of_many_ranks_is_balanced() -> None:
    topology = leaf_spine(16, 64, 16)
    ranks = np.array([leaf * 64 + host for leaf in range(16) for host in range(16)], np.int32)
    pairs = all_to_all(256, MIB)
    plan = plan_flows(topology, Flows(ranks[pairs.src], ranks[pairs.dst], pairs.bytes), mode="nosplit")
    assert plan.congestion == plan.spray


@pytest.mark.parametrize(("hosts", "spines"), [(16, 16), (11, 8)])
@pytest.mark.parametrize("rate", [0, 6])
def test_a_failure_is_mended_with_few_changes(hosts: int, spines: int, rate: int) -> None:
    topology, ring = leaf_spine(16, hosts, spines), strided_ring(16, hosts, 8 * MIB)
    plan = plan_flows(topology, ring, mode="exact")
    failed = failed_links(topology, {("leaf3", "spine5"): Fraction(rate)})
    mended = replan(plan.network, plan.subflows, failed)
    assert check(mended.network, mended.subflows, mended.extents) == mended.congestion
    assert mended.moved <= 4  # the pieces that crossed the link
    fresh = plan_flows(topology, ring, mode="exact", failed=failed)
    assert mended.congestion <= fresh.spray * (1 + Fraction(1, 10**5))


def test_a_full_leaf_is_mended_along_a_chain_without_a_split() -> None:
    topology = leaf_spine(8, 8, 8)
    src = [rank for rank in range(64) if rank != 24]  # leaf 3 sends one flow less, so seven uplinks are enough
    ring = flows(src, [(rank + 8) % 64 for rank in src], MIB)
    mixed = flows(src, mixed_targets(src), MIB)
    for wanted in (ring, mixed):
        plan = plan_flows(topology, wanted, mode="exact")
        mended = replan(plan.network, plan.subflows, failed_links(topology, {("leaf3", "spine5"): Fraction(0)}))
        assert check(mended.network, mended.subflows, mended.extents) == mended.congestion == plan.congestion
        assert len(mended.subflows) == len(wanted)
        assert mended.moved < 32


def mixed_targets(src: list[int]) -> list[int]:
    """Ranks of other leaves, each at most once, spread over all of them."""
    return [((rank // 8 + 1 + rank % 7) % 8) * 8 + rank % 8 for rank in src]


def test_only_bytes_that_are_left_are_routed_again() -> None:
    topology = leaf_spine(4, 4, 4)
    plan = plan_flows(topology, strided_ring(4, 4, 1000), mode="exact")
    sent = np.full(len(plan.subflows), 400)
    failed = failed_links(topology, {("spine1", "leaf2"): Fraction(0)})
    mended = replan(plan.network, plan.subflows, failed, sent=sent)
    assert mended.subflows.bytes.sum() == 16 * 600
    assert mended.subflows.offset.min() == 400
    check(mended.network, mended.subflows, mended.extents)


def test_flows_within_a_leaf_and_empty_ones_have_a_path_too() -> None:
    topology = leaf_spine(2, 2, 2)
    plan = plan_flows(topology, flows([0, 0, 1], [1, 2, 3], [5, 0, 7]), mode="exact")
    assert plan.subflows.bytes.tolist() == [5, 0, 7]
