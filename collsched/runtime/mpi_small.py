"""Comparison of calls, and small calls in the same exchange.

Every call begins with an exchange in which all ranks show what they call. Where a plan reduces and all ranks give, a
rank shows its input too if that is small, and then adds up the inputs of all by itself, in the order of the plan:
`runtime.small` tells which sums bring the bits that the program would.

    of each rank   count, type and reduction, whether the input follows, number of the call │ input

The number is there because an MPI may let an exchange end well that a rank did not live to take part in: what stands
in that rank's place is then from the call before.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any

import numpy as np

from collsched import _engine
from collsched.collective import Kind
from collsched.runtime.buffers import Buffer
from collsched.runtime.dtypes import DTYPES, OPS, carrier
from collsched.runtime.engine import RELAY, Call, Executable
from collsched.runtime.mpi_flight import Loaded
from collsched.runtime.mpi_link import Link
from collsched.runtime.mpi_world import finish
from collsched.runtime.small import RANKS

_HEADER = 64
_MOST, _MOST_OF_ALL = 4096, 64 << 10  # bytes of an input in an exchange, and of all of them
_LINES = 512  # additions that take less than the messages of a program
_KINDS = (Kind.ALLREDUCE, Kind.REDUCE_SCATTER, Kind.REDUCE)
_NOBODY = -(1 << 62)  # less than any count


class Exchange:
    """What the ranks of a communicator show each other at each call: by itself, or with room for small inputs."""

    def __init__(self, plan: Executable, link: Link) -> None:
        self._link = link
        alike = plan.collective.kind in _KINDS and len(plan.collective.group) == link.ranks <= RANKS
        self.room = min(_MOST, _MOST_OF_ALL // link.ranks) // 8 * 8 if alike else 0
        self._mine = np.zeros(_HEADER + self.room, np.uint8)
        self._all = np.zeros((link.ranks, _HEADER + self.room), np.uint8)
        self._temporary = np.empty((link.ranks + 1, max(1, self.room)), np.uint8)

    def meet(self, call: Call, source: Buffer | None) -> tuple[list[Call | None], bool]:
        """The calls of all ranks (None: of a relay), or one for all if they are alike; and whether all have shown
        their input. `source`: what to show, at most `room` bytes. Collective."""
        mpi, comm = self._link.mpi, self._link.comm
        code = DTYPES.index(call.dtype) * len(OPS) + OPS.index(call.op)
        if not self.room:
            return self._compare(call, code)
        self._mine[:32].view(np.int64)[:] = call.count, code, source is not None, self._link.calls
        if source is not None:
            ctypes.memmove(self._mine.ctypes.data + _HEADER, source.address, source.nbytes)
        finish(self._link, comm.Iallgather, [self._mine, mpi.BYTE], [self._all, mpi.BYTE])
        headers = [tuple(row[:32].view(np.int64).tolist()) for row in self._all]
        self._check_all_came(number for *_, number in headers)
        if len({header[:2] for header in headers}) == 1:
            return [call], all(header[2] for header in headers)
        return [_decoded(*header[:2]) for header in headers], False

    def _compare(self, call: Call, code: int) -> tuple[list[Call | None], bool]:
        """By the most and, negated, the least of every number, which costs less on many ranks; a relay has no say. A
        rank that did not take part may go unnoticed here, where only the call is shown: the data's messages tell."""
        mpi, comm = self._link.mpi, self._link.comm
        calls = self._link.calls
        numbers = [_NOBODY] * 4 if call.count == RELAY else [call.count, -call.count, code, -code]
        mine = np.array([*numbers, calls, -calls], np.int64)
        most = np.zeros_like(mine)
        finish(self._link, comm.Iallreduce, [mine, mpi.INT64_T], [most, mpi.INT64_T], mpi.MAX)
        count, least, code, least_code, last, first = most.tolist()
        self._check_all_came([last, -first])
        if count == -least and code == -least_code:
            return [_decoded(count, code)], False
        every = np.zeros((self._link.ranks, len(mine)), np.int64)
        finish(self._link, comm.Iallgather, [mine, mpi.INT64_T], [every, mpi.INT64_T])
        self._check_all_came(every[:, 4].tolist())
        return [None if row[0] == _NOBODY else _decoded(row[0], row[2]) for row in every.tolist()], False

    def _check_all_came(self, numbers: Iterable[int]) -> None:
        """Raises EngineError where an exchange ended without a rank: not all `numbers` are that of this call."""
        if any(number != self._link.calls for number in numbers):
            self._link.explain("the end of an exchange in which not all ranks took part")

    def fits(self, loaded: Loaded, call: Call, source: Buffer | None) -> bool:
        """Whether this rank can show its input, and add up those of all."""
        if source is None or source.nbytes > self.room:
            return False
        return loaded.sums is not None and len(loaded.sums) <= _LINES

    def add_up(self, loaded: Loaded, call: Call, target: Buffer | None) -> None:
        """The output of a call whose inputs all ranks have shown."""
        if target is None:
            return
        item = carrier(call.dtype).itemsize
        layout = loaded.layout(call.count, item)
        dtype, op, ranks = DTYPES.index(call.dtype), OPS.index(call.op), self._link.ranks
        shown, stride = self._all.ctypes.data + _HEADER, self._all.strides[0]
        free, step = self._temporary.ctypes.data, self._temporary.strides[0]
        for chunk, *registers in loaded.sums or ():
            at, got = layout.input[chunk], target.address + layout.output[chunk]  # every rank gives the whole buffer
            into, left, right = (
                shown + number * stride + at if number < ranks
                else got if number == ranks
                else free + (number - ranks - 1) * step + at
                for number in registers
            )  # fmt: skip
            _engine.reduce(dtype, op, into, left, right, layout.size[chunk] // item)
        if call.op == "avg":
            _engine.divide(dtype, target.address, target.count, ranks)


def _decoded(count: Any, code: Any) -> Call:
    dtype, op = divmod(int(code), len(OPS))
    return Call(int(count), DTYPES[dtype], OPS[op])
