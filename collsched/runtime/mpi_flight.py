"""One rank's program executed by messages: one call from its input to its output.

    lane out   Isend from where the chunk's version lies: the input until it changes, then its place
    lane in    copies: Irecv into the chunk's place
               reductions: Irecv into one of the lane's few landing places, then  place = version + landed

A chunk's place is in the output if this rank gets it, else in working memory; nothing is copied on the way. A lane
posts its messages in the order of the program, a few at a time: the order in which the other side expects them.
A message is posted once its instruction waits for nothing (`Dataflow`); one that will be added needs only a landing.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from collsched import _engine
from collsched.errors import EngineError
from collsched.ir.program import RECV_COPY, RECV_REDUCE, SEND
from collsched.runtime.buffers import Buffer
from collsched.runtime.dataflow import Dataflow
from collsched.runtime.dtypes import DTYPES, OPS, carrier
from collsched.runtime.engine import Call, RankPlan
from collsched.runtime.mpi_link import NOTE, Awaited, Link
from collsched.runtime.mpi_world import abandon
from collsched.runtime.small import sums
from collsched.runtime.trace import Event

_LAYOUTS = 8  # kept a program
_ALIGN = 64


@dataclass(frozen=True, slots=True)
class Layout:
    """Where chunks lie for one element count and size, in bytes. `input`, `output`: −1 where a chunk is not there;
    `work`: in working memory, of those that this rank receives and does not get."""

    size: list[int]
    input: list[int]
    output: list[int]
    work: list[int]
    work_bytes: int
    landing: int  # bytes of the longest chunk that is added


class Loaded:
    """A program made ready: its dataflow and its lanes, and memory that calls use one after another."""

    def __init__(self, rank_plan: RankPlan, window: int) -> None:
        program = rank_plan.program
        self.rank_plan, self.window = rank_plan, window
        self.flow = Dataflow.of(program)
        self.opcode, self.chunk = program.opcode.tolist(), program.chunk.tolist()
        self.peer, self.lane = program.peer.tolist(), program.connection.tolist()
        self.tags = program.connections.channel.tolist()
        if max(self.tags, default=0) >= NOTE:
            raise EngineError(f"the plan has lane {max(self.tags)}; messages carry numbers below {NOTE}")
        self._check_sources()
        self.adding = sorted({lane for lane, op in zip(self.lane, self.opcode, strict=True) if op == RECV_REDUCE})
        self.layout = lru_cache(_LAYOUTS)(self._layout)
        self._memory = np.empty(0, np.uint8)

    def _check_sources(self) -> None:
        """A program must not read what is not there: it would be foreign memory."""
        role = self.rank_plan.role
        held = set(np.flatnonzero(role.given[role.chunks.shard]).tolist())
        for c, op in zip(self.chunk, self.opcode, strict=True):
            if op != RECV_COPY and c not in held:
                raise EngineError(f"a program sends or adds to chunk {c} before it has it; verify the plan")
            held.add(c)

    @cached_property
    def sums(self) -> list[tuple[int, int, int, int]] | None:
        """(chunk, into, left, right) of the sums that stand for the program in small calls (`runtime.small`), if there
        are such; empty where this rank gets nothing."""
        begin, into, left, right = sums(self.rank_plan)
        if not len(begin):
            return None
        chunk = np.repeat(np.arange(len(begin) - 1), np.diff(begin))
        return list(zip(chunk.tolist(), into.tolist(), left.tolist(), right.tolist(), strict=True))

    def memory(self, layout: Layout) -> tuple[int, int]:
        """The addresses of working memory and of the landings, which are `layout.landing` bytes each."""
        need = layout.work_bytes + len(self.adding) * self.window * layout.landing + _ALIGN
        if need > len(self._memory):
            self._memory = np.empty(0, np.uint8)
            self._memory = np.empty(need, np.uint8)
        base = -(-self._memory.ctypes.data // _ALIGN) * _ALIGN
        return base, base + layout.work_bytes

    def _layout(self, count: int, item: int) -> Layout:
        lo, hi, in_at, out_at, _, _ = self.rank_plan.role.ranges(count)
        size = ((hi - lo) * item).tolist()
        received = {c for c, op in zip(self.chunk, self.opcode, strict=True) if op != SEND}
        work, end, landing = [-1] * len(size), 0, 0
        for c in sorted(received):
            if out_at[c] < 0:
                work[c], end = end, end + _round_up(size[c])
        for c, op in zip(self.chunk, self.opcode, strict=True):
            if op == RECV_REDUCE:
                landing = max(landing, size[c])
        inputs, outputs = (np.where(at < 0, -1, at * item).tolist() for at in (in_at, out_at))
        return Layout(size, inputs, outputs, work, end, _round_up(landing))


def _round_up(nbytes: int) -> int:
    return -(-nbytes // _ALIGN) * _ALIGN


@dataclass(slots=True)
class _Lane:
    peer: int
    tag: int
    queue: list[int] = field(default_factory=list)  # instructions that move something, in order
    next: int = 0  # the first of them that is not posted
    flying: int = 0  # posted, and not complete
    landings: list[int] = field(default_factory=list)  # addresses that are free


class Flight:
    """One call under way. `message`: the most bytes that MPI is given at once. `events`: where to record
    the transfers."""

    def __init__(
        self,
        link: Link,
        loaded: Loaded,
        call: Call,
        source: Buffer | None,
        target: Buffer | None,
        message: int,
        events: list[Event] | None,
    ) -> None:
        self._link, self._loaded, self._call, self._message = link, loaded, call, message
        self._dtype, self._op = DTYPES.index(call.dtype), OPS.index(call.op)
        self._item = carrier(call.dtype).itemsize
        self._target, self._source = target, source
        self._layout = layout = loaded.layout(call.count, self._item)
        self._size = layout.size
        given, got = (0 if buffer is None else buffer.address for buffer in (source, target))
        work, landings = loaded.memory(layout)
        self._version = [given + at if at >= 0 else 0 for at in layout.input]  # where each chunk is now
        self._place = [got + out if out >= 0 else work + at for out, at in zip(layout.output, layout.work, strict=True)]
        self._waits, self._left = loaded.flow.waits.copy(), len(loaded.chunk)
        self._lanes = self._make_lanes(landings)
        self._landed: dict[int, int] = {}  # instructions that add: where their data is, or comes in
        self._arrived: set[int] = set()  # those of them whose data is there
        self._parts: dict[int, int] = {}  # messages still on their way, of instructions with several
        self._requests: list[Any] = []
        self._owners: list[int] = []  # the instruction of each request
        self._stirred: set[int] = set()  # lanes that may have something to post
        self._events = events
        self._ready: dict[int, int] = {}  # when each message was posted, if events are recorded

    def _make_lanes(self, landings: int) -> list[_Lane]:
        loaded, layout = self._loaded, self._layout
        peers = dict(zip(loaded.lane, loaded.peer, strict=True))
        lanes = [_Lane(peers[lane], tag) for lane, tag in enumerate(loaded.tags)]
        for i, lane in enumerate(loaded.lane):
            if layout.size[loaded.chunk[i]]:
                lanes[lane].queue.append(i)
        for place, lane in enumerate(loaded.adding):
            first = landings + place * loaded.window * layout.landing
            lanes[lane].landings = [first + slot * layout.landing for slot in range(loaded.window)]
        return lanes

    def run(self) -> None:
        """Returns when the output is complete and the input may be changed. Raises EngineError."""
        size, chunk = self._size, self._loaded.chunk
        self._stirred.update(range(len(self._lanes)))
        self._complete([i for i, waits in enumerate(self._waits) if not waits and not size[chunk[i]]])
        self._post()
        self._copy_own()
        try:
            while self._left:
                self._take(self._link.wait(self._requests, self._awaited))
                self._post()
        except BaseException:
            self._abandon()
            raise
        if self._call.op == "avg" and self._target is not None:
            members = len(self._loaded.rank_plan.role.collective.group)
            _engine.divide(self._dtype, self._target.address, self._target.count, members)

    def _copy_own(self) -> None:
        """What this rank gives to itself alone: chunks of the output that never change."""
        received = {c for c, op in zip(self._loaded.chunk, self._loaded.opcode, strict=True) if op != SEND}
        for c, (given, got) in enumerate(zip(self._layout.input, self._layout.output, strict=True)):
            if given >= 0 and got >= 0 and c not in received and self._place[c] != self._version[c]:
                ctypes.memmove(self._place[c], self._version[c], self._size[c])

    def _take(self, done: Sequence[int]) -> None:
        """Requests at these positions are complete."""
        ended = [self._owners[at] for at in done]
        for at in sorted(done, reverse=True):
            request, owner = self._requests.pop(), self._owners.pop()
            if at < len(self._requests):
                self._requests[at], self._owners[at] = request, owner
        for i in ended:
            self._parts[i] -= 1
            if self._parts[i]:
                continue
            del self._parts[i]
            if self._loaded.opcode[i] == RECV_REDUCE and self._waits[i]:
                self._arrived.add(i)
            else:
                self._complete([i])

    def _complete(self, todo: list[int]) -> None:
        """Finish instructions whose messages are done, and those without data that wait for nothing else."""
        waits, then, size, chunk = self._waits, self._loaded.flow.then, self._size, self._loaded.chunk
        while todo:
            i = todo.pop()
            self._left -= 1
            if size[chunk[i]]:
                self._finish(i)
            for j in then[i]:
                waits[j] -= 1
                if waits[j]:
                    continue
                if not size[chunk[j]]:
                    todo.append(j)
                elif j in self._arrived:
                    self._arrived.remove(j)
                    todo.append(j)
                else:
                    self._stirred.add(self._loaded.lane[j])

    def _finish(self, i: int) -> None:
        c, lane = self._loaded.chunk[i], self._lanes[self._loaded.lane[i]]
        op = self._loaded.opcode[i]
        begin = time.monotonic_ns() if self._events is not None else 0
        if op == RECV_REDUCE:
            landed = self._landed.pop(i)
            count = self._size[c] // self._item
            _engine.reduce(self._dtype, self._op, self._place[c], self._version[c], landed, count)
            lane.landings.append(landed)
        if op != SEND:
            self._version[c] = self._place[c]
        lane.flying -= 1
        self._stirred.add(self._loaded.lane[i])
        if self._events is not None and op != SEND:
            self._record(i, begin, (lane.peer,), ())

    def _post(self) -> None:
        while self._stirred:
            lane = self._lanes[self._stirred.pop()]
            while lane.next < len(lane.queue) and lane.flying < self._loaded.window:
                i = lane.queue[lane.next]
                op, c = self._loaded.opcode[i], self._loaded.chunk[i]
                if op == RECV_REDUCE:
                    address = self._landed[i] = lane.landings.pop()
                elif self._waits[i]:
                    break
                else:
                    address = self._place[c] if op == RECV_COPY else self._version[c]
                lane.next += 1
                lane.flying += 1
                self._start(i, lane, op == SEND, address, self._size[c])

    def _start(self, i: int, lane: _Lane, sends: bool, address: int, nbytes: int) -> None:
        mpi, comm = self._link.mpi, self._link.comm
        if self._events is not None:
            self._ready[i] = time.monotonic_ns()
        start = comm.Isend if sends else comm.Irecv
        self._parts[i] = -(-nbytes // self._message)
        for at in range(0, nbytes, self._message):
            part = min(self._message, nbytes - at)
            data = (mpi.buffer.fromaddress(address + at, part), mpi.BYTE)
            with self._link.lock:
                self._requests.append(start(data, lane.peer, lane.tag))
            self._owners.append(i)
        if self._events is not None and sends:
            self._record(i, self._ready[i], (), (lane.peer,))

    def _record(self, i: int, begin: int, sources: tuple[int, ...], targets: tuple[int, ...]) -> None:
        assert self._events is not None
        chunk, now = self._loaded.chunk[i], time.monotonic_ns()
        ready = self._ready.pop(i)
        call, nbytes = self._link.calls, self._size[chunk]
        self._events.append(Event(self._link.rank, call, chunk, 0, nbytes, ready, begin, now, sources, targets))

    def _awaited(self) -> Awaited:
        """The first message that does not come; or if none is missing, one that is not taken."""
        opcode = self._loaded.opcode
        flying = sorted(set(self._owners), key=lambda i: (opcode[i] == SEND, self._waits[i] > 0, i))
        i = flying[0]
        peer, me = self._loaded.peer[i], self._link.rank
        src, dst = (me, peer) if opcode[i] == SEND else (peer, me)
        return Awaited(peer, self._loaded.chunk[i], i + 1, len(opcode), src, dst)

    def _abandon(self) -> None:
        """After a failure: messages under way may still move, so their memory must stay."""
        for request, owner in zip(self._requests, self._owners, strict=True):
            if self._loaded.opcode[owner] != SEND:
                with contextlib.suppress(self._link.mpi.Exception):  # it may be over, by the failure itself
                    request.Cancel()
        abandon(self._requests, self._loaded, self._source, self._target)
