"""Execute a plan with one process a rank and compare every element with numpy.

Values repeat after a prime number of elements, so the expected result of any size follows from one period. Integers are
so small that every order of summation gives the exact sum, in every element type; fractions round, and an element is
wrong if it is further from the exact sum than (n − 1) roundings can take it.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from collsched.collective import PROMISES, Collective
from collsched.errors import EngineError, InputError
from collsched.runtime import shm
from collsched.runtime.check_memory import memory_of
from collsched.runtime.communicator import Communicator
from collsched.runtime.dtypes import carrier, decode, dtype_code, encode, is_float, op_code, unit_roundoff
from collsched.runtime.engine import Executable, Wirings, select
from collsched.runtime.launch import Ranks, raising_signals
from collsched.runtime.layout import Role
from collsched.units import format_bytes

Array = NDArray[Any]
PERIOD = 8191
_EXACT = 256  # integers up to this are exact in every element type but the 8-bit integers, which wrap alike everywhere


@dataclass(frozen=True, slots=True)
class Case:
    """One collective call: `elements` of the whole buffer, of values that are small integers or fractions."""

    dtype: str
    elements: int
    op: str = "sum"
    values: Literal["integers", "fractions"] = "integers"

    def __post_init__(self) -> None:
        dtype_code(self.dtype)
        op_code(self.op)
        if self.elements < 0:
            raise InputError(f"{self.elements} elements; a number from 0 up")
        if self.values == "fractions" and not is_float(self.dtype):
            raise InputError(f"{self.dtype} has no fractions; use a floating-point type")

    @property
    def bytes(self) -> int:
        return self.elements * carrier(self.dtype).itemsize


@dataclass(frozen=True, slots=True)
class Row:
    """What a case showed: wrong elements over all ranks, and measured seconds (median of the slowest rank)."""

    case: Case
    wrong: int
    seconds: float


@dataclass(frozen=True)
class Values:
    """The numbers that a kind of case gives to the ranks, and what must come out: one period of each.

    Made once, before the ranks are forked, which then share them.
    """

    collective: Collective
    dtype: str
    op: str
    values: Literal["integers", "fractions"]

    @cached_property
    def inputs(self) -> dict[int, Array]:
        """The elements of every rank of the group."""
        return {rank: encode(self._numbers(rank), self.dtype) for rank in self.collective.group}

    @cached_property
    def reduced(self) -> tuple[Array, Array | None]:
        """The reduction over the group, and how far rounding may take an element from it (None: it is exact)."""
        inputs = [decode(part, self.dtype) for part in self.inputs.values()]
        wide = [part.astype(np.float64 if is_float(self.dtype) else part.dtype) for part in inputs]
        # the type of the elements, as integers wrap in it
        exact: Array = _REDUCE[self.op](
            np.stack(wide), axis=0, **({} if self.op in ("min", "max") else {"dtype": wide[0].dtype})
        )
        if self.op == "avg":
            exact = exact / len(wide) if is_float(self.dtype) else np.trunc(exact / len(wide)).astype(exact.dtype)
        if self.values == "integers" or self.op in ("min", "max"):
            return encode(exact, self.dtype), None
        size = (
            np.abs(exact)
            if self.op == "prod"
            else np.abs(np.stack(wide)).sum(axis=0) / (len(wide) if self.op == "avg" else 1)
        )
        # a rounding a reduction, one of the average, and the second-order terms
        return exact, size * (len(wide) + 1) * unit_roundoff(self.dtype) * 1.01

    def _numbers(self, rank: int) -> Array:
        random = np.random.default_rng([rank, dtype_code(self.dtype)])
        signed = not self.dtype.startswith("u")
        numbers: Array
        if self.values == "fractions":
            numbers = random.uniform(0.5, 2.0, PERIOD) * random.choice([-1.0, 1.0], PERIOD)
        elif self.op == "prod":
            first = rank == self.collective.group[0]
            numbers = random.choice([-1, 1] if signed else [1, 3], PERIOD) * (2 if first else 1)
        else:
            most = max(1, min(3, _EXACT // len(self.collective.group)))
            numbers = random.integers(-most if signed else 0, most + 1, PERIOD)
        return numbers


@dataclass(frozen=True, slots=True)
class Data:
    """The input and the expected output of every rank in a case."""

    case: Case
    values: Values

    def given(self, role: Role) -> Array | None:
        """The input of a rank, None if it gives nothing."""
        if role.gives == "nothing":
            return None
        mine = self.values.inputs[role.rank]
        parts = [_repeat(mine, *span) for span in role.spans(role.given, self.case.elements)]
        return np.concatenate(parts) if parts else mine[:0].copy()

    def wrong(self, role: Role, result: Array | None) -> int:
        """The number of elements of a rank's output that are not what they must be."""
        if role.gets == "nothing" or result is None:
            return 0
        if not PROMISES[role.collective.kind].reduced:
            return int(np.count_nonzero(result != self._copied(role)))
        first, last = next(iter(role.spans(role.got, self.case.elements)), (0, 0))
        expected, slack = self.values.reduced
        if slack is None:
            return int(np.count_nonzero(result != _repeat(expected, first, last)))
        off = np.abs(decode(result, self.case.dtype).astype(np.float64) - _repeat(expected, first, last))
        return int(np.count_nonzero(~(off <= _repeat(slack, first, last))))  # a NaN is wrong

    def _copied(self, role: Role) -> Array:
        """What a rank gets whose shards come from their owners, or from the root."""
        collective, borders = role.collective, role.borders(self.case.elements)
        parts = [np.empty(0, carrier(self.case.dtype))]
        for shard in np.flatnonzero(role.got):
            source = collective.owners[shard] if PROMISES[collective.kind].before == "owner" else collective.root
            if source is not None:
                parts.append(_repeat(self.values.inputs[source], int(borders[shard]), int(borders[shard + 1])))
        return np.concatenate(parts)


_REDUCE: dict[str, Callable[..., Array]] = {
    "sum": np.sum,
    "avg": np.sum,
    "prod": np.prod,
    "min": np.min,
    "max": np.max,
}


def _repeat(period: Array, first: int, last: int) -> Array:
    """Elements [first, last) of the endless repetition of `period`."""
    repeated: Array = np.resize(np.roll(period, -(first % len(period))), last - first)
    return repeated


def default_cases(op: str = "sum", dtypes: Sequence[str] = (), sizes: Sequence[int] = ()) -> list[Case]:
    """Cases for element types and bytes of the whole buffer; by default no element, one, a prime number, thousands, a
    mebibyte, and fractions."""
    cases = []
    for dtype in dtypes or ("float32", "float16", "int64"):
        dtype_code(dtype)
        item = carrier(dtype).itemsize
        counts = [size // item for size in sizes] or [0, 1, 1009, 6000, (1 << 20) // item]
        cases += [Case(dtype, count, op) for count in counts]
        if is_float(dtype):
            cases.append(Case(dtype, counts[-1], op, "fractions"))
    return cases


@dataclass(slots=True)
class _Report:
    """Collects the lines that the ranks write, and yields a row as soon as all ranks have told of a case."""

    cases: Sequence[Case]
    ranks: int
    buffer: bytes = b""
    told: dict[int, list[tuple[int, float]]] = field(default_factory=dict)
    done: int = 0
    error: str | None = None

    def feed(self, data: bytes) -> None:
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "error" in message:
                self.error = self.error or message["error"]
            else:
                self.told.setdefault(message["case"], []).append((message["wrong"], message["seconds"]))

    def rows(self) -> Iterator[Row]:
        while len(told := self.told.get(self.done, [])) == self.ranks:
            yield Row(self.cases[self.done], sum(wrong for wrong, _ in told), max(seconds for _, seconds in told))
            self.done += 1


def run_plan(
    plan: Executable, cases: Sequence[Case], *, iterations: int = 3, tuning: shm.Tuning | None = None
) -> Generator[Row, None, None]:
    """Run every case on one process a rank, all on this machine, and yield its row.

    Raises EngineError if a rank fails or ends; InputError for more ranks than one machine takes. Whatever happens, no
    process is left once the iterator is closed.
    """
    if iterations < 1:
        raise InputError(f"{iterations} iterations; at least 1")
    ranks = len(plan.topology.ranks)
    check_memory(cases, ranks)
    # Before the fork, so that the ranks share it.
    wirings, data = _known(plan, cases), prepare(plan.collective, cases)
    reader, writer = os.pipe()
    report = _Report(cases, ranks)
    try:
        with raising_signals(), Ranks(ranks) as job:
            job.start(lambda rank, fd: _rank_main(plan, wirings, data, iterations, tuning, rank, fd, writer))
            os.close(writer)
            writer = -1
            failed = None
            for event in job.watch(reader):
                if isinstance(event, bytes):
                    report.feed(event)
                    yield from report.rows()
                elif event.code != 0:
                    failed = failed or str(event)
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    if report.error or failed:
        raise EngineError(report.error or failed)


def check_memory(cases: Sequence[Case], ranks: int) -> None:
    """Raises InputError if this machine has no room for the ranks. Each holds input, a copy of it, output and what is
    expected (fractions: and a tolerance, in float64)."""
    sizes = (4 * case.bytes + (16 * case.elements if case.values == "fractions" else 0) for case in cases)
    need = ranks * max(sizes, default=0)
    lines = Path("/proc/meminfo").read_text().splitlines()
    available = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
    if available is not None and need > available:
        raise InputError(
            f"{ranks} ranks need up to {format_bytes(need)} to check cases of this size, and "
            f"{format_bytes(available)} are free; choose a smaller size"
        )


def _known(plan: Executable, cases: Sequence[Case]) -> Wirings:
    """The schedules for these sizes, and the transfers' numbers."""
    wirings = Wirings()
    for nbytes in {case.bytes for case in cases}:
        _ = wirings.get(select(plan, nbytes), 1).slots
    return wirings


def prepare(collective: Collective, cases: Sequence[Case]) -> list[Data]:
    """Inputs and expected outputs of cases; those of one kind share their values."""
    values: dict[tuple[str, str, str], Values] = {}
    data = []
    for case in cases:
        known = values.setdefault(
            (case.dtype, case.op, case.values), Values(collective, case.dtype, case.op, case.values)
        )
        _ = known.inputs
        if PROMISES[collective.kind].reduced:
            _ = known.reduced
        data.append(Data(case, known))
    return data


def _rank_main(
    plan: Executable,
    wirings: Wirings,
    data: Sequence[Data],
    iterations: int,
    tuning: shm.Tuning | None,
    rank: int,
    fd: int,
    pipe: int,
) -> int:
    """The life of one rank. Lines are shorter than PIPE_BUF, so those of several ranks do not mix."""

    def tell(message: dict[str, Any]) -> None:
        os.write(pipe, (json.dumps(message) + "\n").encode())

    try:
        shm.join(fd, rank)
        with shm.connect(plan, tuning, wirings) as communicator:
            role = Role(plan.collective, plan.schedule().chunks, rank)
            for number, case in enumerate(data):
                wrong, seconds = measure(communicator, role, case, iterations)
                tell({"case": number, "wrong": wrong, "seconds": seconds})
    except EngineError as error:
        tell({"error": str(error)[:2000]})
        return 1
    return 0


def measure(communicator: Communicator, role: Role, data: Data, iterations: int) -> tuple[int, float]:
    """(wrong elements of the first and the last call, median seconds of one call).

    Into a separate output, so that a change of the input shows too. A call without elements lines the ranks up first.
    """
    case = data.case
    given = data.given(role)
    original = None if given is None else given.copy()
    size = role.size(role.got, case.elements)
    result = None if role.gets == "nothing" else np.empty(size, carrier(case.dtype))
    memory = memory_of(communicator)
    x, out = memory.place(given), memory.place(result)
    wrong, times = 0, []
    for i in range(iterations):
        checked = i in (0, iterations - 1)
        if checked and result is not None:
            result.view(np.uint8)[:] = 0x5B  # what is not written shows
            memory.write(result, out)
        memory.call(communicator, _head(x), _head(out), dtype=case.dtype, count=0)
        start = time.perf_counter()
        memory.call(communicator, x, out, op=case.op, dtype=case.dtype, count=case.elements)
        times.append(time.perf_counter() - start)
        if checked:
            if result is not None:
                memory.read(out, result)
            wrong = max(wrong, data.wrong(role, result))
    if given is not None and original is not None:
        memory.read(x, given)
        wrong += int(np.count_nonzero(given != original))
    return wrong, statistics.median(times)


def _head(array: Any) -> Any:
    return None if array is None else array[:0]
