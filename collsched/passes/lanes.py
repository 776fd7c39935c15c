"""lanes: a lane of its own for every chunk on every route, so that trees share links by weight.

Transfers of one route and channel follow each other in a lane, and lanes share a link evenly. So if three trees send
over one route and one over another, a link of both gives each route half: the one tree runs ahead, the three fall back.
With a lane for each, every tree gets the share of the link that its plan allots to it:

    one lane a route   a ─▶ b  ████████████  half              a lane a chunk   a ─▶ b  ████  a quarter each
                       a ─▶ c  ████████████  half                               a ─▶ b  ████
                                                                                a ─▶ b  ████
                                                                                a ─▶ c  ████
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from collsched.ir.schedule import Schedule

MOST_CHANNELS = 1 << 15  # beyond, chunks of one route share them in turn


@dataclass(frozen=True, slots=True)
class Lanes:
    """Give the chunks of every route channels of their own, numbered from 0."""

    name: ClassVar[str] = "lanes"

    def __call__(self, schedule: Schedule) -> Schedule:
        transfers, chunks = schedule.transfers, len(schedule.chunks.shard)
        lanes, lane = np.unique(transfers.route * np.int64(max(1, chunks)) + transfers.chunk, return_inverse=True)
        route = lanes // max(1, chunks)
        channel = (np.arange(len(lanes)) - np.searchsorted(route, route)) % MOST_CHANNELS
        return replace(schedule, transfers=replace(transfers, channel=channel[lane].astype(np.int16)))
