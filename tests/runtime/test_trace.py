"""Traces: made up ones, of which the culprit is known, and one of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from handmade import handmade
from ranks import on_ranks

from collsched.collective import Kind
from collsched.errors import EngineError, InputError
from collsched.runtime.communicator import Communicator
from collsched.runtime.trace import Event, Trace, from_bytes, to_bytes

RANKS = 4
NAMES = [f"r{i}" for i in range(RANKS)]


def exchange(sending: Callable[[int], int], receiving: Callable[[int, int], int]) -> Trace:
    """Every rank shows a chunk of its own after `sending(rank)` ns, and takes in each other's chunk, which costs
    `receiving(src, dst)` ns."""
    trace = Trace(NAMES)
    for rank in range(RANKS):
        others = tuple(other for other in range(RANKS) if other != rank)
        trace.events.append(Event(rank, 1, rank, 0, 64, 1000, 1000, 1000 + sending(rank), (), others))
    for src, dst in permutations(range(RANKS), 2):
        start = 1000 + sending(src)
        trace.events.append(Event(dst, 1, src, 0, 64, 900, start, start + receiving(src, dst), (src,), ()))
    return trace


def test_a_slow_rank_a_slow_receiver_and_a_slow_link_are_told_apart() -> None:
    usual = exchange(lambda rank: 100, lambda src, dst: 100)
    assert usual.slow() == "nothing stands out"
    assert np.nanmax(usual.delays) == np.nanmin(usual.delays) == pytest.approx(200e-9)
    rank = exchange(lambda rank: 5000 if rank == 2 else 100, lambda src, dst: 100)
    assert rank.slow() == "rank 2 (r2) is slow: 5.1 µs a transfer, 25.5 times the median"
    receiver = exchange(lambda rank: 100, lambda src, dst: 5000 if dst == 1 else 100)
    assert receiver.slow().startswith("rank 1 (r1) receives slowly")
    link = exchange(lambda rank: 100, lambda src, dst: 5000 if (src, dst) == (3, 0) else 100)
    assert link.slow().startswith("the link 3 (r3) → 0 (r0) is slow")
    head, row, *_ = link.text().splitlines()
    assert head.split() == ["µs", "from\\to", "r0", "r1", "r2", "r3"]
    assert row.split() == ["r0", "–", "0.2", "0.2", "0.2"]


def test_waiting_for_others_is_no_delay_of_ones_own() -> None:
    """Rank 1 passes on what rank 0 sends late: only what it adds itself counts."""
    trace = Trace(NAMES)
    trace.events.append(Event(0, 1, 0, 0, 64, 0, 9000, 9100, (), (1,)))
    trace.events.append(Event(1, 1, 0, 0, 64, 0, 9150, 9200, (0,), (2,)))
    trace.events.append(Event(2, 1, 0, 0, 64, 0, 9210, 9300, (1,), ()))
    assert trace.delays[0, 1] == pytest.approx(9200e-9)
    assert trace.delays[1, 2] == pytest.approx(200e-9)


def test_events_survive_the_way_to_other_ranks() -> None:
    events = exchange(lambda rank: 7, lambda src, dst: 9).events
    assert list(from_bytes(to_bytes(events))) == events


def test_a_trace_of_some_ranks_says_what_it_lacks() -> None:
    trace = exchange(lambda rank: 7, lambda src, dst: 9)
    del trace.events[3]
    with pytest.raises(EngineError, match="lacks what rank 3 sent to rank 0"):
        _ = trace.transfers


def test_a_run(tmp_path: Path) -> None:
    def body(communicator: Communicator) -> list[object]:
        x = np.ones(5000, np.float32)
        communicator.allreduce(x)
        with communicator.trace() as trace:
            communicator.allreduce(x)
            communicator.allreduce(x, wait=False)
        communicator.allreduce(x)
        if communicator.rank == 1:
            trace.save(tmp_path / "trace.json")
            with pytest.raises(InputError, match="No such file"):
                trace.save(tmp_path / "nowhere" / "trace.json")
        received = [0] * RANKS
        for transfer in trace.transfers:
            received[transfer.dst] += transfer.received.nbytes
            assert transfer.sent.end <= transfer.received.end
        return [len(trace.events), received, sorted({event.call for event in trace.events}), trace.text()]

    plan = handmade(RANKS, Kind.ALLREDUCE, k=2)
    first, *others = on_ranks(plan, body)
    assert all(other == first for other in others)  # every rank has the whole trace
    _, received, calls, text = first
    assert calls == [2, 3]
    assert sum(received) == 2 * 2 * (RANKS - 1) * 20_000  # two calls; up the trees, and down again
    assert text.startswith("µs from\\to")
    rows = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert {row["ph"] for row in rows} >= {"M", "X", "s", "f"}
    assert {row["pid"] for row in rows} == set(range(RANKS))
    assert all(row["ts"] >= 0 and row.get("dur", 0) >= 0 for row in rows if row["ph"] == "X")
