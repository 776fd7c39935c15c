"""Reductions at nodes that contribute nothing: ranks outside the group, and switches. The first arrival must be a copy.

    a ──reduce──┐                        a ──copy────┐
                ├─▶ relay ──▶ …    ⟹                 ├─▶ relay ──▶ …
    b ──reduce──┘                        b ──reduce──┘

On the right, b's transfer waits for the arrival of a's.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from collsched.collective import Collective
from collsched.forest.model import Routes
from collsched.ir.schedule import COPY, REDUCE, Joins, Transfers
from collsched.topology.model import Topology

Ints = NDArray[np.int64]


def copy_first_at_relays(
    topology: Topology, collective: Collective, routes: Routes, transfers: Transfers, joins: Joins
) -> tuple[Transfers, Joins, NDArray[np.bool_]]:
    """Of the reductions of a chunk into a relay, the first becomes a copy, and the others wait for it too; they are
    marked, to be issued half a step later."""
    late = np.zeros(len(transfers.op), bool)
    if len(collective.group) == len(topology.holders) or not (transfers.op == REDUCE).any():
        return transfers, joins, late
    member = np.zeros(len(topology.nodes), bool)
    member[[topology.ranks[rank] for rank in collective.group]] = True
    _, end = routes.ends(topology)
    into_relay = np.flatnonzero((transfers.op == REDUCE) & ~member[end][transfers.route])
    if not len(into_relay):
        return transfers, joins, late
    place = transfers.chunk[into_relay].astype(np.int64) * len(topology.nodes) + end[transfers.route[into_relay]]
    _, first, group = np.unique(place, return_index=True, return_inverse=True)
    leader = into_relay[first][group]
    op, join = transfers.op.copy(), transfers.join.copy()
    op[leader] = COPY
    waiting = into_relay != leader
    late[into_relay[waiting]] = True
    join[late], joins = _also(joins, join[late], leader[waiting])
    return replace(transfers, op=op, join=join), joins, late


def _also(joins: Joins, join: NDArray[np.int32], other: Ints) -> tuple[NDArray[np.int32], Joins]:
    """Joins that hold what each `join` holds, and each `other` transfer: equal pairs share one."""
    base = int(other.max(initial=0)) + 1
    pairs, number = np.unique(join * np.int64(base) + other, return_inverse=True)
    old, added = np.divmod(pairs, base)
    sizes = np.diff(joins.ptr)[old]
    owner = np.repeat(np.arange(len(pairs)), sizes)
    entry = np.arange(len(owner)) + np.repeat(joins.ptr[:-1][old] - (np.cumsum(sizes) - sizes), sizes)
    owner = np.append(owner, np.arange(len(pairs)))
    members = np.append(joins.member[entry], added)
    order = np.lexsort((members, owner))
    ptr = joins.ptr[-1] + np.cumsum(sizes + 1)
    extended = Joins(np.append(joins.ptr, ptr), np.append(joins.member, members[order]).astype(np.int32))
    return (len(joins.ptr) - 1 + number.reshape(-1)).astype(np.int32), extended
