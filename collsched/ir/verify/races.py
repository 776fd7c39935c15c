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
    last = np.full(places, -1, np.int64)
    np.maximum.at(last, target[copies], order.position[copies])
    reads = 2 * source + (order.position > last[source])  # epoch: 2 · place + late
    writes = 2 * target + (order.position >= last[target])
    written = np.bincount(writes, minlength=2 * places)
    copied = np.bincount(writes[copies], minlength=2 * places)
    _report(
        facts, copied[writes] > 1, "one copy", "an epoch of a place has one copy; which of two came last is not known"
    )
    _report(
        facts,
        _awaited(facts, writes, reads) != written[reads],
        "read",
        "it must wait for every transfer that writes what it reads",
    )
    added = np.flatnonzero(~copies & (copied[writes] > 0))
    late = np.zeros(len(facts), bool)
    late[added] = _awaited(facts, np.where(copies, writes, -1), writes, added) != 1
    _report(facts, late, "one copy", "a reduction onto copied data must wait for the copy")
    return _overwriting(facts, copies & (order.position == last[target]), target, reads, written)


def _places(facts: Facts) -> tuple[Ints, Ints, int]:
    """The places that each transfer reads and writes, and how many there are; renumbered where few are used."""
    source = facts.transfers.chunk * np.int64(facts.ranks) + facts.src
    target = facts.transfers.chunk * np.int64(facts.ranks) + facts.dst
    places = len(facts.chunks.shard) * facts.ranks
    if places <= _DENSE * len(facts) + (1 << 16):
        return source, target, places
    used, number = np.unique(np.concatenate([source, target]), return_inverse=True)
    return number[: len(facts)], number[len(facts) :], len(used)


def _awaited(facts: Facts, writes: Ints, wanted: Ints, among: Ints | None = None) -> Ints:
    """How many members of each transfer's join write the wanted epoch. Most joins write a single epoch, and are
    counted as a whole; of the others each (join, wanted epoch) is expanded once."""
    join = facts.transfers.join if among is None else facts.transfers.join[among]
    wanted = wanted if among is None else wanted[among]
    full = np.flatnonzero(facts.join_sizes)
    lowest = np.full(len(facts.join_sizes), -1, np.int64)
    highest = lowest.copy()
    if len(full):
        epochs = writes[facts.joins.member]
        lowest[full] = np.minimum.reduceat(epochs, facts.joins.ptr[full])
        highest[full] = np.maximum.reduceat(epochs, facts.joins.ptr[full])
    count = np.where(lowest[join] == wanted, facts.join_sizes[join], 0)
    mixed = np.flatnonzero(lowest[join] != highest[join])
    if len(mixed):
        base = int(wanted.max()) + 1
        pairs, back = np.unique(join[mixed].astype(np.int64) * base + wanted[mixed], return_inverse=True)
        of, epoch = np.divmod(pairs, base)
        sizes = facts.join_sizes[of]
        pair = np.repeat(np.arange(len(pairs)), sizes)
        entry = np.arange(len(pair)) + np.repeat(facts.joins.ptr[of] - (np.cumsum(sizes) - sizes), sizes)
        hit = writes[facts.joins.member[entry]] == epoch[pair]
        count[mixed] = np.bincount(pair[hit], minlength=len(pairs))[back]
    return count


def _overwriting(facts: Facts, ends_epoch: Mask, target: Ints, reads: Ints, written: Ints) -> Mask:
    """The copies that end an early epoch which something used; it must have been read exactly once."""
    read = np.bincount(reads, minlength=len(written))
    early = 2 * target
    overwrites = ends_epoch & ((read[early] > 0) | (written[early] > 0))
    allowed = overwrites if not facts.collective.kind.reduces else overwrites & (read[early] != 1)
    _report(facts, allowed, "overwrite", "data in use may be replaced only by what was computed from its one reader")
    return overwrites


def _report(facts: Facts, broken: Mask, rule: str, why: str) -> None:
    found = np.flatnonzero(broken)
    if len(found):
        fail(rule, facts.transfer_name(int(found[0])), why)
