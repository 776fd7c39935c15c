"""What the tests on a GPU do, on the host's stand-in for one: those tests are right before they meet a GPU."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gpu_threads
import pytest
import simulated_gpu
from cuda_host import compiler
from gpu_threads import threads_as_peers

from collsched import _engine
from collsched.runtime import cuda, gpu, kernels, nccl, shm

sys.path.insert(0, str(Path(__file__).parents[1] / "gpu"))
import bodies

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C++ compiler")


@pytest.fixture
def cupy(library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    module, messages = simulated_gpu.module(library, 32), simulated_gpu.Nccl()
    monkeypatch.setattr(gpu, "require", lambda engine: module)
    monkeypatch.setattr(gpu, "require_nccl", lambda cupy: messages)
    monkeypatch.setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1")
    kernels.kernel.cache_clear()
    yield module
    kernels.kernel.cache_clear()


def makers(engine: str, ranks: int) -> list[Callable[..., Any]]:
    if engine == "nccl":
        peers = threads_as_peers(ranks)
        return [
            lambda plan, peer=peer, **t: nccl.connect(plan, nccl.Tuning(timeout=20, **t), peers=peer) for peer in peers
        ]
    fd = shm.create(ranks)
    processes = [shm.Process(_engine.World(fd, rank)) for rank in range(ranks)]
    os.close(fd)
    usual = {"stripes": 3, "depth": 2}
    return [
        lambda plan, process=process, **t: cuda.connect(plan, cuda.Tuning(timeout=20, **(usual | t)), process=process)
        for process in processes
    ]


def found(engine: str, ranks: int, body: Callable[..., Iterator[str]], *arguments: Any, **options: Any) -> list[str]:
    simulated = gpu.require(engine)
    ranks_main = [
        partial(lambda make: list(body(simulated, make, ranks, *arguments, **options)), make)
        for make in makers(engine, ranks)
    ]
    return [text for texts in gpu_threads.on_threads(ranks_main) for text in texts]


@pytest.mark.parametrize("engine", ["cuda", "nccl"])
def test_bodies(cupy: Any, engine: str) -> None:
    assert found(engine, 4, bodies.matrix, ["float16", "int64"], [0, 1, 1009]) == []
    assert found(engine, 3, bodies.bfloat16) == []
    assert found(engine, 3, bodies.disagreement) == []
    tuning = {"compare": "first"} if engine == "cuda" else {}
    assert found(engine, 3, bodies.stress, 8, **tuning) == []


@pytest.mark.parametrize("engine", ["cuda", "nccl"])
def test_replayed(cupy: Any, engine: str) -> None:
    def body(cupy: Any, make: Any, ranks: int) -> Iterator[str]:
        return bodies.replayed(cupy, make, ranks, simulated_gpu.Stream())

    assert found(engine, 2, body) == []
