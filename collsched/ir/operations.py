"""Programs of operations on remote memory, as the executor of MSCCL++ runs them.

A rank runs its blocks side by side and the operations of a block one after another; but the threads of a block meet
only at a `nop`, so what stands between two of them runs in any order. Blocks of the same `group` at two ranks share a
channel, over which each signals the other and waits for its signals, which count up. A memory channel reaches into
the peer's memory; over a port channel a proxy moves the data later, in order.
"""

from __future__ import annotations

from dataclasses import dataclass

from collsched.ir.placement import Placement, Spot

MEMORY, PORT = "memory", "port"


@dataclass(frozen=True, slots=True)
class Part:
    """Units of a buffer, of the rank itself or of a peer."""

    spot: Spot
    units: int
    peer: int | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """`name` is nop, signal, wait, put, copy, re (reduce own parts) or rre (reduce own and remote parts).

    `peers` names the channels of group and kind `channel` that it uses; the first source of a reduction is own.
    """

    name: str
    channel: str | None = None
    peers: tuple[int, ...] = ()
    sources: tuple[Part, ...] = ()
    targets: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class OperationBlock:
    """A block without channels has no group."""

    group: int | None
    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class OperationProgram:
    """`blocks[rank][b]` is thread block b of a rank, in ascending order of groups; `scratch` as in a placement."""

    placement: Placement
    scratch: tuple[int, ...]
    blocks: tuple[tuple[OperationBlock, ...], ...]


@dataclass(frozen=True, slots=True)
class ExecutorLimits:
    """Operations of a block, channels and remote buffers of a block and kind, channels of an operation, and blocks of a
    rank that are on the GPU at once."""

    operations: int = 64
    channels: int = 16
    buffers: int = 16
    width: int = 8
    blocks: int = 104
