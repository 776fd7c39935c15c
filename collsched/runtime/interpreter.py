"""The same programs in one process, with one numpy array a rank: slow, obvious, the oracle of every engine.

Each rank keeps a working buffer of the whole collective. Ranks take turns; a turn runs a rank's instructions in list
order until one must wait for data that has not been sent. Reductions into a chunk happen in list order, as in the
engines, so floating-point results agree to the last bit.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collsched.errors import EngineError
from collsched.ir.program import RECV_REDUCE, SEND, Program
from collsched.ir.schedule import Schedule
from collsched.lower import programs
from collsched.runtime.layout import Role
from collsched.topology.model import Topology

Array = NDArray[Any]
_COMBINE: Mapping[str, Callable[..., Array]] = {
    "sum": np.add,
    "avg": np.add,
    "prod": np.multiply,
    "min": np.minimum,
    "max": np.maximum,
}


def interpret(
    topology: Topology, schedule: Schedule, inputs: Sequence[Array | None], count: int, op: str = "sum"
) -> list[Array | None]:
    """The outputs of all ranks for their inputs (None: a rank that gives, or gets, nothing).

    `count` is the number of elements of one whole buffer. Raises EngineError if the programs deadlock.
    """
    roles = [Role(schedule.collective, schedule.chunks, rank) for rank in range(len(topology.ranks))]
    dtype = next(array.dtype for array in inputs if array is not None)
    buffers = [np.zeros(role.total(count), dtype) for role in roles]
    for role, buffer, array in zip(roles, buffers, inputs, strict=True):
        at = 0
        for first, last in role.spans(role.given, count):
            if array is not None:
                buffer[first:last] = array[at : at + last - first]
            at += last - first
    ranges = schedule.chunks.ranges(schedule.collective, len(buffers[0]))
    with np.errstate(all="ignore"):  # an overflow is a result like any other
        execute(list(programs(topology, schedule)), buffers, ranges, op)
    size = len(schedule.collective.group)
    outputs: list[Array | None] = []
    for role, buffer in zip(roles, buffers, strict=True):
        spans = [buffer[first:last] for first, last in role.spans(role.got, count)]
        result = np.concatenate(spans) if spans else buffer[:0]
        outputs.append(None if role.gets == "nothing" else _average(result, size) if op == "avg" else result)
    return outputs


def execute(every: Sequence[Program], buffers: Sequence[Array], ranges: tuple[Array, Array], op: str) -> None:
    """Runs the programs of all ranks on their working buffers, in which chunk c is [ranges[0][c], ranges[1][c]). Raises
    EngineError if they deadlock."""
    lanes: defaultdict[tuple[int, int, int], deque[Array]] = defaultdict(deque)
    position = [0] * len(every)
    moved = True
    while moved:
        moved = False
        for program, buffer in zip(every, buffers, strict=True):
            first = position[program.rank]
            position[program.rank] = _turn(program, first, buffer, ranges, lanes, op)
            moved |= position[program.rank] > first
    for program in every:
        if position[program.rank] < len(program):
            raise EngineError(
                f"deadlock: rank {program.rank} waits at instruction {position[program.rank]} for rank "
                f"{program.peer[position[program.rank]]}"
            )


def _turn(
    program: Program,
    at: int,
    buffer: Array,
    ranges: tuple[Array, Array],
    lanes: defaultdict[tuple[int, int, int], deque[Array]],
    op: str,
) -> int:
    """Runs instructions from position `at` on; returns the position of the first that must wait."""
    wires = program.connections
    for i in range(at, len(program)):
        wire = program.connection[i]
        lane = lanes[int(wires.src[wire]), int(wires.dst[wire]), int(wires.channel[wire])]
        chunk = buffer[ranges[0][program.chunk[i]] : ranges[1][program.chunk[i]]]
        if program.opcode[i] == SEND:
            lane.append(chunk.copy())
        elif not lane:
            return i
        elif program.opcode[i] == RECV_REDUCE:
            _COMBINE[op](chunk, lane.popleft(), out=chunk)
        else:
            chunk[:] = lane.popleft()
    return len(program)


def _average(total: Array, size: int) -> Array:
    """Integers are divided towards zero, as by the engines."""
    quotient: Array
    if total.dtype.kind == "f":
        quotient = total / total.dtype.type(size)
    else:
        quotient = np.abs(total.astype(object)) // size * np.sign(total).astype(object)
    result: Array = quotient.astype(total.dtype)
    return result
