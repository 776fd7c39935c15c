"""Fourth, the data: execute the schedule on sets of contributors instead of numbers.

Where a collective reduces, the content of a place is the set of ranks whose contribution it sums, one bit a rank; a
reduction must unite disjoint sets, so that no contribution counts twice. Where it only moves data, one bit says whether
the place holds the shard's data. A rank outside the group contributes nothing, but data that it relays is marked with
its bit: that is how the rule “overwrite” sees that data passed through it.

Chunks do not interact, so they are taken in blocks, and a block's transfers wave by wave.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collsched.collective import PROMISES, holders
from collsched.ir.schedule import REDUCE
from collsched.ir.verify.order import Order
from collsched.ir.verify.structure import Facts, Ints, Mask, fail

_BLOCK_BYTES = 1 << 24  # memory of one block's places

Words = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class _Bits:
    """The sets that the collective speaks of, as words of 64 bits."""

    own: Words  # [ranks, words] what a rank contributes
    relay: Words  # [ranks, words] what it marks passing data with
    goal: Words  # [words] what the promise asks for
    care: Words  # [words] the bits that the promise looks at


def check_flow(facts: Facts, order: Order, overwrites: Mask) -> None:
    """Run all chunks and compare with the promise. Raises VerificationError.

    O(transfers · ranks / 64) word operations if the collective reduces, else O(transfers).
    """
    bits = _bits(facts)
    chunks = len(facts.chunks.shard)
    step = max(1, _BLOCK_BYTES // max(1, bits.own.nbytes))
    blocks = -(-chunks // step)
    wave = np.searchsorted(order.begin, order.position, side="right") - 1
    key = (facts.transfers.chunk // step) * np.int64(order.waves) + wave
    if blocks * order.waves <= 1 << 16:
        key = key.astype(np.uint16)  # a radix sort
    sequence = np.argsort(key, kind="stable")
    ends = np.cumsum(np.bincount(key, minlength=blocks * order.waves))
    for block in range(blocks):
        state = _State(facts, bits, block * step, min(step, chunks - block * step))
        for i in range(block * order.waves, (block + 1) * order.waves):
            transfers = sequence[ends[i - 1] if i else 0 : ends[i]]
            if len(transfers):
                state.run(transfers, overwrites)
        state.check_promise()


def _bits(facts: Facts) -> _Bits:
    collective, ranks = facts.collective, facts.ranks
    if not PROMISES[collective.kind].reduced:
        one = np.ones(1, np.uint64)
        return _Bits(np.ones((ranks, 1), np.uint64), np.zeros((ranks, 1), np.uint64), one, one)
    words = -(-ranks // 64)
    single = np.zeros((ranks, words), np.uint64)
    number = np.arange(ranks)
    single[number, number // 64] = np.uint64(1) << (number % 64).astype(np.uint64)
    member = np.zeros((ranks, 1), bool)
    member[list(collective.group)] = True
    group = np.bitwise_or.reduce(single[list(collective.group)], axis=0)
    nothing = np.zeros_like(single)
    return _Bits(np.where(member, single, nothing), np.where(member, nothing, single), group, group)


class _State:
    """The places of a block of chunks: for each its set, and how many bits the set has."""

    def __init__(self, facts: Facts, bits: _Bits, first: int, count: int) -> None:
        self.facts, self.bits, self.first, self.count = facts, bits, first, count
        self.ranks = facts.ranks
        self.sets = np.zeros((count * self.ranks, bits.own.shape[1]), np.uint64)
        for shard, chunks in self._by_shard():
            before = list(holders(facts.collective, shard, PROMISES[facts.collective.kind].before))
            places = (chunks[:, None] * self.ranks + np.array(before)).ravel()
            self.sets[places] = np.tile(bits.own[before], (len(chunks), 1))
        self.size = _count(self.sets)

    def _by_shard(self) -> list[tuple[int, Ints]]:
        """The shards of the block, each with its chunks, numbered within the block."""
        shard = self.facts.chunks.shard[self.first : self.first + self.count]
        order = np.argsort(shard, kind="stable")
        starts = np.flatnonzero(np.diff(shard[order], prepend=-1))
        return [(int(shard[part[0]]), part) for part in np.split(order, starts[1:]) if len(part)]

    def run(self, transfers: Ints, overwrites: Mask) -> None:
        """One wave: all reads, then all writes."""
        facts = self.facts
        base = (facts.transfers.chunk[transfers] - self.first) * np.int64(self.ranks)
        source, target = base + facts.src[transfers], base + facts.dst[transfers]
        if not self.size[source].all():
            empty = transfers[np.flatnonzero(self.size[source] == 0)[0]]
            fail(
                "data",
                f"{facts.transfer_name(int(empty))} is sent by a rank that holds none of it",
                "data comes from somewhere",
            )
        moved, size = self.sets[source], self.size[source]
        if len(facts.collective.group) < self.ranks:
            moved |= self.bits.relay[facts.src[transfers]]
            size = _count(moved)
        reduces = facts.transfers.op[transfers] == REDUCE
        self._overwrite(transfers, overwrites, moved)
        if reduces.any():
            self._reduce(transfers[reduces], target[reduces], moved[reduces], size[reduces])
            moved, size, target = moved[~reduces], size[~reduces], target[~reduces]
        self.sets[target] = moved
        self.size[target] = size

    def _overwrite(self, transfers: Ints, overwrites: Mask, moved: Words) -> None:
        """A copy that replaces data in use carries the bit of the rank it arrives at: it depends on the one reader."""
        check = np.flatnonzero(overwrites[transfers])
        at = self.facts.dst[transfers[check]]
        bit = moved[check, at // 64] >> (at % 64).astype(np.uint64) & np.uint64(1)
        if not bit.all():
            lost = transfers[check[np.flatnonzero(bit == 0)[0]]]
            fail(
                "overwrite",
                self.facts.transfer_name(int(lost)),
                "data in use may be replaced only by what was computed from its one reader",
            )

    def _reduce(self, transfers: Ints, target: Ints, moved: Words, size: Ints) -> None:
        order = np.argsort(target, kind="stable")
        begin = np.flatnonzero(np.diff(target[order], prepend=-1))
        place = target[order][begin]
        union = np.bitwise_or.reduceat(moved[order], begin, axis=0) | self.sets[place]
        count = _count(union)
        wrong = np.flatnonzero(
            (count != self.size[place] + np.add.reduceat(size[order], begin)) | (self.size[place] == 0)
        )
        if len(wrong):
            at = int(wrong[0])
            witness = self.facts.transfer_name(int(transfers[order[begin[at]]]))
            if self.size[place[at]] == 0:
                fail("data", f"{witness}, reduces onto a place that holds nothing", "a reduction adds to something")
            fail("once", f"{witness}, or one that arrives with it", "each contribution is reduced exactly once")
        self.sets[place] = union
        self.size[place] = count

    def check_promise(self) -> None:
        """Every rank that the collective promises a shard to holds all of it."""
        collective = self.facts.collective
        for shard, chunks in self._by_shard():
            after = np.array(holders(collective, shard, PROMISES[collective.kind].after))
            found = self.sets[chunks[:, None] * self.ranks + after] & self.bits.care
            wrong = np.argwhere((found != self.bits.goal).any(axis=-1))
            if len(wrong):
                chunk, rank = (int(i) for i in wrong[0])
                fail(
                    "promise",
                    self._missing(int(chunks[chunk]), int(after[rank])),
                    f"so the {collective.kind} is not done",
                )

    def _missing(self, chunk: int, rank: int) -> str:
        name = self.facts.rank_name
        text = f"{name(rank)} does not end with {self.facts.chunk_name(self.first + chunk)}"
        if not PROMISES[self.facts.collective.kind].reduced:
            return text
        found = self.sets[chunk * self.ranks + rank]
        absent = [r for r in self.facts.collective.group if not int(found[r // 64]) >> r % 64 & 1]
        return f"{text}: {len(absent)} contributions are missing, such as that of {name(absent[0])}"


def _count(sets: Words) -> Ints:
    count: Ints = np.bitwise_count(sets).sum(axis=1, dtype=np.int64)
    return count
