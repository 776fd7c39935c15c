"""How schedules and programs read."""

from __future__ import annotations

from fractions import Fraction

import growth

from collsched.collective import Collective, Kind
from collsched.ir.text import program_text, schedule_text
from collsched.ir.verify import verify
from collsched.lower import lower, programs
from collsched.passes.segment import Segment
from collsched.topology.model import Link, Node, Topology


def line() -> Topology:
    """a ⇄ b ⇄ c ⇄ d, the middle pair over a switch."""
    nodes = (*(Node(name, "rank") for name in "abcd"), Node("sw", "switch"))
    pairs = [(0, 1), (1, 0), (1, 4), (4, 1), (4, 2), (2, 4), (2, 3), (3, 2)]
    return Topology("line", nodes, tuple(Link(a, b, Fraction(10)) for a, b in pairs))


def test_allreduce_whose_trees_cut_the_shard_differently(golden) -> None:  # type: ignore[no-untyped-def]
    """Two trees of a third and two thirds into b, one of a half each out of it: three chunks."""
    topology = line()
    paths = [[1], [6], [7], [5, 3], [0], [2, 4]]  # b → a, c → d, d → c, c → sw → b, a → b, b → sw → c
    into = growth.pack("in", 3, [1, 1], [1, 2], [0, 3, 6], [4, 3, 2] * 2, paths)
    out = growth.pack("out", 2, [1, 1], [1, 1], [0, 3, 6], [0, 5, 1] * 2, paths)
    collective = Collective(Kind.ALLREDUCE, (0, 1, 2, 3), (0, 1, 2, 3), (0, 1, 0, 0))
    schedule = lower(topology, collective, [into, out])
    verify(topology, schedule)
    golden.check(schedule_text(topology, schedule), "schedule-allreduce")


def test_reduction_through_a_relay(golden) -> None:  # type: ignore[no-untyped-def]
    """c is outside the group: the first that reaches it is copied, the second waits for it. In two pieces."""
    nodes = (*(Node(name, "rank") for name in "abcd"),)
    pairs = [(0, 2), (1, 2), (2, 3)]
    topology = Topology("star", nodes, tuple(Link(a, b, Fraction(10)) for a, b in pairs))
    into = growth.pack("in", 1, [3], [1], [0, 3], [2, 1, 0], [[0], [1], [2]])
    collective = Collective(Kind.REDUCE, (0, 1, 3), (3,), (1,), 3)
    schedule = Segment(2)(lower(topology, collective, [into]))
    verify(topology, schedule)
    texts = [schedule_text(topology, schedule), *(program_text(topology, p) for p in programs(topology, schedule))]
    golden.check("\n".join(texts), "schedule-relay")
