"""What a user holds: one rank's end of a plan, with one method a collective."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import numpy as np

from collsched._engine import Connection, examine
from collsched.collective import Kind
from collsched.errors import InputError
from collsched.runtime.dtypes import DTYPES, carrier, dtype_code, op_code
from collsched.runtime.layout import Part, Role

Buffer = Any  # a numpy array, or any object in CPU memory with DLPack or the buffer protocol


class Communicator:
    """One rank of a plan on an engine. Every rank of the topology makes the same calls in the same order.

    A communicator serves the collective that its plan was compiled for. Arrays are C-contiguous and of any shape; their
    elements count. Ranks outside the group, which may relay, call the same method without data.

    `dtype` names the element type where the array cannot tell, such as bfloat16 kept in uint16. `count`, the elements
    of the whole buffer, is needed only where it does not follow from the arrays: unequal shards that do not divide.
    Raises InputError for arguments that cannot be right, EngineError if the ranks disagree or one of them fails.
    """

    def __init__(self, role: Role, ranks: int, connection: Connection) -> None:
        self._role = role
        self._connection = connection
        self.rank = role.rank
        self.ranks = ranks

    @property
    def kind(self) -> Kind:
        """The collective that this communicator executes."""
        return self._role.collective.kind

    def allreduce(self, x: Buffer = None, out: Buffer = None, *, op: str = "sum", dtype: str | None = None) -> Buffer:
        """Every rank of the group gets the reduction of all `x`, in `x` itself or in `out`."""
        return self._call(Kind.ALLREDUCE, x, out, op, dtype)

    def allgather(
        self, x: Buffer = None, out: Buffer = None, *, dtype: str | None = None, count: int | None = None
    ) -> Buffer:
        """`x` is this rank's shard; every rank of the group gets all shards, in rank order, in `out` or a new array."""
        return self._call(Kind.ALLGATHER, x, out, "sum", dtype, count)

    def reduce_scatter(
        self, x: Buffer = None, out: Buffer = None, *, op: str = "sum", dtype: str | None = None
    ) -> Buffer:
        """`x` is a whole buffer; this rank gets its shard of their reduction, in `out` or a new array."""
        return self._call(Kind.REDUCE_SCATTER, x, out, op, dtype)

    def broadcast(self, x: Buffer = None, out: Buffer = None, *, dtype: str | None = None) -> Buffer:
        """The root's `x` arrives in every other rank's `x` (or `out`)."""
        return self._call(Kind.BROADCAST, x, out, "sum", dtype)

    def reduce(self, x: Buffer = None, out: Buffer = None, *, op: str = "sum", dtype: str | None = None) -> Buffer:
        """The root gets the reduction of all `x`, in `x` itself or in `out`; the others get None."""
        return self._call(Kind.REDUCE, x, out, op, dtype)

    def gather(
        self, x: Buffer = None, out: Buffer = None, *, dtype: str | None = None, count: int | None = None
    ) -> Buffer:
        """`x` is this rank's shard; the root gets all shards, in rank order, in `out` or a new array."""
        return self._call(Kind.GATHER, x, out, "sum", dtype, count)

    def scatter(
        self, x: Buffer = None, out: Buffer = None, *, dtype: str | None = None, count: int | None = None
    ) -> Buffer:
        """The root's `x` is a whole buffer; every rank gets its shard in `out` (the root: or in a new array)."""
        return self._call(Kind.SCATTER, x, out, "sum", dtype, count)

    def call(self, x: Buffer = None, out: Buffer = None, *, op: str = "sum", **options: Any) -> Buffer:
        """The plan's collective, whichever it is, with the arguments of its own method."""
        op = op if self.kind.reduces else "sum"
        return self._call(self.kind, x, out, op, options.get("dtype"), options.get("count"))

    def close(self) -> None:
        """Say that this rank makes no more calls. Calls of other ranks that need it fail."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, kind: Kind, x: Buffer, out: Buffer, op: str, dtype: str | None, count: int | None = None) -> Buffer:
        if kind is not self.kind:
            raise InputError(f"this plan was compiled for {self.kind}, not {kind}; compile one with `-c {kind}`")
        role, operation = self._role, op_code(op)
        if role.gives == "nothing" and out is None:
            x, out = None, x
        if out is None and role.gives == role.gets:
            out = x
        self._check_presence(x, out)
        source, source_size, code = self._open(x, dtype)
        target, target_size, target_code = self._open(out, dtype)
        if source is None and target is None and role.gives == role.gets == "nothing":
            self._connection.call(-1, 0, operation, None, None)
            return None
        code = target_code if source is None else code
        if target is not None and target_code != code:
            raise InputError(f"input is {DTYPES[code]}, output {DTYPES[target_code]}; they have one element type")
        count = self._count(source_size, target_size, count)
        if target is None and role.gets != "nothing":
            first, last = role.span(role.gets, count)
            out = target = np.empty(last - first, carrier(DTYPES[code]))
        try:
            self._connection.call(count, code, operation, source, target)
        except TypeError:
            raise InputError("the output is read-only; give an array that can be written") from None
        return out

    def _check_presence(self, x: Buffer, out: Buffer) -> None:
        role = self._role
        if role.gives != "nothing" and x is None:
            raise InputError(f"rank {self.rank} gives {_TELL[role.gives]} to this {self.kind}: pass it as x")
        if role.gives == "nothing" and role.gets == "nothing" and (x is not None or out is not None):
            raise InputError(f"rank {self.rank} is not in the group of this {self.kind}: call it without data")
        if role.gives == "nothing" and role.gets != "nothing" and out is None:
            raise InputError(f"rank {self.rank} gets {_TELL[role.gets]} from this {self.kind}: pass out=")
        if role.gives == "nothing" and x is not None:
            raise InputError(f"rank {self.rank} gives nothing to this {self.kind}: pass out= alone")
        if role.gets == "nothing" and out is not None:
            raise InputError(f"rank {self.rank} gets nothing from this {self.kind}: leave out= away")

    def _open(self, x: Buffer, dtype: str | None) -> tuple[Any, int, int]:
        """(object for the engine, elements, element type)."""
        if x is None:
            return None, 0, 0
        if isinstance(x, np.ndarray) and x.dtype.name == "bfloat16":  # of a package that adds it to numpy
            x, dtype = x.view(np.uint16), "bfloat16"
        try:
            size, code = examine(x)
        except TypeError:
            raise InputError(f"{_describe(x)}: expected a C-contiguous array in CPU memory") from None
        if dtype is not None:
            code = dtype_code(dtype)
        if code < 0:
            raise InputError(f"{_describe(x)}: the engine has {', '.join(DTYPES)}")
        return x, size, code

    def _count(self, given: int, got: int, count: int | None) -> int:
        """The elements of the whole buffer, from the sizes of this rank's input and output."""
        role = self._role
        if count is None and role.gives != "nothing":
            count = role.whole_count(role.gives, given)
        if count is None and role.gets != "nothing":
            count = role.whole_count(role.gets, got)
        if count is None:
            raise InputError(
                f"rank {self.rank}: {given or got} elements do not tell the size of the whole buffer; pass count="
            )
        return count


_TELL: dict[Part, str] = {"whole": "the whole buffer", "shard": "its shard", "nothing": "nothing"}


def _describe(x: Any) -> str:
    shape = tuple(getattr(x, "shape", ()))
    return f"{type(x).__name__} of {getattr(x, 'dtype', 'no element type')}, shape {shape}"
