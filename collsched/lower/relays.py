"""Ranks outside the group that relay a reduction: they contribute nothing, so the first arrival must be a copy.

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


def copy_first_at_relays(
    topology: Topology, collective: Collective, routes: Routes, transfers: Transfers, joins: Joins
) -> tuple[Transfers, Joins]:
    """Of the reductions of a chunk into a relay, the first becomes a copy, and the others wait for it too."""
    if len(collective.group) == len(topology.ranks) or not (transfers.op == REDUCE).any():
        return transfers, joins
    into_relay = np.flatnonzero(
        (transfers.op == REDUCE) & _ends_at_relay(topology, collective, routes)[transfers.route]
    )
    if not len(into_relay):
        return transfers, joins
    dst = np.array([topology.links[i].dst for i in routes.links[routes.ptr[1:] - 1]], np.int64)
    place = transfers.chunk[into_relay].astype(np.int64) * len(topology.nodes) + dst[transfers.route[into_relay]]
    _, first, group = np.unique(place, return_index=True, return_inverse=True)
    leader = into_relay[first][group]
    op, join = transfers.op.copy(), transfers.join.copy()
    op[leader] = COPY
    waiting = into_relay != leader
    sets = [
        np.unique(np.append(joins.member[joins.ptr[j] : joins.ptr[j + 1]], copy))
        for j, copy in zip(join[into_relay[waiting]], leader[waiting], strict=True)
    ]
    join[into_relay[waiting]] = len(joins.ptr) - 1 + np.arange(len(sets), dtype=np.int32)
    return replace(transfers, op=op, join=join), _extend(joins, sets)


def _ends_at_relay(topology: Topology, collective: Collective, routes: Routes) -> NDArray[np.bool_]:
    member = np.zeros(len(topology.nodes), bool)
    member[[topology.ranks[rank] for rank in collective.group]] = True
    relay_link = np.array([not member[link.dst] for link in topology.links], bool)
    ends: NDArray[np.bool_] = relay_link[routes.links[routes.ptr[1:] - 1]]
    return ends


def _extend(joins: Joins, sets: list[NDArray[np.int32]]) -> Joins:
    ptr = joins.ptr[-1] + np.cumsum([len(members) for members in sets], dtype=np.int64)
    return Joins(np.concatenate([joins.ptr, ptr]), np.concatenate([joins.member, *sets]))
