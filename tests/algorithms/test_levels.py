"""Levels of a fabric, and what schedules move over each."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from catalogued import built

from collsched.algorithms import candidates
from collsched.algorithms.setting import Setting
from collsched.algorithms.tiers import Partition, by_bandwidth
from collsched.collective import make_collective
from collsched.ir.traffic import TierTraffic, traffic
from collsched.ir.verify import verify
from collsched.lower import lower
from collsched.topology import bundled
from collsched.topology.model import Link, Node, Topology


def setting(fabric: Topology, kind: str = "allgather", group: str | None = None) -> Setting:
    return Setting(fabric, make_collective(fabric, kind, group=group))


def sizes(partitions: list[Partition]) -> list[list[int]]:
    return [sorted(np.bincount(partition).tolist()) for partition in partitions]


def test_levels_of_the_library() -> None:
    assert sizes(setting(bundled("dgx-a100", boxes="3")).tiers) == [[8] * 3]
    assert sizes(setting(bundled("unequal-boxes")).tiers) == [[4, 8]]
    assert sizes(setting(bundled("fat-tree", boxes="32")).tiers) == [[128, 128], [32] * 8, [8] * 32]
    assert sizes(setting(bundled("mi250")).tiers) == [[4] * 4, [2] * 8]
    assert sizes(setting(bundled("dgx-a100", boxes="3"), group="0-3,8,16-17").tiers) == [[1, 2, 4]]
    assert setting(bundled("torus-2d")).tiers == []


def test_bandwidths_alone_tell_boxes_whose_hosts_have_no_names() -> None:
    """Two boxes of two pairs: 300 GB/s in a pair, 100 in a box, 25 between; slow the other way round for one link."""
    ends = [(a, b) for a in range(8) for b in range(8) if a != b]
    links = [Link(a, b, Fraction(300 if a // 2 == b // 2 else 100 if a // 4 == b // 4 else 25)) for a, b in ends]
    fabric = Topology("pairs", tuple(Node(f"r{i}", "rank") for i in range(8)), tuple(links))
    pairs, boxes = (0, 0, 1, 1, 2, 2, 3, 3), (0, 0, 0, 0, 1, 1, 1, 1)
    assert setting(fabric).tiers == [boxes, pairs]
    collective = make_collective(fabric, "allgather")
    assert list(by_bandwidth(fabric, collective)) == [pairs, boxes, (0,) * 8]
    slow = [Link(0, 1, Fraction(25)) if (link.src, link.dst) == (0, 1) else link for link in links]
    lame = Topology("lame", fabric.nodes, tuple(slow))
    assert next(iter(by_bandwidth(lame, collective))) == (0, 1, 2, 2, 3, 3, 4, 4)


def test_partitions_that_cross_the_hosts_are_left_out() -> None:
    """Rails are faster than boxes: hosts go first, and pairs on a rail are no part of them."""
    fast = [(0, 2), (1, 3)]
    pairs = [(a, b) for a in range(4) for b in range(4) if a != b]
    links = tuple(Link(a, b, Fraction(9 if (min(a, b), max(a, b)) in fast else 1)) for a, b in pairs)
    fabric = Topology("rails", tuple(Node(f"r{i}", "rank", host=str(i // 2)) for i in range(4)), links)
    assert setting(fabric).tiers == [(0, 0, 1, 1)]


def test_latencies_are_those_of_the_shortest_routes() -> None:
    """a – s – b over two links of 1 and 2 µs, or t and u in between, which is quicker but longer; c behind b."""
    names = ("a", "b", "c", "s", "t", "u")
    at = {name: i for i, name in enumerate(names)}
    nodes = tuple(Node(name, "rank" if name in "abc" else "switch") for name in names)
    ends = [("a", "s", 1), ("s", "b", 2), ("a", "t", 0), ("t", "u", 0), ("u", "b", 0), ("b", "c", 5)]
    links = tuple(Link(at[x], at[y], Fraction(1), Fraction(alpha)) for x, y, alpha in ends)
    found = setting(Topology("ways", nodes, links))
    assert found.latency.tolist() == [[0, 3, np.inf], [np.inf, 0, 5], [np.inf, np.inf, 0]]
    assert found.links.tolist() == [[0, 2, 0], [0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize("boxes", [2, 4])
@pytest.mark.parametrize("between", ["ring", "direct"])
def test_bytes_by_tier(boxes: int, between: str) -> None:
    fabric = bundled("dgx-a100", boxes=str(boxes))
    ranks, shard = 8 * boxes, 1000
    baseline = built(fabric, "allgather", "hierarchical", f"{boxes}x8, {between if boxes > 2 else 'direct'}")
    schedule = lower(fabric, baseline.collective, baseline.forests)
    nics, nvlinks = traffic(fabric, schedule, ranks * shard)
    assert nics == TierTraffic(Fraction(25), 2 * ranks, ranks * (boxes - 1) * shard, (boxes - 1) * shard)
    assert nvlinks == TierTraffic(Fraction(300), 2 * ranks, ranks * boxes * 7 * shard, boxes * 7 * shard)
    assert nics.seconds == pytest.approx((boxes - 1) * shard / 25e9)
    assert all(tier.crossing == 0 for tier in traffic(fabric, schedule, 0))


@pytest.mark.parametrize("kind", ["broadcast", "reduce"])
def test_one_root_goes_out_through_all_ports_of_its_box(kind: str) -> None:
    """Four boxes of eight, root in the second: an eighth of the buffer over every port, once into each other box."""
    fabric = bundled("dgx-a100", boxes="4")
    nbytes = 8000
    for candidate in candidates(fabric, make_collective(fabric, kind, root=11)):
        if candidate.name == "hierarchical" and candidate.variant == "4x8, ring between, 8 parts":
            baseline = candidate.build()
    assert baseline is not None and baseline.transfers == 8 * 31
    schedule = lower(fabric, baseline.collective, baseline.forests)
    verify(fabric, schedule)
    nics, _ = traffic(fabric, schedule, nbytes)
    assert (nics.fullest, nics.crossing) == (nbytes // 8, 3 * nbytes)
