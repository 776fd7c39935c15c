"""What a collective call is given and what it owes, unit by unit, as a communication library defines it.

A unit of data has a number in the whole collective and the set of ranks whose contributions it sums. An all-to-all of n
ranks and u units a pair numbers them (source · n + target) · u + position.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]

REDUCING = ("allreduce", "reduce-scatter", "reduce")
KINDS = (*REDUCING, "allgather", "broadcast", "all-to-all")


@dataclass(frozen=True, slots=True)
class Call:
    """`units` of the whole buffer; `root` of a broadcast or reduce."""

    kind: str
    ranks: int
    units: int
    root: int | None = None
    in_place: bool = False

    @property
    def part(self) -> int:
        """Units of one of n equal parts."""
        return self.units // self.ranks

    def sizes(self) -> tuple[int, int]:
        """Units of a rank's input and output."""
        return (
            self.part if self.kind == "allgather" else self.units,
            self.part if self.kind == "reduce-scatter" else self.units,
        )

    def canonical(self, rank: int, buffer: str, offset: int) -> tuple[str, int]:
        """Where input and output are one buffer, the larger's name and the offset in it."""
        if not self.in_place or buffer == "s":
            return buffer, offset
        match self.kind, buffer:
            case "allgather", "i":
                return "o", rank * self.part + offset
            case "allgather", "o":
                return "o", offset
            case "reduce-scatter", "o":
                return "i", rank * self.part + offset
            case _:
                return "i", offset

    def given(self, rank: int) -> tuple[str, int, Ids]:
        """Buffer, offset and unit numbers of what the rank contributes."""
        span = np.arange(self.units)
        match self.kind:
            case "allgather":
                return (*self.canonical(rank, "i", 0), span[: self.part] + rank * self.part)
            case "all-to-all":
                return "i", 0, span + rank * self.units
            case "broadcast" if rank != self.root:
                return "i", 0, span[:0]
            case _:
                return "i", 0, span

    def owed(self, rank: int) -> tuple[str, int, Ids]:
        """Buffer, offset and unit numbers of what the rank must end with, summed over all ranks if the kind reduces."""
        span = np.arange(self.units)
        match self.kind:
            case "reduce-scatter":
                return (*self.canonical(rank, "o", 0), span[: self.part] + rank * self.part)
            case "all-to-all":
                source, position = np.divmod(span, self.part)
                return "o", 0, (source * self.ranks + rank) * self.part + position
            case "reduce" if rank != self.root:
                return "o", 0, span[:0]
            case _:
                return (*self.canonical(rank, "o", 0), span)
