"""Where a rank's input, output and working buffer lie, and which flags connect the ranks' programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from collsched.collective import PROMISES, Collective, Who, holders
from collsched.ir.program import Program
from collsched.ir.schedule import Chunks, Schedule
from collsched.topology.model import Topology

Ints = NDArray[np.int64]
Part = Literal["whole", "shard", "nothing"]
Layout = Callable[[int], tuple[Ints, Ints, Ints, Ints, int, int]]  # `Role.ranges`


@dataclass(frozen=True)
class Role:
    """What one rank gives to a collective and gets from it: the whole buffer, its own shard, or nothing.

    A rank outside the group gives and gets nothing; it may relay.
    """

    collective: Collective
    chunks: Chunks
    rank: int

    @cached_property
    def gives(self) -> Part:
        return self._part(PROMISES[self.collective.kind].before)

    @cached_property
    def gets(self) -> Part:
        return self._part(PROMISES[self.collective.kind].after)

    def _part(self, who: Who) -> Part:
        shards = [s for s in range(len(self.collective.shards)) if self.rank in holders(self.collective, s, who)]
        if not shards:
            return "nothing"
        return "shard" if who == "owner" else "whole"

    @cached_property
    def shard(self) -> int | None:
        """The shard that this rank owns."""
        owners = self.collective.owners
        return owners.index(self.rank) if self.rank in owners else None

    def span(self, part: Part, count: int) -> tuple[int, int]:
        """[first, last) element of that part in a whole buffer of `count` elements."""
        if part == "whole":
            return 0, count
        if part == "nothing" or self.shard is None:
            return 0, 0
        sizes = self.collective.shards
        before, total = sum(sizes[: self.shard]), sum(sizes)
        return before * count // total, (before + sizes[self.shard]) * count // total

    def whole_count(self, part: Part, size: int) -> int | None:
        """The elements of the whole buffer of which this part has `size`; None if that does not follow."""
        if part == "whole":
            return size
        if part == "nothing" or self.shard is None or self.collective.shards[self.shard] == 0:
            return None
        count = Fraction(size * sum(self.collective.shards), self.collective.shards[self.shard])
        return int(count) if count.denominator == 1 else None

    def ranges(self, count: int) -> tuple[Ints, Ints, Ints, Ints, int, int]:
        """(lo, hi, in_at, out_at, in_start, out_start) of the chunks, in elements: see csrc/engine/communicator.h."""
        lo, hi = self.chunks.ranges(self.collective, count)
        in_start, out_start = self.span(self.gives, count)[0], self.span(self.gets, count)[0]
        return lo, hi, self._at(self.gives, lo, in_start), self._at(self.gets, lo, out_start), in_start, out_start

    def _at(self, part: Part, lo: Ints, start: int) -> Ints:
        if part == "whole":
            return lo
        held = self.chunks.shard == (-1 if part == "nothing" or self.shard is None else self.shard)
        return np.where(held, lo - start, -1)


@dataclass(frozen=True, slots=True)
class Slots:
    """A slot for every transfer of a plan, the same on all ranks: the n-th transfer of a lane has slot base + n.

    `lanes` holds the keys of all lanes (src, dst, channel) in ascending order; lanes start on a cache line of flags.
    """

    lanes: Ints
    base: Ints
    total: int
    ranks: int

    @classmethod
    def of(cls, topology: Topology, schedule: Schedule) -> Slots:
        src = np.fromiter((link.src for link in topology.links), np.int64, len(topology.links))
        dst = np.fromiter((link.dst for link in topology.links), np.int64, len(topology.links))
        rank_of = np.full(len(topology.nodes), -1, np.int64)
        rank_of[list(topology.ranks)] = np.arange(len(topology.ranks))
        routes, transfers = schedule.routes, schedule.transfers
        first = rank_of[src[routes.links[routes.ptr[:-1]]]][transfers.route]
        last = rank_of[dst[routes.links[routes.ptr[1:] - 1]]][transfers.route]
        lanes, sizes = np.unique(_key(first, last, transfers.channel, len(topology.ranks)), return_counts=True)
        padded = -(-sizes // 8) * 8
        return cls(lanes, np.cumsum(padded) - padded, int(padded.sum()), len(topology.ranks))

    def of_program(self, program: Program) -> Ints:
        """The slot of each instruction."""
        wires = program.connections
        lane = np.searchsorted(self.lanes, _key(wires.src, wires.dst, wires.channel, self.ranks))
        order = np.argsort(program.connection, kind="stable")
        sizes = np.bincount(program.connection, minlength=len(lane))
        ordinal = np.empty(len(program), np.int64)
        ordinal[order] = np.arange(len(program)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        slots: Ints = self.base[lane][program.connection] + ordinal
        return slots


def _key(src: NDArray[np.integer], dst: NDArray[np.integer], channel: NDArray[np.integer], ranks: int) -> Ints:
    return (channel.astype(np.int64) * ranks + src.astype(np.int64)) * ranks + dst.astype(np.int64)
