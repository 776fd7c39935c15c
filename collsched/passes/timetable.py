"""timetable: start transfers in the order, and at the pace, in which full links stay full.

A schedule says what each transfer waits for; among those that are ready, links are shared evenly. On a large fabric
that lets everything proceed at once and arrive together, at the end, when it is too late to be passed on. The native
list scheduler (csrc/core/timetable.h) decides who goes first. Its order becomes the order of issue, and each
transfer also waits for one that left the same busy link before it:

    ready at once    a ──▶ b ██████████▌          paced    a ──▶ b ███▌
                     a ──▶ c ██████████▌                   a ──▶ c     ███▌
                     a ──▶ d ██████████▌                   a ──▶ d         ███▌
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from collsched.ir.schedule import Joins, Schedule, Transfers
from collsched.topology.model import Topology

GB = 10**9
PS_IN_US = 10**6
_MAX_BYTES = 1 << 40  # order and pace of anything larger are those of this


@dataclass(frozen=True, slots=True)
class Timetable:
    """Order and pace a schedule for buffers of `nbytes`; `cost`: µs that a transfer takes to prepare.

    Input and output are in topological order. Equal arguments give equal timetables on every machine.
    """

    name: ClassVar[str] = "timetable"
    topology: Topology
    nbytes: int
    cost: Fraction = Fraction(1)

    def __call__(self, schedule: Schedule) -> Schedule:
        if not len(schedule.transfers.chunk):
            return schedule
        order, ptr, member = self._scheduled(schedule)
        position = np.empty(len(order), np.int32)
        position[order] = np.arange(len(order), dtype=np.int32)
        transfers, joins = schedule.transfers, schedule.joins
        moved = Transfers(
            transfers.chunk[order],
            transfers.route[order],
            transfers.op[order],
            transfers.join[order],
            np.zeros(len(order), np.int16),
        )
        paces = np.diff(ptr)[order]
        first = np.repeat(ptr[:-1][order] - (np.cumsum(paces) - paces), paces)
        pace = Joins(np.concatenate([[0], np.cumsum(paces)]).astype(np.int64), member[first + np.arange(len(first))])
        return replace(schedule, transfers=moved, joins=_renumbered(joins, position), pace=_renumbered(pace, position))

    def _scheduled(self, schedule: Schedule) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32]]:
        from collsched._core import timetable

        links, routes = self.topology.links, schedule.routes
        alpha = np.array([int(link.alpha * PS_IN_US) for link in links], np.int64)
        collective = schedule.collective
        low, high = schedule.chunks.ranges(collective, min(collective.total(self.nbytes), _MAX_BYTES))
        return timetable(
            np.array([max(1, int(link.bandwidth * GB)) for link in links], np.int64),
            routes.ptr,
            routes.links,
            np.add.reduceat(alpha[routes.links], routes.ptr[:-1]),
            schedule.transfers.route.astype(np.int32),
            schedule.transfers.join,
            schedule.joins.ptr,
            schedule.joins.member,
            (high - low)[schedule.transfers.chunk],
            int(self.cost * PS_IN_US),
        )


def _renumbered(joins: Joins, position: NDArray[np.int32]) -> Joins:
    """Members by their new numbers, in ascending order within each join."""
    owner = np.repeat(np.arange(len(joins.ptr) - 1), np.diff(joins.ptr))
    member = position[joins.member]
    return Joins(joins.ptr, member[np.lexsort((member, owner))])
