"""How a schedule is to be run: the passes that it goes through, as one value that can be stored and compared."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from collsched.ir.schedule import Schedule
from collsched.passes.lanes import Lanes
from collsched.passes.segment import Segment
from collsched.passes.timetable import Progress, Timetable
from collsched.topology.model import Topology

Pacing = Literal["none", "lanes", "timetable", "loose-timetable", "deadlines", "loose-deadlines"]
PACINGS: tuple[Pacing, ...] = ("none", "lanes", "timetable", "loose-timetable", "deadlines", "loose-deadlines")
TIMED: tuple[Pacing, ...] = PACINGS[2:]  # made for one size
_LEADS = {False: Fraction(2), True: Fraction(6)}  # µs by which a transfer may be early; of a loose timetable


@dataclass(frozen=True, slots=True)
class Shape:
    """Every chunk in `segments` pieces, and transfers of one route in one lane (`pacing` "none"); or the longest chunks
    in `segments` pieces and others in fewer, with lanes of their own ("lanes") or ordered by a timetable (all others),
    which is by "deadlines" if all trees are to grow alike, and "loose" if transfers may be early by more.
    """

    segments: int = 1
    pacing: Pacing = "none"

    def __call__(self, topology: Topology, schedule: Schedule, nbytes: int) -> Schedule:
        """The schedule for buffers of `nbytes`. Raises InputError for a number of segments out of range."""
        if self.pacing == "lanes":
            schedule = Lanes()(schedule)
        segment = Segment(self.segments, even=self.pacing != "none")
        cut = segment(schedule)
        if self.pacing not in TIMED:
            return cut
        progress = Progress(*segment.progress(schedule)) if self.pacing.endswith("deadlines") else None
        return Timetable(topology, nbytes, progress, _LEADS[self.pacing.startswith("loose")])(cut)
