"""The ranks' own links by number: port q of a rank is its q-th link that is up, in order of the switch's id.

Ranks of one group have ports to the same switches, so a path begins and ends with the same port numbers whatever ranks
of its groups it joins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collsched.routes.model import I32, I64

NO_PORT = -1  # of a path without switches


@dataclass(frozen=True, slots=True)
class Ports:
    """One direction of all ranks' ports. Port q of rank r is link[begin[r] + q]."""

    begin: I64  # [ranks + 1]
    link: I32  # [ports]
    key: I64  # [ports] rank · nodes + switch, ascending
    nodes: int
    single: bool  # every rank has one port

    @classmethod
    def of(cls, rank: I64, switch: I64, link: I64, ranks: int, nodes: int) -> Ports:
        """Ports between these ranks (rank numbers) and switches (node ids)."""
        keys = rank * nodes + switch
        order = np.argsort(keys)
        begin = np.searchsorted(rank[order], np.arange(ranks + 1))
        single = bool((np.diff(begin) == 1).all())
        return cls(begin.astype(np.int64), link[order].astype(np.int32), keys[order], nodes, single)

    def number(self, rank: NDArray[Any], switch: NDArray[Any]) -> I32:
        """The port of each rank (rank number) to a switch, which must exist; NO_PORT where the switch is none."""
        found = np.searchsorted(self.key, rank.astype(np.int64) * self.nodes + switch) - self.begin[rank]
        return np.where(switch == NO_PORT, NO_PORT, found).astype(np.int32)

    def links(self, rank: NDArray[Any], port: NDArray[Any]) -> I32:
        """The links of these ports."""
        found: I32 = self.link[rank if self.single else self.begin[rank] + port]
        return found
