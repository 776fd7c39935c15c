"""Ranks as threads of this process, each with a stream of its own on the host's stand-in for a GPU."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import simulated_gpu

from collsched.errors import CollschedError
from collsched.runtime.launchers import Peers


def on_threads(bodies: Sequence[Callable[[], Any]]) -> list[Any]:
    """What each returns; an error raised on purpose comes back as its text."""
    results: list[Any] = [None] * len(bodies)

    def rank_main(rank: int) -> None:
        try:
            with simulated_gpu.stream():
                results[rank] = bodies[rank]()
        except Exception as error:
            results[rank] = f"{type(error).__name__}: {error}"
            if not isinstance(error, CollschedError):
                raise

    threads = [threading.Thread(target=rank_main, args=(rank,)) for rank in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def threads_as_peers(ranks: int) -> list[Peers]:
    barrier, box = threading.Barrier(ranks), [b""] * ranks

    def exchange(rank: int, mine: bytes) -> list[bytes]:
        box[rank] = mine
        barrier.wait(20)
        found = list(box)
        barrier.wait(20)
        return found

    return [Peers(rank, ranks, lambda mine, rank=rank: exchange(rank, mine), "threads") for rank in range(ranks)]
