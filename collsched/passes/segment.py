"""segment: cut every chunk into pieces that follow each other down the trees like cars of a train.

    one piece    hop 0 ████████                    two pieces   hop 0 ████▒▒▒▒
                 hop 1         ████████                         hop 1     ████▒▒▒▒

Piece p of a transfer waits for piece p of what the transfer waited for. Piece p of step s is issued with all others of
equal s + p, so that a lane serves the pieces in the order in which they become ready.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import lcm
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from collsched.errors import InputError
from collsched.ir.schedule import Chunks, Joins, Schedule, Transfers

MAX_PIECES = 1 << 12

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Segment:
    """Cut every chunk into `pieces` equal pieces; or, `even`, the longest chunks, and others into pieces of about that
    length, 1, 3 or 5 times a power of two of them. Input and output are in topological order, and not paced."""

    name: ClassVar[str] = "segment"
    pieces: int = 1
    even: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.pieces <= MAX_PIECES:
            raise InputError(f"segments: {self.pieces} pieces; choose 1 … {MAX_PIECES}")

    def __call__(self, schedule: Schedule) -> Schedule:
        if self.pieces == 1:
            return schedule
        whole = schedule.transfers
        count = self._counts(schedule)
        pieces = count[whole.chunk]  # of each transfer
        piece = _within(pieces)
        order = np.argsort(np.repeat(steps(schedule), pieces) + piece, kind="stable")
        position = np.empty(len(order), np.int32)
        position[order] = np.arange(len(order), dtype=np.int32)
        joins, first_join = _split_joins(schedule.joins, pieces, position)
        waits = np.diff(schedule.joins.ptr)[whole.join] > 0
        join = np.where(np.repeat(waits, pieces), np.repeat(first_join[whole.join], pieces) + piece, 0)
        transfers = Transfers(
            chunk=(np.repeat((np.cumsum(count) - count)[whole.chunk], pieces) + piece)[order].astype(np.int32),
            route=np.repeat(whole.route, pieces)[order],
            op=np.repeat(whole.op, pieces)[order],
            join=join[order].astype(np.int32),
            channel=np.repeat(whole.channel, pieces)[order],
        )
        return replace(schedule, chunks=split_chunks(schedule.chunks, count), transfers=transfers, joins=joins)

    def progress(self, schedule: Schedule) -> tuple[Ints, Ints]:
        """[chunks of the result] Each one's number among the pieces of its chunk, and how many those are."""
        count = self._counts(schedule)
        return _within(count), np.repeat(count, count)

    def _counts(self, schedule: Schedule) -> Ints:
        """Into how many pieces each chunk is cut."""
        chunks = schedule.chunks
        if not self.even:
            return np.full(len(chunks.shard), self.pieces)
        whole = lcm(*np.unique(chunks.denominator).tolist())  # chunks in units of a common denominator, exactly
        weight = np.array(schedule.collective.shards, object)[chunks.shard]
        length = weight * chunks.length * (whole // chunks.denominator.astype(object))
        least = -(-length * self.pieces // max(length))
        return np.array([_smooth(int(number)) for number in least], np.int64)


def _smooth(least: int) -> int:
    """The smallest of 1, 3 and 5 times powers of two from `least` on: pieces of a shard have a small denominator in
    common then."""
    power = 1 << (least - 1).bit_length()
    return min(count for count in (5 * power // 8, 3 * power // 4, power) if count >= least)


def _within(counts: Ints) -> Ints:
    """0 … c − 1 for every count c, one after another."""
    numbers: Ints = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return numbers


def split_chunks(chunks: Chunks, count: Ints) -> Chunks:
    """Chunk c in count[c] equal pieces, one after another."""
    common = np.ones(chunks.shard.max(initial=-1) + 1, np.int64)
    np.lcm.at(common, chunks.shard, count)
    finest: Ints = common[chunks.shard]  # cuts a unit of each chunk's shard
    length: Ints = np.repeat(chunks.length * (finest // count), count)
    return Chunks(
        np.repeat(chunks.shard, count),
        np.asarray(np.repeat(chunks.offset * finest, count) + length * _within(count)),
        length,
        np.repeat(chunks.denominator * finest, count),
    )


def _split_joins(joins: Joins, pieces: Ints, position: NDArray[np.int32]) -> tuple[Joins, Ints]:
    """Empty joins stay; in place of every other, one for each piece of its members, which are of one chunk. Also the
    first of the joins in each one's place."""
    sizes = np.diff(joins.ptr)
    into = np.ones(len(sizes), np.int64)
    full = np.flatnonzero(sizes)
    into[full] = pieces[joins.member[joins.ptr[full]]]
    part = np.repeat(sizes, into)
    ptr = np.concatenate([[0], np.cumsum(part)]).astype(np.int64)
    entry = np.arange(ptr[-1]) + np.repeat(np.repeat(joins.ptr[:-1], into) - ptr[:-1], part)
    first = np.cumsum(pieces) - pieces  # of the pieces of each transfer
    member = first[joins.member[entry]] + np.repeat(_within(into), part)
    return Joins(ptr, position[member]), np.cumsum(into) - into


def steps(schedule: Schedule) -> Ints:
    """The step of each transfer: consecutive transfers are of one step until one of them waits for another of it."""
    joins, count = schedule.joins, len(schedule.transfers.chunk)
    latest = np.full(len(joins.ptr) - 1, -1, np.int64)
    full = np.flatnonzero(np.diff(joins.ptr))
    if len(full):
        latest[full] = np.maximum.reduceat(joins.member, joins.ptr[full])
    reach = np.maximum.accumulate(latest[schedule.transfers.join])
    begin = [0]
    while begin[-1] < count:
        begin.append(int(np.searchsorted(reach, begin[-1])))
    return np.repeat(np.arange(len(begin) - 1), np.diff(begin))
