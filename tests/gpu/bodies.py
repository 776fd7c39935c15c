"""What one rank does in the tests of GPU engines. Each returns the failures that it found, as texts.

`make(plan, **tuning)` gives this rank's communicator; tests on the host's stand-in for a GPU use the same functions.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))

from handmade import handmade, mesh

import collsched
from collsched.collective import Kind
from collsched.errors import EngineError, InputError
from collsched.runtime.communicator import Communicator
from collsched.runtime.dtypes import DTYPES, OPS
from collsched.runtime.interpreter import interpret
from collsched.runtime.layout import Role

Array = np.ndarray[Any, Any]
Make = Callable[..., Communicator]
NUMPY = [name for name in DTYPES if name != "bfloat16"]


def inputs_of(plan: Any, dtype: str, count: int) -> list[Array | None]:
    """Inputs whose reductions round, alike on all ranks."""
    schedule, found = plan.schedule(), []
    for rank in range(len(plan.topology.ranks)):
        role = Role(plan.collective, schedule.chunks, rank)
        draw = np.random.default_rng([rank, count])
        size = role.size(role.given, count)
        values = draw.uniform(0, 100, size) if dtype.startswith("u") else draw.normal(0, 50, size)
        found.append(None if role.gives == "nothing" else values.astype(dtype))
    return found


def matrix(cupy: Any, make: Make, ranks: int, dtypes: list[str], counts: list[int]) -> Iterator[str]:
    """Every collective, with relays, on these types and sizes, out of place and in place, against the interpreter."""
    for kind in Kind:
        options: dict[str, Any] = {"root": ranks - 1} if kind.rooted else {}
        group = [rank for rank in range(ranks) if rank != 1] if ranks > 3 else None
        if kind is Kind.ALL_TO_ALL:
            plan: Any = collsched.compile(mesh(ranks), kind)
        else:
            plan = handmade(ranks, kind, k=2, seed=ranks, group=group, **options)
        ops = cycle(OPS if kind.reduces else ("sum",))
        with make(plan) as communicator:
            for dtype in dtypes:
                for count in counts:
                    op = next(ops)
                    if text := _wrong(cupy, communicator, plan, dtype, count, op):
                        yield f"{kind} of {count} {dtype} ({op}) {text}"


def _wrong(cupy: Any, communicator: Communicator, plan: Any, dtype: str, count: int, op: str) -> str:
    inputs = inputs_of(plan, dtype, count)
    expected = interpret(plan.topology, plan.schedule(), inputs, count, op)[communicator.rank]
    given = inputs[communicator.rank]
    x = None if given is None else cupy.asarray(given)
    out = None if expected is None else cupy.asarray(np.full_like(expected, 77))
    communicator.call(x, out, op=op, count=count, wait=False).wait(60)
    if expected is not None and out is not None and out.get().tobytes() != expected.tobytes():
        return "out of place"
    if given is not None and x is not None and x.get().tobytes() != given.tobytes():
        return "changed its input"
    in_place = x is not None and out is not None and x.size == out.size and communicator.kind is not Kind.ALL_TO_ALL
    again = x if in_place else out  # once more, so that flags and graphs are used again
    communicator.call(x, again, op=op, count=count, wait=False).wait(60)
    if expected is not None and again is not None and again.get().tobytes() != expected.tobytes():
        return "in place"
    return ""


def bfloat16(cupy: Any, make: Make, ranks: int) -> Iterator[str]:
    """Small whole numbers, whose sums are exact, as their bits in uint16."""
    plan = handmade(ranks, Kind.ALLREDUCE, seed=1)
    values = np.random.default_rng(0).integers(-8, 9, 1009)
    total = (values * ranks).astype(np.float32).view(np.uint32) >> 16
    with make(plan) as communicator:
        x = cupy.asarray((values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16))
        communicator.allreduce(x, dtype="bfloat16", wait=False).wait(60)
        if not np.array_equal(x.get(), total.astype(np.uint16)):
            yield "sums of bfloat16 are wrong"


def stress(cupy: Any, make: Make, ranks: int, calls: int, **tuning: Any) -> Iterator[str]:
    """Calls of many sizes in a row, none of which waits for its result: ranks run ahead as far as they can."""
    sizes = [random.Random(7).choice([1, 3, 64, 1009, 20_011, 100_003]) for _ in range(calls)]
    for kind in (Kind.ALLREDUCE, Kind.BROADCAST):
        plan = handmade(ranks, kind, k=3, seed=5, **({"root": 0} if kind.rooted else {}))
        with make(plan, **tuning) as communicator:
            rank, kept = communicator.rank, []
            for number, size in enumerate(sizes):
                x = cupy.asarray(np.arange(size * ranks, dtype=np.int32) * (rank + 1) + number)
                out = cupy.asarray(np.zeros(size * ranks, np.int32))
                gives = kind is not Kind.BROADCAST or rank == 0
                kept.append((communicator.call(x if gives else None, out, wait=False), x, out, size, number))
            for handle, _, out, size, number in kept:
                handle.wait(120)
                whole = np.arange(size * ranks, dtype=np.int32)
                total = whole * (ranks * (ranks + 1) // 2) + ranks * number
                if not np.array_equal(out.get(), total if kind is Kind.ALLREDUCE else whole + number):
                    yield f"{kind} number {number} of {size * ranks} int32"


def replayed(cupy: Any, make: Make, ranks: int, stream: Any) -> Iterator[str]:
    """A call within a graph of the user's, replayed; one that the communicator has not met cannot be captured."""
    plan = handmade(ranks, Kind.ALLREDUCE, k=2, seed=2)
    with make(plan) as communicator, stream:
        x = cupy.asarray(np.ones(5000, np.int64))
        stream.begin_capture()
        try:
            communicator.allreduce(x)
            yield "an unknown size was captured"
        except InputError:
            pass
        stream.end_capture()
        communicator.allreduce(x)
        stream.synchronize()
        stream.begin_capture()
        communicator.allreduce(x)
        graph = stream.end_capture()
        for _ in range(4):
            graph.launch(stream=stream)
        stream.synchronize()
        if not np.array_equal(x.get(), np.full(5000, ranks**5)):
            yield f"after five calls {x.get()[:3]}"


def disagreement(cupy: Any, make: Make, ranks: int) -> Iterator[str]:
    """Ranks that call different things are told, and go on."""
    with make(handmade(ranks, Kind.ALLREDUCE)) as communicator:
        odd = communicator.rank == ranks - 1
        try:
            communicator.allreduce(cupy.asarray(np.ones(5 + odd, np.float32)), wait=False).wait(60)
            yield "no error"
        except EngineError as error:
            if f"rank {ranks - 1} made allreduce of 6 float32" not in str(error):
                yield str(error)
        x = cupy.asarray(np.ones(5, np.float32))
        communicator.allreduce(x, wait=False).wait(60)
        if not np.array_equal(x.get(), np.full(5, ranks)):
            yield "the next call is wrong"
