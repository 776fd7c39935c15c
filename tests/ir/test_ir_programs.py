"""Programs and passes: executing them on numbers gives what the collective promises, in any legal order."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from dataclasses import replace

import growth
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collsched.collective import KINDS, PROMISES, Kind, holders
from collsched.errors import InputError
from collsched.forest.problem import directions
from collsched.ir.program import RECV_REDUCE, SEND, Program
from collsched.ir.schedule import Schedule
from collsched.ir.verify import verify
from collsched.lower import lower, program, programs
from collsched.passes.segment import Segment
from collsched.topology.model import Topology


def random_schedule(rng: random.Random) -> tuple[Topology, Schedule]:
    topology = growth.fabric(rng, rng.randint(1, 7), rng.randint(0, 4))
    ranks = len(topology.ranks)
    group = tuple(sorted(rng.sample(range(ranks), rng.randint(1, ranks))))
    collective = growth.collective(rng, topology, rng.choice(KINDS), group)
    phases = directions(collective.kind)
    forests = [growth.grow(rng, topology, collective, reverse=reverse, k=rng.randint(1, 3)) for reverse in phases]
    return topology, lower(topology, collective, forests)


def buffers(schedule: Schedule, ranks: int, count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:  # type: ignore[type-arg]
    """Working buffers before the programs, and what they must hold after; −1 where nothing is promised."""
    collective, promise = schedule.collective, PROMISES[schedule.collective.kind]
    data = np.random.default_rng(count).integers(1, 1000, (ranks, count))
    before, after = np.full((ranks, count), -1), np.full((ranks, count), -1)
    total = data[list(collective.group)].sum(axis=0)
    lo, hi = schedule.chunks.ranges(collective, count)
    for chunk, shard in enumerate(schedule.chunks.shard.tolist()):
        part = slice(lo[chunk], hi[chunk])
        sources = holders(collective, shard, promise.before)
        for rank in sources:
            before[rank, part] = data[rank, part]
        for rank in holders(collective, shard, promise.after):
            after[rank, part] = total[part] if promise.reduced else data[sources[0], part]
    return list(before), list(after)


class Machine:
    """Executes programs on arrays; a connection holds one message."""

    def __init__(self, parts: list[Program], schedule: Schedule, state: list[np.ndarray], count: int) -> None:  # type: ignore[type-arg]
        self.parts, self.state = parts, state
        self.lo, self.hi = schedule.chunks.ranges(schedule.collective, count)
        self.wires: dict[tuple[int, int, int], deque[np.ndarray]] = defaultdict(deque)  # type: ignore[type-arg]
        self.done: list[set[int]] = [set() for _ in parts]

    def attempt(self, rank: int, i: int) -> bool:
        """Run an instruction if its connection allows."""
        p = self.parts[rank]
        c = p.connection[i]
        wire = self.wires[int(p.connections.src[c]), int(p.connections.dst[c]), int(p.connections.channel[c])]
        part = slice(self.lo[p.chunk[i]], self.hi[p.chunk[i]])
        if p.opcode[i] == SEND:
            if wire:
                return False
            wire.append(self.state[rank][part].copy())
        elif not wire:
            return False
        elif p.opcode[i] == RECV_REDUCE:
            self.state[rank][part] += wire.popleft()
        else:
            self.state[rank][part] = wire.popleft()
        self.done[rank].add(i)
        return True

    def run_in_list_order(self, rng: random.Random) -> None:
        at = [0] * len(self.parts)
        while waiting := [rank for rank, part in enumerate(self.parts) if at[rank] < len(part)]:
            rng.shuffle(waiting)
            moved = [rank for rank in waiting if self.attempt(rank, at[rank])]
            assert moved, "deadlock"
            for rank in moved:
                at[rank] += 1

    def run_connections(self, rng: random.Random) -> None:
        queues = []
        for rank, p in enumerate(self.parts):
            for c in range(len(p.connections.src)):
                queues.append((rank, deque(np.flatnonzero(p.connection == c).tolist())))
        while queues := [queue for queue in queues if queue[1]]:
            rng.shuffle(queues)
            moved = False
            for rank, queue in queues:
                p, i = self.parts[rank], queue[0]
                waits = p.joins.member[p.joins.ptr[p.join[i]] : p.joins.ptr[p.join[i] + 1]]
                if set(waits.tolist()) <= self.done[rank] and self.attempt(rank, i):
                    queue.popleft()
                    moved = True
            assert moved, "deadlock"


@pytest.mark.parametrize("way", [Machine.run_in_list_order, Machine.run_connections])
@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.sampled_from((0, 1, 7, 97, 240)), pieces=st.sampled_from((1, 2, 5)))
def test_programs_compute_the_collective(way, seed: int, count: int, pieces: int) -> None:  # type: ignore[no-untyped-def]
    rng = random.Random(seed)
    topology, schedule = random_schedule(rng)
    schedule = Segment(pieces)(schedule)
    parts = list(programs(topology, schedule))
    state, expected = buffers(schedule, len(topology.ranks), count)
    way(Machine(parts, schedule, state, count), rng)
    for found, wanted in zip(state, expected, strict=True):
        assert (found[wanted >= 0] == wanted[wanted >= 0]).all()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_program_of_one_rank_is_that_of_all(seed: int) -> None:
    rng = random.Random(seed)
    topology, schedule = random_schedule(rng)
    parts = list(programs(topology, schedule))
    assert sum(len(part) for part in parts) == 2 * len(schedule.transfers.chunk)
    rank = rng.randrange(len(parts))
    one = program(topology, schedule, rank)
    assert one.rank == rank
    assert one.chunk.tolist() == parts[rank].chunk.tolist()
    assert (one.joins.member < len(one)).all()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), pieces=st.integers(2, 6))
def test_segments_keep_a_schedule_valid(seed: int, pieces: int) -> None:
    topology, schedule = random_schedule(random.Random(seed))
    cut = Segment(pieces)(schedule)
    assert len(cut.transfers.chunk) == pieces * len(schedule.transfers.chunk)
    assert verify(topology, cut).ratio == verify(topology, schedule).ratio


def test_segments_follow_each_other() -> None:
    """Issued by step + piece: the second piece leaves the root together with the first piece of the second hop."""
    topology, out, _ = growth.boxes(2, 2)
    ranks = tuple(range(4))
    collective = growth.Collective(Kind.ALLGATHER, ranks, ranks, (1,) * 4)
    whole = lower(topology, collective, [out])
    cut = Segment(3)(whole)
    hops = np.where(cut.transfers.join == 0, 0, 1)
    assert (np.diff(hops + cut.transfers.chunk % 3) >= 0).all()


@pytest.mark.parametrize("pieces", [0, -1, 1 << 20])
def test_number_of_segments_is_limited(pieces: int) -> None:
    with pytest.raises(InputError, match="segments"):
        Segment(pieces)


def test_phases_that_cut_the_buffer_too_finely_are_refused() -> None:
    """The common refinement of k = 2^31 and k = 2^31 − 1 needs more than 62 bits."""
    topology, out, into = growth.boxes(1, 2)
    ranks = (0, 1)
    forests = [replace(forest, k=k, multiplicity=np.array([k, k])) for forest, k in ((into, 2**31), (out, 2**31 - 1))]
    with pytest.raises(InputError, match="too finely"):
        lower(topology, growth.Collective(Kind.ALLREDUCE, ranks, ranks, (1, 1)), forests)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(0, 10**15))
def test_ranges_partition_any_count(seed: int, count: int) -> None:
    _, schedule = random_schedule(random.Random(seed))
    lo, hi = schedule.chunks.ranges(schedule.collective, count)
    assert lo[0] == 0 and hi[-1] == count
    assert (lo[1:] == hi[:-1]).all() and (lo <= hi).all()
