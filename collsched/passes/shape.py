"""How a schedule is to be run: the passes that it goes through, as one value that can be stored and compared."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from collsched.ir.schedule import Schedule
from collsched.passes.lanes import Lanes
from collsched.passes.segment import Segment
from collsched.passes.timetable import Progress, Times, Timetable
from collsched.topology.model import Topology

Pacing = Literal["none", "lanes", "timetable", "loose-timetable", "order", "deadlines", "tight-deadlines"]
_LEADS: dict[Pacing, Fraction | None] = {  # µs by which a transfer may be early; None: by any time
    "timetable": Fraction(2),
    "loose-timetable": Fraction(6),
    "order": None,
    "deadlines": Fraction(2),
    "tight-deadlines": Fraction(1, 4),
}
TIMED: tuple[Pacing, ...] = tuple(_LEADS)  # made for one size
PACINGS: tuple[Pacing, ...] = ("none", "lanes", *TIMED)


@dataclass(frozen=True, slots=True)
class Shape:
    """Every chunk in `segments` pieces, and transfers of one route in one lane (`pacing` "none"); or the longest chunks
    in `segments` pieces and others in fewer, with lanes of their own ("lanes") or by a timetable (all others). All but
    "timetable" and "loose-timetable" have deadlines, so that all trees grow alike. "tight" lets transfers be early by
    less than usual, "loose" by more, and "order" is nothing but an order.
    """

    segments: int = 1
    pacing: Pacing = "none"

    def __call__(self, topology: Topology, schedule: Schedule, nbytes: int) -> Schedule:
        """The schedule for buffers of `nbytes`. Raises InputError for a number of segments out of range."""
        if self.pacing not in TIMED:
            return self._cut(schedule)
        return self.ordered(*self.timetable(topology, schedule, nbytes))

    def timetable(self, topology: Topology, schedule: Schedule, nbytes: int) -> tuple[Timetable, Schedule, Times]:
        """What `ordered` works on, equal for all shapes with the same `key`; of a shape that is timed."""
        segment = Segment(self.segments, even=True)
        cut = self._cut(schedule)
        _, deadlines, steady = self.key
        progress = Progress(*segment.progress(schedule)) if deadlines else None
        table = Timetable(topology, nbytes, progress, steady=steady)
        return table, cut, table.times(cut)

    def ordered(self, table: Timetable, cut: Schedule, times: Times) -> Schedule:
        return table.ordered(cut, times, _LEADS[self.pacing])

    @property
    def key(self) -> tuple[int, bool, bool]:
        """Segments, whether there are deadlines, and whether reductions are steady."""
        # Where all of a reduction comes as late as it can, senders are busy without a break at its end, and order alone
        # falls behind.
        return self.segments, not self.pacing.endswith("timetable"), self.pacing == "order"

    def _cut(self, schedule: Schedule) -> Schedule:
        if self.pacing == "lanes":
            schedule = Lanes()(schedule)
        return Segment(self.segments, even=self.pacing != "none")(schedule)
