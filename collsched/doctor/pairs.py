"""Whether every two ranks of a launch reach each other, and how fast: a message each way, checked, pair by pair."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from collsched.compiler import compile
from collsched.errors import EngineError
from collsched.runtime import Communicator, connect
from collsched.runtime.launchers import Peers
from collsched.topology import one_machine

SIZES = (8, 1 << 20)  # bytes: what a message takes at least, and what goes through
_REPEATS = 5
MOST_PAIRS = 120  # with more ranks, each is paired with the next


@dataclass(frozen=True, slots=True)
class Pair:
    """Messages between two ranks: `latency` seconds for 8 bytes one way, `rate` bytes a second for 1 MiB."""

    first: int
    second: int
    latency: float
    rate: float


def check_pairs(peers: Peers, engine: str = "auto") -> tuple[str, list[Pair]]:
    """The engine, and all pairs, on every rank. Collective among the ranks of a launch.

    Raises what `connect` raises; EngineError where a message arrives changed.
    """
    ranks = peers.ranks
    pairs = list(combinations(range(ranks), 2))
    if len(pairs) > MOST_PAIRS:
        pairs = [(rank, rank + 1) for rank in range(ranks - 1)]
    topology = one_machine(ranks)
    found = []
    name = engine
    for pair in pairs:
        plan = compile(topology, "allreduce", group=list(pair))
        with connect(plan, engine) as communicator:
            name = communicator.engine
            found.append(_measure(communicator, pair, peers))
    return name, found


def _measure(communicator: Communicator, pair: tuple[int, int], peers: Peers) -> Pair:
    seconds = [_exchange(communicator, pair, nbytes // 8) for nbytes in SIZES]
    told = peers.exchange(repr(seconds).encode())[pair[0]]
    small, large = (float(word) for word in told.decode().strip("[]").split(","))
    # An allreduce between two is a message each way, at the same time.
    return Pair(*pair, small, SIZES[1] / large if large else 0.0)


def _exchange(communicator: Communicator, pair: tuple[int, int], count: int) -> float:
    """Median seconds of an allreduce between two ranks; the others call it without data."""
    taken = []
    for turn in range(1 + _REPEATS):
        array: Any = None
        if communicator.rank in pair:
            array = np.arange(count, dtype=np.int64) + communicator.rank
        begin = time.perf_counter()
        communicator.allreduce(array)
        if turn:
            taken.append(time.perf_counter() - begin)
        if array is not None and not (array == 2 * np.arange(count) + sum(pair)).all():
            raise EngineError(f"ranks {pair[0]} and {pair[1]}: a message arrived changed")
    return statistics.median(taken)
