"""Run a function on every rank of a torch job, forked so that torch is imported once."""

from __future__ import annotations

import json
import os
import signal
import traceback
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

import collsched.torch  # noqa: F401  registers the backend
from collsched.runtime import shm
from collsched.runtime.launch import Ended, Ranks

Body = Callable[[int], Any]
RANKS = 4


def job(
    body: Body, *, backend: str = "collsched", options: Any = None, ranks: int = RANKS, after: Any = None
) -> list[Any]:
    """What body(rank) gives on every rank, as JSON: {"result": …} or {"error": text}; None for a rank that was killed.

    `options`: of the process group, or a function of the rank that makes them. `after`: called with the running Ranks.
    """
    reader, writer = os.pipe()

    def main(rank: int, fd: int) -> int:
        shm.join(fd, rank)
        torch.set_num_threads(1)
        try:
            chosen = options(rank) if callable(options) else options
            dist.init_process_group(backend, init_method="collsched://", pg_options=chosen)
            outcome = {"result": body(rank)}
            dist.barrier()  # rank 0 serves the store: it ends last
            dist.destroy_process_group()
        except Exception as error:
            trace = "".join(traceback.format_exception(error))
            outcome = {"error": f"{type(error).__name__}: {error}"[:3000], "trace": trace[-3000:]}
        os.write(writer, json.dumps([rank, outcome]).encode() + b"\n")
        return 0

    data = b""
    results: list[Any] = [None] * ranks
    with Ranks(ranks) as running:
        running.start(main)
        os.close(writer)
        if after is not None:
            after(running)
        for event in running.watch(reader):
            data += b"" if isinstance(event, Ended) else event
    os.close(reader)
    for rank, outcome in map(json.loads, data.splitlines()):
        results[rank] = outcome
    return results


def results(outcomes: list[Any]) -> list[Any]:
    """The results of ranks that all came through."""
    for rank, outcome in enumerate(outcomes):
        assert outcome is not None, f"rank {rank} ended without a word"
        assert "error" not in outcome, f"rank {rank}: {outcome['trace']}"
    return [outcome["result"] for outcome in outcomes]


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
