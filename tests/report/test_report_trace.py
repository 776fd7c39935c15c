"""The trace: events that Perfetto accepts, no two spans of a thread at once, bounded."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from typing import Any

import pytest

import collsched
from collsched.report.motion import Motion, predicted, simulated
from collsched.report.trace import trace
from collsched.topology import resolve

SIZE = 1 << 22


def _spans(text: str) -> dict[tuple[int, int], list[tuple[float, float]]]:
    threads: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for event in json.loads(text)["traceEvents"]:
        assert event["ph"] in "MCX" and isinstance(event["pid"], int)
        if event["ph"] == "X":
            threads[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    return threads


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize(
    ("name", "kind"), [("dgx-a100", "allreduce"), ("torus-2d", "allgather"), ("hypercube", "all-to-all")]
)
def test_threads_hold_one_span_at_a_time(name: str, kind: str, closed: bool) -> None:
    plan = collsched.compile(resolve(name, {}), kind)
    motion = predicted(plan, SIZE) if closed else simulated(plan, SIZE, 3)
    found = trace(plan.topology, motion, kind)
    threads = _spans(found.text)
    assert found.shown == 16 and found.spans == sum(map(len, threads.values())) == int((motion.nbytes > 0).sum())
    for spans in threads.values():
        for (_, end), (start, _) in pairwise(sorted(spans)):
            assert start >= end - 2e-4  # times are rounded to 0.1 ns
    named = {(e["pid"], e.get("tid")) for e in json.loads(found.text)["traceEvents"] if e["name"] == "thread_name"}
    assert set(threads) == named
    assert max(end for spans in threads.values() for _, end in spans) <= motion.seconds * 1e6 + 1e-3


def test_a_large_plan_shows_its_first_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collsched.report.trace.MOST_SPANS", 60)
    plan = collsched.compile(resolve("dgx-a100", {}), "allgather", trees_per_root=1)
    motion: Motion = simulated(plan, SIZE, 1)
    found = trace(plan.topology, motion, "allgather")
    about: dict[str, Any] = json.loads(found.text)["otherData"]
    assert 1 <= found.shown < 16 and found.spans <= 60
    assert about["ranks"] == f"the transfers that the first {found.shown} of 16 senders send"
    assert {pid for pid, _ in _spans(found.text)} == set(range(1, found.shown + 1))


def test_a_plan_without_transfers() -> None:
    plan = collsched.compile(resolve("dgx-a100", {}), "allgather", group="0")
    found = trace(plan.topology, simulated(plan, SIZE, 1), "allgather")
    assert found.spans == 0 and json.loads(found.text)["traceEvents"]
