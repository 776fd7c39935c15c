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
    """Every chunk in `segments` pieces; transfers of one route share a lane (`pacing` "none"), or every chunk has its
    own ("lanes"), or a timetable orders them, and chunks shorter than the longest are cut into fewer pieces
    ("timetable")."""

    segments: int = 1
    pacing: Pacing = "none"

    def __call__(self, topology: Topology, schedule: Schedule, nbytes: int) -> Schedule:
        """The schedule for buffers of `nbytes`. Raises InputError for a number of segments out of range."""
        if self.pacing == "lanes":
            schedule = Lanes()(schedule)
        schedule = Segment(self.segments, even=self.pacing == "timetable")(schedule)
        return Timetable(topology, nbytes)(schedule) if self.pacing == "timetable" else schedule
