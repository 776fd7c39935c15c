"""Simulated time of a schedule: α–β links, shared max-min fairly, with everything that waits. docs/simulator.md has the
model, its formulas and what it leaves out.

Sizes, bandwidths and latencies are exact until the simulation starts; there, all are floats. Events less than 1e-12 of
the time apart count as one, so a chain of d events may end d · 1e-12 of the time too early, and no earlier.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collsched.errors import InputError, VerificationError
from collsched.forest.model import Routes
from collsched.ir.schedule import Joins, Schedule, Transfers
from collsched.topology.model import Topology

GB = 10**9
MICRO = 10**6
MAX_BYTES = 1 << 60
MAX_TRANSFERS = 1 << 26  # some hundred bytes each

Ints32 = NDArray[np.int32]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Model:
    """What the topology does not say. `cost`: µs for which a transfer occupies its sender before its first byte leaves.
    `store_and_forward`: switches pass a transfer on once they hold all of it, instead of cutting it through."""

    cost: Fraction = Fraction(1)
    store_and_forward: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.cost <= MICRO:
            raise InputError(f"cost of a transfer {self.cost} µs; allowed is 0 to {MICRO} µs, such as 1")


@dataclass(frozen=True)
class Simulation:
    """A schedule on its topology, ready to be run at any size. The schedule must have passed `ir.verify`. `fused`:
    transfers that follow each other with one route, channel and join are one message (`passes.fuse`)."""

    topology: Topology
    schedule: Schedule
    model: Model = Model()
    fused: bool = False

    def seconds(self, nbytes: int) -> float:
        """When the last transfer of a buffer of `nbytes` arrives; 0.0 where nothing moves."""
        return float(self.arrivals(nbytes).max(initial=0.0))

    def arrivals(self, nbytes: int) -> Floats:
        """[transfers] seconds at which each transfer has arrived; 0 for those that carry no byte of `nbytes`.

        Raises InputError for a size out of range, VerificationError where transfers wait for each other for ever.
        """
        arrival: Floats = self._run(self._native.run, nbytes)
        return arrival[self._hops.last][self._messages.number]

    def timeline(self, nbytes: int) -> tuple[Floats, Floats]:
        """([transfers], [transfers]) seconds at which the first byte of each transfer leaves, and `arrivals`; raises
        what that does."""
        departure, arrival = self._run(self._native.timeline, nbytes)
        hops, number = self._hops, self._messages.number
        return departure[hops.last - hops.count + 1][number], arrival[hops.last][number]

    def sizes(self, nbytes: int) -> Ints:
        """[transfers] bytes that each carries."""
        lo, hi = self.schedule.chunks.ranges(self.schedule.collective, self.schedule.collective.total(nbytes))
        return (hi - lo)[self.schedule.transfers.chunk]

    def _run(self, native: Callable[[Floats, float], Any], nbytes: int) -> Any:
        if not 0 <= nbytes <= MAX_BYTES:
            raise InputError(f"size {nbytes}; a number of bytes from 0 to {MAX_BYTES}")
        messages, sizes = self._messages, self.sizes(nbytes).astype(np.float64)
        together = np.bincount(messages.number, sizes, len(messages.schedule.transfers.chunk))
        try:
            return native(np.repeat(together, self._hops.count), float(self.model.cost) / MICRO)
        except RuntimeError as error:
            raise VerificationError(f"the schedule cannot run: {error}") from None

    @cached_property
    def _messages(self) -> _Messages:
        if self.fused:
            return _fused(self.schedule)
        return _Messages(self.schedule, np.arange(len(self.schedule.transfers.chunk)))

    @cached_property
    def _hops(self) -> _Hops:
        hops = _whole_routes(self.topology, self._messages.schedule)
        if self.model.store_and_forward:
            hops = _link_by_link(self.topology, hops)
        if len(hops.route) > MAX_TRANSFERS:
            raise InputError(
                f"{len(hops.route):,} transfers to simulate; at most {MAX_TRANSFERS:,}: use fewer segments"
            )
        return hops

    @cached_property
    def _native(self) -> Any:
        from collsched._core import Simulator

        hops = self._hops
        bandwidth = np.array([float(link.bandwidth * GB) for link in self.topology.links])
        latency = np.array([float(alpha / MICRO) for alpha in hops.alpha])
        return Simulator(
            bandwidth,
            hops.routes.ptr,
            hops.routes.links,
            latency,
            hops.route,
            hops.lane,
            hops.sender,
            hops.join,
            hops.joins.ptr,
            hops.joins.member,
        )


@dataclass(frozen=True, slots=True)
class _Messages:
    """A schedule with a transfer for each message, whose chunk means nothing; and each transfer's message."""

    schedule: Schedule
    number: Ints


def _fused(schedule: Schedule) -> _Messages:
    transfers, joins = schedule.transfers, schedule.joins
    columns = np.stack([transfers.route, transfers.channel, transfers.join]).astype(np.int64)
    first = np.append(True, (columns[:, 1:] != columns[:, :-1]).any(axis=0))[: columns.shape[1]]
    number = np.cumsum(first) - 1
    begin = np.flatnonzero(first)
    member = number[joins.member]
    join_of = np.repeat(np.arange(len(joins.ptr) - 1), np.diff(joins.ptr))
    kept = np.append(True, (member[1:] != member[:-1]) | (join_of[1:] != join_of[:-1]))[: len(member)]
    ptr = np.append(0, np.cumsum(np.bincount(join_of[kept], minlength=len(joins.ptr) - 1)))
    messages = Transfers(
        transfers.chunk[begin],
        transfers.route[begin],
        transfers.op[begin],
        transfers.join[begin],
        transfers.channel[begin],
    )
    return _Messages(replace(schedule, transfers=messages, joins=Joins(ptr, member[kept].astype(np.int32))), number)


@dataclass(frozen=True, slots=True)
class _Hops:
    """What is simulated: one entry a transfer, or with store-and-forward one a link that a transfer crosses.

    `count` entries stand for each transfer, the last of them is `last`. Equal paths are one route, with latency
    `alpha` in µs. Lanes and senders are numbered from 0; sender −1 means that nobody prepares the entry.
    """

    count: Ints
    last: Ints
    routes: Routes
    alpha: list[Fraction]
    route: Ints32
    lane: Ints32
    sender: Ints32
    join: Ints32
    joins: Joins


def _whole_routes(topology: Topology, schedule: Schedule) -> _Hops:
    transfers = schedule.transfers
    links, known = schedule.routes.links.tolist(), dict[tuple[int, ...], int]()
    same = [known.setdefault(tuple(links[a:b]), len(known)) for a, b in pairwise(schedule.routes.ptr.tolist())]
    route = np.array(same, np.int32)[transfers.route]
    sender = np.array([_sender(topology, path[0]) for path in known], np.int32)[route] if known else route
    join, joins = schedule.awaited()
    return _Hops(
        np.ones(len(route), np.int64),
        np.arange(len(route)),
        Routes(np.cumsum([0, *map(len, known)]), np.array([link for path in known for link in path], np.int32)),
        [sum((topology.links[link].alpha for link in path), Fraction(0)) for path in known],
        route,
        _numbered(route, transfers.channel),
        np.where(sender < 0, -1, _numbered(sender, np.zeros(1, np.int64))).astype(np.int32),
        join,
        joins,
    )


def _sender(topology: Topology, link: int) -> int:
    """The node that prepares what leaves over a link; −1 for a switch, which copies and sums as data passes."""
    node = topology.links[link].src
    return node if topology.nodes[node].kind == "rank" else -1


def _link_by_link(topology: Topology, whole: _Hops) -> _Hops:
    """Every link of a route as a transfer of its own, which waits for the one before it and needs no preparation."""
    count = np.diff(whole.routes.ptr)[whole.route]
    end = np.cumsum(count)
    hop = np.arange(end[-1] if len(end) else 0) - np.repeat(end - count, count)
    first = hop == 0
    link = whole.routes.links[np.repeat(whole.routes.ptr[:-1][whole.route], count) + hop]
    inner = np.flatnonzero(~first)
    known = len(whole.joins.ptr) - 1
    join = np.repeat(whole.join, count)
    join[inner] = known + np.arange(len(inner), dtype=np.int32)
    joins = Joins(
        np.concatenate([whole.joins.ptr, whole.joins.ptr[-1] + 1 + np.arange(len(inner))]),
        np.concatenate([(end - 1)[whole.joins.member], inner - 1]).astype(np.int32),
    )
    return replace(
        whole,
        count=count,
        last=end - 1,
        routes=Routes(np.arange(len(topology.links) + 1), np.arange(len(topology.links), dtype=np.int32)),
        alpha=[link.alpha for link in topology.links],
        route=link.astype(np.int32),
        lane=_numbered(np.repeat(whole.lane, count), hop),
        sender=np.where(first, np.repeat(whole.sender, count), -1).astype(np.int32),
        join=join,
        joins=joins,
    )


def _numbered(one: NDArray[Any], two: NDArray[Any]) -> Ints32:
    """Numbers from 0 for the distinct pairs."""
    pair = one.astype(np.int64) * (int(two.max(initial=0)) + 1) + two
    return np.unique(pair, return_inverse=True)[1].reshape(-1).astype(np.int32)
