"""timetable: start transfers in the order, and at the pace, in which full links stay full.

A schedule says what each transfer waits for; among those that are ready, links are shared evenly. On a large fabric
that lets everything proceed at once and arrive together, at the end, when it is too late to be passed on. The native
list scheduler (csrc/core/timetable.h) decides who goes first, and when:

    ready at once    a ──▶ b ██████████▌          paced    a ──▶ b ███▌
                     a ──▶ c ██████████▌                   a ──▶ c     ███▌
                     a ──▶ d ██████████▌                   a ──▶ d         ███▌

What is copied is scheduled forward from the start, what is reduced backward from the end; a broadcast that follows a
reduction begins where that ends. So the timetable of a reduction is that of a broadcast on the turned fabric, mirrored.

Its order becomes the order of issue. To keep the pace, each transfer may also wait for one other: the last that is to
have arrived a little before it is due to be prepared. A little: so that small delays do not add up. Where every route
has its links to itself, order alone keeps the pace.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from collsched.ir.schedule import NO_PACE, REDUCE, Joins, Schedule, Transfers
from collsched.topology.model import Topology

GB = 10**9
PS_IN_US = 10**6
_MAX_BYTES = 1 << 40  # order and pace of anything larger are those of this
_HALF_CHAINS = (3, 6, 12)  # by which a piece is due early
_PATIENCE = 4  # turns in a row that find nothing better
_EVER = 1 << 60  # ps

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Progress:
    """[chunks] Chunk c is number `piece[c]`, from 0, of the `pieces[c]` that make up one."""

    piece: Ints
    pieces: Ints


@dataclass(frozen=True, slots=True)
class Times:
    """[transfers] Picoseconds: when the first byte leaves, and when the last arrives."""

    start: Ints
    arrival: Ints


@dataclass(frozen=True, slots=True)
class Timetable:
    """When the transfers of a schedule for buffers of `nbytes` start; `cost`: µs that one takes to prepare.

    With `progress`, a piece is due when its part of the time has passed, less some multiple of the longest chain of
    transfers that wait for it, so that all trees grow alike, and senders prepare one transfer at a time; without,
    whatever has most ahead of it goes first, and deep trees before others. If it is `steady`, a reduction sends nothing
    later than it is due by more than the longest chain takes. Schedules are in topological order. Equal arguments give
    equal times on every machine.
    """

    name: ClassVar[str] = "timetable"
    topology: Topology
    nbytes: int
    progress: Progress | None = None
    cost: Fraction = Fraction(1)
    steady: bool = False

    def times(self, schedule: Schedule) -> Times:
        count = len(schedule.transfers.chunk)
        if not count:
            return Times(np.zeros(0, np.int64), np.zeros(0, np.int64))
        latency = _route_latency(self.topology, schedule)
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
        return Times(start, arrival)

    def ordered(self, schedule: Schedule, times: Times, lead: Fraction | None) -> Schedule:
        """Issued in the order of `times`, and at their pace: early by no more than `lead` µs; None: in order only."""
        order = np.argsort(times.start, kind="stable")
        position = np.empty(len(order), np.int32)
        position[order] = np.arange(len(order), dtype=np.int32)
        return replace(
            schedule,
            transfers=_picked(schedule.transfers, order),
            joins=_renumbered(schedule.joins, position),
            pace=NO_PACE if lead is None else self._pace(schedule, times, order, lead),
        )

    def _listed(self, schedule: Schedule, latency: Ints, backward: bool) -> tuple[Ints, Ints]:
        """([transfers], [transfers]) when the first and the last byte leave, by list scheduling."""
        low, high = schedule.chunks.ranges(schedule.collective, min(schedule.collective.total(self.nbytes), _MAX_BYTES))
        bytes_ = (high - low)[schedule.transfers.chunk]
        native = _native(self.topology, schedule, latency, bytes_)
        busiest = _busiest(self.topology, schedule, bytes_)
        cost = int(self.cost * PS_IN_US)

        tail: Ints = native.tails(backward, cost)
        early = int(tail.max()) if backward and self.steady else _EVER

        def listed(due: Ints, backward: bool) -> tuple[Ints, Ints]:
            found: tuple[Ints, Ints] = native.listed(due, backward, self.progress is not None, cost, early)
            return found

        if self.progress is None:
            return listed(np.zeros(0, np.int64), backward)
        chunk = schedule.transfers.chunk
        piece, pieces = self.progress.piece[chunk], self.progress.pieces[chunk]
        after = pieces - piece if backward else piece + 1
        dues = [busiest // pieces * after - tail // 2 * halves for halves in _HALF_CHAINS]
        best = start, end = min((listed(due, backward) for due in dues), key=_length)
        missed = 0
        while missed < _PATIENCE:
            # Back and forth (Li and Willis 1992): what came late one way is urgent the other way.
            backward = not backward
            start, end = listed(end.max() - end if backward else start, backward)
            missed = 0 if _length((start, end)) < _length(best) else missed + 1
            best = min(best, (start, end), key=_length)
        return best

    def _pace(self, schedule: Schedule, times: Times, order: Ints, lead: Fraction) -> Joins:
        """What each transfer waits for, in `order`."""
        begin = self._begin(schedule, times.start)[order]
        arrival = times.arrival[order]
        by_arrival = np.argsort(arrival, kind="stable")
        place = np.searchsorted(arrival[by_arrival], begin - int(lead * PS_IN_US), side="right") - 1
        paced = place >= 0
        member = by_arrival[place[paced]].astype(np.int32)
        return Joins(np.concatenate([[0], np.cumsum(paced)]).astype(np.int64), member)

    def _begin(self, schedule: Schedule, start: Ints) -> Ints:
        """When the sender of each transfer has to set about it, one after the other, to have prepared it by `start`."""
        cost = int(self.cost * PS_IN_US)
        sender = _senders(self.topology, schedule)[schedule.transfers.route]
        order = np.lexsort((start, sender))
        number = np.arange(len(order))
        bounds = np.flatnonzero(np.diff(sender[order], prepend=-2, append=-2))
        begin = np.empty(len(order), np.int64)
        for first, last in pairwise(bounds.tolist()):
            mine, rank = order[first:last], number[: last - first]
            if sender[mine[0]] < 0:
                begin[mine] = start[mine]
            else:
                begin[mine] = np.minimum.accumulate((start[mine] - (rank + 1) * cost)[::-1])[::-1] + rank * cost
        return begin


def _length(times: tuple[Ints, Ints]) -> int:
    return int(times[1].max())


def _native(topology: Topology, schedule: Schedule, latency: Ints, bytes_: Ints) -> Any:
    from collsched._core import Timetabling

    routes, transfers, joins = schedule.routes, schedule.transfers, schedule.joins
    return Timetabling(
        _bandwidth(topology),
        routes.ptr,
        routes.links,
        latency,
        _senders(topology, schedule),
        transfers.route.astype(np.int32),
        transfers.join,
        joins.ptr,
        joins.member,
        bytes_,
    )


def _senders(topology: Topology, schedule: Schedule) -> NDArray[np.int32]:
    """[routes] Who prepares what goes over each, numbered from 0; −1 for a switch, which copies as data passes."""
    routes = schedule.routes
    first = np.array([link.src for link in topology.links], np.int64)[routes.links[routes.ptr[:-1]]]
    ranked = np.array([node.kind == "rank" for node in topology.nodes])[first]
    number = np.unique(first, return_inverse=True)[1].reshape(-1)
    return np.where(ranked, number, -1).astype(np.int32)


def _bandwidth(topology: Topology) -> Ints:
    """[links] Whole bytes a second."""
    return np.array([max(1, int(link.bandwidth * GB)) for link in topology.links], np.int64)


def _busiest(topology: Topology, schedule: Schedule, bytes_: Ints) -> int:
    """Picoseconds for which the fullest link is busy."""
    bandwidth = _bandwidth(topology)
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
