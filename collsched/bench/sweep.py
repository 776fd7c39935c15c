"""What is measured: sizes, element type, reduction, where input and output lie, how often."""

from __future__ import annotations

from dataclasses import dataclass

from collsched.collective import Collective, Kind
from collsched.errors import InputError
from collsched.runtime.dtypes import carrier, dtype_code, op_code
from collsched.units import format_bytes

ROUNDS = 5  # in which the sides take turns, at most
_SHARDED = (Kind.ALLGATHER, Kind.REDUCE_SCATTER, Kind.GATHER, Kind.SCATTER, Kind.ALL_TO_ALL)
_MOST_SIZES = 200


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table, out of place or in place: `count` elements of one whole buffer."""

    count: int
    dtype: str
    op: str
    in_place: bool

    @property
    def bytes(self) -> int:
        """S of the formulas: the whole buffer (of an all-to-all, what one rank sends)."""
        return self.count * carrier(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class Sweep:
    """A benchmark as it was asked for.

    `sizes` in bytes; `placements`: of False (out of place) and True (in place); `iterations` are timed, after `warmup`;
    `check`: compare results with numpy; `registered`: buffers come from the engine's `empty`.
    """

    sizes: tuple[int, ...]
    dtype: str = "float32"
    op: str = "sum"
    placements: tuple[bool, ...] = (False, True)
    iterations: int = 20
    warmup: int = 5
    check: bool = True
    registered: bool = False

    def __post_init__(self) -> None:
        dtype_code(self.dtype)
        op_code(self.op)
        if self.iterations < 1:
            raise InputError(f"-n {self.iterations}; at least 1 timed iteration; 20 is the default")
        if self.warmup < 0:
            raise InputError(f"-w {self.warmup}; allowed is 0 or more; 5 is the default")

    def cases(self, collective: Collective) -> list[list[Case]]:
        """Of each size its placements. Where every rank has an equal part, counts are multiples of the ranks, as in
        nccl-tests; a size that rounds to one already there is left out."""
        item, unit = carrier(self.dtype).itemsize, 1
        if collective.kind in _SHARDED and len(set(collective.shards)) == 1:
            unit = len(collective.group)
        counts = dict.fromkeys(max(unit, size // item // unit * unit) for size in self.sizes)
        op = self.op if collective.kind.reduces else "sum"
        return [[Case(count, self.dtype, op, place) for place in self.placements] for count in counts]

    @property
    def turns(self) -> list[int]:
        """Timed iterations of each round."""
        rounds = min(ROUNDS, self.iterations)
        return [self.iterations // rounds + (i < self.iterations % rounds) for i in range(rounds)]


def spaced(first: int, last: int, factor: float) -> tuple[int, ...]:
    """`first`, and from one to the next `factor` times as many bytes, up to `last`. Raises InputError."""
    if first <= 0:
        raise InputError(f"-b {first}; allowed is a size above 0; write for example 1KiB")
    if last < first:
        raise InputError(
            f"-e {format_bytes(last)} is less than -b {format_bytes(first)}; give sizes in ascending order"
        )
    if not factor > 1 or factor == float("inf"):
        raise InputError(f"-f {factor:g}; allowed is a factor above 1; 4 is the default")
    sizes, size = [first], float(first)
    while (size := size * factor) <= last * (1 + 1e-9):
        if int(size) > sizes[-1]:
            sizes.append(int(size))
        if len(sizes) > _MOST_SIZES:
            raise InputError(f"-f {factor:g} makes more than {_MOST_SIZES} sizes; choose a larger factor")
    return tuple(sizes)


def per_rank(collective: Collective, count: int) -> int:
    """The count that nccl-tests prints: of one rank's part where the buffer has one part a rank."""
    return count // len(collective.group) if collective.kind in _SHARDED else count
