"""What a schedule moves over the links of each bandwidth: its bytes by tiers of the fabric."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from collsched.ir.schedule import Schedule
from collsched.topology.model import Topology

GB = 10**9


@dataclass(frozen=True, slots=True)
class TierTraffic:
    """The links of one `bandwidth`, in GB/s: their number, the bytes of all transfers whose slowest link is one of
    them, and the most bytes over a single one."""

    bandwidth: Fraction
    links: int
    crossing: int
    fullest: int

    @property
    def seconds(self) -> float:
        """For which its fullest link is busy at least."""
        return float(self.fullest / (self.bandwidth * GB))


def traffic(topology: Topology, schedule: Schedule, nbytes: int) -> list[TierTraffic]:
    """The tiers of the topology, the slowest first, with what a buffer of `nbytes` moves over them. Exact.

    Every transfer counts as crossing once: in the tier of the slowest link on its route.
    """
    lo, hi = schedule.chunks.ranges(schedule.collective, schedule.collective.total(nbytes))
    routes = schedule.routes
    moved = np.zeros(len(routes.ptr) - 1, np.int64)
    np.add.at(moved, schedule.transfers.route, (hi - lo)[schedule.transfers.chunk])
    load = np.zeros(len(topology.links), np.int64)
    np.add.at(load, routes.links, np.repeat(moved, np.diff(routes.ptr)))
    bandwidths = sorted({link.bandwidth for link in topology.links})
    number = {bandwidth: tier for tier, bandwidth in enumerate(bandwidths)}
    tier = np.array([number[link.bandwidth] for link in topology.links], np.int64)
    crossing, fullest = np.zeros((2, len(bandwidths)), np.int64)
    if len(moved):
        np.add.at(crossing, np.minimum.reduceat(tier[routes.links], routes.ptr[:-1]), moved)
    np.maximum.at(fullest, tier, load)
    count = np.bincount(tier, minlength=len(bandwidths))
    return [
        TierTraffic(bandwidth, int(count[i]), int(crossing[i]), int(fullest[i]))
        for i, bandwidth in enumerate(bandwidths)
    ]
