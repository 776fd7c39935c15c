"""Fourth, the data: execute the schedule on sets of contributors instead of numbers.

Where a collective reduces, the content of a place is the set of ranks whose contribution it sums, one bit a rank; a
reduction must unite disjoint sets, so that no contribution counts twice. Where it only moves data, one bit says whether
the place holds the shard's data. A rank outside the group, or a switch, contributes nothing, but data that it relays is
marked with its bit: that is how the rule “overwrite” sees that data passed through it.

A place refers to its set, and sets are never changed: a copy passes the reference on, a reduction makes a new set.
Chunks do not interact, so they are taken in blocks, and a block's transfers wave by wave.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from collsched.collective import PROMISES, Who
from collsched.ir.schedule import REDUCE
from collsched.ir.verify.order import Order
from collsched.ir.verify.structure import Facts, Ints, Mask, fail

_BLOCK_BYTES = 1 << 24  # memory of one block's places

Words = NDArray[np.uint64]


def check_flow(facts: Facts, order: Order, overwrites: Mask) -> None:
    """Run all chunks and compare with the promise. Raises VerificationError.

    O(transfers · ranks / 64) word operations if the collective reduces, else O(transfers).
    """
    chunks = len(facts.chunks.shard)
    step = max(1, _BLOCK_BYTES // (facts.places * _words(facts) * 8))
    blocks = -(-chunks // step)
    wave = np.searchsorted(order.begin, order.position, side="right") - 1
    key = (facts.transfers.chunk // step) * np.int64(order.waves) + wave
    if blocks * order.waves <= 1 << 16:
        key = key.astype(np.uint16)  # a radix sort
    sequence = np.argsort(key, kind="stable")
    ends = np.cumsum(np.bincount(key, minlength=blocks * order.waves))
    for block in range(blocks):
        first, last = block * order.waves, (block + 1) * order.waves
        begin = np.append(ends[first - 1] if first else 0, ends[first:last])
        state = _State(facts, block * step, min(step, chunks - block * step), sequence[begin[0] : begin[-1]])
        for one, next_one in pairwise(begin.tolist()):
            transfers = sequence[one:next_one]
            if len(transfers):
                state.run(transfers, overwrites)
        state.check_promise()


def _words(facts: Facts) -> int:
    """64-bit words of a set."""
    return -(-facts.places // 64) if PROMISES[facts.collective.kind].reduced else 1


def _singles(facts: Facts) -> Words:
    """[places, words] For each holder, the set of what it contributes; just one bit where nothing is reduced."""
    if not PROMISES[facts.collective.kind].reduced:
        return np.ones((facts.places, 1), np.uint64)
    single = np.zeros((facts.places, _words(facts)), np.uint64)
    holder = np.arange(facts.places)
    single[holder, holder // 64] = np.uint64(1) << (holder % 64).astype(np.uint64)
    return single


class _State:
    """The places of a block of chunks. Place p holds set held[p]; set 0 is empty, set 1 + r is holder r's own."""

    def __init__(self, facts: Facts, first: int, count: int, transfers: Ints) -> None:
        self.facts, self.first, self.count, self.places = facts, first, count, facts.places
        self.promise = PROMISES[facts.collective.kind]
        self.relays = np.full(self.places, self.promise.reduced)
        self.relays[list(facts.collective.group)] = False
        made = int((facts.transfers.op[transfers] == REDUCE).sum() + self.relays[facts.src[transfers]].sum())
        self.sets = np.empty((1 + self.places + made, _words(facts)), np.uint64)
        self.sets[0] = 0
        self.sets[1 : 1 + self.places] = _singles(facts)
        self.size = np.empty(len(self.sets), np.int64)
        self.size[: 1 + self.places] = _count(self.sets[: 1 + self.places])
        self.known = 1 + self.places
        self.held = np.zeros(count * self.places, np.int32)
        before = self._ranks(self.promise.before)
        self.held[self._places(before)] = 1 + before

    def _ranks(self, who: Who) -> Ints:
        """[chunks, ranks] The ranks that `who` stands for, of every chunk of the block."""
        shard = self.facts.chunks.shard[self.first : self.first + self.count]
        known = self.facts.ranks_of(who)
        return known[shard] if len(known) > 1 else np.broadcast_to(known, (len(shard), known.shape[1]))

    def _places(self, ranks: Ints) -> Ints:
        """[chunks, ranks] rank numbers as places."""
        found: Ints = np.arange(self.count)[:, None] * self.places + ranks
        return found

    def _add(self, sets: Words) -> NDArray[np.int32]:
        """Numbers for new sets."""
        numbers = np.arange(self.known, self.known + len(sets), dtype=np.int32)
        self.known += len(sets)
        self.sets[numbers[0] : self.known] = sets
        self.size[numbers[0] : self.known] = _count(sets)
        return numbers

    def run(self, transfers: Ints, overwrites: Mask) -> None:
        """One wave: all reads, then all writes."""
        facts = self.facts
        base = (facts.transfers.chunk[transfers] - self.first) * np.int64(self.places)
        target = base + facts.dst[transfers]
        moved = self.held[base + facts.src[transfers]]
        if not moved.all():
            empty = facts.transfer_name(int(transfers[np.flatnonzero(moved == 0)[0]]))
            fail("data", f"{empty} is sent by a node that holds none of it", "data comes from somewhere")
        passing = np.flatnonzero(self.relays[facts.src[transfers]])
        if len(passing):
            # What leaves a place in one wave is the same set.
            places, which = np.unique(base[passing] + facts.src[transfers[passing]], return_inverse=True)
            marked = self._add(self.sets[self.held[places]] | self.sets[1 + places % self.places])
            moved[passing] = marked[which.reshape(-1)]
        self._overwrite(transfers, overwrites, moved)
        reduces = facts.transfers.op[transfers] == REDUCE
        if reduces.any():
            self._reduce(transfers[reduces], target[reduces], moved[reduces])
            moved, target = moved[~reduces], target[~reduces]
        self.held[target] = moved

    def _overwrite(self, transfers: Ints, overwrites: Mask, moved: NDArray[np.int32]) -> None:
        """A copy that replaces data in use carries the bit of the node it arrives at: it depends on the one reader."""
        check = np.flatnonzero(overwrites[transfers])
        at = self.facts.dst[transfers[check]]
        bit = self.sets[moved[check], at // 64] >> (at % 64).astype(np.uint64) & np.uint64(1)
        if not bit.all():
            lost = self.facts.transfer_name(int(transfers[check[np.flatnonzero(bit == 0)[0]]]))
            fail("overwrite", lost, "data in use may be replaced only by what was computed from its one reader")

    def _reduce(self, transfers: Ints, target: Ints, moved: NDArray[np.int32]) -> None:
        order = np.argsort(target, kind="stable")
        begin = np.flatnonzero(np.diff(target[order], prepend=-1))
        place, moved = target[order][begin], moved[order]
        held = self.held[place]
        arriving = self.sets[moved]
        if len(begin) < len(moved):
            arriving = np.bitwise_or.reduceat(arriving, begin, axis=0)
        arriving |= self.sets[held]
        united = self._add(arriving)
        wrong = (self.size[united] != self.size[held] + np.add.reduceat(self.size[moved], begin)) | (held == 0)
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            witness = self.facts.transfer_name(int(transfers[order[begin[at]]]))
            if held[at] == 0:
                fail("data", f"{witness}, reduces onto a place that holds nothing", "a reduction adds to something")
            fail("once", f"{witness}, or one that arrives with it", "each contribution is reduced exactly once")
        self.held[place] = united

    def check_promise(self) -> None:
        """Every rank that the collective promises a shard to holds all of it."""
        group = np.bitwise_or.reduce(_singles(self.facts)[list(self.facts.collective.group)], axis=0)
        kept = (self.sets[: self.known] & group == group).all(axis=1)
        after = self._ranks(self.promise.after)
        wrong = np.argwhere(~kept[self.held[self._places(after)]])
        if len(wrong):
            chunk, place = (int(i) for i in wrong[0])
            witness = self._missing(chunk, int(after[chunk, place]))
            fail("promise", witness, f"so the {self.facts.collective.kind} is not done")

    def _missing(self, chunk: int, rank: int) -> str:
        name = self.facts.holder_name
        text = f"{name(rank)} does not end with {self.facts.chunk_name(self.first + chunk)}"
        if not self.promise.reduced:
            return text
        found = self.sets[self.held[chunk * self.places + rank]]
        absent = [r for r in self.facts.collective.group if not int(found[r // 64]) >> r % 64 & 1]
        return f"{text}: {len(absent)} contributions are missing, such as that of {name(absent[0])}"


def _count(sets: Words) -> Ints:
    count: Ints = np.bitwise_count(sets).sum(axis=1, dtype=np.int64)
    return count
