"""Waves of sends and receives against the interpreter, bit for bit, by a simulator of what NCCL promises."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any

import numpy as np
import pytest
from handmade import handmade
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cuda_host import data

import collsched
from collsched.collective import KINDS, Kind
from collsched.runtime.interpreter import interpret
from collsched.runtime.layout import Role
from collsched.runtime.waves import WIDTHS, Moves, Wave, choose, number, waves

Array = np.ndarray[Any, Any]


class Rank:
    """One rank's arrays, and the wave it is in. In place: chunks are where the output is, and the input too."""

    def __init__(self, role: Role, program: list[Wave], x: Array | None, count: int, dtype: Any) -> None:
        self.program, self.wave = program, 0
        self.input = np.zeros(role.total(count), dtype)
        at = 0
        for first, last in role.spans(role.given, count):
            assert x is not None
            self.input[first:last] = x[at : at + last - first]
            at += last - first
        self.later = self.input  # later versions overwrite what was given: the hardest case


class Nccl:
    """Within a pair of ranks, sends and receives match in the order of issue; data moves when they do. A group is
    complete once all its calls have matched; then a rank issues its next group. What is being sent does not change from
    the issue of a group to its end."""

    def __init__(self, ranks: list[Rank], ranges: tuple[Any, Any], combine: Any) -> None:
        self.ranks, self.lo, self.hi, self.combine = ranks, *ranges, combine
        self.sent: defaultdict[tuple[int, int], deque[Any]] = defaultdict(deque)
        self.awaited: defaultdict[tuple[int, int], deque[Any]] = defaultdict(deque)
        self.open = [0] * len(ranks)
        self.received: list[dict[int, Array]] = [{} for _ in ranks]
        self.sending: list[list[tuple[Array, Array]]] = [[] for _ in ranks]

    def run(self) -> None:
        for rank in range(len(self.ranks)):
            self.issue(rank)
        while any(rank.wave < len(rank.program) for rank in self.ranks):
            before = [rank.wave for rank in self.ranks]
            for pair in [*self.sent]:
                while self.sent[pair] and self.awaited[pair]:
                    self.match(pair)
            for number_, rank in enumerate(self.ranks):
                if rank.wave < len(rank.program) and self.open[number_] == 0:
                    self.finish(number_)
            assert before != [rank.wave for rank in self.ranks], f"deadlock in waves {before}"

    def issue(self, number_: int) -> None:
        rank = self.ranks[number_]
        if rank.wave == len(rank.program):
            return
        wave = rank.program[rank.wave]
        self.open[number_] = len(wave.sends) + len(wave.receives)
        for peer, chunk, from_input in wave.sends:
            source = (rank.input if from_input else rank.later)[self.lo[chunk] : self.hi[chunk]]
            self.sending[number_].append((source, source.copy()))
            self.sent[number_, peer].append((chunk, source))
        for i, (peer, chunk, reduces) in enumerate(wave.receives):
            self.awaited[peer, number_].append((i, chunk, reduces))

    def match(self, pair: tuple[int, int]) -> None:
        src, dst = pair
        chunk, source = self.sent[pair].popleft()
        i, expected, reduces = self.awaited[pair].popleft()
        assert chunk == expected
        if reduces:
            self.received[dst][i] = source.copy()
        else:
            self.ranks[dst].later[self.lo[chunk] : self.hi[chunk]] = source
        self.open[src] -= 1
        self.open[dst] -= 1

    def finish(self, number_: int) -> None:
        """The kernel after the group; then the next group."""
        rank = self.ranks[number_]
        assert all(np.array_equal(*pair) for pair in self.sending[number_]), "changed while it was sent"
        self.sending[number_] = []
        for fold in rank.program[rank.wave].folds:
            chunk = slice(self.lo[fold.chunk], self.hi[fold.chunk])
            total = rank.later[chunk].copy()
            for i in fold.receives:
                total = self.combine(total, self.received[number_][i])
            rank.later[chunk] = total
        self.received[number_] = {}
        rank.wave += 1
        self.issue(number_)


def simulate(plan: Any, width: int, count: int, segments: int = 1) -> tuple[list[Any], list[Any]]:
    """(what comes out, what the interpreter says)."""
    schedule = plan.schedule(segments) if segments > 1 else plan.schedule()
    moves = Moves.of(plan.topology, schedule)
    numbers = number(moves, width)
    inputs = data(plan, "float32", count)
    roles = [Role(schedule.collective, schedule.chunks, rank) for rank in range(len(inputs))]
    ranks = [
        Rank(role, waves(moves, numbers, rank), inputs[rank], count, np.float32) for rank, role in enumerate(roles)
    ]
    Nccl(ranks, schedule.chunks.ranges(schedule.collective, roles[0].total(count)), np.add).run()
    outputs = []
    for role, rank in zip(roles, ranks, strict=True):
        spans = [rank.later[first:last] for first, last in role.spans(role.got, count)]
        outputs.append(None if role.gets == "nothing" else np.concatenate([rank.later[:0], *spans]))
    return outputs, interpret(plan.topology, schedule, inputs, count)


def same(pair: tuple[list[Any], list[Any]]) -> bool:
    return all((a is None and b is None) or a.tobytes() == b.tobytes() for a, b in zip(*pair, strict=True))


@settings(max_examples=150, deadline=None)
@given(
    ranks=st.integers(1, 8),
    kind=st.sampled_from(list(KINDS)),
    seed=st.integers(0, 9999),
    k=st.integers(1, 4),
    width=st.sampled_from(WIDTHS),
    count=st.integers(0, 200),
)
def test_any_program(ranks: int, kind: Kind, seed: int, k: int, width: int, count: int) -> None:
    assert same(simulate(handmade(ranks, kind, seed=seed, k=k), width, count))


@pytest.mark.parametrize("width", WIDTHS)
def test_relays_and_roots(width: int) -> None:
    for kind in KINDS:
        options: dict[str, Any] = {"root": 3} if kind.rooted else {}
        assert same(simulate(handmade(6, kind, k=3, seed=1, group=[1, 3, 4], **options), width, 331))


@pytest.mark.parametrize("name", ["dgx-h100", "torus-2d", "dgx1-v100"])
def test_compiled_plans_in_segments(name: str) -> None:
    topology = collsched.bundled(name, **({"boxes": 1} if name == "dgx-h100" else {}))
    for kind in (Kind.ALLREDUCE, Kind.ALL_TO_ALL):
        plan = collsched.compile(topology, kind)
        for segments in (1, 3):
            for width in (1, 2, 1 << 30):
                assert same(simulate(plan, width, 5003, segments))


def test_both_ends_have_the_same_calls() -> None:
    moves = Moves.of((plan := handmade(7, Kind.ALLREDUCE, k=3, seed=2)).topology, plan.schedule())
    numbers = number(moves, 2)
    programs = [waves(moves, numbers, rank) for rank in range(7)]
    for w in range(len(programs[0])):
        for a in range(7):
            for b in range(7):
                sent = [chunk for peer, chunk, _ in programs[a][w].sends if peer == b]
                received = [chunk for peer, chunk, _ in programs[b][w].receives if peer == a]
                assert sent == received
                lanes = [t for t in np.flatnonzero(numbers == w) if moves.src[t] == a and moves.dst[t] == b]
                assert len(lanes) == len(sent)


def test_fewer_waves_for_little_data_and_more_for_much() -> None:
    plan = handmade(6, Kind.BROADCAST, k=8, root=0, seed=4)
    moves = Moves.of(plan.topology, plan.schedule())
    chunks = len(plan.schedule().chunks.shard)
    few = choose(moves, [8] * chunks, 6, 10e-6, 200e9).max()
    many = choose(moves, [1 << 30] * chunks, 6, 10e-6, 200e9).max()
    assert few <= many and few == min(number(moves, width).max() for width in WIDTHS)


def test_no_transfers() -> None:
    plan = handmade(1, Kind.ALLREDUCE)
    moves = Moves.of(plan.topology, plan.schedule())
    assert waves(moves, choose(moves, [8], 1, 1e-5, 1e9), 0) == []
