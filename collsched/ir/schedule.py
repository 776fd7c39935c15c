"""The schedule: which chunk crosses which route, and what it waits for. Flat arrays; expanded lazily."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

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

    def ranges(self, collective: Collective, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where each chunk lies in a buffer of `count` elements (or bytes): chunk c is [lo[c], hi[c]).

        Boundaries are floor(fraction × count), first of the shards within the buffer, then of the chunks within their
        shard, so the chunks partition a buffer of any count; some may be empty.
        """
        before = np.array([0, *accumulate(collective.shards)], dtype=object)
        borders = (before * count // int(before[-1])).astype(np.int64)
        start, size = borders[self.shard], (borders[1:] - borders[:-1])[self.shard]
        return start + _floor_part(self.offset, self.denominator, size), start + _floor_part(
            self.offset + self.length, self.denominator, size
        )


def _floor_part(
    numerator: NDArray[np.int64], denominator: NDArray[np.int64], size: NDArray[np.int64]
) -> NDArray[np.int64]:
    """floor(numerator / denominator × size) for 0 ≤ numerator ≤ denominator, in Python's integers where 64 bits might
    not hold the product."""
    if int(numerator.max(initial=0)) * int(size.max(initial=0)) >> 63:
        numerator = numerator.astype(object)
    return (numerator * size // denominator).astype(np.int64)


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


NO_PACE = Joins(np.zeros(1, np.int64), np.zeros(0, np.int32))


@dataclass(frozen=True, slots=True)
class Schedule:
    """A collective as transfers between ranks. The topology that `routes` refers to travels beside it.

    A schedule with a timetable is *paced*: transfer t also waits for pace.member[pace.ptr[t]:pace.ptr[t + 1]], all of
    lower index, in ascending order. No data depends on it, so that a runtime may ignore it.
    """

    collective: Collective
    chunks: Chunks
    routes: Routes
    transfers: Transfers
    joins: Joins
    pace: Joins = NO_PACE

    @property
    def paced(self) -> bool:
        return len(self.pace.ptr) > 1

    def awaited(self) -> tuple[NDArray[np.int32], Joins]:
        """All that each transfer waits for, for its data and for its pace: its join, and these joins."""
        if not self.paced:
            return self.transfers.join, self.joins
        count = len(self.transfers.chunk)
        data, pace = np.diff(self.joins.ptr)[self.transfers.join], np.diff(self.pace.ptr)
        owner = np.concatenate([np.repeat(np.arange(count), data), np.repeat(np.arange(count), pace)])
        first = np.repeat(self.joins.ptr[self.transfers.join] - (np.cumsum(data) - data), data)
        member = np.concatenate([self.joins.member[first + np.arange(len(first))], self.pace.member])
        pairs = np.sort(owner * np.int64(count) + member)
        owner, member = np.divmod(pairs[np.append(True, pairs[1:] != pairs[:-1])[: len(pairs)]], count)
        ptr = np.concatenate([[0, 0], np.cumsum(np.bincount(owner, minlength=count))]).astype(np.int64)
        return np.arange(1, count + 1, dtype=np.int32), Joins(ptr, member.astype(np.int32))
