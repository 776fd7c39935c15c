"""Switches that multicast or reduce: what trees gain from them, against every tree there is."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from growth import able
from hypothesis import given, settings
from hypothesis import strategies as st
from random_fabrics import KINDS, fabric
from tree_oracle import best_allreduce, best_phase

from collsched.collective import Collective, Kind, make_collective
from collsched.compiler import compile
from collsched.errors import UnreachableError
from collsched.forest.bounds import allreduce_bound
from collsched.forest.branching import choices
from collsched.forest.joint import joint
from collsched.forest.model import Forest
from collsched.forest.optimum import check_reachable, optimum
from collsched.forest.packing import pack
from collsched.forest.problem import problem
from collsched.forest.tidy import tidy
from collsched.simulate import GB, Simulation
from collsched.topology import bundled
from collsched.topology.model import Link, Node, Topology


def star(ranks: int, *, multicast: bool = True, reduce: bool = True) -> Topology:
    """Ranks on one switch, 10 GB/s each."""
    nodes = (*(Node(f"r{i}", "rank") for i in range(ranks)), Node("sw", "switch", multicast=multicast, reduce=reduce))
    links = [Link(*ends, Fraction(10)) for i in range(ranks) for ends in ((i, ranks), (ranks, i))]
    return Topology("star", nodes, tuple(links))


def two_levels(leaves: int, ranks: int, uplink: int) -> Topology:
    """A tree of switches that all multicast and reduce: ranks at 10 GB/s on leaves, leaves on one spine."""
    nodes = [Node(f"r{i}", "rank") for i in range(leaves * ranks)]
    nodes += [Node(f"leaf{i}", "switch", multicast=True, reduce=True) for i in range(leaves)]
    nodes.append(Node("spine", "switch", multicast=True, reduce=True))
    cables = [(i, leaves * ranks + i // ranks, 10) for i in range(leaves * ranks)]
    cables += [(leaves * ranks + i, len(nodes) - 1, uplink) for i in range(leaves)]
    links = [Link(*ends, Fraction(rate)) for a, b, rate in cables for ends in ((a, b), (b, a))]
    return Topology("tree", tuple(nodes), tuple(links))


def planes(ranks: int, count: int) -> Topology:
    """Every rank on each of several able switches, 10 GB/s a link."""
    nodes = [Node(f"r{i}", "rank") for i in range(ranks)]
    nodes += [Node(f"sw{i}", "switch", multicast=True, reduce=True) for i in range(count)]
    pairs = [(r, ranks + s) for r in range(ranks) for s in range(count)]
    return Topology(
        "planes",
        tuple(nodes),
        tuple(Link(*ends, Fraction(10)) for pair in pairs for ends in (pair, pair[::-1])),
    )


def rates(topology: Topology) -> tuple[Fraction, Fraction]:
    """What trees reach in an allreduce, and the bound, in GB/s."""
    plan = compile(topology, "allreduce")
    return plan.weight / plan.report.ratio, plan.weight / plan.report.bound


@pytest.mark.parametrize(
    ("topology", "rate"),
    [
        (star(8), 10),  # M / b instead of 2·(n − 1)/n · M / b
        (two_levels(4, 4, 40), 10),
        (two_levels(4, 4, 10), 10),  # a sum needs no more of an uplink than of a rank's link
        (two_levels(3, 2, 5), 5),
        (planes(4, 3), 30),
        (bundled("dgx-h100", boxes=1, nvls=True), 450),
        (bundled("dgx-h100", boxes=2, nvls=True), 400),
        (bundled("dgx-h100", boxes=4, nvls=True), Fraction(800, 3)),
        (bundled("dgx-h100", boxes=4, nvls=True, sharp=True), 400),
        (bundled("rail-optimised", boxes=4, nvls=True, sharp=True), 400),
        (bundled("fat-tree", boxes=8, nvls=True, sharp=True), 400),
    ],
    ids=lambda value: value.name if isinstance(value, Topology) else str(value),
)
def test_known_allreduces_meet_the_bound(topology: Topology, rate: Fraction) -> None:
    assert rates(topology) == (rate, rate)


@pytest.mark.parametrize(("multicast", "reduce"), [(True, False), (False, True), (False, False)])
def test_half_an_able_switch_is_of_no_use_to_an_allreduce(multicast: bool, reduce: bool) -> None:
    topology = star(8, multicast=multicast, reduce=reduce)
    assert rates(topology) == (10 * Fraction(8, 14), 10 * Fraction(8, 14))


def test_few_trees_reduce_a_large_fabric() -> None:
    topology = bundled("rail-optimised", boxes=32, nvls=True, sharp=True)
    plan = compile(topology, "allreduce")
    assert [report.trees for report in plan.report.forests] == [8, 8]
    assert max(report.depth_max for report in plan.report.forests) <= 4


@pytest.mark.parametrize("kind", ["allgather", "broadcast"])
def test_a_multicasting_switch_takes_one_copy(kind: str) -> None:
    """Every tree of a star leaves its root once, and a balanced switch adds nothing to the rate."""
    plan = compile(star(6), kind)
    assert plan.report.optimal
    links = plan.topology.links
    for forest in plan.forests:
        out = [links[i].src for route in forest.edges for i in _route(forest, int(route)) if links[i].dst == 6]
        assert sorted(out) == sorted(forest.roots.tolist())
    assert plan.report.ratio == compile(star(6), kind, in_network="off").report.ratio


def _route(forest: Forest, route: int) -> list[int]:
    begin, end = forest.routes.ptr[[route, route + 1]]
    links: list[int] = forest.routes.links[begin:end].tolist()
    return links


def test_a_switch_that_sends_more_than_it_receives_can_multicast() -> None:
    """One rank feeds a switch at 1 GB/s, which serves four others at 1 GB/s each."""
    nodes = (*(Node(f"r{i}", "rank") for i in range(5)), Node("sw", "switch", multicast=True))
    links = (Link(0, 5, Fraction(1)), *(Link(5, i, Fraction(1)) for i in range(1, 5)))
    topology = Topology("fan", nodes, links)
    able_plan = compile(topology, "broadcast", root=0)
    assert able_plan.report.ratio == able_plan.bound[0].ratio == 1 and able_plan.bound[0].certified
    assert compile(topology, "broadcast", root=0, in_network="off").report.ratio == 4


def _small(seed: int) -> tuple[Topology, Collective] | None:
    draw = random.Random(seed)
    topology = able(draw, fabric(draw, ranks=3, switches=2))
    collective = make_collective(topology, "allreduce")
    try:
        check_reachable(topology, collective)
    except UnreachableError:
        return None
    count = sum(link.src != link.dst for link in topology.links)
    return (topology, collective) if len(collective.group) > 1 and count <= 16 else None


@pytest.mark.parametrize("block", range(0, 120, 40))
def test_joint_against_every_tree(block: int) -> None:
    """No more than the best of all trees, which the bound allows; most often just as much."""
    rates = []
    for seed in range(block, block + 40):
        if (small := _small(seed)) is None:
            continue
        topology, collective = small
        best = best_allreduce(topology, collective)
        proven = sum(collective.shards) / allreduce_bound(topology, collective).ratio
        found = joint(topology, collective, proven=proven)
        assert found is not None, seed
        assert found.rate <= best <= proven, seed
        plan = compile(topology, allreduce="joint")
        assert plan.weight / plan.report.ratio >= found.rate, seed
        plain = joint(topology.without_in_network(), collective, proven=proven)
        assert plain is not None and found.rate >= plain.rate, seed
        rates.append(found.rate / best)
    assert len(rates) > 5
    assert sum(rate == 1 for rate in rates) >= 0.9 * len(rates)


@pytest.mark.parametrize("block", range(0, 120, 40))
def test_phases_against_every_tree(block: int) -> None:
    reached = 0
    for seed in range(block, block + 40):
        if (small := _small(seed)) is None:
            continue
        topology, _ = small
        for reverse, kind in ((False, "allgather"), (True, "reduce-scatter")):
            phase = make_collective(topology, kind)
            best = 1 / best_phase(topology, phase, reverse=reverse)
            instance = problem(topology, phase, reverse=reverse)
            found = optimum(instance)
            assert found.proven <= best <= found.reached, seed
            plan = compile(topology, kind)
            assert plan.report.ratio <= found.reached, seed
            assert not found.certified or plan.report.ratio == best, seed
            reached += plan.report.ratio == best
    assert reached > 10


def test_choices_on_rails_are_one_rail_each() -> None:
    topology = bundled("rail-optimised", boxes=4, nvls=True, sharp=True)
    instance = problem(topology, make_collective(topology, "allreduce"), reverse=False)
    sets = [{topology.nodes[i].name for i in np.flatnonzero(mask)} for mask in choices(instance)]
    boxes = {f"box{b}/nvswitch" for b in range(4)}
    assert [boxes | {f"rail{i}"} in sets for i in range(8)] == [True] * 8
    assert set() in sets and len(sets) < 16


@pytest.mark.parametrize("reverse", [False, True])
def test_tidy_only_lowers_loads(reverse: bool) -> None:
    for seed in range(60):
        draw = random.Random(seed)
        topology = able(draw, fabric(draw, ranks=4, switches=3, balanced=True))
        collective = make_collective(topology, "reduce-scatter" if reverse else "allgather")
        instance = problem(topology, collective, reverse=reverse)
        switches = instance.copies & ~instance.rank
        both = replace(instance, terminal=instance.terminal | switches, rank=instance.copies)
        try:
            forest = pack(both, optimum(both))
        except UnreachableError:
            continue
        after = tidy(instance, forest)
        assert (_loads(topology, after) <= _loads(topology, forest)).all()
        _check_use(topology, after)


def _loads(topology: Topology, forest: Forest) -> np.ndarray:  # type: ignore[type-arg]
    load = np.zeros(len(topology.links), np.int64)
    for tree, multiplicity in enumerate(forest.multiplicity):
        for route in forest.edges[forest.ptr[tree] : forest.ptr[tree + 1]]:
            load[_route(forest, int(route))] += multiplicity
    return load


def _check_use(topology: Topology, forest: Forest) -> None:
    """A switch that a tree enters has two edges below it or more."""
    begin, end = forest.routes.ends(topology)
    parent, child = (begin, end) if forest.direction == "out" else (end, begin)
    for tree in range(len(forest.roots)):
        edges = forest.edges[forest.ptr[tree] : forest.ptr[tree + 1]]
        for switch in (v for v in child[edges] if topology.nodes[v].kind == "switch"):
            assert (parent[edges] == switch).sum() > 1


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_compiled_plans_keep_their_bounds(seed: int) -> None:
    """Verified; no link beyond what is claimed; never slower than without; never faster than proven."""
    draw = random.Random(seed)
    topology = able(draw, fabric(draw, ranks=6, switches=3))
    kind = draw.choice([kind for kind in KINDS if kind not in (Kind.GATHER, Kind.SCATTER)])
    group = sorted(draw.sample(range(len(topology.ranks)), draw.randint(1, len(topology.ranks))))
    try:
        plan = compile(topology, kind, group=group, trees_per_root=draw.choice((None, None, 1, 2)))
    except UnreachableError:
        return
    assert plan.report.schedule.ratio <= plan.report.ratio
    nbytes = 1 << 24
    least = plan.report.bound / plan.weight * nbytes / GB
    if kind is Kind.ALLREDUCE:
        least = allreduce_bound(topology, plan.collective).ratio / plan.weight * nbytes / GB
    assert Simulation(topology, plan.schedule(2)).seconds(nbytes) >= float(least)
    assert plan.predict(nbytes).seconds >= float(least)
    if plan.options["trees_per_root"] is None and kind is not Kind.ALLREDUCE:
        assert plan.report.ratio <= compile(topology, kind, group=group, in_network="off").report.ratio
