"""A schedule to per-rank programs: each transfer becomes a SEND at one end and a RECV at the other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from collsched.errors import MissingComponentError
from collsched.forest.model import Routes
from collsched.ir.program import RECV_COPY, RECV_REDUCE, SEND, Connections, Program
from collsched.ir.schedule import REDUCE, Joins, Schedule
from collsched.topology.model import Topology

Ints = NDArray[np.int64]


def program(topology: Topology, schedule: Schedule, rank: int) -> Program:
    """The program of one rank. Transfers must be in topological order, as `lower` and the passes leave them."""
    src, dst = transfer_ranks(topology, schedule)
    return _program(schedule, src, dst, rank)


def programs(topology: Topology, schedule: Schedule) -> Iterator[Program]:
    """The programs of all ranks of the topology, in order; ranks that take no part have an empty one."""
    src, dst = transfer_ranks(topology, schedule)
    for rank in range(len(topology.ranks)):
        yield _program(schedule, src, dst, rank)


def transfer_ranks(topology: Topology, schedule: Schedule) -> tuple[Ints, Ints]:
    """The rank numbers at both ends of every transfer. Raises MissingComponentError where one ends at a switch."""
    check_ranks_alone(topology, schedule.routes)
    rank_of = np.full(len(topology.nodes), -1, np.int64)
    rank_of[list(topology.ranks)] = np.arange(len(topology.ranks))
    src, dst = (rank_of[nodes] for nodes in schedule.routes.ends(topology))
    return src[schedule.transfers.route], dst[schedule.transfers.route]


def check_ranks_alone(topology: Topology, routes: Routes) -> None:
    """Raises MissingComponentError if a switch copies or sums data on its way: programs are for ranks alone."""
    switches = routes.switches(topology)
    if switches:
        more = f" and {len(switches) - 1} more" if len(switches) > 1 else ""
        raise MissingComponentError(
            f"the plan needs switches that copy or sum data ({topology.nodes[switches[0]].name}{more}), and engines "
            "move data between ranks only; compile it with --in-network off, or hand it to a runtime that uses such "
            "switches with `collsched export --to transfers`"
        )


def _program(schedule: Schedule, src: Ints, dst: Ints, rank: int) -> Program:
    transfers = schedule.transfers
    mine = np.flatnonzero((src == rank) | (dst == rank))
    sends = src[mine] == rank
    opcode = np.where(sends, SEND, np.where(transfers.op[mine] == REDUCE, RECV_REDUCE, RECV_COPY)).astype(np.uint8)
    lanes = np.stack([src[mine], dst[mine], transfers.channel[mine]], axis=1)
    connections, connection = np.unique(lanes.reshape(-1, 3), axis=0, return_inverse=True)
    join, joins = _local_joins(schedule, mine, dst, rank)
    return Program(
        rank=rank,
        opcode=opcode,
        chunk=transfers.chunk[mine],
        peer=np.where(sends, dst[mine], src[mine]).astype(np.int32),
        connection=connection.reshape(-1).astype(np.int32),
        join=join,
        joins=joins,
        connections=Connections(*(column.astype(np.int32) for column in connections.T)),
    )


def _local_joins(schedule: Schedule, mine: Ints, dst: Ints, rank: int) -> tuple[NDArray[np.int32], Joins]:
    """Each instruction waits for those members of its transfer's join that this rank receives.

    A SEND waits for the data it reads; a RECV_REDUCE into a relay for the copy that it adds to. Members received
    elsewhere are waited for there, at the other end of the transfer.
    """
    joins = schedule.joins
    used, join = np.unique(np.append(0, schedule.transfers.join[mine]), return_inverse=True)
    sizes = np.diff(joins.ptr)[used]
    owner = np.repeat(np.arange(len(used)), sizes)
    entry = np.arange(sizes.sum()) + np.repeat(joins.ptr[:-1][used] - (np.cumsum(sizes) - sizes), sizes)
    member = joins.member[entry]
    here = dst[member] == rank
    ptr = np.concatenate([[0], np.cumsum(np.bincount(owner[here], minlength=len(used)))]).astype(np.int64)
    local = np.searchsorted(mine, member[here]).astype(np.int32)
    return join.reshape(-1)[1:].astype(np.int32), Joins(ptr, local)
