"""Every collective, element type, size, in place and out of place, on plans of a dozen topologies, against numpy.

The ranks of a topology are started once, and hold a communicator for every collective at the same time.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import cycle
from typing import Any

import numpy as np
import pytest
from ranks import on_processes

import collsched
from collsched.collective import Kind
from collsched.runtime import connect
from collsched.runtime.communicator import Communicator
from collsched.runtime.dtypes import DTYPES, OPS, decode, encode
from collsched.runtime.shm import Tuning

Array = np.ndarray[Any, Any]

# name, its parameters, the ranks that take part (all others may relay)
TOPOLOGIES: list[tuple[str, dict[str, str], str | None]] = [
    ("hypercube", {"dimension": "1"}, None),
    ("pcie-bridge", {}, "0,5"),
    ("dgx1-v100", {}, "0-2"),
    ("random-irregular", {"ranks": "3", "degree": "2"}, None),
    ("torus-2d", {"dims": "2x2"}, None),
    ("hypercube", {"dimension": "2"}, None),
    ("random-irregular", {"ranks": "4", "degree": "2"}, None),
    ("random-switched", {"ranks": "4", "per_switch": "2", "degree": "2"}, None),
    ("dgx1-v100", {}, None),
    ("dgx-a100", {"boxes": "1"}, None),
    ("leaf-spine", {"boxes": "1"}, None),
    ("random-switched", {"ranks": "8", "per_switch": "3", "degree": "2"}, None),
]
SIZES = (0, 7, 24, 1009)
RANKS_TO_ROOT = 1


def given(rank: int, dtype: str, count: int, op: str) -> Array:
    """Whole numbers so small that no order of reduction rounds; 8-bit integers wrap, alike in every order."""
    return encode((np.arange(count) * (rank + 2) + rank) % (2 if op == "prod" else 5) + 1, dtype)


def reduced(parts: list[Array], dtype: str, op: str) -> Array:
    wide = [decode(part, dtype) for part in parts]
    exact = np.stack([part.astype(np.float64 if "float" in dtype else part.dtype) for part in wide])
    if op in ("min", "max"):
        return encode(getattr(exact, op)(axis=0), dtype)
    total = (exact.prod if op == "prod" else exact.sum)(axis=0, dtype=exact.dtype)
    if op == "avg":
        total = total / len(parts) if "float" in dtype else np.trunc(total / len(parts)).astype(total.dtype)
    return encode(total, dtype)


class Call:
    """One collective call of one rank: what goes in, and what must come out."""

    def __init__(self, communicator: Communicator, group: list[int], dtype: str, count: int, op: str) -> None:
        self.communicator, self.group, self.dtype, self.count, self.op = communicator, group, dtype, count, op
        self.place = group.index(communicator.rank)
        self.borders = [i * count // len(group) for i in range(len(group) + 1)]
        self.mine = slice(self.borders[self.place], self.borders[self.place + 1])
        self.inputs = [given(rank, dtype, count, op) for rank in group]
        self.root = group[RANKS_TO_ROOT] == communicator.rank

    def expected(self) -> Array | None:
        match self.communicator.kind:
            case Kind.ALLREDUCE:
                return reduced(self.inputs, self.dtype, self.op)
            case Kind.REDUCE:
                return reduced(self.inputs, self.dtype, self.op) if self.root else None
            case Kind.REDUCE_SCATTER:
                return reduced(self.inputs, self.dtype, self.op)[self.mine]
            case Kind.BROADCAST:
                return self.inputs[RANKS_TO_ROOT]
            case Kind.SCATTER:
                return self.inputs[RANKS_TO_ROOT][self.mine]
            case Kind.ALL_TO_ALL:
                return np.concatenate([part[self.mine] for part in self.inputs])
            case Kind.ALLGATHER | Kind.GATHER:
                pairs = zip(self.inputs, self.borders, self.borders[1:], strict=False)
                whole = np.concatenate([part[first:last] for part, first, last in pairs])
                return whole if self.root or self.communicator.kind is Kind.ALLGATHER else None

    def out_of_place(self) -> Array | None:
        x, expected = self._input(), self.expected()
        out = None if expected is None else np.full_like(expected, 77)
        before = None if x is None else x.copy()
        self._call(x, out)
        assert before is None or np.array_equal(before, x)
        return out

    def in_place(self) -> Array | None:
        """Input and output in one array; where they cannot be, out of place again."""
        kind, whole = self.communicator.kind, self.inputs[self.place].copy()
        match kind:
            case Kind.ALLREDUCE | Kind.BROADCAST | Kind.REDUCE:
                self._call(whole, None)
                return whole if self.expected() is not None else None
            case Kind.ALLGATHER | Kind.GATHER:
                whole[: self.mine.start], whole[self.mine.stop :] = 77, 77
                self._call(whole[self.mine], whole if self.expected() is not None else None)
                return whole if self.expected() is not None else None
            case Kind.REDUCE_SCATTER:
                self._call(whole, whole[self.mine])
                return whole[self.mine]
            case Kind.SCATTER:
                self._call(whole if self.root else None, whole[self.mine])
                return whole[self.mine]
            case Kind.ALL_TO_ALL if self.count % len(self.group) == 0:
                self._call(whole, whole)
                return whole
        return self.out_of_place()

    def _input(self) -> Array | None:
        kind, whole = self.communicator.kind, self.inputs[self.place]
        if kind in (Kind.ALLGATHER, Kind.GATHER):
            return whole[self.mine].copy()
        gives_nothing = kind in (Kind.BROADCAST, Kind.SCATTER) and not self.root
        return None if gives_nothing else whole.copy()

    def _call(self, x: Array | None, out: Array | None) -> None:
        self.communicator.call(x, out, op=self.op, dtype=self.dtype, count=self.count)


def cases() -> Iterator[tuple[str, int, str]]:
    ops = cycle(OPS)
    return ((dtype, count, next(ops)) for dtype in DTYPES for count in SIZES)


def failures(communicators: list[Communicator], group: list[int], calls: list[tuple[str, int, str]]) -> Iterator[str]:
    for communicator in communicators:
        for dtype, count, op in calls:
            if communicator.rank not in group:
                communicator.call(), communicator.call()
                continue
            call = Call(communicator, group, dtype, count, op if communicator.kind.reduces else "sum")
            expected = call.expected()
            for how in (call.out_of_place, call.in_place):
                result = how()
                if not (expected is None and result is None) and not np.array_equal(expected, result):
                    yield f"{communicator.kind} of {count} {dtype} ({op}) {how.__name__}"


@lru_cache
def compiled(number: int) -> tuple[list[collsched.Plan], list[int]]:
    """Plans of all collectives for a topology, and the ranks that take part."""
    name, options, group = TOPOLOGIES[number]
    topology = collsched.bundled(name, **options)
    who = {"group": group} if group else {}
    plans = [collsched.compile(topology, kind, **who) for kind in Kind if not kind.rooted]
    members = list(plans[0].collective.group)
    root = members[RANKS_TO_ROOT]
    return plans + [collsched.compile(topology, kind, root=root, **who) for kind in Kind if kind.rooted], members


@pytest.mark.parametrize("number", range(len(TOPOLOGIES)), ids=[name for name, *_ in TOPOLOGIES])
def test_against_numpy(number: int) -> None:
    plans, members = compiled(number)

    def body(rank: int) -> list[str]:
        communicators = [connect(plan, tuning=Tuning(arena=2048, segment=256, timeout=30)) for plan in plans]
        found = list(failures(communicators, members, list(cases())))
        for communicator in communicators:
            communicator.close()
        return found

    ranks = len(plans[0].topology.ranks)
    assert on_processes(ranks, body) == [[]] * ranks
