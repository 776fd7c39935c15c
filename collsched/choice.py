"""The fastest way to run a schedule at a size: pipeline segments chosen by simulated time, by one rule for all.

The rule: powers of two, from the best of the size before (1 at first), up or down as long as the time falls; no more
pieces than `MAX_SEGMENTS`, nor than make `MAX_TRANSFERS` transfers. Simulated time is not always unimodal in the number
of pieces, so this is a local optimum, the same one for whoever asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from collsched.ir.schedule import Schedule
from collsched.passes.segment import Segment
from collsched.simulate import Model, Simulation
from collsched.topology.model import Topology

MAX_SEGMENTS = 256
MAX_TRANSFERS = 1 << 18
_KEPT = 4  # simulations that stay in memory


@dataclass(frozen=True, slots=True)
class Timed:
    """Simulated `seconds` of a buffer of `nbytes`, with every chunk cut into `segments` pieces."""

    nbytes: int
    seconds: float
    segments: int


@dataclass
class Contestant:
    """A schedule that is to be as fast as it can at one size after another. `fused`: see `Simulation`."""

    topology: Topology
    schedule: Schedule
    model: Model = field(default_factory=Model)
    fused: bool = False
    _segments: int = 1
    _simulations: dict[int, Simulation] = field(default_factory=dict)

    def at(self, nbytes: int) -> Timed:
        """The best number of segments for this size and its time. Ask for ascending sizes: each search starts at the
        result of the one before."""
        best = self._timed(nbytes, self._segments)
        for doubling in (True, False):
            if best.segments != self._segments:
                break  # it fell on the way up
            while (pieces := self._neighbour(best.segments, doubling)) is not None:
                timed = self._timed(nbytes, pieces)
                if timed.seconds >= best.seconds:
                    break
                best = timed
        self._segments = best.segments
        return best

    def _neighbour(self, segments: int, doubling: bool) -> int | None:
        pieces = segments * 2 if doubling else segments // 2
        most = min(MAX_SEGMENTS, MAX_TRANSFERS // max(1, len(self.schedule.transfers.chunk)))
        return pieces if 1 <= pieces <= max(1, most) else None

    def _timed(self, nbytes: int, segments: int) -> Timed:
        simulation = self._simulations.pop(segments, None)
        if simulation is None:
            simulation = Simulation(self.topology, Segment(segments)(self.schedule), self.model, self.fused)
        while len(self._simulations) >= _KEPT:
            self._simulations.pop(next(iter(self._simulations)))
        self._simulations[segments] = simulation
        return Timed(nbytes, simulation.seconds(nbytes), segments)


def fastest(contestants: Sequence[Contestant], nbytes: int) -> Timed:
    """The best of several variants at a size."""
    return min((contestant.at(nbytes) for contestant in contestants), key=lambda timed: (timed.seconds, timed.segments))
