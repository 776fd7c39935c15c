"""A schedule on the buffers of a caller: what `lower.buffers` makes, and what exports to GPU runtimes start from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Spot(NamedTuple):
    """A place in a buffer of one rank: `buffer` is i (input), o (output) or s (scratch), `offset` counts units."""

    buffer: str
    offset: int


@dataclass(frozen=True, slots=True)
class Move:
    """One transfer: `units` units from `read` at rank src to `write` at rank dst.

    With an `operand` the receiver stores the sum of what arrives and of its operand, else what arrives. `after_read` is
    the move whose write the sender must have made before, `after_write` the one that the receiver must; −1 for none.
    Both have smaller indices.
    """

    src: int
    dst: int
    units: int
    read: Spot
    write: Spot
    operand: Spot | None
    after_read: int
    after_write: int


@dataclass(frozen=True, slots=True)
class Copy:
    """A rank copies `units` units of its own; nothing waits for it and it waits for nothing."""

    rank: int
    units: int
    read: Spot
    write: Spot


@dataclass(frozen=True, slots=True)
class Placement:
    """All moves, in topological order, and the sizes of the buffers in units.

    `units` is the whole buffer of the collective: the output of an allgather, the input of a reduce-scatter. `input`
    and `output` are a rank's, `scratch[rank]` may differ.
    """

    kind: str
    ranks: int
    root: int | None
    in_place: bool
    units: int
    input: int
    output: int
    scratch: tuple[int, ...]
    moves: tuple[Move, ...]
    copies: tuple[Copy, ...]
