"""Small calls, which every rank adds up by itself, and the short way to repeat a call."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
import pytest
from handmade import handmade
from hypothesis import given, settings
from hypothesis import strategies as st
from ranks import on_ranks

from collsched.collective import Kind
from collsched.errors import EngineError, InputError
from collsched.runtime.communicator import Communicator
from collsched.runtime.engine import RankPlan, Wiring
from collsched.runtime.interpreter import interpret
from collsched.runtime.shm import Tuning
from collsched.runtime.small import sums

KINDS = [Kind.ALLREDUCE, Kind.REDUCE_SCATTER, Kind.REDUCE]


def evaluate(plan: RankPlan, inputs: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """This rank's output, from its sums."""
    begin, into, left, right = sums(plan)
    lo, hi, _, out_at, _, _ = plan.role.ranges(len(inputs[0]))
    output = np.zeros(plan.role.sizes(len(inputs[0]))[1], inputs[0].dtype)
    for c in np.flatnonzero(out_at >= 0):
        registers = dict(enumerate(array[lo[c] : hi[c]] for array in inputs))
        for i in range(begin[c], begin[c + 1]):
            registers[int(into[i])] = registers[int(left[i])] + registers[int(right[i])]
        output[out_at[c] : out_at[c] + hi[c] - lo[c]] = registers[len(inputs)]
    return output


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 9), st.sampled_from(KINDS), st.integers(0, 1000), st.integers(1, 3), st.integers(0, 70))
def test_the_sums_are_those_of_the_programs(ranks: int, kind: Kind, seed: int, k: int, count: int) -> None:
    plan = handmade(ranks, kind, seed=seed, k=k, **({"root": ranks - 1} if kind.rooted else {}))
    inputs = [np.random.default_rng([seed, rank]).normal(0, 50, count).astype(np.float32) for rank in range(ranks)]
    wiring = Wiring(plan)
    for rank, expected in enumerate(interpret(plan.topology, plan.schedule(), inputs, count)):
        if expected is not None:
            assert evaluate(RankPlan(wiring, rank), inputs).tobytes() == expected.tobytes()


def test_relays_and_other_collectives_have_no_small_calls() -> None:
    for plan in (
        handmade(5, Kind.ALLREDUCE, group=[0, 1, 2]),
        handmade(4, Kind.ALLGATHER),
        handmade(1, Kind.ALLREDUCE),
    ):
        assert [len(part) for part in sums(RankPlan(Wiring(plan), 0))] == [0] * 4


@pytest.mark.parametrize("small", [64, None])
def test_sizes_around_the_largest_small_call(small: int | None) -> None:
    """Small and other calls follow each other in every order: neither may overwrite what is still read."""
    plan = handmade(3, Kind.ALLREDUCE, k=2, seed=3)
    order = np.random.default_rng(0).choice([0, 1, 15, 16, 17, 200, 300, 5000], 200)

    def body(communicator: Communicator) -> int:
        wrong = 0
        for turn, count in enumerate(order):
            x = np.arange(count, dtype=np.float32) + communicator.rank + turn
            communicator.allreduce(x)
            wrong += int((x != 3 * (np.arange(count) + turn) + 3).sum())
        return wrong

    assert on_ranks(plan, body, Tuning(arena=1024, segment=128, small=small, timeout=20)) == [0] * 3


def test_a_rank_that_records_alone_makes_the_transfers_of_all() -> None:
    plan = handmade(3, Kind.ALLREDUCE, seed=1)

    def body(communicator: Communicator) -> tuple[list[float], int]:
        engine = communicator._engine
        results = []
        for turn in range(6):
            engine.record(communicator.rank == 0 and turn % 2 == 1)
            results.append(float(communicator.allreduce(np.full(8, turn, np.float32)).sum()))
        return results, len(engine.events())

    outcomes = on_ranks(plan, body)
    assert [results for results, _ in outcomes] == [[24.0 * turn for turn in range(6)]] * 3
    assert outcomes[0][1] > 0
    assert outcomes[1][1] == outcomes[2][1] == 0


def test_disagreements_in_a_row_leave_the_communicator_usable() -> None:
    """Whether the ranks have met the sizes before or not."""
    plan = handmade(3, Kind.ALLREDUCE, seed=1)

    def body(communicator: Communicator) -> list[Any]:
        seen: list[Any] = []
        for size in (8, 16, 20_000):
            communicator.allreduce(np.ones(size, np.float32))
        for sizes in ((8, 16, 8), (8, 16, 20_000), (8, 24, 16), (20_000, 32, 8), (40, 48, 56)):
            with pytest.raises(EngineError, match="the ranks disagree"):
                communicator.allreduce(np.ones(sizes[communicator.rank], np.float32))
            seen.append([float(communicator.allreduce(np.ones(size, np.float32)).sum()) for size in (8, 20_000)])
        for _ in range(4):
            with pytest.raises(EngineError, match="the ranks disagree"):
                communicator.allreduce(np.ones(8 + communicator.rank, np.float32))
        seen.append(float(communicator.allreduce(np.ones(300_000, np.float32)).sum()))
        return seen

    tuning = Tuning(arena=4096, timeout=20)
    assert on_ranks(plan, body, tuning) == [[*[[24.0, 60_000.0]] * 5, 900_000.0]] * 3


def test_a_repeated_call_is_checked_like_the_first() -> None:
    plan = handmade(2, Kind.ALLREDUCE)

    def body(communicator: Communicator) -> list[str]:
        x, y = np.ones(6, np.float32), np.ones(6, np.float32)
        fixed = np.ones(6, np.float32)
        fixed.flags.writeable = False
        assert not communicator._engine.again(x, y, "sum")
        communicator.allreduce(x, y)
        assert communicator._engine.again(x, y, "sum")
        wrong: list[tuple[Any, Any, str]] = [
            (x, fixed, "sum"),
            (x, np.ones(5, np.float32), "sum"),
            (x, np.ones(6), "sum"),
            (np.ones(12, np.float32)[::2], y, "sum"),
            (np.ones(6, np.complex64), np.ones(6, np.complex64), "sum"),
            (x, y, "mean"),
            (None, y, "sum"),
            ([1.0] * 6, y, "sum"),
        ]
        array = np.ones(8, np.float32)
        wrong.append((array[:6], array[2:], "sum"))
        errors = []
        for source, target, op in wrong:
            with pytest.raises(InputError) as caught:
                communicator.allreduce(source, target, op=op)
            errors.append(str(caught.value))
        y[:] = 0
        communicator.allreduce(x, y, op="max")
        errors.append(str(y.sum()))
        communicator.close()
        with pytest.raises(EngineError, match="closed"):
            communicator.allreduce(x, y)
        return errors

    first, second = on_ranks(plan, body)
    assert len(first) == len(second) == 10
    assert first[-1] == second[-1] == "6.0"


def test_where_a_rank_may_run_stays_as_it_was() -> None:
    """The engine moves ranks from crowded cores; ranks that have been given one core stay there."""
    plan = handmade(4, Kind.ALLREDUCE)
    cores = sorted(os.sched_getaffinity(0))

    def body(communicator: Communicator) -> list[bool]:
        kept = []
        for allowed in ({cores[0]}, set(cores)):
            os.sched_setaffinity(0, allowed)
            end = time.monotonic() + 0.1
            going = np.ones(1)
            while communicator.allreduce(going, op="min")[0]:
                going[:] = time.monotonic() < end
            kept.append(os.sched_getaffinity(0) == allowed)
        return kept

    assert on_ranks(plan, body) == [[True, True]] * 4
