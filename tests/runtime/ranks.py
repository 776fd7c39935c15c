"""Run a function on every rank of a plan, in processes of their own, and collect what they return."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from collsched.errors import CollschedError
from collsched.runtime import shm
from collsched.runtime.communicator import Communicator
from collsched.runtime.launch import Ended, Ranks

Body = Callable[[Communicator], Any]


def on_ranks(plan: Any, body: Body, tuning: shm.Tuning | None = None) -> list[Any]:
    """body(communicator) of every rank, as JSON; an error raised on purpose comes back as its text."""
    return on_processes(len(plan.topology.ranks), lambda rank: _connected(plan, body, tuning))


def _connected(plan: Any, body: Body, tuning: shm.Tuning | None) -> Any:
    with shm.connect(plan, tuning or shm.Tuning(timeout=20)) as communicator:
        return body(communicator)


def on_processes(ranks: int, body: Callable[[int], Any]) -> list[Any]:
    """body(rank) of every rank; None for a rank that ended without a result."""
    reader, writer = os.pipe()
    results: list[Any] = [None] * ranks

    def main(rank: int, fd: int) -> int:
        shm.join(fd, rank)
        try:
            result = body(rank)
        except CollschedError as error:
            result = f"{type(error).__name__}: {error}"
        os.write(writer, json.dumps([rank, result]).encode() + b"\n")
        return 0

    data = b""
    with Ranks(ranks) as job:
        job.start(main)
        os.close(writer)
        for event in job.watch(reader):
            data += b"" if isinstance(event, Ended) else event
    os.close(reader)
    for rank, result in map(json.loads, data.splitlines()):
        results[rank] = result
    return results


def children() -> set[int]:
    """The living and dead children of this process."""
    task = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    return {int(word) for word in task.read_text().split()}
