"""The schedule verifier: valid schedules pass, broken ones are caught, and a slow oracle agrees."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction

import growth
import numpy as np
import pytest
import schedule_oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import MUTATIONS, Mutation

from collsched.collective import KINDS, Collective, Kind
from collsched.errors import VerificationError
from collsched.forest.model import Routes
from collsched.forest.problem import directions
from collsched.ir.schedule import COPY, REDUCE, Chunks, Joins, Schedule, Transfers
from collsched.ir.verify import verify
from collsched.lower import lower
from collsched.passes.segment import Segment
from collsched.topology.model import Link, Node, Topology

# Rules that ask for a sufficient condition where the oracle decides exactly.
STRICT = ("“read”", "“one copy”", "“overwrite”")


def random_schedule(rng: random.Random) -> tuple[Topology, Schedule]:
    topology = growth.fabric(rng, rng.randint(1, 6), rng.randint(0, 4))
    topology = growth.able(rng, topology) if rng.random() < 0.4 else topology
    kind = rng.choice(KINDS)
    ranks = len(topology.ranks)
    group = tuple(sorted(rng.sample(range(ranks), rng.randint(1, ranks))))
    collective = growth.collective(rng, topology, kind, group)
    forests = [
        growth.grow(rng, topology, collective, reverse=reverse, k=rng.randint(1, 3)) for reverse in directions(kind)
    ]
    return topology, Segment(rng.choice((1, 1, 3)))(lower(topology, collective, forests))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_lowered_forests_pass(seed: int) -> None:
    topology, schedule = random_schedule(random.Random(seed))
    assert schedule_oracle.judge(topology, schedule) is None
    report = verify(topology, schedule)
    assert report.transfers == len(schedule.transfers.chunk)
    assert report.ratio == loads(topology, schedule)


def loads(topology: Topology, schedule: Schedule) -> Fraction:
    """The largest load / bandwidth, the slow way."""
    load = dict.fromkeys(range(len(topology.links)), Fraction(0))
    c = schedule.chunks
    for chunk, route in zip(schedule.transfers.chunk, schedule.transfers.route, strict=True):
        weight = schedule.collective.shards[c.shard[chunk]]
        part = Fraction(int(c.length[chunk]), int(c.denominator[chunk])) * weight
        for link in schedule.routes.links[schedule.routes.ptr[route] : schedule.routes.ptr[route + 1]]:
            load[int(link)] += part
    return max((load[i] / link.bandwidth for i, link in enumerate(topology.links)), default=Fraction(0))


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_mutations_are_caught(mutation: Mutation, seed: int) -> None:
    rng = random.Random(seed)
    topology, schedule = random_schedule(rng)
    mutant = mutation(rng, schedule)
    if mutant is None:
        return
    wrong = schedule_oracle.judge(topology, mutant)
    try:
        verify(topology, mutant)
    except VerificationError as error:
        assert wrong is not None or any(rule in str(error) for rule in STRICT), error
    else:
        assert wrong is None


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_switches_do_only_what_they_can(seed: int) -> None:
    """A schedule on a fabric whose switches lose some of their abilities."""
    rng = random.Random(seed)
    topology, schedule = random_schedule(rng)
    weaker = replace(topology, nodes=tuple(
        replace(node, multicast=node.multicast and rng.random() < 0.7, reduce=node.reduce and rng.random() < 0.7)
        for node in topology.nodes
    ))  # fmt: skip
    wrong = schedule_oracle.judge(weaker, schedule)
    try:
        verify(weaker, schedule)
    except VerificationError as error:
        assert wrong is not None, error
    else:
        assert wrong is None


# -- one small machine, every rule by name -----------------------------------------------------------------------------


def machine() -> Topology:
    """Three ranks on one switch, and a direct link from each to the next."""
    nodes = (*(Node(f"gpu{i}", "rank") for i in range(3)), Node("sw", "switch"))
    pairs = [(0, 3), (1, 3), (2, 3), (3, 0), (3, 1), (3, 2), (0, 1), (1, 2), (2, 0)]
    return Topology("three", nodes, tuple(Link(a, b, Fraction(10)) for a, b in pairs))


# Route ids: over the switch from gpu a to gpu b, then the direct ones.
PAIRS = [(a, b) for a in range(3) for b in range(3) if a != b]
VIA = {pair: i for i, pair in enumerate(PAIRS)}
DIRECT = {(0, 1): 6, (1, 2): 7, (2, 0): 8}
PATHS = [[a, 3 + b] for a, b in PAIRS] + [[6], [7], [8]]


def by_hand(kind: Kind, shards: int, rows: list[tuple[int, int, int, list[int]]], root: int | None = None) -> Schedule:
    """Rows of (chunk, route, op, waits for)."""
    owners = (0, 1, 2)[:shards] if root is None or shards > 1 else (root,)
    collective = Collective(kind, (0, 1, 2), owners, (1,) * shards, root)
    ones = np.ones(shards, np.int64)
    chunks = Chunks(np.arange(shards, dtype=np.int32), 0 * ones, ones, ones)
    ptr = np.cumsum([0, *(len(path) for path in PATHS)]).astype(np.int64)
    routes = Routes(ptr, np.array([i for path in PATHS for i in path], np.int32))
    sets = [[], *(waits for *_, waits in rows)]
    joins = Joins(
        np.cumsum([0, *(len(s) for s in sets)]).astype(np.int64), np.array([m for s in sets for m in s], np.int32)
    )
    columns = [np.array([row[i] for row in rows]) for i in range(3)]
    transfers = Transfers(
        columns[0].astype(np.int32),
        columns[1].astype(np.uint32),
        columns[2].astype(np.uint8),
        np.arange(1, len(rows) + 1, dtype=np.int32),
        np.zeros(len(rows), np.int16),
    )
    return Schedule(collective, chunks, routes, transfers, joins)


def broadcast(*rows: tuple[int, int, int, list[int]]) -> Schedule:
    return by_hand(Kind.BROADCAST, 1, list(rows), root=0)


def reduce(*rows: tuple[int, int, int, list[int]]) -> Schedule:
    return by_hand(Kind.REDUCE, 1, list(rows), root=0)


def allreduce(*rows: tuple[int, int, int, list[int]]) -> Schedule:
    """One shard owned by gpu0."""
    schedule = by_hand(Kind.REDUCE, 1, list(rows), root=0)
    return replace(schedule, collective=Collective(Kind.ALLREDUCE, (0, 1, 2), (0, 1, 2), (1, 0, 0)))


UP = [(0, VIA[2, 1], REDUCE, []), (0, VIA[1, 0], REDUCE, [0])]  # gpu2 → gpu1 → gpu0
DOWN = [(0, VIA[0, 1], COPY, [1]), (0, VIA[1, 2], COPY, [2])]  # and back


def deadlock() -> Schedule:
    """Chunk 1 must pass gpu0 → gpu1 behind chunk 0, which waits for chunk 1 to come round."""
    rows = [
        (0, DIRECT[0, 1], COPY, [3]),
        (1, DIRECT[2, 0], COPY, [4]),
        (2, DIRECT[0, 1], COPY, [5]),
        (0, DIRECT[1, 2], COPY, [2]),
        (1, DIRECT[1, 2], COPY, []),
        (2, DIRECT[2, 0], COPY, []),
    ]
    return by_hand(Kind.ALLGATHER, 3, rows)


def onto_nothing() -> Schedule:
    """gpu1 is outside the group and has nothing to add to."""
    return replace(reduce(*UP), collective=Collective(Kind.REDUCE, (0, 2), (0,), (1,), 0))


BROKEN = {
    "data: sent by a rank without": broadcast((0, VIA[1, 2], COPY, [])),
    "data: a reduction onto nothing": onto_nothing(),
    "once: a contribution twice": reduce(*UP, (0, VIA[2, 0], REDUCE, [])),
    "operation: a reduction in a broadcast": broadcast((0, VIA[0, 1], REDUCE, []), (0, VIA[0, 2], COPY, [])),
    "promise: a contribution lost": reduce(UP[0], (0, VIA[1, 0], COPY, [0])),
    "promise: a rank left out": broadcast((0, VIA[0, 1], COPY, [])),
    "one copy: three of them": broadcast(*[(0, VIA[0, 1], COPY, [])] * 3),
    "overwrite: two copies": broadcast((0, VIA[0, 1], COPY, []), (0, VIA[0, 2], COPY, []), (0, VIA[2, 1], COPY, [1])),
    "overwrite: a partial sum never read": allreduce((0, VIA[2, 1], REDUCE, []), (0, VIA[0, 1], COPY, [])),
    "read: no wait": broadcast((0, VIA[0, 1], COPY, []), (0, VIA[1, 2], COPY, [])),
    "read: a write may come too late": reduce((0, VIA[2, 1], REDUCE, []), (0, VIA[1, 0], REDUCE, [])),
    "progress: a lane and a join": deadlock(),
    "load: more than claimed": allreduce(*UP, *DOWN),
}


def test_the_small_machine_works() -> None:
    for schedule in (
        reduce(*UP),
        allreduce(*UP, *DOWN),
        broadcast((0, VIA[0, 1], COPY, []), (0, VIA[1, 2], COPY, [0])),
    ):
        assert schedule_oracle.judge(machine(), schedule) is None
        verify(machine(), schedule)


@pytest.mark.parametrize("case", BROKEN)
def test_rule(case: str) -> None:
    """The rule that a case is named after is the one that catches it."""
    with pytest.raises(VerificationError, match=f"“{case.split(':')[0]}”"):
        verify(machine(), BROKEN[case], claimed=Fraction(1, 20))


def test_messages(golden) -> None:  # type: ignore[no-untyped-def]
    lines = []
    for case, schedule in BROKEN.items():
        with pytest.raises(VerificationError) as caught:
            verify(machine(), schedule, claimed=Fraction(1, 20))
        lines.append(f"{case}\n    {caught.value}")
    golden.check("\n".join(lines), "schedule-errors")


def test_the_claimed_ratio_is_exact() -> None:
    schedule = allreduce(*UP, *DOWN)
    assert verify(machine(), schedule, claimed=Fraction(1, 5)).ratio == Fraction(1, 5)
    with pytest.raises(VerificationError, match="load"):
        verify(machine(), schedule, claimed=Fraction(1, 5) - Fraction(1, 10**30))


def test_order_of_indices_does_not_matter() -> None:
    """A valid schedule listed backwards still passes where no lane is shared by dependent transfers."""
    forward = broadcast((0, VIA[0, 1], COPY, []), (0, VIA[1, 2], COPY, [0]))
    backward = broadcast((0, VIA[1, 2], COPY, [1]), (0, VIA[0, 1], COPY, []))
    assert verify(machine(), forward) == verify(machine(), backward)


def test_large_allreduce_is_verified_in_blocks() -> None:
    topology, out, into = growth.boxes(20, 8)
    ranks = tuple(range(160))
    collective = Collective(Kind.ALLREDUCE, ranks, ranks, (1,) * 160)
    schedule = lower(topology, collective, [into, out])
    assert verify(topology, schedule).waves == 4
    op = schedule.transfers.op.copy()
    op[len(op) // 3] ^= 1
    with pytest.raises(VerificationError):
        verify(topology, replace(schedule, transfers=replace(schedule.transfers, op=op)))
