"""Programs of thread blocks, as MSCCL's interpreters run them, and what each of their loaders can hold.

A rank runs its blocks side by side and the steps of a block one after another. A block has at most one peer to send to
and one to receive from, on one channel; no two blocks of a rank share a connection (peer, direction, channel), which is
first in, first out. A step may wait for one step of another block.
"""

from __future__ import annotations

from dataclasses import dataclass

from collsched.ir.placement import Placement, Spot


@dataclass(frozen=True, slots=True)
class Step:
    """`op` is s (send), r (receive), rrc (receive, add `read`, store) or cpy.

    Of a send `write` is where the receiver stores, of an `r` `read` is where the sender reads. `after` is the block and
    step to wait for; `awaited`: some step waits for this one.
    """

    op: str
    read: Spot
    write: Spot
    units: int
    after: tuple[int, int] | None
    awaited: bool


@dataclass(frozen=True, slots=True)
class Block:
    """Peers are None where a block has none."""

    send: int | None
    recv: int | None
    channel: int
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class BlockProgram:
    """`blocks[rank][b]` is thread block b of a rank."""

    placement: Placement
    channels: int
    blocks: tuple[tuple[Block, ...], ...]


@dataclass(frozen=True, slots=True)
class Loader:
    """What a loader can hold: steps of a block, blocks of a rank, channels of the algorithm."""

    name: str
    steps: int
    blocks: int
    channels: int
    reduce_scatter: str  # what it calls the collective
    count: int = 71  # units of a step
    peers: int = 32  # of a channel and direction
    awaited: int = 128  # blocks that others can wait for: the first ones
    nodes: int = 4096  # XML elements that it keeps for a rank


LOADERS = {
    loader.name: loader
    for loader in (
        Loader("msccl", steps=256, blocks=216, channels=32, reduce_scatter="reduce_scatter"),
        Loader("executor", steps=64, blocks=1024, channels=32, reduce_scatter="reducescatter"),
        Loader("rccl", steps=64, blocks=64, channels=128, reduce_scatter="reducescatter"),
    )
}
