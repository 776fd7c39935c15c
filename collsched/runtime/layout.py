"""Where a rank's input, output and working buffer lie, and which flags connect the ranks' programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, compress
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from collsched.collective import PROMISES, Collective, Kind, Who, holders
from collsched.ir.program import Program
from collsched.ir.schedule import Chunks, Schedule
from collsched.topology.model import Topology

Ints = NDArray[np.int64]
Part = Literal["whole", "shard", "parts", "nothing"]
Layout = Callable[[int], tuple[Ints, Ints, Ints, Ints, int, int]]  # `Role.ranges`


@dataclass(frozen=True)
class Role:
    """What one rank gives to a collective and gets from it: the shards of some subset, in order, without gaps.

    gives, gets     of the shards                       in
    "whole"         all of one buffer                   allreduce, broadcast, …; the input of an all-to-all
    "shard"         its own                             allgather, reduce-scatter, gather, scatter
    "parts"         one from every rank                 the output of an all-to-all
    "nothing"       none                                a rank outside the group, which may relay; others than the root

    `count` is always the elements of one whole buffer. All shards together are `total(count)` elements, numbered
    through: in an all-to-all the buffers of all ranks of the group follow each other, else there is one buffer.
    """

    collective: Collective
    chunks: Chunks
    rank: int

    @cached_property
    def gives(self) -> Part:
        if self.collective.kind is Kind.ALL_TO_ALL:
            return "whole" if self.rank in self.collective.group else "nothing"
        return self._part(PROMISES[self.collective.kind].before)

    @cached_property
    def gets(self) -> Part:
        if self.collective.kind is Kind.ALL_TO_ALL:
            return "parts" if self.rank in self.collective.group else "nothing"
        return self._part(PROMISES[self.collective.kind].after)

    def _part(self, who: Who) -> Part:
        if not self._held(who).any():
            return "nothing"
        return "shard" if who == "owner" else "whole"

    def _held(self, who: Who) -> NDArray[np.bool_]:
        """Which shards this rank holds as `who`."""
        shards = range(len(self.collective.shards))
        return np.array([self.rank in holders(self.collective, shard, who) for shard in shards], bool)

    @cached_property
    def given(self) -> NDArray[np.bool_]:
        """Of each shard, whether this rank gives it."""
        return self._held(PROMISES[self.collective.kind].before)

    @cached_property
    def got(self) -> NDArray[np.bool_]:
        """Of each shard, whether this rank gets it."""
        return self._held(PROMISES[self.collective.kind].after)

    def total(self, count: int) -> int:
        """The elements of all shards."""
        return self.collective.total(count)

    def borders(self, count: int) -> Ints:
        """Shard s is [borders[s], borders[s + 1]) of all elements."""
        before = np.array([0, *accumulate(self.collective.shards)], dtype=object)
        borders: Ints = (before * self.total(count) // int(before[-1])).astype(np.int64)
        return borders

    def spans(self, held: NDArray[np.bool_], count: int) -> list[tuple[int, int]]:
        """[first, last) of all elements, of every longest run of held shards: what a rank gives or gets, in order."""
        edges = np.flatnonzero(np.diff(np.concatenate([[False], held, [False]]).astype(np.int8)))
        borders = self.borders(count)
        return [(int(borders[a]), int(borders[b])) for a, b in edges.reshape(-1, 2)]

    def size(self, held: NDArray[np.bool_], count: int) -> int:
        """The elements of the held shards."""
        return sum(last - first for first, last in self.spans(held, count))

    def sizes(self, count: int) -> tuple[int, int]:
        """The elements that a rank gives and gets."""
        return self.size(self.given, count), self.size(self.got, count)

    def count(self, given: int | None, got: int | None) -> int | None:
        """The elements of a whole buffer, from those that a rank gives or gets; None if that does not follow."""
        for part, held, size in ((self.gives, self.given, given), (self.gets, self.got, got)):
            if size is None or part in ("nothing", "parts"):
                continue
            if part == "whole" and self.collective.kind is not Kind.ALL_TO_ALL:
                return size
            mine = sum(compress(self.collective.shards, held))
            if mine and size * self.collective.weight % mine == 0:
                return size * self.collective.weight // mine
        return None

    def in_place(self, source: int, target: int, item: int, count: int) -> bool:
        """Whether input and output at these addresses are parts of one array, each element where it belongs."""
        if self.collective.kind is Kind.ALL_TO_ALL:
            return False
        given, got = self.spans(self.given, count), self.spans(self.got, count)
        return not given or not got or source - given[0][0] * item == target - got[0][0] * item

    def ranges(self, count: int) -> tuple[Ints, Ints, Ints, Ints, int, int]:
        """(lo, hi, in_at, out_at, in_start, out_start) of the chunks, in elements: see csrc/engine/layout.h."""
        lo, hi = self.chunks.ranges(self.collective, self.total(count))
        borders = self.borders(count)
        in_at, in_start = self._at(self.given, lo, borders)
        out_at, out_start = self._at(self.got, lo, borders)
        return lo, hi, in_at, out_at, in_start, out_start

    def _at(self, held: NDArray[np.bool_], lo: Ints, borders: Ints) -> tuple[Ints, int]:
        """(position of each chunk among the held shards, or −1; the border where those begin, −1 if they have gaps)."""
        sizes = np.where(held, np.diff(borders), 0)
        before = np.cumsum(sizes) - sizes
        shard = self.chunks.shard
        at = np.where(held[shard], before[shard] + lo - borders[shard], -1)
        runs = np.flatnonzero(np.diff(np.concatenate([[False], held]).astype(np.int8)) == 1)
        return at, int(borders[runs[0]]) if len(runs) == 1 else 0 if len(runs) == 0 else -1


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
        rank_of = np.full(len(topology.nodes), -1, np.int64)
        rank_of[list(topology.ranks)] = np.arange(len(topology.ranks))
        transfers = schedule.transfers
        first, last = (rank_of[nodes][transfers.route] for nodes in schedule.routes.ends(topology))
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
