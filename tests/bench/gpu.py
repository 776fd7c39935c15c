"""Functional figures of the GPU engines on one GPU that all ranks share: python tests/bench/gpu.py [--ranks 2]

The reduce kernel's share of the memory bandwidth, beside a copy on the device; microseconds a wave of the nccl engine
with and without CUDA graphs, and a call of the cuda engine. Ranks that share a GPU run by turns or on parts of it, and
no link is crossed: the figures show that things work and what they cost at least, not what a fabric would give.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))

from handmade import handmade

from collsched.errors import CollschedError
from collsched.runtime import connect, gpu, tuning
from collsched.runtime.kernels import THREADS, kernel
from collsched.runtime.waves import Moves, choose

LABEL = "functional, shared GPU"
_ROUNDS = 20


def seconds(cupy: Any, work: Any) -> float:
    """Median by the stream's events, after five rounds of warming up."""
    events = [(cupy.cuda.Event(), cupy.cuda.Event()) for _ in range(_ROUNDS)]
    for _ in range(5):
        work()
    for start, end in events:
        start.record()
        work()
        end.record()
    events[-1][1].synchronize()
    return statistics.median(cupy.cuda.get_elapsed_time(start, end) / 1e3 for start, end in events)


def reduce_kernel(cupy: Any) -> None:
    """c = a + b on 256 MiB each: two reads and a write; a copy: one of each."""
    size = 256 << 20
    a, b, c = (cupy.zeros(size // 4, np.float32) for _ in range(3))
    copied = 2 * size / seconds(cupy, lambda: cupy.cuda.runtime.memcpyAsync(c.data.ptr, a.data.ptr, size, 3, 0))
    print(f"{'copy on the device':<34}{copied / 1e9:10.0f} GB/s")
    sources = cupy.asarray(np.array([a.data.ptr, b.data.ptr], np.uint64))
    for dtype in ("float32", "bfloat16", "float16", "int8"):
        item = {"float32": 4, "int8": 1}.get(dtype, 2)
        job = cupy.asarray(np.array([c.data.ptr, size // item, 0, 2, 0], np.int64))
        function = kernel(cupy, 0, "collsched_jobs", dtype, "sum")
        for blocks in (64, 1024):
            work = lambda f=function, j=job, n=blocks: f((n, 1), (THREADS,), (j, sources, np.uint32(1)))  # noqa: E731
            rate = 3 * size / seconds(cupy, work)
            name = f"sum of {dtype}, {blocks} blocks"
            print(f"{name:<34}{rate / 1e9:10.0f} GB/s  {rate / copied:6.2f} of the copy  [{LABEL}]")


def worker(engine: str, ranks: int, graphs: bool) -> None:
    """One rank: microseconds a call of an allreduce in place, by the host's clock around many calls."""
    import cupy

    options = {"graphs": graphs} if engine == "nccl" else {"compare": "first"}
    plan = handmade(ranks, "allreduce", k=2, seed=1)
    with connect(plan, engine, tuning(engine)(timeout=60, **options)) as communicator:
        for count in (256, 1 << 18, 1 << 22):
            x = cupy.zeros(count, np.float32)
            for _ in range(5):
                communicator.allreduce(x, wait=False).wait(60)
            start = time.perf_counter()
            for _ in range(_ROUNDS):
                communicator.allreduce(x, wait=False)
            communicator.allreduce(x, wait=False).wait(60)
            each = (time.perf_counter() - start) / (_ROUNDS + 1)
            if communicator.rank == 0:
                waves = count_waves(plan, count)
                row = {"bytes": 4 * count, "us a call": round(each * 1e6, 1)}
                row |= {"waves": waves, "us a wave": round(each * 1e6 / waves, 1)} if engine == "nccl" else {}
                print(json.dumps(row), flush=True)


def count_waves(plan: Any, count: int) -> int:
    """The waves that the nccl engine makes of a call on `count` float32."""
    schedule, usual = plan.schedule(), tuning("nccl")()
    lo, hi = schedule.chunks.ranges(schedule.collective, count)
    moves = Moves.of(plan.topology, schedule)
    return int(choose(moves, (hi - lo) * 4, len(plan.topology.ranks), usual.start, usual.rate).max()) + 1


def launch(engine: str, ranks: int, graphs: bool) -> None:
    print(f"{engine}, {ranks} ranks{', graphs' if graphs and engine == 'nccl' else ''} [{LABEL}]", flush=True)
    command = [sys.executable, "-m", "collsched.cli.main", "launch", "-n", str(ranks), "--", sys.executable, __file__]
    command += ["--worker", engine, "--ranks", str(ranks), *(["--graphs"] if graphs else [])]
    shared = {"NCCL_MULTI_RANK_GPU_ENABLE": "1", "NCCL_MAX_CTAS": "4"}
    subprocess.run(command, env=os.environ | shared, check=False, timeout=100)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--worker", choices=["cuda", "nccl"])
    parser.add_argument("--graphs", action="store_true")
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.ranks, options.graphs)
        return 0
    # What it starts are fresh processes, so it may use the GPU itself.
    try:
        cupy = gpu.require("cuda")
        reduce_kernel(cupy)
        launch("cuda", options.ranks, False)
        gpu.require_nccl(cupy)
        launch("nccl", options.ranks, False)
        launch("nccl", options.ranks, True)
    except CollschedError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
