"""The cuda engine's own logic, with ranks as threads of this process, on the host's stand-in for a GPU."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import gpu_threads
import numpy as np
import pytest
import simulated_gpu
from cuda_host import compiler
from handmade import handmade
from test_cuda_host import data

from collsched import _engine
from collsched.collective import KINDS, Kind
from collsched.errors import EngineError, InputError
from collsched.runtime import cuda, gpu, kernels, shm
from collsched.runtime.communicator import Communicator
from collsched.runtime.interpreter import interpret

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")

Array = np.ndarray[Any, Any]
SMALL = cuda.Tuning(stripes=2, depth=2, memory=1, timeout=20)


@pytest.fixture(autouse=True)
def gpu_here(library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    module = simulated_gpu.module(library)
    monkeypatch.setattr(gpu, "require", lambda engine: module)
    kernels.kernel.cache_clear()
    yield
    kernels.kernel.cache_clear()


def on_threads(plan: Any, body: Callable[[Communicator], Any], tuning: cuda.Tuning = SMALL) -> list[Any]:
    """body(communicator) of every rank; an error raised on purpose comes back as its text."""
    ranks = len(plan.topology.ranks)
    fd = shm.create(ranks)

    def run(rank: int) -> Any:
        process = shm.Process(_engine.World(fd, rank))
        with cuda.connect(plan, tuning, process=process) as communicator:
            return body(communicator)

    results = gpu_threads.on_threads([partial(run, rank) for rank in range(ranks)])
    os.close(fd)
    return results


def call(communicator: Communicator, given: Array | None, expected: Array | None, **options: Any) -> bool:
    """Whether the output is what it must be, to the bit."""
    x = None if given is None else simulated_gpu.on_device(given)
    out = None if expected is None else simulated_gpu.on_device(np.full_like(expected, 77))
    communicator.call(x, out, wait=False, **options).wait(30)
    return expected is None or out is None or out.tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_every_collective(kind: Kind) -> None:
    options: dict[str, Any] = {"root": 1} if kind.rooted else {}
    plan = handmade(4, kind, k=2, seed=3, group=[0, 1, 3], **options)
    cases = [
        ("float32", 1009, "sum"),
        ("float16", 64, "avg" if kind.reduces else "sum"),
        ("int8", 0, "sum"),
        ("int8", 7, "sum"),
    ]
    prepared = []
    for dtype, count, op in [*cases, *cases]:
        inputs = data(plan, dtype, count)
        prepared.append((inputs, interpret(plan.topology, plan.schedule(), inputs, count, op), count, op))

    def body(communicator: Communicator) -> list[bool]:
        rank = communicator.rank
        return [call(communicator, x[rank], y[rank], op=op, count=count) for x, y, count, op in prepared]

    assert on_threads(plan, body) == [[True] * len(prepared)] * 4


def test_streams_and_new_outputs() -> None:
    """Calls on several streams follow each other; an output is made where none is given; sizes come and go."""

    def body(communicator: Communicator) -> list[float]:
        found = []
        for count in (*range(1, 80), 5000, 3):
            x = communicator.empty(count, "float32")
            x[:] = communicator.rank + 1
            with simulated_gpu.stream() if count % 2 else simulated_gpu.Stream():
                handle = communicator.allreduce(x, wait=False)
            handle.wait(30)
            found.append(float(x[-1]))
        return found

    plan = handmade(3, Kind.ALLREDUCE, seed=1)
    assert on_threads(plan, body, cuda.Tuning(stripes=3, compare="first", timeout=20)) == [[6.0] * 81] * 3


def test_ranks_that_disagree_are_told_and_go_on() -> None:
    def body(communicator: Communicator) -> list[Any]:
        count = 5 + (communicator.rank == 2)
        try:
            communicator.allreduce(simulated_gpu.on_device(np.ones(count, np.float32)))
        except EngineError as error:
            text = str(error)
        return [text, call(communicator, np.ones(5, np.float32), np.full(5, 3, np.float32))]

    for text, right in on_threads(handmade(3, Kind.ALLREDUCE), body):
        assert "rank 0 made allreduce of 5 float32 (sum), rank 2 made allreduce of 6 float32 (sum)" in text
        assert right


def test_a_rank_that_gives_up_ends_the_kernels_of_the_others() -> None:
    def body(communicator: Communicator) -> str:
        x = simulated_gpu.on_device(np.ones(1000, np.float32))
        communicator.allreduce(x)
        if communicator.rank == 1:
            communicator._engine.abort("rank 1 was interrupted")
            raise EngineError("mine")
        communicator.allreduce(x, wait=False).wait(30)
        return "not reached"

    results = on_threads(handmade(3, Kind.ALLREDUCE), body, cuda.Tuning(stripes=2, compare="first", timeout=20))
    assert results[1] == "EngineError: mine"
    assert all(result.startswith("EngineError: rank 1 was interrupted") for result in (results[0], results[2]))


def test_a_rank_that_does_not_come_is_named() -> None:
    late = threading.Event()

    def body(communicator: Communicator) -> str:
        x = simulated_gpu.on_device(np.ones(1000, np.float32))
        communicator.allreduce(x, wait=False).wait(30)
        if communicator.rank == 2:
            late.wait(30)
            return "late"
        try:
            communicator.allreduce(x, wait=False).wait(30)
        except EngineError as error:
            return str(error)
        finally:
            late.set()
        return "not reached"

    results = on_threads(handmade(3, Kind.ALLREDUCE), body, cuda.Tuning(stripes=1, compare="first", timeout=0.5))
    assert results[2] == "late"
    assert any("for rank 2" in result for result in results[:2])


def test_memory_is_used_again() -> None:
    plan = handmade(2, Kind.ALLREDUCE)
    from collsched.runtime import peer_memory

    peer_memory._free.clear()
    for _ in range(3):
        assert on_threads(plan, lambda c: call(c, np.ones(5, np.int32), np.full(5, 2, np.int32))) == [True, True]
        assert len(peer_memory._free) == 2
    peer_memory._free.clear()


def test_blocks_that_do_not_fit() -> None:
    texts = on_threads(handmade(3, Kind.ALLREDUCE), lambda c: None, cuda.Tuning(stripes=6, timeout=20))
    assert set(texts) == {
        "EngineError: 3 ranks with 6 blocks each do not fit on GPU 0000:01:00.0, which runs 16 blocks at once; "
        "at most 5 a rank: Tuning(stripes=5)"
    }


def test_an_array_between_elements() -> None:
    def body(communicator: Communicator) -> None:
        x = simulated_gpu.on_device(np.zeros(9, np.uint8))[1:].view(np.float32)
        communicator.allreduce(x)

    assert all("multiples of 4 bytes" in text for text in on_threads(handmade(2, Kind.ALLREDUCE), body))


def test_an_array_on_another_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = SimpleNamespace(device=3)
    monkeypatch.setattr(gpu.require("cuda").cuda.runtime, "pointerGetAttributes", lambda address: elsewhere)
    texts = on_threads(handmade(2, Kind.ALLREDUCE), lambda c: c.allreduce(c.empty(5)))
    assert all("an array on GPU 3, and this rank works on GPU 0" in text for text in texts)


def test_tuning_is_checked() -> None:
    for options in ({"depth": 3}, {"compare": "never"}, {"stripes": 0}):
        with pytest.raises(InputError):
            cuda.Tuning(**options)  # type: ignore[arg-type]


def test_a_captured_call_can_be_replayed() -> None:
    """The count of epochs lives on the device; a size that is new needs the device's memory first."""

    def body(communicator: Communicator) -> list[Any]:
        x = simulated_gpu.on_device(np.ones(700, np.int32))
        stream = simulated_gpu.current_stream()
        stream.begin_capture()
        try:
            communicator.allreduce(x)
        except InputError as error:
            text = str(error)
        stream.end_capture()
        communicator.allreduce(x)
        stream.begin_capture()
        communicator.allreduce(x)
        graph = stream.end_capture()
        for _ in range(3):
            graph.launch()
        stream.synchronize()
        return [text[:31], np.asarray(x).tolist() == [3**4] * 700]

    assert on_threads(handmade(3, Kind.ALLREDUCE, seed=2), body) == [["a size that this communicator h", True]] * 3
