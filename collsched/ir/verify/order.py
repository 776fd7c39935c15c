"""Second, progress: an order in which every transfer can run, or the transfers that wait for each other.

A transfer starts after all members of its join have arrived, and after the transfers before it on its lane (same route
and channel) have started. If this relation has no cycle, every transfer runs whatever the timing; a topological order
is the proof. The order of indices is tried first; otherwise ready transfers are taken off layer by layer (Kahn 1962).
Pace leads from lower to higher indices, so a paced schedule has to have the former.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collsched.ir.verify.structure import Facts, Ints, Ints32, Mask, fail


@dataclass(frozen=True, slots=True)
class Order:
    """`position[t]` is transfer t's place in a topological order. Wave w is the places begin[w] … begin[w + 1] − 1: no
    transfer of a wave has a member of its join in the same wave."""

    position: Ints32
    begin: Ints

    @property
    def waves(self) -> int:
        return len(self.begin) - 1


def topological_order(facts: Facts) -> Order:
    """Raises VerificationError for a deadlock. Linear, with one numpy round per layer in the general case."""
    position = np.arange(len(facts), dtype=np.int32)
    latest = _latest_member(facts, position)
    if (latest >= position).any():
        if facts.schedule.paced:
            late = int(np.flatnonzero(latest >= position)[0])
            why = "transfers that are paced stand in an order in which they can run"
            fail("progress", f"{facts.transfer_name(late)} waits for a later one", why)
        position = _by_layers(facts)
        latest = _latest_member(facts, position)
    reach = np.empty(len(facts), np.int32)
    reach[position] = latest
    reach = np.maximum.accumulate(reach)
    begin = [0]
    while begin[-1] < len(facts):
        begin.append(int(np.searchsorted(reach, np.int32(begin[-1]))))
    return Order(position, np.array(begin, np.int64))


def _latest_member(facts: Facts, position: Ints32) -> Ints32:
    """The last place of a member of each transfer's join, −1 without one."""
    latest = np.full(len(facts.join_sizes), -1, np.int32)
    full = np.flatnonzero(facts.join_sizes)
    if len(full):
        latest[full] = np.maximum.reduceat(position[facts.joins.member], facts.joins.ptr[full])
    return latest[facts.transfers.join]


def _by_layers(facts: Facts) -> Ints32:
    """Positions from repeatedly removing all transfers that wait for nothing."""
    lane_next, first = _lanes(facts)
    waiters = np.argsort(facts.transfers.join, kind="stable")  # transfers, grouped by the join they wait for
    waiters_ptr = np.searchsorted(facts.transfers.join[waiters], np.arange(len(facts.join_sizes) + 1))
    join_of = np.repeat(np.arange(len(facts.join_sizes)), facts.join_sizes)
    by_member = np.argsort(facts.joins.member, kind="stable")  # entries of joins, grouped by member
    entry_ptr = np.searchsorted(facts.joins.member[by_member], np.arange(len(facts) + 1))
    missing = facts.join_sizes.copy()
    blocked = (missing[facts.transfers.join] > 0).astype(np.int64) + ~first
    position, placed = np.full(len(facts), -1, np.int32), 0
    ready = np.flatnonzero(blocked == 0)
    while len(ready):
        position[ready] = placed + np.arange(len(ready))
        placed += len(ready)
        joins = join_of[by_member[_spans(entry_ptr, ready)]]
        np.subtract.at(missing, joins, 1)
        complete = np.unique(joins[missing[joins] == 0])
        freed = np.concatenate([waiters[_spans(waiters_ptr, complete)], lane_next[ready]])
        freed = freed[freed >= 0]
        np.subtract.at(blocked, freed, 1)
        ready = np.unique(freed[blocked[freed] == 0])
    if placed < len(facts):
        stuck = int(np.flatnonzero(position < 0)[0])
        fail(
            "progress",
            f"{facts.transfer_name(stuck)} and {len(facts) - placed - 1} others wait for each other",
            "joins and the order of issue must not form a cycle",
        )
    return position


def _lanes(facts: Facts) -> tuple[Ints, Mask]:
    """The next transfer on each transfer's lane (−1: none), and whether it is the first."""
    order = np.lexsort((facts.transfers.channel, facts.transfers.route))
    route, channel = facts.transfers.route[order], facts.transfers.channel[order]
    same = (route[1:] == route[:-1]) & (channel[1:] == channel[:-1])
    following = np.full(len(order), -1, np.int64)
    following[order[:-1][same]] = order[1:][same]
    first = np.ones(len(order), bool)
    first[order[1:][same]] = False
    return following, first


def _spans(ptr: Ints, parts: Ints) -> Ints:
    """All positions of the given parts of a partition."""
    sizes = ptr[parts + 1] - ptr[parts]
    entries: Ints = np.arange(sizes.sum()) + np.repeat(ptr[parts] - (np.cumsum(sizes) - sizes), sizes)
    return entries
