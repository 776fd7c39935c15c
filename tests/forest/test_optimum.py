"""The optimum against every cut, by enumeration, and against known machines."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from random_fabrics import Case, arcs, case, terminals

from collsched import _core
from collsched.collective import make_collective
from collsched.errors import UnreachableError
from collsched.forest.balance import excess_egress
from collsched.forest.optimum import Optimum, check_reachable, optimum
from collsched.forest.problem import Problem, problem
from collsched.graph import oracle
from collsched.topology import bundled
from collsched.topology.model import Link, Node, Topology

BLOCKS = range(0, 600, 50)


def _allgather(topology: Topology) -> Problem:
    return problem(topology, make_collective(topology, "allgather"), reverse=False)


def _far_sides(instance: Problem, ratio: Fraction) -> list[set[int]]:
    """The far sides of all cuts of that ratio, in units of the problem's integers."""
    found = []
    for side, weight, leaving in oracle.cuts(
        instance.nodes, arcs(instance), instance.weight.tolist(), terminals(instance)
    ):
        if weight and leaving and Fraction(weight, leaving) == ratio:
            found.append(set(range(instance.nodes)) - side)
    return found


def _check_cut(instance: Problem, found: Optimum) -> None:
    assert found.cut is not None
    side = set(found.cut.side)
    assert not side.issuperset(terminals(instance))
    leaving = sum(c for (u, v), c in arcs(instance).items() if u in side and v not in side)
    assert found.cut.exit_bandwidth == Fraction(leaving, instance.scale)
    assert found.cut.weight_inside == sum(int(instance.weight[v]) for v in side)
    assert found.ratio == found.cut.weight_inside / found.cut.exit_bandwidth
    far = set(range(instance.nodes)) - side
    assert not any(other < far for other in _far_sides(instance, found.ratio / instance.scale))


@pytest.mark.parametrize("block", BLOCKS)
def test_every_cut(block: int) -> None:
    for seed in range(block, block + 50):
        for instance in case(seed, ranks=5).problems:
            expected = oracle.ratio(instance.nodes, arcs(instance), instance.weight.tolist(), terminals(instance))
            if expected is None:
                with pytest.raises(UnreachableError, match="cannot be reached from"):
                    optimum(instance)
                continue
            found = optimum(instance)
            assert found.ratio == expected * instance.scale, seed
            assert found.reached >= found.proven >= found.ratio
            assert (found.reached == found.ratio) == found.certified
            if expected:
                _check_cut(instance, found)


@pytest.mark.parametrize("block", BLOCKS)
def test_slots_support_trees_if_flows_do(block: int) -> None:
    for seed in range(block, block + 50):
        instance = case(seed, ranks=4, switches=2).problems[0]
        for k in (1, 2, 5):
            arguments = (instance.nodes, arcs(instance), instance.weight.tolist(), terminals(instance), k)
            violated = _core.violated_cut(
                instance.nodes,
                instance.src,
                instance.dst,
                instance.capacity,
                instance.weight,
                instance.terminal,
                instance.rank,
                k,
            )
            assert (violated is None) == oracle.supports(*arguments), seed
            if violated is not None:
                weight, leaving, _ = violated
                assert leaving < k * weight


@pytest.mark.parametrize("seed", range(100))
def test_groups_to_try_first_change_nothing(seed: int) -> None:
    instance = case(seed, balanced=True).problems[0]
    group = np.array([(seed + v) % 3 - 1 for v in range(instance.nodes)], np.int32)
    try:
        expected = optimum(instance).ratio
    except UnreachableError:
        with pytest.raises(UnreachableError):
            optimum(instance, group=group)
    else:
        assert optimum(instance, group=group).ratio == expected


@pytest.mark.parametrize(
    ("name", "parameters", "ratio"),
    [
        ("dgx-a100", {"boxes": 1}, "7/300"),
        ("dgx-a100", {"boxes": 2}, "3/65"),
        ("dgx-a100", {"boxes": 4}, "3/25"),
        ("mi250", {"boxes": 1}, "7/150"),
        ("mi250", {"boxes": 2}, "15/166"),
    ],
)
def test_known_machines(name: str, parameters: dict[str, int], ratio: str) -> None:
    found = optimum(_allgather(bundled(name, **parameters)))
    assert found.ratio == Fraction(ratio)
    assert found.certified


def test_trees_and_slots_of_two_boxes() -> None:
    found = optimum(_allgather(bundled("dgx-a100", boxes=2)))
    assert (found.k, found.U) == (13, Fraction(3, 5))


@pytest.mark.parametrize("seed", range(200))
def test_slots_are_whole_and_none_fewer(seed: int) -> None:
    """U·bandwidth is an integer on every link, for no smaller k."""
    instance = case(seed, balanced=True).problems[0]
    try:
        found = optimum(instance)
    except UnreachableError:
        return
    for k in range(1, found.k + 1) if found.k < 500 else [found.k]:
        U = found.ratio * k
        whole = all((U * int(c) / instance.scale).denominator == 1 for c in instance.capacity)
        assert whole == (k == found.k) or found.ratio == 0


def test_sums_beyond_64_bits_are_refused() -> None:
    instance = _allgather(bundled("dgx-a100", boxes=1))
    huge = replace(instance, capacity=np.full_like(instance.capacity, 2**61))
    with pytest.raises(OverflowError, match="2\\^62"):
        optimum(huge)


def test_wide_products_are_exact() -> None:
    """Capacities and weights whose products need more than 64 bits."""
    links = tuple(Link(u, v, Fraction(10**15 + 7 * u + v)) for u in range(4) for v in range(4) if u != v)
    topology = Topology("wide", tuple(Node(f"r{i}", "rank") for i in range(4)), links)
    shards = {f"r{i}": 10**8 + i for i in range(4)}
    instance = problem(topology, make_collective(topology, "allgather", shards=shards), reverse=False)
    assert optimum(instance).ratio == oracle.ratio(4, arcs(instance), instance.weight.tolist(), range(4))


def test_unreachable_ranks_are_named() -> None:
    topology = Topology(
        "gap",
        (Node("a", "rank"), Node("b", "rank"), Node("s", "switch")),
        (Link(0, 2, Fraction(1)), Link(2, 0, Fraction(1)), Link(1, 2, Fraction(1))),
    )
    for kind in ("allgather", "allreduce", "reduce-scatter"):
        with pytest.raises(UnreachableError, match=r"rank b cannot be reached from rank a: no link leaves \{a, s\}"):
            check_reachable(topology, make_collective(topology, kind))


def _funnel(link: Fraction) -> Case:
    """Two ranks that receive from a switch more than the switch can: r0 ─1▶ s ─2▶ r1, r2, and slow links back."""
    nodes = (Node("r0", "rank"), Node("r1", "rank"), Node("r2", "rank"), Node("s", "switch"))
    links = [
        Link(0, 3, Fraction(2)),
        Link(3, 1, Fraction(2)),
        Link(3, 2, Fraction(2)),
        Link(1, 2, link),
        Link(2, 1, link),
    ]
    topology = Topology("funnel", nodes, tuple(links))
    return Case(topology, make_collective(topology, "broadcast", root=0))


def test_a_switch_cannot_send_more_than_it_receives() -> None:
    """Without links between r1 and r2 the switch has to split its 2 GB/s; each cut alone would allow 2."""
    instance = _funnel(Fraction(1, 1000)).problems[0]
    found = optimum(instance)
    assert found.ratio == Fraction(1, 2)
    assert not found.certified
    # r1 and r2 together receive 2 from the switch and all that one of them has, 1/1000 from the other
    assert found.reached == found.proven == 1 / (1 + Fraction(1, 1000))
    assert found.trimmed is not None
    assert not excess_egress(found.trimmed).any()


def test_a_switch_with_spare_egress_is_trimmed() -> None:
    found = optimum(_funnel(Fraction(2)).problems[0])
    assert (found.ratio, found.certified) == (Fraction(1, 2), True)


@pytest.mark.parametrize("block", range(0, 1000, 100))
def test_trimmed_bounds_are_proven(block: int) -> None:
    """Where relays are switches, the linear program's value is reached and nothing less is possible."""
    for seed in range(block, block + 100):
        for instance in case(seed).problems:
            try:
                found = optimum(instance)
            except UnreachableError:
                continue
            if not found.certified:
                relaying = (instance.rank != 0) & (instance.terminal == 0)
                assert found.trimmed is not None
                assert (found.trimmed.capacity * instance.scale <= instance.capacity * found.trimmed.scale).all()
                assert not excess_egress(found.trimmed).any()
                assert found.reached == found.proven or relaying.any(), seed
