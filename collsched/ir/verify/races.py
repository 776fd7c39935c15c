"""Third, races: whatever the timing, every read sees the same data. See docs/ir.md for the proof of the rules.

A *place* is a chunk at a rank. Transfers that leave it read it, transfers that enter it write it. The last copy into a
place, if any, splits the accesses in two *epochs*, early and late (without a copy all are late). The rules:

- read        a transfer's join holds every write of the epoch that it reads;
- one copy    an epoch has at most one copy, and the reductions of its epoch wait for it;
- overwrite   an early epoch has exactly one read, and the copy that ends it carries what was read (the flow checks it).

Reductions into one place may arrive in any order: a receiver applies them one at a time, and they commute.
"""

from __future__ import annotations

import numpy as np

from collsched.ir.schedule import COPY
from collsched.ir.verify.order import Order
from collsched.ir.verify.structure import Facts, Ints, Mask, fail

_DENSE = 8  # places per transfer up to which tables over all places are taken


def check_races(facts: Facts, order: Order) -> Mask:
    """The transfers that overwrite an early epoch, for the flow to check. Raises VerificationError for a race."""
    copies = facts.transfers.op == COPY
    source, target, places = _places(facts)
    last = np.full(places, -1, order.position.dtype)
    np.maximum.at(last, target[copies], order.position[copies])
    reads = 2 * source + (order.position > last[source])  # epoch: 2 · place + late
    writes = 2 * target + (order.position >= last[target])
    written = np.bincount(writes, minlength=2 * places)
    _check_copies(facts, copies, writes, written)
    _check_reads(facts, reads, writes, written)
    read = np.bincount(reads, minlength=2 * places)
    used = (last >= 0) & ((read[::2] > 0) | (written[::2] > 0))  # places that are overwritten in use
    overwrites = np.zeros(len(facts), bool)
    copy = np.flatnonzero(copies)
    overwrites[copy] = used[target[copy]] & (order.position[copy] == last[target[copy]])
    refused = used & (read[::2] != 1) if facts.collective.kind.reduces else used
    if refused.any():
        why = "data in use may be replaced only by what was computed from its one reader"
        _report(facts, overwrites & refused[target], "overwrite", why)
    return overwrites


def _places(facts: Facts) -> tuple[Ints, Ints, int]:
    """The places that each transfer reads and writes, and how many there are; renumbered where few are used."""
    places = len(facts.chunks.shard) * facts.places
    narrow = np.int32 if places < 1 << 30 else np.int64  # half the memory to go through
    first = (facts.transfers.chunk * np.int64(facts.places)).astype(narrow)
    source, target = first + facts.src.astype(narrow), first + facts.dst.astype(narrow)
    if places <= _DENSE * len(facts) + (1 << 16):
        return source, target, places
    used, number = np.unique(np.concatenate([source, target]), return_inverse=True)
    return number[: len(facts)], number[len(facts) :], len(used)


def _check_copies(facts: Facts, copies: Mask, writes: Ints, written: Ints) -> None:
    copied = np.bincount(writes[copies], minlength=len(written))
    if (copied > 1).any():
        _report(facts, copied[writes] > 1, "one copy", "which of two copies comes last must be known")
    added_to = (copied > 0) & (written > copied)
    if added_to.any():
        added = np.flatnonzero(~copies & added_to[writes])
        late = np.zeros(len(facts), bool)
        late[added] = _awaited(facts, np.where(copies, writes, -1), writes, added) != 1
        _report(facts, late, "one copy", "a reduction onto copied data must wait for the copy")


def _check_reads(facts: Facts, reads: Ints, writes: Ints, written: Ints) -> None:
    """Most joins hold just the writes of one epoch, for all that wait for them; the other transfers are counted."""
    whole = np.full(len(facts.join_sizes), -1, writes.dtype)
    full = np.flatnonzero(facts.join_sizes)
    if len(full):
        epochs = writes[facts.joins.member]
        lowest = np.minimum.reduceat(epochs, facts.joins.ptr[full])
        highest = np.maximum.reduceat(epochs, facts.joins.ptr[full])
        whole[full] = np.where((lowest == highest) & (written[lowest] == facts.join_sizes[full]), lowest, -1)
    rest = np.flatnonzero(whole[facts.transfers.join] != reads)
    wrong = np.zeros(len(facts), bool)
    wrong[rest] = _awaited(facts, writes, reads, rest) != written[reads[rest]]
    _report(facts, wrong, "read", "it must wait for every transfer that writes what it reads")


def _awaited(facts: Facts, writes: Ints, wanted: Ints, among: Ints) -> Ints:
    """How many members of the joins of some transfers write the wanted epochs; each (join, epoch) is expanded once."""
    count = np.zeros(len(among), np.int64)
    waits = np.flatnonzero(facts.join_sizes[facts.transfers.join[among]])
    if not len(waits):
        return count
    join, epoch = facts.transfers.join[among[waits]].astype(np.int64), wanted[among[waits]]
    base = int(epoch.max()) + 1
    pairs, back = np.unique(join * base + epoch, return_inverse=True)
    join, epoch = np.divmod(pairs, base)
    sizes = facts.join_sizes[join]
    pair = np.repeat(np.arange(len(pairs)), sizes)
    entry = np.arange(len(pair)) + np.repeat(facts.joins.ptr[join] - (np.cumsum(sizes) - sizes), sizes)
    hit = writes[facts.joins.member[entry]] == epoch[pair]
    count[waits] = np.bincount(pair[hit], minlength=len(pairs))[back]
    return count


def _report(facts: Facts, broken: Mask, rule: str, why: str) -> None:
    found = np.flatnonzero(broken)
    if len(found):
        fail(rule, facts.transfer_name(int(found[0])), why)
