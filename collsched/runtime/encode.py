"""Programs, the places of chunks and the memory of ranks as the arrays of integers that csrc/cuda/execute.h reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from collsched.errors import EngineError
from collsched.ir.program import Program
from collsched.ir.schedule import Schedule
from collsched.lower.programs import transfer_ranks
from collsched.runtime.layout import Role
from collsched.runtime.steps import Step, steps
from collsched.topology.model import Topology

Ints = NDArray[np.int64]
Words = NDArray[np.int32]
Addresses = NDArray[np.uint64]

MOST_ENDS = 256  # sources, or targets, of one step: most_ends of csrc/cuda/combine.h
BOARD = 2  # words of a Board: abort, verdict
_NOTHING, _INPUT = -1, -2
_LINE, _VECTOR = 128, 16
_LEAST_PIECE = 8 << 10  # bytes below which a piece is not cut further for the sake of pipelining
_LEAST_STRIPE = 16 << 10  # bytes of the buffer below which another block is not worth its start


@dataclass(frozen=True, slots=True)
class Numbers:
    """A number for every transfer among those that its receiver receives, and among those that its sender sends."""

    src: Ints
    dst: Ints
    at_src: Ints
    at_dst: Ints
    ranks: int

    @classmethod
    def of(cls, topology: Topology, schedule: Schedule) -> Numbers:
        ranks = len(topology.ranks)
        src, dst = transfer_ranks(topology, schedule)
        return cls(src, dst, _ordinals(src, ranks), _ordinals(dst, ranks), ranks)

    @property
    def received(self) -> Ints:
        """Of each rank, the transfers that it receives."""
        return np.bincount(self.dst, minlength=self.ranks).astype(np.int64)

    @property
    def sent(self) -> Ints:
        """Of each rank, the transfers that it sends."""
        return np.bincount(self.src, minlength=self.ranks).astype(np.int64)

    def wires(self, rank: int, sends: bool) -> tuple[Ints, Ints, Ints]:
        """(own number, peer, number at the peer) of every instruction of a rank's program, as if all were SENDs, or
        RECVs."""
        mine = np.flatnonzero((self.src == rank) | (self.dst == rank))
        if sends:
            return self.at_src[mine], self.dst[mine], self.at_dst[mine]
        return self.at_dst[mine], self.src[mine], self.at_src[mine]


def _ordinals(of: Ints, ranks: int) -> Ints:
    """How many earlier entries equal each one."""
    order = np.argsort(of, kind="stable")
    sizes = np.bincount(of, minlength=ranks)
    ordinal = np.empty(len(of), np.int64)
    ordinal[order] = np.arange(len(of)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return ordinal


@dataclass(frozen=True, slots=True)
class Encoded:
    """One rank's program: rows of `Step` and of `Wire`, and how many versions it keeps for later steps."""

    steps: Words
    operands: Words
    sends: Words
    kept: int


def encode(program: Program, numbers: Numbers, role: Role) -> Encoded:
    """Raises EngineError for a step with more operands, or more sends, than a kernel takes."""
    _, _, in_at, out_at, _, _ = role.ranges(1)
    made = steps(program, in_at >= 0, out_at >= 0)
    adds_to = {step.previous for step in made if step.adds}
    number: dict[int, int] = {}  # of each version that is kept
    for i, step in enumerate(made):
        if i in adds_to and step.operands:
            number[i] = len(number)
    rows: list[tuple[int, ...]] = []
    operands: list[int] = []
    sends: list[int] = []
    for i, step in enumerate(made):
        _check_size(step, program.rank)
        before = 0 if step.previous is None else i - step.previous
        keep = number.get(i, _NOTHING)
        rows.append(
            (step.chunk, before, len(operands), len(step.operands), len(sends), len(step.sends),
             _own(step, number), keep, int(step.last))
        )  # fmt: skip
        operands += step.operands
        sends += step.sends
    return Encoded(
        np.array(rows, np.int32).reshape(-1, 9),
        np.stack([column[operands] for column in numbers.wires(program.rank, sends=False)], axis=1).astype(np.int32),
        np.stack([column[sends] for column in numbers.wires(program.rank, sends=True)], axis=1).astype(np.int32),
        len(number),
    )


def _own(step: Step, number: dict[int, int]) -> int:
    """Where the version lies that a step begins with."""
    if step.operands and not step.adds:
        return _NOTHING
    return _INPUT if step.previous is None else number.get(step.previous, _INPUT)


def _check_size(step: Step, rank: int) -> None:
    most = max(len(step.operands), len(step.sends)) + 1
    if most > MOST_ENDS:
        raise EngineError(
            f"rank {rank} exchanges chunk {step.chunk} with {most - 1} others in one step; the cuda engine takes "
            f"{MOST_ENDS - 1}"
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """What all ranks of a loaded plan share: `stripes` blocks a rank, `depth` pieces in flight per transfer (a power of
    two), `slot` bytes for each of them (a multiple of 16)."""

    stripes: int
    depth: int
    slot: int

    def stripes_of(self, nbytes: int) -> int:
        """The blocks that work on a buffer of `nbytes`."""
        return max(1, min(self.stripes, nbytes // _LEAST_STRIPE))

    def place(self, role: Role, count: int, item: int) -> tuple[Ints, int, int]:
        """(rows of `Chunk`, rounds, stripes) of a call on `count` elements of `item` bytes."""
        lo, hi, in_at, out_at, _, _ = role.ranges(count)
        length, unit, stripes = hi - lo, _VECTOR // item, self.stripes_of(count * item)
        longest = int(length.max(initial=0)) * item
        needed = -(-longest // (stripes * (self.slot - _VECTOR)))
        rounds = max(1, needed, min(self.depth, longest // (stripes * _LEAST_PIECE)))
        piece = -(-length // (stripes * rounds * unit)) * unit
        return np.stack([in_at, out_at, length, piece, lo * item % _VECTOR], axis=1), rounds, stripes


@dataclass(frozen=True)
class Memory:
    """The one allocation of a rank that others write to: flags, zero at first, and mailboxes."""

    shape: Shape
    received: int
    sent: int
    kept: int

    @property
    def places(self) -> int:
        return self.received + self.kept

    @cached_property
    def offsets(self) -> tuple[int, int, int, int, int]:
        """Where poison, epochs, posted, taken and data begin."""
        poison, epochs = 0, _LINE
        posted = epochs + _lines(8 * self.shape.stripes)
        taken = posted + _lines(8 * self.shape.stripes * self.received)
        return poison, epochs, posted, taken, taken + _lines(8 * self.shape.stripes * self.sent)

    @property
    def flag_bytes(self) -> int:
        """What must be zero."""
        return self.offsets[-1]

    @property
    def size(self) -> int:
        shape = self.shape
        return self.offsets[-1] + shape.stripes * self.places * shape.depth * shape.slot

    def mailbox(self, base: int) -> list[int]:
        """The row of `Mailbox` for memory at address `base`."""
        poison, _, posted, taken, data = self.offsets
        return [base + posted, base + taken, base + data, base + poison, self.received, self.sent, self.places]

    def epochs(self, base: int) -> int:
        """The address of the counts of epochs."""
        return base + self.offsets[1]


def _lines(size: int) -> int:
    return -(-size // _LINE) * _LINE


def plan_words(
    shape: Shape, rank: int, ranks: int, step_count: int, addresses: Sequence[int], epochs: int, board: int
) -> Addresses:
    """A `Plan`; `addresses` are those of its steps, operands, sends and mailboxes."""
    return np.array(
        [*addresses, epochs, board, board + 8 * BOARD, rank, ranks, step_count, shape.depth, shape.slot], np.uint64
    )


def board_words(stripes: int) -> int:
    """The length of a `Board` and of what each stripe waits for."""
    return BOARD + stripes
