"""The schedule: which chunk crosses which route, and what it waits for. Flat arrays; expanded lazily."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collsched.collective import Collective
from collsched.forest.model import Routes

COPY, REDUCE = 0, 1


@dataclass(frozen=True, slots=True)
class Chunks:
    """Chunk c is the part [offset[c], offset[c] + length[c]) / denominator[c] of shard[c]."""

    shard: NDArray[np.int32]
    offset: NDArray[np.int64]
    length: NDArray[np.int64]
    denominator: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Transfers:
    """Transfer t moves chunk[t] over route[t], copies or reduces at the receiver, and starts once every member of
    join[t] has arrived. Transfers of the same route and channel are issued in order of their index."""

    chunk: NDArray[np.int32]
    route: NDArray[np.uint32]
    op: NDArray[np.uint8]
    join: NDArray[np.int32]
    channel: NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Joins:
    """Join j is the set of transfers member[ptr[j]:ptr[j+1]]; join 0 is empty. Many transfers may share a join,
    which keeps a broadcast that follows a reduction linear in size."""

    ptr: NDArray[np.int64]
    member: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Schedule:
    """A collective as transfers between ranks. The topology that `routes` refers to travels beside it."""

    collective: Collective
    chunks: Chunks
    routes: Routes
    transfers: Transfers
    joins: Joins
