"""Re-planning on any fabric: as good as the linear program of all that is left, and few subflows moved."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from fabrics import any_fabric, any_failure, any_flows, flows, leaf_spine, permutation, strided_ring, two_planes
from hypothesis import given, settings
from hypothesis import strategies as st

from collsched.errors import UnreachableError
from collsched.routes.exact import whole_first, within
from collsched.routes.model import Flows, Subflows
from collsched.routes.network import Network, failed_links
from collsched.routes.paths import find_paths
from collsched.routes.planner import check, plan_flows
from collsched.routes.program import Commodities, solve
from collsched.routes.replan import Replan, replan
from collsched.topology.model import Topology

MIB = 1 << 20
NEARLY = 1 + Fraction(1, 10**7)  # what the solver's tolerances leave open


def optimum(topology: Topology, left: Flows, failed: dict[int, Fraction]) -> Fraction:
    """The least congestion of these flows: the program of all of them on the fabric as it is now, with its proof."""
    network = Network.of(topology, left)
    out = [number for number, rate in failed.items() if not rate]
    kept = tuple(link for number, link in enumerate(topology.links) if number not in out)
    fabric = Topology(topology.name, topology.nodes, kept)
    network = Network(network.wires.changed(failed), left, find_paths(fabric, left))
    vertex = solve(network, Commodities.of(network, whole_first(network)), np.zeros(len(topology.links), np.int64))
    assert float(vertex.proven) == pytest.approx(vertex.seconds, rel=1e-6)
    return vertex.proven


def left_of(mended: Replan) -> Flows:
    """The bytes of each flow that were to be planned again."""
    flows = mended.network.flows
    size = np.zeros(len(flows), np.int64)
    np.add.at(size, mended.extents.flow, mended.extents.bytes)
    return Flows(flows.src, flows.dst, size)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_the_load_is_the_optimum_of_what_is_left(seed: int) -> None:
    random = np.random.default_rng(seed)
    topology = any_fabric(random)
    plan = plan_flows(topology, any_flows(random, len(topology.ranks)), mode="exact")
    failed = failed_links(topology, any_failure(random, topology))
    uneven = (plan.subflows.bytes * random.random(len(plan.subflows))).astype(np.int64)
    sent = uneven if random.random() < 0.4 else np.zeros(len(plan.subflows), np.int64)
    try:
        mended = replan(plan.network, plan.subflows, failed, sent=sent)
    except UnreachableError:
        return
    assert check(mended.network, mended.subflows, mended.extents) == mended.congestion
    assert within(mended.network, mended.subflows, optimum(topology, left_of(mended), failed) * NEARLY)
    assert mended.least_moved <= mended.moved <= len(plan.subflows)


def test_what_shares_no_link_with_a_failure_stays() -> None:
    topology, ring = leaf_spine(8, 4, 4), strided_ring(8, 4, MIB)
    plan = plan_flows(topology, ring, mode="exact")
    mended = replan(plan.network, plan.subflows, failed_links(topology, {("leaf3", "spine2"): Fraction(0)}))
    assert mended.moved == mended.least_moved == 1
    assert len(mended.subflows) == len(plan.subflows) + 2  # the lost flow on three uplinks that share it
    before, after = (switches_of(one.network, one.subflows) for one in (plan, mended))
    assert sum(before[flow] != after[flow] for flow in range(len(ring))) == 1


def switches_of(network: Network, subflows: Subflows) -> dict[int, tuple[int, ...]]:
    """The switches of each flow's last piece."""
    pairs = zip(subflows.flow.tolist(), subflows.path.tolist(), strict=True)
    return {flow: network.paths.interior(path) for flow, path in pairs}


@pytest.mark.parametrize("rate", [0, 5, 10])
def test_a_permutation_keeps_its_flows_whole_where_a_leaf_has_room(rate: int) -> None:
    topology, wanted = leaf_spine(16, 16, 17), permutation(256, MIB, 3)
    plan = plan_flows(topology, wanted, mode="exact")
    failed = failed_links(topology, {("leaf5", "spine2"): Fraction(rate), ("spine7", "leaf1"): Fraction(rate)})
    mended = replan(plan.network, plan.subflows, failed)
    assert len(mended.subflows) == len(wanted)
    assert within(mended.network, mended.subflows, optimum(topology, wanted, failed) * NEARLY)
    assert mended.moved <= 40


def test_a_port_that_fails_leaves_the_other_plane() -> None:
    topology = two_planes(2, 2, 2)
    plan = plan_flows(topology, flows([0, 1], [2, 3], MIB), mode="exact")
    failed = failed_links(topology, {("rank0", "leafa0"): Fraction(0)})
    mended = replan(plan.network, plan.subflows, failed)
    check(mended.network, mended.subflows, mended.extents)
    names = [node.name for node in topology.nodes]
    for flow, path in zip(mended.subflows.flow.tolist(), mended.subflows.path.tolist(), strict=True):
        if flow == 0:
            assert names[mended.network.paths.interior(path)[0]] == "leafb0"


def test_whole_flows_stay_whole_when_nothing_may_be_cut() -> None:
    topology, ring = leaf_spine(8, 4, 4), strided_ring(8, 4, MIB)
    plan = plan_flows(topology, ring, mode="nosplit")
    failed = failed_links(topology, {("leaf3", "spine2"): Fraction(0)})
    mended = replan(plan.network, plan.subflows, failed, split=False)
    check(mended.network, mended.subflows, mended.extents)
    assert (len(mended.subflows), mended.moved) == (len(ring), 1)
    assert mended.congestion == plan.congestion * 2
