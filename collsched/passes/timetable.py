"""timetable: start transfers in the order, and at the pace, in which full links stay full.

A schedule says what each transfer waits for; among those that are ready, links are shared evenly. On a large fabric
that lets everything proceed at once and arrive together, at the end, when it is too late to be passed on. The native
list scheduler (csrc/core/timetable.h) decides who goes first, and when:

    ready at once    a ──▶ b ██████████▌          paced    a ──▶ b ███▌
                     a ──▶ c ██████████▌                   a ──▶ c     ███▌
                     a ──▶ d ██████████▌                   a ──▶ d         ███▌

What is copied is scheduled forward from the start, what is reduced backward from the end; a broadcast that follows a
reduction begins where that ends. So the timetable of a reduction is that of a broadcast on the turned fabric, mirrored.

Its order becomes the order of issue. To keep the pace, each transfer also waits for one other: the last that is to have
arrived a little before it is due to be prepared. A little: so that small delays do not add up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from collsched.ir.schedule import REDUCE, Joins, Schedule, Transfers
from collsched.topology.model import Topology

GB = 10**9
PS_IN_US = 10**6
_MAX_BYTES = 1 << 40  # order and pace of anything larger are those of this

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Progress:
    """[chunks] Chunk c is number `piece[c]`, from 0, of the `pieces[c]` that make up one."""

    piece: Ints
    pieces: Ints


@dataclass(frozen=True, slots=True)
class Timetable:
    """Order and pace a schedule for buffers of `nbytes`; `cost`: µs that a transfer takes to prepare; `lead`: µs by
    which it may be early.

    With `progress`, a piece is due when its part of the time has passed, less 3/2 of the longest chain of transfers
    that wait for it, so that all trees grow alike; without, whatever has most ahead of it goes first, and deep trees
    before others. Input and output are in topological order. Equal arguments give equal timetables on every machine.
    """

    name: ClassVar[str] = "timetable"
    topology: Topology
    nbytes: int
    progress: Progress | None = None
    lead: Fraction = Fraction(1)
    cost: Fraction = Fraction(1)

    def __call__(self, schedule: Schedule) -> Schedule:
        if not len(schedule.transfers.chunk):
            return schedule
        start, arrival = self._times(schedule)
        order = np.argsort(start, kind="stable")
        position = np.empty(len(order), np.int32)
        position[order] = np.arange(len(order), dtype=np.int32)
        return replace(
            schedule,
            transfers=_picked(schedule.transfers, order),
            joins=_renumbered(schedule.joins, position),
            pace=self._pace(start[order], arrival[order]),
        )

    def _times(self, schedule: Schedule) -> tuple[Ints, Ints]:
        """([transfers], [transfers]) when the first byte leaves and the last arrives, in picoseconds."""
        latency = _route_latency(self.topology, schedule)
        count = len(schedule.transfers.chunk)
        start, arrival = np.empty(count, np.int64), np.empty(count, np.int64)
        up = _reductions(schedule)
        begin = 0
        for part, backward in ((up, True), (~up, False)):
            if not part.any():
                continue
            leaves, left = self._listed(_part(schedule, part), latency, backward)
            start[part] = begin + leaves
            arrival[part] = begin + left + latency[schedule.transfers.route[part]]
            begin = int(arrival[part].max())
        return start, arrival

    def _listed(self, schedule: Schedule, latency: Ints, backward: bool) -> tuple[Ints, Ints]:
        """([transfers], [transfers]) when the first and the last byte leave, by list scheduling."""
        from collsched._core import timetable

        links, routes, transfers = self.topology.links, schedule.routes, schedule.transfers
        collective = schedule.collective
        low, high = schedule.chunks.ranges(collective, min(collective.total(self.nbytes), _MAX_BYTES))
        bytes_ = (high - low)[transfers.chunk]
        bandwidth = np.array([max(1, int(link.bandwidth * GB)) for link in links], np.int64)

        def listed(due: Ints) -> tuple[Ints, Ints, Ints]:
            found: tuple[Ints, Ints, Ints] = timetable(
                bandwidth,
                routes.ptr,
                routes.links,
                latency,
                transfers.route.astype(np.int32),
                transfers.join,
                schedule.joins.ptr,
                schedule.joins.member,
                bytes_,
                due,
                backward,
                int(self.cost * PS_IN_US),
            )
            return found

        start, end, tail = listed(np.zeros(0, np.int64))
        if self.progress is not None:
            piece, pieces = self.progress.piece[transfers.chunk], self.progress.pieces[transfers.chunk]
            after = pieces - piece if backward else piece + 1
            start, end, _ = listed(_busiest(schedule, bytes_, bandwidth) // pieces * after - tail - tail // 2)
        return start, end

    def _pace(self, start: Ints, arrival: Ints) -> Joins:
        """What each transfer waits for. `start` ascends."""
        by_arrival = np.argsort(arrival, kind="stable")
        early = start - int((self.cost + self.lead) * PS_IN_US)
        place = np.searchsorted(arrival[by_arrival], early, side="right") - 1
        paced = place >= 0
        member = by_arrival[place[paced]].astype(np.int32)
        return Joins(np.concatenate([[0], np.cumsum(paced)]).astype(np.int64), member)


def _busiest(schedule: Schedule, bytes_: Ints, bandwidth: Ints) -> int:
    """Picoseconds for which the fullest link is busy."""
    routes = schedule.routes
    on_route = np.zeros(len(routes.ptr) - 1, np.int64)
    np.add.at(on_route, schedule.transfers.route, bytes_)
    load = np.zeros(len(bandwidth), np.int64)
    np.add.at(load, routes.links, np.repeat(on_route, np.diff(routes.ptr)))
    return max(int(bytes_) * 10**12 // int(rate) for bytes_, rate in zip(load, bandwidth, strict=True))


def _route_latency(topology: Topology, schedule: Schedule) -> Ints:
    """[routes] In picoseconds."""
    alpha = np.array([int(link.alpha * PS_IN_US) for link in topology.links], np.int64)
    latency: Ints = np.add.reduceat(alpha[schedule.routes.links], schedule.routes.ptr[:-1])
    return latency


def _reductions(schedule: Schedule) -> Mask:
    """The transfers that reduce, and those that some such transfer waits for."""
    transfers, joins = schedule.transfers, schedule.joins
    up: Mask = transfers.op == REDUCE
    waits = np.zeros(len(joins.ptr) - 1, bool)
    owner = np.repeat(np.arange(len(waits)), np.diff(joins.ptr))
    while up.any():
        waits[transfers.join[up]] = True
        more = joins.member[waits[owner]]
        if up[more].all():
            break
        up[more] = True
    return up


def _part(schedule: Schedule, part: Mask) -> Schedule:
    """Some of the transfers, and of what they wait for, those among them."""
    joins = schedule.joins
    kept = part[joins.member]
    owner = np.repeat(np.arange(len(joins.ptr) - 1), np.diff(joins.ptr))[kept]
    number = np.cumsum(part, dtype=np.int32) - np.int32(1)
    ptr = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(joins.ptr) - 1))]).astype(np.int64)
    picked = _picked(schedule.transfers, np.flatnonzero(part))
    return replace(schedule, transfers=picked, joins=Joins(ptr, number[joins.member[kept]]))


def _picked(transfers: Transfers, order: Ints) -> Transfers:
    return Transfers(
        transfers.chunk[order],
        transfers.route[order],
        transfers.op[order],
        transfers.join[order],
        np.zeros(len(order), np.int16),
    )


def _renumbered(joins: Joins, position: NDArray[np.int32]) -> Joins:
    """Members by their new numbers, in ascending order within each join."""
    owner = np.repeat(np.arange(len(joins.ptr) - 1), np.diff(joins.ptr))
    member = position[joins.member]
    return Joins(joins.ptr, member[np.lexsort((member, owner))])
