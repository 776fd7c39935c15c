"""What pictures say: times, loads, trees and journeys agree with the plan, the simulator and each other."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

import collsched
from collsched.collective import Kind
from collsched.plan import Plan
from collsched.report.journeys import journeys
from collsched.report.motion import predicted, simulated
from collsched.report.traffic import profile, shares
from collsched.report.trees import outline, tree_kinds
from collsched.simulate import Model, Simulation
from collsched.topology import resolve

SIZE = 1 << 22
CASES = [
    ("dgx-a100", "allreduce"), ("torus-2d", "allgather"), ("mi250", "reduce-scatter"), ("leaf-spine", "broadcast"),
    ("unequal-boxes", "allreduce"), ("hypercube", "all-to-all"), ("dgx-h100", "allreduce"),
]  # fmt: skip


@pytest.fixture(scope="module", params=CASES, ids=" ".join)
def plan(request: pytest.FixtureRequest) -> Plan:
    name, kind = request.param
    return collsched.compile(resolve(name, {}), kind)


@pytest.mark.parametrize("stores", [False, True])
def test_a_transfer_leaves_after_what_it_waits_for(plan: Plan, stores: bool) -> None:
    simulation = Simulation(plan.topology, plan.schedule(2), Model(store_and_forward=stores))
    leaves, arrives = simulation.timeline(SIZE)
    assert np.array_equal(arrives, simulation.arrivals(SIZE))
    schedule, sizes = simulation.schedule, simulation.sizes(SIZE)
    slack = 1e-12 * float(arrives.max())
    for number, (join, route) in enumerate(zip(schedule.transfers.join, schedule.transfers.route, strict=True)):
        waits = schedule.joins.member[schedule.joins.ptr[join] : schedule.joins.ptr[join + 1]]
        links = [plan.topology.links[i] for i in schedule.routes.links[slice(*schedule.routes.ptr[route : route + 2])]]
        least = sizes[number] / (float(min(link.bandwidth for link in links)) * 1e9)
        least += float(sum((link.alpha for link in links), Fraction(0))) / 1e6
        assert leaves[number] >= arrives[waits].max(initial=0) + 1e-6 - 1e-12
        assert arrives[number] >= leaves[number] + least - slack * 10


@pytest.mark.parametrize("source", ["simulated", "predicted"])
def test_profiles_hold_every_byte(plan: Plan, source: str) -> None:
    motion = simulated(plan, SIZE, 4) if source == "simulated" else predicted(plan, SIZE)
    rates = profile(plan.topology, motion, 50)
    bandwidth = np.array([float(link.bandwidth) * 1e9 for link in plan.topology.links])
    passed = rates.mean(axis=1) * bandwidth * motion.seconds
    routes = motion.schedule.routes
    expected = np.zeros(len(plan.topology.links))
    for route, nbytes in zip(motion.route, motion.nbytes, strict=True):
        expected[routes.links[routes.ptr[route] : routes.ptr[route + 1]]] += nbytes
    assert passed == pytest.approx(expected, rel=1e-6, abs=1)
    assert rates.min() >= 0


def test_predicted_motion_ends_when_the_cost_model_says(plan: Plan) -> None:
    motion = predicted(plan, SIZE)
    assert motion.seconds == pytest.approx(plan.predict(SIZE).seconds)
    assert motion.times.max() == pytest.approx(motion.seconds)
    assert profile(plan.topology, motion, 20).max() <= 1 + 1e-6


def test_hops_are_in_order(plan: Plan) -> None:
    for motion in (simulated(plan, SIZE, 4), predicted(plan, SIZE)):
        times = motion.times
        assert (times[:, 0] <= times[:, 1] + 1e-15).all() and (times[:, 2] <= times[:, 3] + 1e-15).all()
        assert (times[:, 0] <= times[:, 2] + 1e-15).all() and (times[:, 1] <= times[:, 3] + 1e-15).all()
        assert times.max() <= motion.seconds * (1 + 1e-9)
        assert len(motion.chunk) == len(plan.schedule().transfers.chunk)


def test_the_fullest_link_is_the_bottleneck(plan: Plan) -> None:
    share = shares(plan)
    assert share.max() == pytest.approx(1) or len(plan.forests) > 1
    assert share.max() <= 1 + 1e-9
    schedule, lengths = plan.schedule(), plan.schedule().chunks
    weights = np.array(plan.collective.shards, dtype=float)
    part = lengths.length / lengths.denominator
    if plan.collective.kind.value == "all-to-all":
        weights = np.ones(int(lengths.shard.max()) + 1)
    loads = np.zeros(len(plan.topology.links))
    for chunk, route in zip(schedule.transfers.chunk, schedule.transfers.route, strict=True):
        crossed = schedule.routes.links[schedule.routes.ptr[route] : schedule.routes.ptr[route + 1]]
        loads[crossed] += part[chunk] * weights[lengths.shard[chunk]]
    bandwidth = np.array([float(link.bandwidth) for link in plan.topology.links])
    assert share == pytest.approx(loads / bandwidth / float(plan.report.ratio), rel=1e-6)


def test_kinds_count_every_tree(plan: Plan) -> None:
    for forest, report in zip(plan.forests, plan.report.forests, strict=True):
        kinds = tree_kinds(plan.topology, forest)
        assert sum(kind.trees for kind in kinds) == report.trees
        assert sum(kind.copies for kind in kinds) == forest.multiplicity.sum()
        assert max(kind.depth for kind in kinds) == report.depth_max
        edges = sum(kind.trees * sum(count for _, count in kind.crossings) for kind in kinds)
        assert edges == len(forest.edges)


def test_an_outline_names_every_rank_once(plan: Plan) -> None:
    for forest in plan.forests:
        for tree in range(min(4, len(forest.roots))):
            branches = list(outline(plan.topology, forest, tree))
            nodes = [node for branch in branches for node in branch.nodes]
            assert len(nodes) == len(set(nodes)) == forest.ptr[tree + 1] - forest.ptr[tree]
            assert int(forest.roots[tree]) not in nodes
            assert branches[0].level == 0
            assert all(after.level <= before.level + 1 for before, after in pairwise(branches))


def test_journeys_are_whole(plan: Plan) -> None:
    motion = simulated(plan, SIZE, 2)
    found = journeys(plan, motion, SIZE)
    assert sum(len(journey.routes) for journey in found) == len(motion.chunk)
    stays = len(plan.collective.group) if plan.collective.kind is Kind.ALL_TO_ALL else 0  # a rank's part for itself
    assert sum(journey.nbytes for journey in found) == plan.collective.total(SIZE) - stays * SIZE // 16
    for journey in found:
        assert 1 <= journey.part <= journey.parts and journey.depth <= len(journey.routes)


def test_few_journeys_of_a_large_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = collsched.compile(resolve("dgx-a100", {}), "allgather")
    monkeypatch.setattr("collsched.report.journeys.MOST_HOPS", 200)
    found = journeys(plan, simulated(plan, SIZE, 1), SIZE)
    assert 1 < len(found) <= 13 and len({journey.start for journey in found}) > 1
