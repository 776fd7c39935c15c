"""Any order that the dataflow and the lanes allow gives the bits of list order."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from typing import Any

import numpy as np
from handmade import handmade
from hypothesis import given, settings
from hypothesis import strategies as st

from collsched.collective import Kind
from collsched.ir.program import RECV_REDUCE, SEND
from collsched.lower import programs
from collsched.runtime.dataflow import Dataflow
from collsched.runtime.interpreter import interpret

COUNT = 37


class Rank:
    """Executes a program in a random order: of each lane the next instruction, if it waits for nothing."""

    def __init__(self, program: Any, buffer: Any, ranges: Any) -> None:
        self.program, self.buffer, self.ranges = program, buffer, ranges
        self.flow = Dataflow.of(program)
        self.waits = self.flow.waits.copy()
        self.lanes: defaultdict[int, deque[int]] = defaultdict(deque)
        for i, lane in enumerate(program.connection.tolist()):
            self.lanes[lane].append(i)

    def candidates(self) -> list[int]:
        return [lane for lane, queue in self.lanes.items() if queue and not self.waits[queue[0]]]

    def step(self, lane: int, wires: defaultdict[Any, deque[Any]]) -> bool:
        i = self.lanes[lane][0]
        program, c = self.program, self.program.chunk[i]
        connections = program.connections
        wire = wires[int(connections.src[lane]), int(connections.dst[lane]), int(connections.channel[lane])]
        chunk = self.buffer[self.ranges[0][c] : self.ranges[1][c]]
        if program.opcode[i] == SEND:
            wire.append(chunk.copy())
        elif not wire:
            return False
        elif program.opcode[i] == RECV_REDUCE:
            chunk += wire.popleft()
        else:
            chunk[:] = wire.popleft()
        self.lanes[lane].popleft()
        for j in self.flow.then[i]:
            self.waits[j] -= 1
        return True


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 6), st.sampled_from([Kind.ALLREDUCE, Kind.REDUCE_SCATTER, Kind.REDUCE]), st.integers(0, 999))
def test_every_order_that_is_allowed_gives_the_same_bits(size: int, kind: Kind, seed: int) -> None:
    plan, rng = handmade(size, kind, seed=seed, k=2), random.Random(seed)
    schedule = plan.schedule(rng.choice([1, 3]))
    values = np.random.default_rng(seed)
    inputs = [values.normal(size=COUNT).astype(np.float32) for _ in range(size)]
    expected = interpret(plan.topology, schedule, list(inputs), COUNT)
    ranges = schedule.chunks.ranges(schedule.collective, COUNT)
    ranks = [Rank(p, x.copy(), ranges) for p, x in zip(programs(plan.topology, schedule), inputs, strict=True)]
    wires: defaultdict[Any, deque[Any]] = defaultdict(deque)
    while any(queue for rank in ranks for queue in rank.lanes.values()):
        turns = [(rank, lane) for rank in ranks for lane in rank.candidates()]
        rng.shuffle(turns)
        assert any(rank.step(lane, wires) for rank, lane in turns), "deadlock"
    borders = [i * COUNT // size for i in range(size + 1)]
    for number, (rank, result) in enumerate(zip(ranks, expected, strict=True)):
        if result is not None:
            mine = slice(borders[number], borders[number + 1]) if kind is Kind.REDUCE_SCATTER else slice(None)
            assert rank.buffer[mine].tobytes() == result.tobytes()


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 6), st.sampled_from([kind for kind in Kind if kind is not Kind.ALL_TO_ALL]), st.integers(0, 999))
def test_an_instruction_waits_for_earlier_ones_once_each(size: int, kind: Kind, seed: int) -> None:
    plan = handmade(size, kind, seed=seed)
    for program in programs(plan.topology, plan.schedule()):
        flow = Dataflow.of(program)
        counted = [0] * len(program)
        for i, then in enumerate(flow.then):
            assert all(j > i for j in then)
            assert len(set(then)) == len(then)
            for j in then:
                counted[j] += 1
        assert counted == flow.waits
