"""Passes that order and pace: what they make is verified, carries the same data, and is never faster than its bound."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction

import growth
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collsched.choice import Contestant
from collsched.collective import KINDS, Kind, make_collective
from collsched.errors import VerificationError
from collsched.forest.problem import directions
from collsched.ir.schedule import Joins, Schedule
from collsched.ir.verify import verify
from collsched.lower import lower
from collsched.passes.lanes import Lanes
from collsched.passes.segment import Segment
from collsched.passes.shape import PACINGS, Shape
from collsched.simulate import Model, Simulation
from collsched.topology.library import bundled
from collsched.topology.model import Topology


def grown(rng: random.Random) -> tuple[Topology, Schedule]:
    topology = growth.fabric(rng, rng.randint(1, 6), rng.randint(0, 4))
    kind = rng.choice(KINDS)
    ranks = len(topology.ranks)
    collective = growth.collective(rng, topology, kind, tuple(range(ranks)))
    forests = [
        growth.grow(rng, topology, collective, reverse=reverse, k=rng.randint(1, 3)) for reverse in directions(kind)
    ]
    return topology, lower(topology, collective, forests)


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 2**32))
def test_every_shape_is_verified_and_no_faster_than_its_links(seed: int) -> None:
    rng = random.Random(seed)
    topology, schedule = grown(rng)
    nbytes = rng.choice((1, 1000, 10**6, 10**9 + 7))
    least = Contestant(topology, schedule).least(nbytes)
    loads = float(verify(topology, schedule).ratio) * nbytes / (schedule.collective.weight * 1e9)
    for pacing in PACINGS:
        shaped = Shape(rng.choice((1, 2, 5, 16)), pacing)(topology, schedule, nbytes)
        report = verify(topology, shaped)
        assert report.ratio == verify(topology, schedule).ratio  # the same bytes on the same links
        seconds = Simulation(topology, shaped, Model()).seconds(nbytes)
        rounding = len(shaped.chunks.shard) / 1e9  # a byte a chunk, on links of at least 1 GB/s
        assert seconds >= max(least, loads) * (1 - 1e-9) - rounding


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_even_segments_are_about_equally_long(seed: int) -> None:
    rng = random.Random(seed)
    _, schedule = grown(rng)
    pieces = rng.choice((2, 3, 8))
    cut = Segment(pieces, even=True)(schedule)
    weight = np.array(schedule.collective.shards)[cut.chunks.shard]
    parts = [
        Fraction(int(w * a), int(b)) for w, a, b in zip(weight, cut.chunks.length, cut.chunks.denominator, strict=True)
    ]
    whole = np.array(schedule.collective.shards)[schedule.chunks.shard]
    longest = max(
        Fraction(int(w * a), int(b))
        for w, a, b in zip(whole, schedule.chunks.length, schedule.chunks.denominator, strict=True)
    )
    assert max(parts) <= longest / pieces
    assert sum(parts) == sum(schedule.collective.shards)


def test_lanes_are_one_for_each_chunk_of_a_route() -> None:
    topology, schedule = grown(random.Random(7))
    laned = Lanes()(schedule)
    keys = set(zip(laned.transfers.route.tolist(), laned.transfers.channel.tolist(), strict=True))
    pairs = set(zip(laned.transfers.route.tolist(), laned.transfers.chunk.tolist(), strict=True))
    assert len(keys) == len(pairs)
    assert verify(topology, laned)


def test_a_timetable_keeps_full_links_full() -> None:
    """On a 4×4 torus the forest of four trees a rank comes within 0.2 % of its bound; sharing evenly, 8 %."""
    from collsched.compiler import compile

    topology = bundled("torus-2d", dims="4x4")
    plan = compile(topology, "allgather")
    nbytes = 1 << 30
    bound = float(plan.bound[0].ratio) * nbytes / (plan.weight * 1e9)
    times = {
        pacing: Simulation(topology, Shape(8, pacing)(topology, plan.schedule(), nbytes)).seconds(nbytes)
        for pacing in PACINGS
    }
    assert bound <= times["timetable"] <= 1.005 * bound < times["none"]


def test_a_timetable_is_the_same_each_time() -> None:
    topology, schedule = grown(random.Random(11))
    one, two = (Shape(4, "deadlines")(topology, schedule, 10**6) for _ in range(2))
    assert (one.transfers.chunk == two.transfers.chunk).all() and (one.pace.member == two.pace.member).all()
    assert one.paced or not len(one.transfers.chunk)


def paced() -> tuple[Topology, Schedule]:
    topology = bundled("dgx-a100", boxes=2)
    collective = make_collective(topology, Kind.ALLGATHER)
    forest = growth.grow(random.Random(1), topology, collective, reverse=False, k=1)
    schedule = Shape(1, "timetable")(topology, lower(topology, collective, [forest]), 1 << 20)
    assert len(schedule.pace.member)
    return topology, schedule


@pytest.mark.parametrize("rule", ["pace parts", "pace", "progress"])
def test_a_wrong_pace_is_found(rule: str) -> None:
    topology, schedule = paced()
    verify(topology, schedule)
    pace, count = schedule.pace, len(schedule.transfers.chunk)
    if rule == "pace parts":
        wrong = replace(schedule, pace=Joins(pace.ptr[:-1], pace.member))
    elif rule == "pace":
        wrong = replace(schedule, pace=Joins(pace.ptr, np.full_like(pace.member, count - 1)))
    else:
        moved = {
            column: getattr(schedule.transfers, column)[::-1].copy()
            for column in ("chunk", "route", "op", "join", "channel")
        }
        member = (count - 1 - schedule.joins.member).astype(np.int32)
        joins = Joins(schedule.joins.ptr, member)
        wrong = replace(
            schedule,
            transfers=replace(schedule.transfers, **moved),
            joins=joins,
            pace=Joins(np.zeros(count + 1, np.int64), np.zeros(0, np.int32)),
        )
    with pytest.raises(VerificationError, match=f"“{rule}”|“join members”"):
        verify(topology, wrong)
