"""The nccl engine's own logic, with ranks as threads of this process, on the host's stand-in for a GPU and NCCL."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gpu_threads
import numpy as np
import pytest
import simulated_gpu
from cuda_host import compiler
from gpu_threads import threads_as_peers
from handmade import handmade
from test_cuda_engine import call
from test_cuda_host import data

import collsched
from collsched.collective import KINDS, Kind
from collsched.errors import EngineError
from collsched.runtime import gpu, kernels, nccl
from collsched.runtime.communicator import Communicator
from collsched.runtime.interpreter import interpret
from collsched.runtime.launchers import Peers

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")


@pytest.fixture
def messages(library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> Iterator[simulated_gpu.Nccl]:
    module, messages = simulated_gpu.module(library), simulated_gpu.Nccl()
    monkeypatch.setattr(gpu, "require", lambda engine: module)
    monkeypatch.setattr(gpu, "require_nccl", lambda cupy: messages)
    monkeypatch.setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1")
    kernels.kernel.cache_clear()
    yield messages
    kernels.kernel.cache_clear()


def on_threads(plan: Any, body: Callable[[Communicator], Any], tuning: nccl.Tuning | None = None) -> list[Any]:
    """body(communicator) of every rank; an error raised on purpose comes back as its text."""

    def run(peers: Peers) -> Any:
        with nccl.connect(plan, tuning or nccl.Tuning(timeout=20), peers=peers) as communicator:
            return body(communicator)

    return gpu_threads.on_threads([partial(run, peers) for peers in threads_as_peers(len(plan.topology.ranks))])


@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_every_collective(messages: simulated_gpu.Nccl, kind: Kind, graphs: bool) -> None:
    options: dict[str, Any] = {"root": 1} if kind.rooted else {}
    plan = handmade(4, kind, k=2, seed=3, group=[0, 1, 3], **options)
    cases = [("float32", 1009, "sum"), ("float16", 64, "avg" if kind.reduces else "sum"), ("int8", 0, "sum")]
    prepared = []
    for dtype, count, op in cases:
        inputs = data(plan, dtype, count)
        prepared.append((inputs, interpret(plan.topology, plan.schedule(), inputs, count, op), count, op))

    def body(communicator: Communicator) -> list[bool]:
        rank = communicator.rank
        return [call(communicator, x[rank], y[rank], op=op, count=count) for x, y, count, op in prepared]

    assert on_threads(plan, body, nccl.Tuning(graphs=graphs, timeout=20)) == [[True] * len(prepared)] * 4


def test_repeated_calls_are_graphs(messages: simulated_gpu.Nccl) -> None:
    """In place, so that a call changes the input of the next one."""
    plan = handmade(3, Kind.ALLREDUCE, k=2, seed=1)

    def body(communicator: Communicator) -> list[Any]:
        x = simulated_gpu.on_device(np.ones(333, np.int64))
        groups = []
        for _ in range(5):
            communicator.allreduce(x, wait=False).wait(20)
            groups.append(messages.groups)
        return [int(x[0]), groups[4] - groups[2]]

    assert on_threads(plan, body) == [[3**5, 0]] * 3  # captured in the second call, replayed in the others


def test_a_plan_of_the_compiler_in_segments(messages: simulated_gpu.Nccl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nccl, "_SEGMENT", 1000)
    plan = collsched.compile(collsched.bundled("torus-2d", dims="2x2"), "allreduce")

    def body(communicator: Communicator) -> bool:
        return call(communicator, np.ones(20_011, np.float32), np.full(20_011, 4, np.float32))

    assert on_threads(plan, body) == [True] * 4


def test_ranks_that_disagree_are_told_and_go_on(messages: simulated_gpu.Nccl) -> None:
    def body(communicator: Communicator) -> list[Any]:
        count = 5 + (communicator.rank == 2)
        with pytest.raises(EngineError) as caught:
            communicator.allreduce(simulated_gpu.on_device(np.ones(count, np.float32)))
        return [str(caught.value), call(communicator, np.ones(5, np.float32), np.full(5, 3, np.float32))]

    made = "made allreduce of {} float32 (sum)".format
    text = f"the ranks disagree in call 1: rank 0 {made(5)}, rank 2 {made(6)}"
    assert on_threads(handmade(3, Kind.ALLREDUCE), body) == [[text, True]] * 3


def test_a_call_that_does_not_end(messages: simulated_gpu.Nccl, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank whose stream does not come to the call; abort of NCCL ends the others' groups, and here does nothing."""
    aborted = threading.Event()

    def body(communicator: Communicator) -> str:
        engine = communicator._engine
        monkeypatch.setattr(engine._communicator, "abort", aborted.set, raising=False)
        x = simulated_gpu.on_device(np.ones(9, np.int32))
        if communicator.rank == 1:
            simulated_gpu.current_stream().put(lambda: aborted.wait(20))
            communicator.allreduce(x, wait=False).wait(20)
            return "late"
        with pytest.raises(EngineError) as caught:
            communicator.allreduce(x, wait=False).wait(20)
        return str(caught.value)

    text = "a call of rank 0 has not ended after 0.3 s: some rank has ended, or makes other calls"
    assert on_threads(handmade(2, Kind.ALLREDUCE), body, nccl.Tuning(timeout=0.3)) == [text, "late"]


def test_ranks_on_one_gpu(messages: simulated_gpu.Nccl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NCCL_MULTI_RANK_GPU_ENABLE")
    for text in on_threads(handmade(2, Kind.ALLREDUCE), lambda communicator: None):
        assert text.startswith(
            "EngineError: ranks 0 and 1 share GPU 0000:01:00.0: NCCL takes that from version 2.30 on"
        )
