"""How a schedule is to be run: the passes that it goes through, as one value that can be stored and compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from collsched.ir.schedule import Schedule
from collsched.passes.lanes import Lanes
from collsched.passes.segment import Segment
from collsched.passes.timetable import Timetable
from collsched.topology.model import Topology

Pacing = Literal["none", "lanes", "timetable"]
PACINGS: tuple[Pacing, ...] = ("none", "lanes", "timetable")


@dataclass(frozen=True, slots=True)
class Shape:
    """Every chunk in `segments` pieces, and transfers of one route in one lane (`pacing` "none"); or the longest chunks
    in `segments` pieces and others in fewer, with lanes of their own ("lanes") or ordered by a timetable ("timetable").
    """

    segments: int = 1
    pacing: Pacing = "none"

    def __call__(self, topology: Topology, schedule: Schedule, nbytes: int) -> Schedule:
        """The schedule for buffers of `nbytes`. Raises InputError for a number of segments out of range."""
        if self.pacing == "lanes":
            schedule = Lanes()(schedule)
        schedule = Segment(self.segments, even=self.pacing != "none")(schedule)
        return Timetable(topology, nbytes)(schedule) if self.pacing == "timetable" else schedule
