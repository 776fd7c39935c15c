"""The judge of schedules: a symbolic interpreter that shares no code with what makes them.

A schedule that passes ends, under every timing, with exactly what its collective promises (docs/ir.md has the proof).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from collsched.ir.schedule import Schedule
from collsched.ir.verify.flow import check_flow
from collsched.ir.verify.loads import check_loads
from collsched.ir.verify.order import topological_order
from collsched.ir.verify.races import check_races
from collsched.ir.verify.structure import Facts, check_structure
from collsched.topology.model import Topology

__all__ = ["Report", "verify"]


@dataclass(frozen=True, slots=True)
class Report:
    """What a correct schedule amounts to. `ratio` is the largest load / bandwidth over links, all phases together, in
    1/(GB/s) per unit of shard weight; `waves` bounds its dependent steps from above."""

    ratio: Fraction
    transfers: int
    chunks: int
    waves: int


def verify(topology: Topology, schedule: Schedule, *, claimed: Fraction | None = None) -> Report:
    """Verify a schedule in five parts: form, progress, races, data, loads (at most `claimed`, if given).

    Raises VerificationError, which names the broken rule and a witness.
    """
    facts = Facts(topology, schedule)
    check_structure(facts)
    order = topological_order(facts)
    overwrites = check_races(facts, order)
    check_flow(facts, order, overwrites)
    ratio = check_loads(facts, claimed)
    return Report(ratio, len(facts), len(schedule.chunks.shard), order.waves)
