"""The paths of plans: planned anew, hashed, sprayed. Whatever is made passes the judges of forests and schedules."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from fabrics import any_fabric, fat_tree, leaf_spine, rails, two_planes
from hypothesis import given, settings
from hypothesis import strategies as st

from collsched.collective import make_collective
from collsched.compiler import compile
from collsched.errors import InputError
from collsched.forest.check import check_forest
from collsched.forest.model import Forest, Routes
from collsched.ir.verify import verify
from collsched.lower import lower
from collsched.passes.alternatives import alternatives, routes_over
from collsched.passes.repath import repath
from collsched.passes.segment import Segment
from collsched.passes.unpinned import Hash, Spray, Unpinned
from collsched.plan import Plan
from collsched.plan import paths as plan_paths
from collsched.plan.paths import compare, pinned
from collsched.routes.exact import whole_first
from collsched.routes.model import Flows
from collsched.routes.network import failed_links
from collsched.routes.program import Commodities, solve
from collsched.topology.document import Source
from collsched.topology.model import Topology
from collsched.topology.reader import read_topology

NEARLY = 1 + Fraction(1, 4096)


def dealt(leaves: int, ranks: int, spines: int) -> Topology:
    """A leaf–spine with slow spines, whose ranks are dealt to the leaves in turn."""
    return read_topology(
        f"""collsched: topology/1
name: dealt
nodes:
  - {{name: "rank[0..{ranks - 1}]", kind: rank}}
  - {{name: "leaf[0..{leaves - 1}]", kind: switch}}
  - {{name: "spine[0..{spines - 1}]", kind: switch}}
links:
  - {{a: "rank[i=0..{ranks - 1}]", b: "leaf[i % {leaves}]", bandwidth: 12.5}}
  - {{a: "leaf[0..{leaves - 1}]", b: "spine[0..{spines - 1}]", bandwidth: 4}}
""",
        Source("dealt.yaml"),
        {},
    )


def crowded(topology: Topology, forest: Forest) -> Forest:
    """The same trees, every connection over the first of its paths."""
    ways = alternatives(topology, forest.routes, keep=True)
    first = ways.network.paths.begin[ways.network.paths.pair]
    return replace(forest, routes=routes_over(ways.network, ways.connection, first[ways.connection]))


def least_ratio(topology: Topology, forest: Forest) -> Fraction:
    """The ratio that ideal spraying gives these trees, from the linear program of all connections."""
    ways = alternatives(topology, forest.routes, keep=True)
    units = np.zeros(len(ways.network.flows), np.int64)
    multiplicity = np.repeat(forest.multiplicity, np.diff(forest.ptr))
    np.add.at(units, ways.connection[forest.edges], multiplicity)
    network = ways.network.with_flows(Flows(ways.network.flows.src, ways.network.flows.dst, units))
    vertex = solve(network, Commodities.of(network, whole_first(network)), np.zeros(len(topology.links), np.int64))
    return vertex.proven * 10**9 / forest.k


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_trees_over_crowded_paths_become_as_good_as_sprayed(seed: int) -> None:
    topology = any_fabric(np.random.default_rng(seed))
    plan = compile(topology, "allgather")
    poor = crowded(topology, plan.forests[0])
    (found,) = repath(topology, [poor])
    report = check_forest(topology, plan.collective, found, reverse=False)
    least = least_ratio(topology, poor)
    assert report.ratio <= least * NEARLY
    assert report.ratio >= least * (1 - Fraction(1, 10**9))
    assert verify(topology, lower(topology, plan.collective, [found])).ratio == report.ratio


@pytest.mark.parametrize("collective", ["reduce-scatter", "allreduce", "broadcast", "all-to-all"])
@pytest.mark.parametrize("by_step", [False, True])
def test_every_collective_keeps_its_promise(collective: str, by_step: bool) -> None:
    topology = dealt(4, 8, 3)
    plan = compile(topology, collective, allreduce="two-phase" if collective == "allreduce" else "auto")
    poor = [crowded(topology, forest) for forest in plan.forests]
    found = repath(topology, poor, by_step=by_step)
    before, after = (verify(topology, lower(topology, plan.collective, forests)) for forests in (poor, found))
    assert after.ratio < before.ratio
    for forest, reverse in zip(found, (True, False) if len(found) == 2 else (forest_is_in(found[0]),), strict=True):
        check_forest(topology, plan.collective, forest, reverse=reverse)


def forest_is_in(forest: Forest) -> bool:
    return forest.direction == "in"


def test_halves_that_run_at_once_are_planned_at_once() -> None:
    topology = dealt(4, 8, 3)
    plan = compile(topology, "allreduce", allreduce="joint")
    poor = [crowded(topology, forest) for forest in plan.forests]
    together, apart = (repath(topology, poor, together=flag) for flag in (True, False))
    ratios = [verify(topology, lower(topology, plan.collective, forests)).ratio for forests in (together, apart, poor)]
    assert ratios[0] <= ratios[1] * NEARLY < ratios[2]


def test_uneven_spines_carry_what_they_can() -> None:
    topology = dealt(2, 8, 4)
    slow = failed_links(topology, {("leaf0", "spine3"): Fraction(2), ("spine3", "leaf1"): Fraction(1)})
    links = tuple(replace(link, bandwidth=slow.get(i, link.bandwidth)) for i, link in enumerate(topology.links))
    topology = replace(topology, links=links)
    plan = compile(topology, "allgather")
    poor = crowded(topology, plan.forests[0])
    (found,) = repath(topology, [poor])
    ratio = check_forest(topology, plan.collective, found, reverse=False).ratio
    assert least_ratio(topology, poor) <= ratio <= least_ratio(topology, poor) * NEARLY


def test_good_paths_stay_as_they_are() -> None:
    for topology in (leaf_spine(4, 4, 4), fat_tree(2), rails(4, 4, 2), two_planes(3, 3, 2)):
        plan = compile(topology, "allgather")
        assert all(new is old for new, old in zip(repath(topology, plan.forests), plan.forests, strict=True))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_every_route_is_found_among_its_alternatives(seed: int) -> None:
    topology = any_fabric(np.random.default_rng(seed))
    routes = compile(topology, "allgather").forests[0].routes
    ways = alternatives(topology, routes, keep=True)
    again = routes_over(ways.network, ways.connection, ways.path)
    assert np.array_equal(again.ptr, routes.ptr) and np.array_equal(again.links, routes.links)


def test_a_detour_is_a_connection_of_its_own_or_becomes_short() -> None:
    topology = dealt(3, 3, 2)
    number = {
        (topology.nodes[link.src].name, topology.nodes[link.dst].name): i for i, link in enumerate(topology.links)
    }
    hops = ["rank0", "leaf0", "spine0", "leaf2", "spine1", "leaf1", "rank1"]
    detour = [number[pair] for pair in pairwise(hops)]
    routes = Routes(np.array([0, len(detour)]), np.array(detour, np.int32))
    kept = alternatives(topology, routes, keep=True)
    assert routes_over(kept.network, kept.connection, kept.path).links.tolist() == detour
    short = alternatives(topology, routes, keep=False)
    assert short.path.tolist() == [-1]
    assert np.diff(short.network.paths.begin).tolist() == [2]


@pytest.mark.parametrize("collective", ["allgather", "allreduce", "all-to-all"])
def test_hashed_and_sprayed_schedules_are_correct(collective: str) -> None:
    topology = dealt(4, 8, 3)
    plan = compile(topology, collective)
    schedule = Segment(2)(plan.schedule())
    unpinned = Unpinned.of(topology, schedule)
    assert unpinned.paths == 3
    sprayed = Spray(3)(unpinned)
    spray = verify(topology, sprayed)
    assert len(sprayed.transfers.chunk) == 3 * len(schedule.transfers.chunk)
    hashes = [verify(topology, Hash(seed)(unpinned)).ratio for seed in range(12)]
    assert spray.ratio <= min(hashes) and len(set(hashes)) > 1


def test_a_sprayed_transfer_has_arrived_when_all_of_its_parts_have() -> None:
    topology = dealt(2, 4, 3)
    schedule = compile(topology, "allgather").schedule()
    sprayed = Spray(3)(Unpinned.of(topology, schedule))
    joins, whole = sprayed.joins, schedule.joins
    assert np.array_equal(np.diff(joins.ptr), 3 * np.diff(whole.ptr))
    for number in range(len(whole.ptr) - 1):
        members = joins.member[joins.ptr[number] : joins.ptr[number + 1]]
        assert set((members // 3).tolist()) == set(whole.member[whole.ptr[number] : whole.ptr[number + 1]].tolist())


def poorly_routed(topology: Topology, collective: str) -> Plan:
    plan = compile(topology, collective)
    return replace(plan, forests=tuple(crowded(topology, forest) for forest in plan.forests))


def test_a_pinned_plan_is_a_plan(tmp_path) -> None:  # type: ignore[no-untyped-def]
    plan = poorly_routed(dealt(4, 8, 3), "allgather")
    best = pinned(plan)
    assert best.report.ratio < plan.report.ratio
    assert best.options["paths"] == "pinned"
    best.save(tmp_path / "plan.cs")
    again = Plan.load(tmp_path / "plan.cs")
    assert again.digest == best.digest and again.verify().ratio == best.report.ratio


def test_comparisons_say_what_pinning_is_worth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_paths, "PATIENCE", 0.5)
    plan = pinned(poorly_routed(dealt(4, 8, 3), "all-to-all"))
    hashed, sprayed = compare(plan, "ecmp").hashed, compare(plan, "spray")
    assert hashed is not None and sprayed.sprayed is not None
    assert hashed.trials >= 8 and hashed.p99 >= hashed.mean > sprayed.pinned
    assert sprayed.sprayed == pytest.approx(sprayed.pinned, rel=0.1)
    assert sprayed.paths == 3


def test_a_fabric_without_a_choice_needs_no_draws() -> None:
    plan = compile(leaf_spine(2, 2, 1), "allgather")
    found = compare(plan, "ecmp")
    assert found.paths == 1 and found.hashed is not None
    assert (found.hashed.trials, found.hashed.mean) == (1, found.pinned)


def test_plans_too_large_to_simulate_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_paths, "MOST_TRANSFERS", 10)
    with pytest.raises(InputError, match="transfers to simulate; allowed are 10"):
        compare(compile(leaf_spine(2, 4, 2), "allgather"), "ecmp")


def test_groups_and_single_ranks_have_paths_too() -> None:
    topology = dealt(4, 8, 3)
    plan = compile(topology, "allgather", group="0")
    assert pinned(plan).report.ratio == 0
    assert make_collective(topology, "allgather", group="0").group == (0,)
