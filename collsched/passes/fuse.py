"""fuse: what crosses a route goes in one message.

    two messages   r ──a──▶ s         one message   r ══a b══▶ s        it waits for all that a or b waited for
                   r ──b──▶ s

A message is a run of transfers that follow each other in the order of issue, with one route, one channel and one join.
Whoever counts messages (`Simulation.messages`) then counts it once; for everyone else it is still several transfers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from collsched.errors import InputError
from collsched.ir.schedule import Joins, Schedule, Transfers

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Fuse:
    """All transfers of a lane become one message. Input and output are in topological order.

    Raises InputError where messages would wait for each other in a circle.
    """

    name: ClassVar[str] = "fuse"

    def __call__(self, schedule: Schedule) -> Schedule:
        transfers, joins = schedule.transfers, schedule.joins
        lane = _lanes(transfers)
        sizes = np.diff(joins.ptr)[transfers.join]
        waiter = np.repeat(np.arange(len(lane)), sizes)
        entry = np.arange(len(waiter)) + np.repeat(joins.ptr[transfers.join] - (np.cumsum(sizes) - sizes), sizes)
        member = joins.member[entry]
        order = np.lexsort((lane, _levels(lane, lane[member], lane[waiter])[lane]))
        position = np.empty(len(order), np.int64)
        position[order] = np.arange(len(order))
        awaited = np.unique(np.stack([lane[waiter], position[member]]), axis=1)  # by lane, then ascending
        counts = np.bincount(awaited[0], minlength=int(lane.max(initial=-1)) + 1)
        number = np.where(counts > 0, np.cumsum(counts > 0), 0)
        fused = Transfers(
            transfers.chunk[order],
            transfers.route[order],
            transfers.op[order],
            number[lane][order].astype(np.int32),
            transfers.channel[order],
        )
        ptr = np.concatenate([[0, 0], np.cumsum(counts[counts > 0])]).astype(np.int64)
        return Schedule(
            schedule.collective, schedule.chunks, schedule.routes, fused, Joins(ptr, awaited[1].astype(np.int32))
        )


def _lanes(transfers: Transfers) -> Ints:
    """[transfers] Numbers of the distinct pairs of route and channel, in the order in which they first occur."""
    key = transfers.route.astype(np.int64) << 16 | transfers.channel
    _, first, same = np.unique(key, return_index=True, return_inverse=True)
    place = np.empty(len(first), np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    lanes: Ints = place[same.reshape(-1)]
    return lanes


def _levels(lane: Ints, before: Ints, after: Ints) -> Ints:
    """[lanes] The longest chain of lanes that each waits for."""
    pairs = np.unique(np.stack([before, after]), axis=1)
    level = np.zeros(int(lane.max(initial=-1)) + 1, np.int64)
    for _ in range(len(level) + 1):
        deeper = level.copy()
        np.maximum.at(deeper, pairs[1], level[pairs[0]] + 1)
        if (deeper == level).all():
            return level
        level = deeper
    raise InputError("some routes' transfers wait for each other in a circle; they cannot be one message each")
