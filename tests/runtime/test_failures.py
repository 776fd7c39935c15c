"""Every way to end badly: an error that names the rank on all others, in time, and nothing left behind."""

from __future__ import annotations

import os
import re
import resource
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from handmade import handmade
from kills import SOON, kill_once
from ranks import on_processes, on_ranks

from collsched.collective import Kind
from collsched.errors import EngineError, InputError
from collsched.runtime.check import Case, default_cases, run_plan
from collsched.runtime.communicator import Communicator
from collsched.runtime.shm import Tuning, connect

PLAN = handmade(4, Kind.ALLREDUCE)


def test_sizes_that_differ_name_both_ranks() -> None:
    def body(communicator: Communicator) -> list[Any]:
        try:
            communicator.allreduce(np.zeros(7 if communicator.rank == 2 else 5, np.float32))
        except EngineError as error:
            return [str(error), communicator.allreduce(np.ones(1)).tolist()]
        return []

    expected = (
        "the ranks disagree in call 1: rank 0 made allreduce of 5 float32 (sum), "
        "rank 2 made allreduce of 7 float32 (sum)"
    )
    assert on_ranks(PLAN, body) == [[expected, [4.0]]] * 4


@pytest.mark.parametrize("options", [{"op": "max"}, {"dtype": "int32"}])
def test_reductions_and_types_that_differ(options: dict[str, str]) -> None:
    def body(communicator: Communicator) -> None:
        communicator.allreduce(np.zeros(5, np.float32), **(options if communicator.rank == 3 else {}))

    for text in on_ranks(PLAN, body):
        assert "rank 0 made allreduce of 5 float32 (sum), rank 3 made allreduce of 5 " in text
        assert next(iter(options.values())) in text


def test_plans_that_differ_name_both() -> None:
    def body(rank: int) -> None:
        connect(handmade(4, Kind.ALLREDUCE, seed=int(rank == 1)), Tuning(timeout=20))

    for text in on_processes(4, body):
        assert "the ranks loaded different plans" in text
        assert "handmade-4-allreduce-0" in text
        assert "handmade-4-allreduce-1" in text


def test_numbers_of_ranks_that_differ() -> None:
    texts = on_processes(3, lambda rank: connect(PLAN))
    assert texts == ["InputError: the plan has 4 ranks, this launch 3; use `collsched launch -n 4`"] * 3


def kill_self(communicator: Communicator, after: int) -> None:
    """Rank 2 kills itself in the middle of the calls of the others."""
    x = np.ones(200_003, np.float32)
    for i in range(1000):
        if communicator.rank == 2 and i == after:
            os.kill(os.getpid(), signal.SIGKILL)
        communicator.allreduce(x)


def test_a_killed_rank_is_named_by_all_others() -> None:
    start = time.monotonic()
    texts = on_ranks(PLAN, lambda communicator: kill_self(communicator, 3))
    assert time.monotonic() - start < SOON
    assert texts[2] is None
    for text in texts[:2] + texts[3:]:
        assert text.startswith("EngineError: rank 2 (process ")
        assert "was killed by SIGKILL; rank " in text
        assert "was in call 4, allreduce of 200003 float32 (sum)" in text


def test_a_rank_that_leaves_early_is_named() -> None:
    def body(communicator: Communicator) -> None:
        if communicator.rank != 1:
            communicator.allreduce(np.ones(4))

    texts = on_ranks(PLAN, body)
    assert texts[1] is None
    for text in texts[:1] + texts[2:]:
        assert text.startswith("EngineError: rank 1 (process ")
        assert "was in call 1, allreduce of 4 float64 (sum)" in text


def test_a_rank_that_closes_its_communicator_is_named() -> None:
    def body(communicator: Communicator) -> None:
        if communicator.rank == 1:
            communicator.close()
            time.sleep(2)  # alive, and away
        else:
            communicator.allreduce(np.ones(4))

    for text in [text for text in on_ranks(PLAN, body) if text is not None]:
        assert "has closed its communicator" in text
        assert text.startswith("EngineError: rank 1 (process ")


def test_an_interrupted_rank_leaves_the_engine_and_is_named() -> None:
    def body(communicator: Communicator) -> str:
        if communicator.rank == 2:
            time.sleep(1.5)
            return "away"
        try:
            if communicator.rank == 3:
                threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
            communicator.allreduce(np.ones(4))
        except KeyboardInterrupt:
            return "interrupted"
        return "done"

    start = time.monotonic()
    texts = on_ranks(PLAN, body)
    assert time.monotonic() - start < SOON
    assert texts[3] == "interrupted"
    assert texts[2] == "away"
    assert all("EngineError: rank 3 was interrupted; rank " in text for text in texts[:2])


def test_a_rank_that_never_connects_is_named() -> None:
    def body(rank: int) -> None:
        if rank != 3:
            connect(PLAN, Tuning(timeout=20))

    start = time.monotonic()
    texts = on_processes(4, body)
    assert time.monotonic() - start < SOON
    assert all("rank 3" in text for text in texts[:3])


def test_a_rank_that_hangs_is_named_after_the_timeout() -> None:
    def body(communicator: Communicator) -> None:
        if communicator.rank == 0:
            time.sleep(2.5)
        communicator.allreduce(np.ones(4))

    start = time.monotonic()
    texts = on_ranks(PLAN, body, Tuning(timeout=1))
    assert time.monotonic() - start < SOON
    for text in texts:
        assert "waited 1 s for rank 0 (process " in text
        assert "was in call 1, allreduce of 4 float64 (sum)" in text


def test_a_rank_that_stops_in_the_middle_is_named_with_the_step_and_the_link(tmp_path: Path) -> None:
    stopped = tmp_path / "process"

    def body(communicator: Communicator) -> str:
        communicator.allreduce(np.zeros(1 << 22, np.uint8))
        if communicator.rank == 1:
            stopped.write_text(str(os.getpid()))
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGSTOP)).start()
        try:
            while True:  # one call takes thousands of rounds
                communicator.allreduce(np.zeros(1 << 22, np.uint8))
        except EngineError as error:
            if communicator.rank == 0:
                os.kill(int(stopped.read_text()), signal.SIGKILL)
            return str(error)

    texts = on_ranks(PLAN, body, Tuning(arena=1024, segment=64, timeout=2))
    assert texts[1] is None
    for text in texts[:1] + texts[2:]:
        assert re.match(r"rank \d waited 2 s for rank 1 \(process \d+\)", text), text
        where = r"( at step \d+ of \d+, chunk \d+ from rank \d to rank \d|, which still reads from rank \d)"
        assert re.search(where + r"; rank \d was in call \d+, allreduce of 4194304 uint8 \(sum\)", text)


def test_more_memory_than_there_is_is_an_error_on_every_rank() -> None:
    def body(rank: int) -> None:
        connect(PLAN, Tuning(arena=1 << 42, segment=1 << 40, timeout=20)).allreduce(np.ones(1))

    for text in on_processes(4, body):
        assert text.startswith("EngineError: cannot reserve 7036")
        assert "bytes of shared memory for 4 ranks: Cannot allocate memory" in text


def test_memory_that_one_rank_cannot_map_is_an_error_on_every_rank() -> None:
    def body(rank: int) -> None:
        if rank == 1:
            resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        connect(PLAN, Tuning(arena=256 << 20, segment=1 << 20, timeout=20)).allreduce(np.ones(1))

    texts = on_processes(4, body)
    assert texts[1].startswith("EngineError: cannot map ")
    assert all("rank 1: cannot map " in text for text in (texts[0], *texts[2:]))


def test_run_reports_a_killed_rank_and_leaves_nothing() -> None:
    from ranks import children

    before = children()
    rows = run_plan(PLAN, [Case("float32", 1 << 20)] * 200)
    next(rows)
    victim = sorted(children() - before)[1]
    os.kill(victim, signal.SIGKILL)
    start = time.monotonic()
    with pytest.raises(EngineError, match=rf"rank 1 \(process {victim}\) was killed by SIGKILL"):
        list(rows)
    assert time.monotonic() - start < SOON


def test_leaving_a_run_midway_ends_its_processes() -> None:
    rows = run_plan(PLAN, default_cases())
    next(rows)
    rows.close()  # the fixture looks for what is left


def test_wrong_elements_are_counted() -> None:
    class Sabotaged(type(PLAN)):  # type: ignore[misc]
        """Adds where it should copy: only the tests of the engine see it, no verifier."""

        def schedule(self) -> Any:
            schedule = super().schedule()
            schedule.transfers.op[-1] ^= 1
            return schedule

    plan = Sabotaged(PLAN.topology, PLAN.collective, PLAN.forests, "sabotaged")
    rows = list(run_plan(plan, [Case("int32", 1000), Case("float16", 1000, values="fractions")]))
    assert all(row.wrong > 100 for row in rows)
    assert [row.wrong for row in run_plan(PLAN, [Case("int32", 1000)])] == [0]


@pytest.mark.parametrize("seed", range(20))
def test_kills_at_random_moments(seed: int) -> None:
    assert kill_once(seed).wrong == []


def test_a_program_of_another_plan_is_refused() -> None:
    """Chunk numbers beyond those of the plan would reach into foreign memory."""

    class Foreign(type(PLAN)):  # type: ignore[misc]
        def schedule(self) -> Any:
            schedule = super().schedule()
            schedule.transfers.chunk[0] = 10**6
            return schedule

    plan = Foreign(PLAN.topology, PLAN.collective, PLAN.forests, "foreign")
    texts = on_ranks(plan, lambda communicator: communicator.allreduce(np.ones(1)))
    assert any(
        text.startswith("EngineError: rank ") and "a program is malformed; verify the plan" in text
        for text in texts
        if text
    )


def test_cases_that_cannot_be() -> None:
    for bad in (
        lambda: Case("int32", 5, values="fractions"),
        lambda: Case("int32", -1),
        lambda: Case("quad", 1),
        lambda: Case("int32", 1, op="xor"),
    ):
        with pytest.raises(InputError):
            bad()
    with pytest.raises(InputError, match="at least 1"):
        list(run_plan(PLAN, [], iterations=0))
