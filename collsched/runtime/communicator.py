"""What a user holds: one rank's end of a plan, with one method a collective."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from types import TracebackType
from typing import Any, Self

import numpy as np

from collsched.collective import Kind
from collsched.errors import EngineError, InputError
from collsched.runtime.buffers import Buffer, open_buffer
from collsched.runtime.dtypes import carrier, op_code
from collsched.runtime.engine import RELAY, Call, Engine, Executable, RankPlan, Wirings, select
from collsched.runtime.layout import Part, Role
from collsched.runtime.pending import Handle, Job, Worker
from collsched.runtime.trace import Trace, from_bytes, to_bytes

Array = Any  # of numpy, torch, cupy; or any object with DLPack, the buffer protocol, __array_interface__
_SIZES_KEPT = 256


class Communicator:
    """One rank of a plan on an engine. Every rank of the topology makes the same calls in the same order.

    A communicator serves the collective that its plan was compiled for. Arrays are C-contiguous and of any shape; their
    elements count. Ranks outside the group, which may relay, call the same method without data.

    `dtype` names the element type where the array cannot tell, such as bfloat16 kept in uint16. `count`, the elements
    of the whole buffer, is needed only where it does not follow from the arrays: unequal shards that do not divide.
    With `wait=False` a method returns a Handle at once, and the call goes on while the caller computes; further calls
    follow it in order. Raises InputError for arguments that cannot be right, EngineError if the ranks disagree or one
    of them fails.
    """

    def __init__(self, plan: Executable, engine: Engine, wirings: Wirings | None = None) -> None:
        self._plan = plan
        self._engine = engine
        self._wirings = wirings or Wirings()
        self._role = Role(plan.collective, plan.schedule().chunks, engine.rank)
        self._loaded: dict[tuple[str, int], Any] = {}
        self._chosen: OrderedDict[int, tuple[str, int]] = OrderedDict()  # bytes → key of what was loaded
        self._sizes = lru_cache(_SIZES_KEPT)(self._role.sizes)
        self._worker = Worker(f"collsched {plan.collective.kind}")
        self._closed = False
        self._again = engine.again if plan.collective.kind is Kind.ALLREDUCE else None
        self.rank = engine.rank
        self.ranks = engine.ranks

    @property
    def kind(self) -> Kind:
        """The collective that this communicator executes."""
        return self._role.collective.kind

    @property
    def engine(self) -> str:
        """The name of the engine: shm, mpi, nccl or cuda."""
        return self._engine.name

    @property
    def device(self) -> str:
        """The memory that its buffers live in: cpu or cuda."""
        return self._engine.device

    def allreduce(
        self, x: Array = None, out: Array = None, *, op: str = "sum", dtype: str | None = None, wait: bool = True
    ) -> Any:
        """Every rank of the group gets the reduction of all `x`, in `x` itself or in `out`."""
        if self._again is not None and dtype is None and wait and not self._worker.busy:
            result = x if out is None else out
            if self._again(x, result, op):
                return result
        return self._call(Kind.ALLREDUCE, x, out, op, dtype, None, wait)

    def allgather(
        self,
        x: Array = None,
        out: Array = None,
        *,
        dtype: str | None = None,
        count: int | None = None,
        wait: bool = True,
    ) -> Any:
        """`x` is this rank's shard; every rank of the group gets all shards, in rank order, in `out` or a new array."""
        return self._call(Kind.ALLGATHER, x, out, "sum", dtype, count, wait)

    def reduce_scatter(
        self, x: Array = None, out: Array = None, *, op: str = "sum", dtype: str | None = None, wait: bool = True
    ) -> Any:
        """`x` is a whole buffer; this rank gets its shard of their reduction, in `out` or a new array."""
        return self._call(Kind.REDUCE_SCATTER, x, out, op, dtype, None, wait)

    def broadcast(self, x: Array = None, out: Array = None, *, dtype: str | None = None, wait: bool = True) -> Any:
        """The root's `x` arrives in every other rank's `x` (or `out`)."""
        return self._call(Kind.BROADCAST, x, out, "sum", dtype, None, wait)

    def reduce(
        self, x: Array = None, out: Array = None, *, op: str = "sum", dtype: str | None = None, wait: bool = True
    ) -> Any:
        """The root gets the reduction of all `x`, in `x` itself or in `out`; the others get None."""
        return self._call(Kind.REDUCE, x, out, op, dtype, None, wait)

    def gather(
        self,
        x: Array = None,
        out: Array = None,
        *,
        dtype: str | None = None,
        count: int | None = None,
        wait: bool = True,
    ) -> Any:
        """`x` is this rank's shard; the root gets all shards, in rank order, in `out` or a new array."""
        return self._call(Kind.GATHER, x, out, "sum", dtype, count, wait)

    def scatter(
        self,
        x: Array = None,
        out: Array = None,
        *,
        dtype: str | None = None,
        count: int | None = None,
        wait: bool = True,
    ) -> Any:
        """The root's `x` is a whole buffer; every rank gets its shard in `out` (the root: or in a new array)."""
        return self._call(Kind.SCATTER, x, out, "sum", dtype, count, wait)

    def all_to_all(
        self,
        x: Array = None,
        out: Array = None,
        *,
        dtype: str | None = None,
        count: int | None = None,
        wait: bool = True,
    ) -> Any:
        """`x` has a part for every rank, in rank order; this rank gets its part of every rank's, in rank order, in
        `out` or a new array. Parts of one size: part j of m elements on n ranks begins at ⌊j × m / n⌋."""
        return self._call(Kind.ALL_TO_ALL, x, out, "sum", dtype, count, wait)

    def call(self, x: Array = None, out: Array = None, *, op: str = "sum", **options: Any) -> Any:
        """The plan's collective, whichever it is, with the arguments of its own method."""
        op = op if self.kind.reduces else "sum"
        return self._call(self.kind, x, out, op, options.get("dtype"), options.get("count"), options.get("wait", True))

    def empty(self, shape: int | tuple[int, ...], dtype: str = "float32") -> Any:
        """A new array that the engine moves without copying it first; of numpy where buffers live in CPU memory. It
        lives as long as somebody refers to it."""
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        element = carrier(dtype)
        size = int(np.prod(shape, dtype=np.int64))
        memory = self._engine.empty(size * element.itemsize)
        if self._engine.device != "cpu":
            return memory.view(element)[:size].reshape(shape)
        return np.frombuffer(memory, element, size).reshape(shape)

    @contextmanager
    def trace(self) -> Iterator[Trace]:
        """Record what the ranks do within the context; afterwards the trace has it, on every rank. Collective:

        with comm.trace() as trace:
            comm.allreduce(x)
        trace.save("trace.json"); print(trace.text())
        """
        nodes = self._plan.topology.nodes
        trace = Trace([nodes[node].name for node in self._plan.topology.ranks])
        self._worker.flush()
        self._engine.record(True)
        try:
            yield trace
        finally:
            self._worker.flush()
            self._engine.record(False)
            mine = self._engine.events()
        for part in self.share(to_bytes(mine)):
            trace.events.extend(from_bytes(part))

    def share(self, data: bytes) -> list[bytes]:
        """The data of every rank, in rank order. Collective."""
        self._worker.flush()
        return self._engine.gather(data)

    def close(self) -> None:
        """Finish the calls under way, and say that this rank makes no more. Calls of other ranks that need it fail."""
        if not self._closed:
            self._closed = True
            self._worker.stop()
            self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, kind: Kind, x: Array, out: Array, op: str, dtype: str | None, count: int | None, wait: bool) -> Any:
        if kind is not self.kind:
            raise InputError(f"this plan was compiled for {self.kind}, not {kind}; compile one with `-c {kind}`")
        if self._closed:
            raise EngineError(f"this communicator is closed; connect again for another {kind}")
        op_code(op)
        role = self._role
        if role.gives == "nothing" and out is None:
            x, out = None, x
        if out is None and role.gives == role.gets:
            out = x
        self._check_presence(x, out)
        source, target = (None if a is None else open_buffer(a, dtype, self._engine.device) for a in (x, out))
        call = self._agreeable(source, target, op, count)
        if target is None and role.gets != "nothing":
            assert source is not None
            out = self._new(self._sizes(call.count)[1], source)
            target = open_buffer(out, source.dtype, self._engine.device)
        if call.count != RELAY:
            source = self._check_buffers(call, source, target)
        return self._start(call, source, target, out, wait)

    def _agreeable(self, source: Buffer | None, target: Buffer | None, op: str, count: int | None) -> Call:
        """The call that this rank makes, from its arrays."""
        known = source or target
        if known is None:
            return Call(RELAY, "float32", op)
        if source is not None and target is not None and source.dtype != target.dtype:
            raise InputError(f"input is {source.dtype}, output {target.dtype}; they have one element type")
        if count is None:
            count = self._role.count(*(None if buffer is None else buffer.count for buffer in (source, target)))
        if count is None:
            raise InputError(
                f"rank {self.rank}: {known.count} elements do not tell the size of the whole buffer; pass count="
            )
        return Call(count, known.dtype, op)

    def _start(self, call: Call, source: Buffer | None, target: Buffer | None, out: Array, wait: bool) -> Any:
        job = partial(self._perform, call, source, target)
        if self._engine.queues:
            job()
            return out if wait else Handle(out, self._engine.mark())
        if wait and not self._worker.busy:
            job()
            return out
        interrupted = partial(self._engine.abort, f"rank {self.rank} was interrupted")
        handle = Handle(out, self._worker.submit(Job(job, interrupted)))
        return handle.wait() if wait else handle

    def _perform(self, call: Call, source: Buffer | None, target: Buffer | None) -> None:
        """One collective, from the comparison with the other ranks to the output."""
        nbytes = call.count * carrier(call.dtype).itemsize
        agreed = call.count == RELAY or nbytes not in self._chosen
        if agreed:
            # All ranks get here alike: relays wait in `agree` for what the others do in it or in `execute`.
            call = self._engine.agree(call)
            nbytes = call.count * carrier(call.dtype).itemsize
        self._engine.execute(self._load(nbytes), call, source, target, agreed)

    def _load(self, nbytes: int) -> Any:
        """What the engine made of the plan for this size, now or earlier."""
        key = self._chosen.get(nbytes)
        if key is None:
            plan = select(self._plan, nbytes)
            segments = self._engine.segments(plan, nbytes)
            key = plan.digest, segments
            if key not in self._loaded:
                self._loaded[key] = self._engine.load(RankPlan(self._wirings.get(plan, segments), self.rank))
            self._chosen[nbytes] = key
            if len(self._chosen) > _SIZES_KEPT:
                self._chosen.popitem(last=False)
        return self._loaded[key]

    def _new(self, size: int, like: Buffer) -> Array:
        if self._engine.device == "cpu":
            return np.empty(size, carrier(like.dtype))
        return self.empty(size, like.dtype)

    def _check_presence(self, x: Array, out: Array) -> None:
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

    def _check_buffers(self, call: Call, source: Buffer | None, target: Buffer | None) -> Buffer | None:
        """Sizes, and how the two lie to each other. Returns the input to use: a copy in an all-to-all in place."""
        role, needs = self._role, self._sizes(call.count)
        sizes = (0 if source is None else source.count, 0 if target is None else target.count)
        if sizes != needs:
            raise InputError(
                f"rank {self.rank} gave {sizes[0]:,} elements of input and {sizes[1]:,} of output; this {self.kind} of "
                f"{call.count:,} {call.dtype} takes {needs[0]:,} and {needs[1]:,}"
            )
        if target is not None and not target.writable:
            raise InputError("the output is read-only; give an array that can be written")
        if source is None or target is None or not source.overlaps(target):
            return source
        item = carrier(call.dtype).itemsize
        if self.kind is Kind.ALL_TO_ALL and source.address == target.address:
            return self._copy(source)
        if not role.in_place(source.address, target.address, item, call.count):
            raise InputError(
                f"input and output of rank {self.rank} overlap, and not as they do in place; give separate arrays"
            )
        return source

    def _copy(self, source: Buffer) -> Buffer:
        copy = source.array().copy() if self._engine.device == "cpu" else source.owner.copy()
        return open_buffer(copy, source.dtype, self._engine.device)


_TELL: dict[Part, str] = {
    "whole": "the whole buffer", "shard": "its shard", "parts": "a part from every rank", "nothing": "nothing",
}  # fmt: skip
