"""segment: cut every chunk into pieces that follow each other down the trees like cars of a train.

    one piece    hop 0 ████████                    two pieces   hop 0 ████▒▒▒▒
                 hop 1         ████████                         hop 1     ████▒▒▒▒

Piece p of a transfer waits for piece p of what the transfer waited for. Piece p of step s is issued with all others of
equal s + p, so that a lane serves the pieces in the order in which they become ready.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from collsched.errors import InputError
from collsched.ir.schedule import Chunks, Joins, Schedule, Transfers

MAX_PIECES = 1 << 12

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Segment:
    """Cut every chunk into `pieces` equal pieces. Input and output are in topological order."""

    name: ClassVar[str] = "segment"
    pieces: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.pieces <= MAX_PIECES:
            raise InputError(f"segments: {self.pieces} pieces; choose 1 … {MAX_PIECES}")

    def __call__(self, schedule: Schedule) -> Schedule:
        if self.pieces == 1:
            return schedule
        whole, count = schedule.transfers, self.pieces
        piece = np.tile(np.arange(count), len(whole.chunk))
        order = np.argsort(np.repeat(steps(schedule), count) + piece, kind="stable")
        position = np.empty(len(order), np.int32)
        position[order] = np.arange(len(order), dtype=np.int32)
        joins = Joins(_split_ptr(schedule.joins, count), position[_split_members(schedule.joins, count)])
        join = np.where(whole.join > 0, (whole.join - 1) * count + 1, 0)
        transfers = Transfers(
            chunk=(np.repeat(whole.chunk * count, count) + piece)[order].astype(np.int32),
            route=np.repeat(whole.route, count)[order],
            op=np.repeat(whole.op, count)[order],
            join=np.where(np.repeat(join, count) > 0, np.repeat(join, count) + piece, 0)[order].astype(np.int32),
            channel=np.repeat(whole.channel, count)[order],
        )
        return Schedule(schedule.collective, split_chunks(schedule.chunks, count), schedule.routes, transfers, joins)


def split_chunks(chunks: Chunks, count: int) -> Chunks:
    length = np.repeat(chunks.length, count)
    return Chunks(
        np.repeat(chunks.shard, count),
        np.repeat(chunks.offset * count, count) + length * np.tile(np.arange(count), len(chunks.shard)),
        length,
        np.repeat(chunks.denominator * count, count),
    )


def _split_ptr(joins: Joins, count: int) -> Ints:
    """Join 0 stays; every other becomes `count` joins in its place."""
    sizes = np.repeat(np.diff(joins.ptr)[1:], count)
    return np.concatenate([[0, 0], np.cumsum(sizes)]).astype(np.int64)


def _split_members(joins: Joins, count: int) -> Ints:
    """Piece p of every member, for all p: the pieces of a join follow one another."""
    sizes = np.diff(joins.ptr)[1:]
    part = np.repeat(sizes, count)
    first = np.repeat(joins.ptr[1:-1], count) - (np.cumsum(part) - part)
    piece = np.repeat(np.tile(np.arange(count), len(sizes)), part)
    members: Ints = joins.member[np.arange(part.sum()) + np.repeat(first, part)].astype(np.int64) * count + piece
    return members


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
