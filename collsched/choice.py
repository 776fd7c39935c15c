"""The fastest way to run a schedule at a size, and the fastest of several schedules: by simulated time.

The rule for segments: powers of two, from the best of the size before (1 at first), up or down as long as the time
falls, with a timetable also past one number that is worse; with some of them, then 3/4, 5/4 and 3/2 of the best. No
more pieces than `MAX_SEGMENTS`, nor than make `MAX_TRANSFERS` transfers, or half as many more in the end. Simulated
time is not always unimodal in the number of pieces, so this is a local optimum, the same one for whoever asks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from threading import Event
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from collsched.ir.schedule import Schedule
from collsched.passes.shape import PACINGS, TIMED, Pacing, Shape
from collsched.passes.timetable import Times, Timetable
from collsched.simulate import Model, Simulation
from collsched.topology.model import Topology

MAX_SEGMENTS = 256
MAX_TRANSFERS = 1 << 18
MAX_LANED = 1 << 17  # transfers, where all chunks have lanes: so many share a link that more take long to simulate
MICRO = 10**6
_PATIENCE = {pacing: 1 if pacing in TIMED else 0 for pacing in PACINGS}  # worse numbers that may lie before better ones
_FINER: tuple[Pacing, ...] = ("order", "tight-deadlines")  # with numbers between the powers of two, at last
_KEPT = 4  # simulations that stay in memory
_CHAIN = 64  # transfers, of the chains that are looked for


@dataclass(frozen=True, slots=True)
class Timed:
    """Simulated `seconds` of a buffer of `nbytes`, run in `shape`."""

    nbytes: int
    seconds: float
    shape: Shape

    @property
    def segments(self) -> int:
        return self.shape.segments


@dataclass
class Contestant:
    """A schedule that is to be as fast as it can at one size after another. `fused`: see `Simulation`. `stop`: once it
    is set, `at` raises InterruptedError at its next simulation."""

    topology: Topology
    schedule: Schedule
    model: Model = field(default_factory=Model)
    fused: bool = False
    stop: Event = field(default_factory=Event)
    _segments: dict[Pacing, int] = field(default_factory=dict)
    _simulations: dict[Shape, Simulation] = field(default_factory=dict)
    _timetables: dict[tuple[int, int, bool, bool], tuple[Timetable, Schedule, Times]] = field(default_factory=dict)
    _fastest: Timed | None = None  # of the last size

    def at(self, nbytes: int, pacing: Pacing = "none", hopeless: float = math.inf) -> Timed:
        """The best number of segments for this size and its time. Ask for ascending sizes, and for "none" first: each
        search starts at the best of the size so far, by whatever pacing, or at that of the size before; and goes no
        further if that, and four times as many, take more than `hopeless` seconds."""
        most = self._most(pacing)
        begin = min(self._begin(nbytes, pacing), most)
        best = self._timed(nbytes, Shape(begin, pacing))
        if best.seconds > hopeless and begin < most:
            best = min(best, self._timed(nbytes, Shape(min(4 * begin, most), pacing)), key=lambda timed: timed.seconds)
            begin = best.segments
        if best.seconds > hopeless:
            return best
        for doubling in (True, False):
            if best.segments != begin:
                break  # it fell on the way up
            shape, missed = best.shape, 0
            while missed <= _PATIENCE[pacing] and (further := self._neighbour(shape, doubling)) is not None:
                shape, missed = further, missed + 1
                timed = self._timed(nbytes, shape)
                if timed.seconds < best.seconds:
                    best, missed = timed, 0
        self._segments[pacing] = best.segments
        if pacing in _FINER:
            best = self._finer(best)
        if self._fastest is None or self._fastest.nbytes != nbytes or best.seconds < self._fastest.seconds:
            self._fastest = best
        return best

    def _begin(self, nbytes: int, pacing: Pacing) -> int:
        if self._fastest is not None and self._fastest.nbytes == nbytes:
            return 1 << (self._fastest.segments.bit_length() - 1)
        return self._segments.get(pacing) or self._segments.get("none", 1)

    def _finer(self, best: Timed) -> Timed:
        """With numbers between the powers of two, if one of those is better; a little above the largest, too."""
        pacing, most = best.shape.pacing, 3 * self._most(best.shape.pacing) // 2
        between = {best.segments * quarters // 4 for quarters in (3, 5, 6)} - {0, best.segments}
        found = [self._timed(best.nbytes, Shape(pieces, pacing)) for pieces in sorted(between) if pieces <= most]
        return min([best, *found], key=lambda timed: timed.seconds)

    def scheduled(self, nbytes: int) -> Schedule:
        """The same at every size."""
        return self.schedule

    def least(self, nbytes: int) -> float:
        """Seconds below which no shape can be: the fullest link alone, or a chain of transfers without their bytes."""
        per_byte, chain, smallest = self._limits
        return max(per_byte * nbytes, chain if nbytes * smallest >= 2 else 0.0)

    @property
    def large(self) -> bool:
        """Of so many transfers that no segments are tried."""
        return len(self.schedule.transfers.chunk) > MAX_TRANSFERS

    @cached_property
    def _limits(self) -> tuple[float, float, float]:
        """Seconds a byte of the buffer on the fullest link; of latency and preparation along a long chain of transfers,
        if all have bytes; the smallest chunk as a part of the buffer."""
        schedule, links = self.schedule, self.topology.links
        transfers, routes = schedule.transfers, schedule.routes
        if not len(transfers.chunk):
            return 0.0, 0.0, 0.0
        chunks, collective = schedule.chunks, schedule.collective
        weight = np.array(collective.shards, float)[chunks.shard] * chunks.length / chunks.denominator
        share = weight / collective.weight
        on_route = np.bincount(transfers.route, share[transfers.chunk], len(routes.ptr) - 1)
        load = np.bincount(routes.links, np.repeat(on_route, np.diff(routes.ptr)), len(links))
        bandwidth = np.array([float(link.bandwidth) * 1e9 for link in links])
        alpha = np.array([float(link.alpha) / MICRO for link in links])
        ranked = np.array([self.topology.nodes[link.src].kind == "rank" for link in links])
        begin = routes.links[routes.ptr[:-1]]
        route_seconds = np.add.reduceat(alpha[routes.links], routes.ptr[:-1])
        route_seconds += ranked[begin] * float(self.model.cost) / MICRO
        chain = _long_chain(schedule, route_seconds[transfers.route])
        return float((load / bandwidth).max()), chain, float(share.min())

    @cached_property
    def _even(self) -> float:
        """Transfers a segment, where chunks shorter than the longest are cut into fewer."""
        chunks, collective = self.schedule.chunks, self.schedule.collective
        length = np.array(collective.shards, float)[chunks.shard] * chunks.length / chunks.denominator
        return float(length[self.schedule.transfers.chunk].sum() / length.max(initial=1e-300))

    def _neighbour(self, shape: Shape, doubling: bool) -> Shape | None:
        pieces = shape.segments * 2 if doubling else shape.segments // 2
        return Shape(pieces, shape.pacing) if 1 <= pieces <= self._most(shape.pacing) else None

    def _most(self, pacing: Pacing) -> int:
        """Segments."""
        allowed = MAX_LANED if pacing == "lanes" else MAX_TRANSFERS
        each = len(self.schedule.transfers.chunk) if pacing == "none" else self._even
        return max(1, min(MAX_SEGMENTS, int(allowed / max(1, each))))

    def _timed(self, nbytes: int, shape: Shape) -> Timed:
        if self.stop.is_set():
            raise InterruptedError("simulations were interrupted")
        simulation = self._simulations.pop(shape, None)
        if simulation is None:
            simulation = Simulation(self.topology, self._shaped(nbytes, shape), self.model, self.fused)
        if shape.pacing not in TIMED:
            while len(self._simulations) >= _KEPT:
                self._simulations.pop(next(iter(self._simulations)))
            self._simulations[shape] = simulation
        return Timed(nbytes, simulation.seconds(nbytes), shape)

    def _shaped(self, nbytes: int, shape: Shape) -> Schedule:
        """Timetables are made once for all that follow them, more or less closely."""
        if shape.pacing not in TIMED:
            return shape(self.topology, self.schedule, nbytes)
        key = nbytes, *shape.key
        if key not in self._timetables:
            while len(self._timetables) >= _KEPT:
                self._timetables.pop(next(iter(self._timetables)))
            self._timetables[key] = shape.timetable(self.topology, self.schedule, nbytes)
        return shape.ordered(*self._timetables[key])


class Entrant(Protocol):
    """What has a time at every size, and a schedule, in however many pieces."""

    def at(self, nbytes: int) -> Timed: ...

    def scheduled(self, nbytes: int) -> Schedule: ...


def fastest(entrants: Sequence[Entrant], nbytes: int) -> tuple[Entrant, Timed]:
    """The best of several variants at a size, and its time."""
    times = [(entrant, entrant.at(nbytes)) for entrant in entrants]
    return min(times, key=lambda pair: (pair[1].seconds, pair[1].segments))


def _long_chain(schedule: Schedule, seconds: NDArray[np.float64]) -> float:
    """The largest sum of `seconds` [transfers] over up to `_CHAIN` transfers of which each waits for the one before."""
    joins, join = schedule.joins, schedule.transfers.join
    end = seconds
    full = np.flatnonzero(np.diff(joins.ptr))
    latest = np.zeros(len(joins.ptr) - 1)
    for _ in range(_CHAIN):
        if len(full):
            latest[full] = np.maximum.reduceat(end[joins.member], joins.ptr[full])
        longer = seconds + latest[join]
        if (longer <= end).all():
            break
        end = longer
    return float(end.max())
