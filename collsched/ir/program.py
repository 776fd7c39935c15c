"""Per-rank programs: what one rank sends and receives, and which of its own instructions each one waits for.

Every rank owns a *working buffer* as large as the whole collective: chunk c lives at elements [lo[c], hi[c]) of it on
every rank (`Chunks.ranges`). Before the program a rank copies what it contributes there; after it, it copies out what
the collective promises. In between only the instructions below touch it, and no two of them that may run at the same
time touch the same chunk, except that reductions into one chunk may complete in any order but one at a time.

    rank 0  SEND chunk 4 ──(connection 0 → 1, channel 0)──▶  RECV_REDUCE chunk 4  rank 1
                                                             SEND chunk 4 ──▶ …   joins the RECV_REDUCE

A *connection* is a first-in first-out lane from one rank to another: its n-th SEND matches its n-th RECV. The
instructions of all ranks are listed in one global topological order of the transfers, so these two ways to execute a
program cannot deadlock, whatever the capacity of a connection (one piece of data is enough):

- in list order, each instruction to completion (joins then hold by themselves, and may be ignored);
- one queue per connection, in list order; the head of a queue runs once all members of its join are complete.

A SEND is complete when the chunk has left the working buffer; a RECV when the chunk is in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collsched.ir.schedule import Joins

SEND, RECV_COPY, RECV_REDUCE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Connections:
    """Connection c carries data from rank src[c] to rank dst[c]; ranks with several lanes to a peer number them by
    `channel`. The triple (src, dst, channel) is unique in a program and the same on both sides."""

    src: NDArray[np.int32]
    dst: NDArray[np.int32]
    channel: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Program:
    """The instructions of rank number `rank`, in order. All arrays of instructions have the same length.

    Instruction i does opcode[i] (SEND, RECV_COPY, RECV_REDUCE) on chunk[i] over connection[i] (a position in
    `connections`), with rank peer[i] at the other end, once all instructions of join[i] are complete. The members of a
    join are positions of earlier instructions of the same program, and join 0 is empty.
    """

    rank: int
    opcode: NDArray[np.uint8]
    chunk: NDArray[np.int32]
    peer: NDArray[np.int32]
    connection: NDArray[np.int32]
    join: NDArray[np.int32]
    joins: Joins
    connections: Connections

    def __len__(self) -> int:
        return len(self.opcode)
