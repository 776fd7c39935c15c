"""The joint allreduce: what it gains, that it is the optimum, and that real and verified forests reach it."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from fractions import Fraction

import pytest
from joint_oracle import best_rate, maximum
from random_fabrics import fabric

from collsched import _core
from collsched.collective import Collective, make_collective
from collsched.compiler import compile
from collsched.errors import InputError, UnreachableError
from collsched.forest.bounds import allreduce_bound
from collsched.forest.classes import classes
from collsched.forest.joint import Joint, joint, ways
from collsched.forest.optimum import Optimum, check_reachable, optimum
from collsched.forest.problem import arrays, problem
from collsched.topology import bundled
from collsched.topology.model import Link, Node, Topology


def boxes(*sizes: int) -> Topology:
    """Boxes of that many GPUs: 300 GB/s to the box's switch and 25 GB/s to one switch that all share."""
    nodes = [Node(f"box{b}/gpu{i}", "rank") for b, size in enumerate(sizes) for i in range(size)]
    home = [b for b, size in enumerate(sizes) for _ in range(size)]
    nodes += [Node(f"box{b}/switch", "switch") for b in range(len(sizes))] + [Node("ib", "switch")]
    links = []
    for gpu, b in enumerate(home):
        for switch, bandwidth in ((len(home) + b, 300), (len(nodes) - 1, 25)):
            links += [Link(gpu, switch, Fraction(bandwidth)), Link(switch, gpu, Fraction(bandwidth))]
    return Topology("boxes", tuple(nodes), tuple(links))


def mesh(rows: int, columns: int) -> Topology:
    links = []
    for v in range(rows * columns):
        right = [v + 1] if (v + 1) % columns else []
        below = [v + columns] if v + columns < rows * columns else []
        for u in right + below:
            links += [Link(v, u, Fraction(10)), Link(u, v, Fraction(10))]
    return Topology("mesh", tuple(Node(f"r{i}", "rank") for i in range(rows * columns)), tuple(links))


def half_of_mi250() -> Topology:
    """Two MI250 boxes of which only the first eight GCDs are there."""
    whole = bundled("mi250", boxes=2)
    there = [i for i, node in enumerate(whole.nodes) if not re.search(r"gcd([89]|1\d)$", node.name)]
    number = {old: new for new, old in enumerate(there)}
    links = [
        replace(link, src=number[link.src], dst=number[link.dst])
        for link in whole.links
        if link.src in number and link.dst in number
    ]
    return Topology("half-mi250", tuple(whole.nodes[i] for i in there), tuple(links))


def _phases(topology: Topology, collective: Collective) -> list[Optimum]:
    return [optimum(problem(topology, collective, reverse=reverse)) for reverse in (True, False)]


def _solve(topology: Topology, collective: Collective) -> tuple[Fraction, Fraction, Joint | None]:
    """The rates of two phases, of the proven bound, and the joint allreduce."""
    weight, bound = sum(collective.shards), allreduce_bound(topology, collective).ratio
    two_phases = sum((phase.reached for phase in _phases(topology, collective)), Fraction(0))
    return weight / two_phases, weight / bound, joint(topology, collective, proven=weight / bound)


GAINS = [
    (boxes(8, 4), "4/3"),
    (boxes(8, 4, 2), "12/7"),
    (half_of_mi250(), "16/13"),
    (mesh(4, 4), "3/2"),
    (bundled("mixed-vendors", boxes=3), "7/6"),
    (bundled("mixed-vendors", boxes=4), "21/16"),
    (bundled("degraded"), "83/80"),
    (bundled("degraded", degraded="50 Gbit/s"), "3315/3136"),
    (bundled("degraded", boxes=4), "21/20"),
]


@pytest.mark.parametrize(("topology", "gain"), GAINS, ids=[f"{fabric.name}-{gain}" for fabric, gain in GAINS])
def test_gains_are_reached_by_verified_forests(topology: Topology, gain: str) -> None:
    two_phases, proven, found = _solve(topology, make_collective(topology, "allreduce"))
    assert found is not None
    assert found.rate == found.limit <= proven
    plan = compile(topology, "allreduce", allreduce="joint")
    assert plan.joint
    assert plan.weight / plan.report.ratio == found.rate  # all links' loads together, as the schedule's verifier counts
    assert found.rate / two_phases == Fraction(gain)


@pytest.mark.parametrize(
    "topology", [bundled("dgx-a100", boxes=4), bundled("torus-2d", dims=(4, 4)), bundled("fat-tree")]
)
def test_equal_boxes_are_left_alone(topology: Topology) -> None:
    collective = make_collective(topology, "allreduce")
    bound = allreduce_bound(topology, collective)
    found = ways(topology, collective, _phases(topology, collective), bound)
    assert found.joint is found.winner is None
    assert found.rate == found.two_phases == sum(collective.shards) / bound.ratio
    assert compile(topology).options["allreduce"] == "two-phase"


def test_a_regular_fabric_of_a_thousand_ranks_has_a_small_program() -> None:
    topology = bundled("unequal-boxes", boxes=170)
    _, links = classes(problem(topology, make_collective(topology, "allreduce"), reverse=False))
    assert len(links) > 4000 and links.max() < 8
    two_phases, proven, found = _solve(topology, make_collective(topology, "allreduce"))
    assert found is not None and found.rate == proven
    assert found.rate > two_phases * Fraction(3, 2)


@pytest.mark.parametrize("block", range(0, 200, 50))
def test_joint_lies_between_two_phases_and_the_bound(block: int) -> None:
    solved = 0
    for seed in range(block, block + 50):
        topology = fabric(random.Random(seed), ranks=6, switches=2)
        collective = make_collective(topology, "allreduce")
        try:
            check_reachable(topology, collective)
        except UnreachableError:
            continue
        if len(collective.group) < 2:
            continue
        two_phases, proven, found = _solve(topology, collective)
        assert found is not None, seed
        assert two_phases <= found.rate <= proven, seed
        if found.limit is not None:
            assert found.rate <= found.limit, seed
        plan = compile(topology, allreduce="joint")  # verifies both forests and the schedule
        assert plan.weight / plan.report.ratio >= found.rate, seed
        solved += 1
    assert solved > 10


@pytest.mark.parametrize("block", range(0, 60, 20))
def test_joint_is_the_optimum_of_the_whole_program(block: int) -> None:
    exact = 0
    for seed in range(block, block + 20):
        draw = random.Random(seed)
        topology = fabric(draw, ranks=4, switches=1)
        count = len(topology.ranks)
        collective = make_collective(topology, "allreduce", group=sorted(draw.sample(range(count), max(1, count - 1))))
        try:
            check_reachable(topology, collective)
        except UnreachableError:
            continue
        if len(collective.group) < 2:
            continue
        _, proven, found = _solve(topology, collective)
        assert found is not None, seed
        assert found.rate == best_rate(topology, collective) <= proven, seed
        exact += 1
    assert exact > 3


def test_every_violated_cut_lets_too_little_through() -> None:
    instance = problem(boxes(4, 2), make_collective(boxes(4, 2), "allgather"), reverse=False)
    sides = _core.violated_cuts(*arrays(instance, instance.capacity // 25), 3, 64)
    assert len(sides) > 1
    for side in sides:
        leaving = (side[instance.src] != 0) & (side[instance.dst] == 0)
        assert (instance.capacity[leaving] // 25).sum() < 3 * instance.weight[side != 0].sum()
    assert _core.violated_cuts(*arrays(instance, instance.capacity), 3, 64) == []


def test_the_reference_solves_a_known_program() -> None:
    """max 3x + 5y with x ≤ 4, 2y ≤ 12, 3x + 2y ≤ 18: the textbook's 36."""
    one = Fraction(1)
    rows = [({0: one}, 4 * one), ({1: 2 * one}, 12 * one), ({0: 3 * one, 1: 2 * one}, 18 * one)]
    assert maximum({0: 3 * one, 1: 5 * one}, rows) == 36


def test_auto_takes_the_faster_at_the_size_asked_for() -> None:
    topology = bundled("unequal-boxes")
    large = compile(topology, size=1 << 30)
    assert large.joint and len(set(large.collective.shards)) > 1
    for size in (0, 1024, 1 << 20, 1 << 30):
        auto = compile(topology, size=size).predict(size).seconds
        for way in ("two-phase", "joint"):
            assert auto <= compile(topology, allreduce=way, size=size).predict(size).seconds  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"allreduce": "fast"}, "one of auto, two-phase, joint"),
        ({"allreduce": "joint", "trees_per_root": 1}, "leave out --trees-per-root"),
        ({"allreduce": "joint", "group": "0"}, "has no solution"),
        ({"allreduce": "joint", "kind": "allgather"}, "does not apply to allgather"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: dict[str, str], part: str) -> None:
    with pytest.raises(InputError, match=part):
        compile(bundled("unequal-boxes"), **arguments)  # type: ignore[arg-type]
