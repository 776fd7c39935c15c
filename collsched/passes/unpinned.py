"""What becomes of a schedule where nothing pins its paths: the fabric chooses among the shortest ones.

hash: every connection between two ranks' ports takes one path, by a random hash (ECMP; one queue pair a connection).
spray: every transfer goes over all of its connection's paths at once, in equal parts; it has arrived when all of its
parts have. Simulate it with 1 / parts of the cost of a transfer: one message, cut by the NIC.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from collsched.ir.schedule import Joins, Schedule, Transfers
from collsched.passes.alternatives import Alternatives, alternatives, routes_over
from collsched.passes.segment import split_chunks
from collsched.topology.model import Topology


@dataclass(frozen=True)
class Unpinned:
    """The connections of a schedule and the paths they may take."""

    schedule: Schedule
    found: Alternatives

    @classmethod
    def of(cls, topology: Topology, schedule: Schedule) -> Unpinned:
        return cls(schedule, alternatives(topology, schedule.routes, keep=False))

    @property
    def paths(self) -> int:
        """The most paths that a connection has; 1 where the fabric leaves no choice."""
        return int(np.diff(self.found.network.paths.begin).max(initial=1))


@dataclass(frozen=True, slots=True)
class Hash:
    """One path for each connection, drawn with the chances of a hash at every hop."""

    name: ClassVar[str] = "hash"
    seed: int = 0

    def __call__(self, unpinned: Unpinned) -> Schedule:
        network, schedule = unpinned.found.network, unpinned.schedule
        begin, pair = network.paths.begin, network.paths.pair
        owner = np.repeat(np.arange(len(begin) - 1), np.diff(begin))
        total = np.cumsum(network.paths.chance)
        before = np.concatenate([[0.0], total])[begin[:-1]]
        drawn = pair + np.random.default_rng(self.seed).random(len(pair))
        path = np.searchsorted(owner + np.minimum(total - before[owner], 1.0), drawn, side="right")
        path = np.minimum(path, begin[pair + 1] - 1)
        connection = unpinned.found.connection
        return replace(schedule, routes=routes_over(network, connection, path[connection]))


@dataclass(frozen=True, slots=True)
class Spray:
    """Every transfer in `parts` equal parts, dealt in turn to the paths of its connection."""

    name: ClassVar[str] = "spray"
    parts: int = 1

    def __call__(self, unpinned: Unpinned) -> Schedule:
        network, schedule, parts = unpinned.found.network, unpinned.schedule, self.parts
        connection = np.repeat(unpinned.found.connection, parts)
        pair = network.paths.pair[connection]
        first, count = network.paths.begin[pair], network.paths.begin[pair + 1] - network.paths.begin[pair]
        number = np.tile(np.arange(parts), len(unpinned.found.connection))
        routes = routes_over(network, connection, first + number * count // parts)
        whole = schedule.transfers
        part = np.tile(np.arange(parts), len(whole.chunk))
        transfers = Transfers(
            chunk=(np.repeat(whole.chunk * np.int64(parts), parts) + part).astype(np.int32),
            route=(np.repeat(whole.route.astype(np.int64) * parts, parts) + part).astype(np.uint32),
            op=np.repeat(whole.op, parts),
            join=np.repeat(whole.join, parts),
            channel=np.repeat(whole.channel, parts),
        )
        members = np.repeat(schedule.joins.member.astype(np.int64) * parts, parts)
        members += np.tile(np.arange(parts), len(schedule.joins.member))
        joins = Joins(schedule.joins.ptr * parts, members.astype(np.int32))
        return Schedule(
            schedule.collective,
            split_chunks(schedule.chunks, np.full(len(schedule.chunks.shard), parts)),
            routes,
            transfers,
            joins,
        )
