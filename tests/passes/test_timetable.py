"""The timetable itself: it can be kept, and that of a reduction is as good as that of a broadcast."""

from __future__ import annotations

import heapq
import random
from collections import defaultdict
from fractions import Fraction

import growth
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collsched.collective import KINDS, Kind, make_collective
from collsched.forest.mirror import mirrored, opposite_links
from collsched.forest.optimum import optimum
from collsched.forest.packing import pack
from collsched.forest.partners import partners
from collsched.forest.problem import directions, problem
from collsched.ir.schedule import REDUCE, Schedule
from collsched.lower import lower
from collsched.passes.segment import Segment
from collsched.passes.shape import PACINGS, Shape
from collsched.passes.timetable import PS_IN_US, Progress, Times, Timetable, _reductions
from collsched.simulate import Simulation
from collsched.topology.library import bundled
from collsched.topology.model import Topology

GIB = 1 << 30


def timed(seed: int) -> tuple[Topology, Schedule, Timetable, Times]:
    """A random schedule of some kind and shape, its timetable and its times."""
    rng = random.Random(seed)
    topology = growth.fabric(rng, rng.randint(2, 6), rng.randint(0, 4))
    kind = rng.choice(KINDS)
    collective = growth.collective(rng, topology, kind, tuple(range(len(topology.ranks))))
    forests = [
        growth.grow(rng, topology, collective, reverse=reverse, k=rng.randint(1, 3)) for reverse in directions(kind)
    ]
    segment = Segment(rng.choice((1, 3, 8)), even=True)
    whole = lower(topology, collective, forests)
    schedule = segment(whole)
    nbytes = rng.choice((1000, 10**6, 10**9 + 7))
    progress = Progress(*segment.progress(whole)) if rng.random() < 0.5 else None
    table = Timetable(topology, nbytes, progress, steady=rng.random() < 0.5)
    return topology, schedule, table, table.times(schedule)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_what_a_transfer_waits_for_has_arrived_and_there_is_time_to_prepare(seed: int) -> None:
    topology, schedule, table, times = timed(seed)
    joins, senders = schedule.joins, defaultdict[int, list[tuple[int, int]]](list)
    for t, (join, route) in enumerate(
        zip(schedule.transfers.join.tolist(), schedule.transfers.route.tolist(), strict=True)
    ):
        members = joins.member[joins.ptr[join] : joins.ptr[join + 1]]
        ready = times.arrival[members].max(initial=0)
        assert times.start[t] >= ready + PS_IN_US
        first = topology.links[schedule.routes.links[schedule.routes.ptr[route]]]
        senders[first.src].append((int(times.start[t]), int(ready)))
    assert table.progress is None or all(map(can_prepare, senders.values()))


def can_prepare(jobs: list[tuple[int, int]]) -> bool:
    """Whether a sender that prepares one transfer after the other can be in time: (due, ready) of each, earliest due
    first among those that are ready, interrupted if need be. What no such sender can, none can."""
    waiting: list[tuple[int, int]] = []
    by_ready = sorted(jobs, key=lambda job: job[1])
    now, taken = 0, 0
    while waiting or taken < len(by_ready):
        if not waiting:
            now = max(now, by_ready[taken][1])
        while taken < len(by_ready) and by_ready[taken][1] <= now:
            heapq.heappush(waiting, (by_ready[taken][0], PS_IN_US))
            taken += 1
        due, left = heapq.heappop(waiting)
        until = min(now + left, by_ready[taken][1] if taken < len(by_ready) else now + left)
        if now + left > due:
            return False
        if until < now + left:
            heapq.heappush(waiting, (due, left - (until - now)))
        now = until
    return True


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_no_link_carries_more_than_it_can(seed: int) -> None:
    topology, schedule, table, times = timed(seed)
    start, arrival = times.start, times.arrival
    low, high = schedule.chunks.ranges(schedule.collective, schedule.collective.total(table.nbytes))
    rates: dict[int, list[tuple[int, Fraction]]] = defaultdict(list)
    for t, route in enumerate(schedule.transfers.route.tolist()):
        links = schedule.routes.links[schedule.routes.ptr[route] : schedule.routes.ptr[route + 1]].tolist()
        end = int(arrival[t]) - sum(int(topology.links[link].alpha * PS_IN_US) for link in links)
        size = int((high - low)[schedule.transfers.chunk[t]])
        if size == 0:
            continue
        rate = Fraction(size * 10**12, end - int(start[t]) + 1)  # bytes a second; durations are rounded down
        for link in links:
            rates[link] += [(int(start[t]), rate), (end, -rate)]
    for link, changes in rates.items():
        carried = Fraction(0)
        for _, change in sorted(changes):
            carried += change
            assert carried <= topology.links[link].bandwidth * 10**9


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_reductions_come_before_what_follows_them(seed: int) -> None:
    _, schedule, _, times = timed(seed)
    up = _reductions(schedule)
    assert up[schedule.transfers.op == REDUCE].all()
    if up.any() and not up.all():
        assert times.arrival[up].max() <= times.start[~up].min()


def test_a_reduction_is_as_fast_as_a_broadcast() -> None:
    """Greed from the front brings in the parts of a sum at odd times; from the end it does not."""
    topology = bundled("dgx-a100", boxes=2)
    opposite = opposite_links(topology)
    assert opposite is not None
    gather = make_collective(topology, "allgather")
    instance = problem(topology, gather, reverse=False)
    forest = pack(instance, optimum(instance))
    scatter = make_collective(topology, "reduce-scatter")
    nbytes = 1 << 30
    bound = float(optimum(instance).ratio) * nbytes / (gather.weight * 1e9)
    down = Timetable(topology, nbytes).times(Segment(8)(lower(topology, gather, [forest]))).arrival.max()
    up = (
        Timetable(topology, nbytes)
        .times(Segment(8)(lower(topology, scatter, [mirrored(forest, opposite)])))
        .arrival.max()
    )
    assert bound <= up / 1e12 <= 1.05 * bound and bound <= down / 1e12 <= 1.05 * bound


def test_trees_of_unequal_weight_need_deadlines() -> None:
    """Two MI250 boxes, three trees a rank: deep trees first leaves the shallow ones for the end."""
    topology = bundled("mi250", boxes=2)
    collective = make_collective(topology, "reduce-scatter")
    instance = problem(topology, collective, reverse=True)
    schedule = lower(topology, collective, [pack(instance, optimum(instance), k=3)])
    nbytes = 1 << 30
    bound = float(optimum(instance).ratio) * nbytes / (collective.weight * 1e9)
    seconds = {
        pacing: Simulation(topology, Shape(16, pacing)(topology, schedule, nbytes)).seconds(nbytes)
        for pacing in PACINGS
    }
    assert bound <= seconds["deadlines"] <= 1.1 * bound
    assert all(seconds[pacing] > 1.2 * bound for pacing in ("none", "lanes", "timetable"))


def between_partners(boxes: int, kind: Kind, k: int | None = None) -> tuple[Topology, Schedule, float]:
    """MI250 boxes, a schedule of trees between ports that have partners, and the bound in seconds of a GiB."""
    topology = bundled("mi250", boxes=boxes)
    fabric = partners(topology)
    assert fabric is not None
    collective = make_collective(topology, kind)
    instance = problem(fabric.topology, collective, reverse=kind is Kind.REDUCE_SCATTER)
    best = optimum(instance)
    schedule = lower(topology, collective, [fabric.lifted(pack(instance, best, k=k))])
    return topology, schedule, float(best.ratio) * GIB / (collective.weight * 1e9)


def test_a_reduction_in_order_only_has_no_burst_at_its_end() -> None:
    """Four MI250 boxes in 48 pieces: senders are busy for 94 % of the time, and leave none of it for the end."""
    topology, schedule, _ = between_partners(4, Kind.REDUCE_SCATTER, k=6)
    order = Shape(48, "order")
    at_the_end, late = dict[str, float](), dict[str, float]()
    for shape in (order, Shape(48, "deadlines")):
        table, cut, times = shape.timetable(topology, schedule, GIB)
        whole = times.arrival.max()
        at_the_end[shape.pacing] = float((times.start > whole * 0.95).mean() / 0.05)
        simulation = Simulation(topology, order.ordered(table, cut, times))
        late[shape.pacing] = simulation.seconds(GIB) / (whole / 1e12)
    assert at_the_end["order"] < 1 < at_the_end["deadlines"]
    assert late["order"] < 1.002 < late["deadlines"]


def test_where_routes_have_links_of_their_own_order_keeps_the_pace() -> None:
    """Two MI250 boxes whose ports have partners: simulated, the order of a timetable takes the time that it says."""
    topology, schedule, bound = between_partners(2, Kind.ALLGATHER)
    shape = Shape(32, "order")
    table, cut, times = shape.timetable(topology, schedule, GIB)
    seconds = Simulation(topology, shape.ordered(table, cut, times)).seconds(GIB)
    assert seconds == pytest.approx(times.arrival.max() / 1e12, rel=1e-3)
    assert bound <= seconds <= 1.05 * bound
