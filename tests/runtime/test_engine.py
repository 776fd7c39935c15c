"""The engine against the interpreter, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from handmade import Handmade, handmade
from ranks import on_ranks

from collsched.collective import KINDS, Kind
from collsched.runtime.communicator import Communicator
from collsched.runtime.dtypes import DTYPES, OPS
from collsched.runtime.interpreter import interpret
from collsched.runtime.layout import Role
from collsched.runtime.shm import Tuning

NUMPY = [name for name in DTYPES if name != "bfloat16"]
SMALL = Tuning(arena=1024, segment=128, small=0, timeout=20)  # many rounds, many segments


def data(plan: Handmade, dtype: str, count: int) -> list[np.ndarray[Any, Any] | None]:
    """Inputs whose reductions round."""
    schedule = plan.schedule()
    inputs: list[np.ndarray[Any, Any] | None] = []
    for rank in range(len(plan.topology.ranks)):
        role = Role(plan.collective, schedule.chunks, rank)
        size = role.size(role.given, count)
        random = np.random.default_rng([rank, count])
        values = random.uniform(0, 100, size) if dtype.startswith("u") else random.normal(0, 50, size)
        inputs.append(None if role.gives == "nothing" else values.astype(dtype))
    return inputs


def differences(
    plan: Handmade, cases: list[tuple[str, int, str]], tuning: Tuning | None = None, shared: bool = False
) -> list[Any]:
    """For every rank the cases in which its output differs from the interpreter's. `shared`: of arrays that the others
    can read, every case three times, the last time in place if that can be."""
    schedule = plan.schedule()
    prepared = []
    for dtype, count, op in cases:
        inputs = data(plan, dtype, count)
        prepared.append((inputs, interpret(plan.topology, schedule, inputs, count, op)))

    def body(communicator: Communicator) -> list[Any]:
        wrong: list[Any] = []
        for (dtype, count, op), (inputs, outputs) in zip(cases, prepared, strict=True):
            given, expected = inputs[communicator.rank], outputs[communicator.rank]
            result = None if expected is None else np.full_like(expected, 77)
            before = None if given is None else given.tobytes()
            for turn in range(3 if shared else 1):
                x, y = (as_shared(communicator, a) if shared else a for a in (given, result))
                in_place = turn == 2 and x is not None and y is not None and x.size == y.size
                communicator.call(x, x if in_place else y, op=op, count=count)
                y = x if in_place else y
                if expected is not None and y is not None and y.tobytes() != expected.tobytes():
                    wrong.append((dtype, count, op, turn))
                if x is not None and not in_place and x.tobytes() != before:
                    wrong.append((dtype, count, op, turn, "input changed"))
        return wrong

    return on_ranks(plan, body, tuning)


@pytest.mark.parametrize("small", [0, None])
@pytest.mark.parametrize("kind", KINDS)
def test_every_type_and_size(kind: Kind, small: int | None) -> None:
    plan = handmade(5, kind, k=2, seed=1)
    ops = OPS if kind.reduces else ("sum",)
    cases = [(dtype, count, ops[i % len(ops)]) for dtype in NUMPY for i, count in enumerate((0, 1, 7, 97, 1009))]
    assert differences(plan, cases, Tuning(small=small, timeout=20)) == [[]] * 5


def as_shared(communicator: Communicator, array: np.ndarray[Any, Any] | None) -> np.ndarray[Any, Any] | None:
    if array is None:
        return None
    copy: np.ndarray[Any, Any] = communicator.empty(array.size + 3, str(array.dtype))[3:]
    copy[:] = array
    return copy


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_shared_arrays(kind: Kind, seed: int) -> None:
    """Ranks read them where they are: none may be written to, or left by its owner, while it is read."""
    options: dict[str, Any] = {"root": 3} if kind.rooted else {}
    plan = handmade(5, kind, k=3, seed=seed, group=None if seed else [1, 3, 4], **options)
    ops = ("sum", "avg") if kind.reduces else ("sum",)
    cases = [("float32", count, op) for count in (0, 1, 500, 4099) for op in ops]
    assert differences(plan, cases, SMALL, shared=True) == [[]] * 5
    assert differences(plan, [("int16", 20_011, ops[-1])], shared=True) == [[]] * 5


@pytest.mark.parametrize("small", [0, None])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.reduces])
def test_every_reduction(kind: Kind, small: int | None) -> None:
    plan = handmade(4, kind, k=3, seed=2)
    cases = [(dtype, 113, op) for dtype in NUMPY for op in OPS]
    assert differences(plan, cases, Tuning(small=small, timeout=20)) == [[]] * 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_many_rounds_and_segments_with_relays(kind: Kind, seed: int) -> None:
    options: dict[str, Any] = {"root": 3} if kind.rooted else {}
    plan = handmade(6, kind, k=2, seed=seed, group=[1, 3, 4], **options)
    cases = [("float32", count, "sum") for count in (0, 1, 255, 256, 257, 4099)]
    assert differences(plan, [*cases, ("int8", 5003, "sum")], SMALL) == [[]] * 6


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_numbers_of_ranks(ranks: int) -> None:
    for kind in KINDS:
        plan = handmade(ranks, kind, seed=ranks)
        assert differences(plan, [("float64", 0, "sum"), ("float64", 1, "sum"), ("int16", 331, "sum")]) == [[]] * ranks


@pytest.mark.parametrize("kind", [Kind.ALLGATHER, Kind.REDUCE_SCATTER, Kind.ALLREDUCE, Kind.GATHER, Kind.SCATTER])
def test_unequal_shards(kind: Kind) -> None:
    plan = handmade(4, kind, k=2, shards={"r0": 3, "r1": 0, "r2": 1, "r3": 7})
    cases = [("float32", count, "sum") for count in (0, 1, 11, 12, 1009)]
    assert differences(plan, cases, SMALL) == [[]] * 4


def test_many_ranks_on_few_cores() -> None:
    assert differences(handmade(40, Kind.ALLREDUCE), [("float32", 10007, "sum")]) == [[]] * 40


def test_half_precision_rounds_as_numpy_does() -> None:
    """Every float16 once, infinities, NaN and subnormals too, against random partners."""
    plan = handmade(2, Kind.ALLREDUCE)
    every = np.arange(1 << 16, dtype=np.uint16)
    with np.errstate(all="ignore"):
        partner = np.random.default_rng(0).permutation(every)
        inputs = [every.view(np.float16), partner.view(np.float16)]
        expected = {"sum": inputs[0] + inputs[1], "prod": inputs[0] * inputs[1], "max": np.maximum(*inputs)}

    def body(communicator: Communicator) -> int:
        wrong = 0
        for op, right in expected.items():
            result = communicator.allreduce(inputs[communicator.rank], np.empty_like(right), op=op)
            wrong += int(np.count_nonzero(~((result == right) | (np.isnan(result) & np.isnan(right)))))
        return wrong

    assert on_ranks(plan, body) == [0, 0]


def test_bfloat16_is_float32_rounded_to_nearest_even() -> None:
    plan = handmade(2, Kind.ALLREDUCE)
    random = np.random.default_rng(0)
    bits = [random.integers(0, 1 << 16, 20011).astype(np.uint16) for _ in range(2)]
    with np.errstate(all="ignore"):
        wide = [(part.astype(np.uint32) << 16).view(np.float32) for part in bits]
        total = wide[0] + wide[1]
        # to nearest even, by exact comparison with both neighbours
        raw = total.view(np.uint32)
        low, high = raw & 0xFFFF0000, (raw & 0xFFFF0000) + 0x10000
        middle = raw & 0xFFFF
        right = np.where((middle > 0x8000) | ((middle == 0x8000) & (low >> 16 & 1 == 1)), high, low) >> 16

    def body(communicator: Communicator) -> int:
        result = communicator.allreduce(bits[communicator.rank].copy(), dtype="bfloat16")
        got = (result.astype(np.uint32) << 16).view(np.float32)
        return int(np.count_nonzero((result != right) & ~(np.isnan(got) & np.isnan(total))))

    assert on_ranks(plan, body) == [0, 0]


def test_results_are_the_same_in_every_run_and_on_every_rank() -> None:
    plan = handmade(6, Kind.ALLREDUCE, k=2)

    def body(communicator: Communicator) -> list[str]:
        x = np.random.default_rng(communicator.rank).normal(size=5003).astype(np.float32)
        return [communicator.allreduce(x, np.empty_like(x)).tobytes().hex()[:40000:97] for _ in range(5)]

    runs = on_ranks(plan, body, SMALL) + on_ranks(plan, body, SMALL)
    assert len({text for run in runs for text in run}) == 1
