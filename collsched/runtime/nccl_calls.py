"""One rank's waves on given arrays: the addresses that NCCL sends from and receives into, and the kernels' jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collsched.errors import EngineError
from collsched.runtime.encode import MOST_ENDS
from collsched.runtime.waves import Ints, Wave

_VECTOR = 16
_RELATIVE = 1 << 62  # marks an address within memory that is not there yet


@dataclass(frozen=True, slots=True)
class Jobs:
    """Rows of `Job` (csrc/cuda/jobs.h) at address `table`, and the addresses of their sources at `sources`; the
    elements of the largest job."""

    count: int
    largest: int
    table: int
    sources: int


@dataclass(slots=True)
class Group:
    """(address, bytes, peer) of each send and receive, in the order of issue, and the jobs that follow."""

    sends: list[tuple[int, int, int]] = field(default_factory=list)
    receives: list[tuple[int, int, int]] = field(default_factory=list)
    rows: list[tuple[int, int, tuple[int, ...], int]] = field(default_factory=list)  # target, elements, sources, divide
    jobs: Jobs | None = None


class Arrays:
    """Where the chunks of one rank's buffers are: `ranges` of `runtime.layout.Role`, elements of `item` bytes, the
    addresses of input and output (0: none). Whether the output is divided at the end."""

    def __init__(
        self, ranges: tuple[Ints, Ints, Ints, Ints, int, int], item: int, source: int, target: int, average: bool
    ) -> None:
        lo, hi, self._in_at, self._out_at, _, _ = ranges
        self.item, self.average = item, average
        self._lo, self.length = lo, hi - lo
        self._source, self._target = source, target
        self._own: dict[int, int] = {}
        self.memory = 0  # bytes that are neither input nor output

    def given(self, chunk: int) -> int:
        """The address of version 0; 0 where it is not given."""
        return self._source + int(self._in_at[chunk]) * self.item if self._in_at[chunk] >= 0 else 0

    def out(self, chunk: int) -> int:
        """The address in the output; 0 where it does not belong there."""
        return self._target + int(self._out_at[chunk]) * self.item if self._out_at[chunk] >= 0 else 0

    def place(self, chunk: int) -> int:
        """The address of later versions."""
        if at := self.out(chunk):
            return at
        if chunk not in self._own:
            self._own[chunk], self.memory = self.beside(chunk, self.memory)
        return self._own[chunk]

    def beside(self, chunk: int, begin: int) -> tuple[int, int]:
        """(address, next free byte) of room for a chunk in own memory from `begin` on, as far past a multiple of 16
        bytes as in a whole buffer: where arrays are aligned, kernels move 16 bytes at once."""
        at = begin + int(self._lo[chunk]) * self.item % _VECTOR
        return _RELATIVE + at, -(-(at + int(self.length[chunk]) * self.item) // _VECTOR) * _VECTOR


@dataclass(frozen=True, slots=True)
class Planned:
    """Groups that lack `memory` bytes of the device."""

    groups: list[Group]
    memory: int

    def at(self, base: int, upload: Callable[[NDArray[Any]], Any]) -> tuple[list[Group], list[Any]]:
        """The groups with that memory at address `base`, and the tables of their jobs, which must be kept."""

        def real(address: int) -> int:
            return address - _RELATIVE + base if address >= _RELATIVE else address

        tables: list[Any] = []
        for group in self.groups:
            for calls in (group.sends, group.receives):
                calls[:] = [(real(address), size, peer) for address, size, peer in calls]
            if group.rows:
                sources = [real(source) for _, _, row, _ in group.rows for source in row]
                first = np.cumsum([0, *(len(row) for _, _, row, _ in group.rows)])
                jobs = [
                    (real(target), count, at, len(row), divide)
                    for (target, count, row, divide), at in zip(group.rows, first[:-1].tolist(), strict=True)
                ]
                tables += [upload(np.array(jobs, np.int64)), upload(np.array(sources, np.uint64))]
                group.jobs = Jobs(len(jobs), max(job[1] for job in jobs), tables[-2].data.ptr, tables[-1].data.ptr)
        return self.groups, tables


def groups(waves: Sequence[Wave], arrays: Arrays) -> Planned:
    """The groups of a rank, empty chunks left out at both ends alike. Raises EngineError for a reduction of more
    operands than a kernel takes."""
    found = []
    stages: list[tuple[Group, Wave]] = []
    written: set[int] = set()
    for wave in waves:
        group = Group()
        for peer, chunk, given in wave.sends:
            if size := int(arrays.length[chunk]) * arrays.item:
                group.sends.append((arrays.given(chunk) if given else arrays.place(chunk), size, peer))
        for _, chunk, _ in wave.receives:
            written.add(chunk)
            arrays.place(chunk)
        stages.append((group, wave))
        found.append(group)
    first, memory = arrays.memory, arrays.memory
    for group, wave in stages:
        memory = max(memory, _receive(group, wave, arrays, first))
    found.append(_finish(arrays, written))
    return Planned([group for group in found if group.sends or group.receives or group.rows], memory)


def _receive(group: Group, wave: Wave, arrays: Arrays, first: int) -> int:
    """Fills in a wave's receives and folds; what is to be reduced lies from `first` on, until the next wave. Returns
    the end of it."""
    addresses = []
    for peer, chunk, reduces in wave.receives:
        address = arrays.place(chunk)
        if reduces:
            address, first = arrays.beside(chunk, first)
        addresses.append(address)
        if size := int(arrays.length[chunk]) * arrays.item:
            group.receives.append((address, size, peer))
    for fold in wave.folds:
        place = arrays.place(fold.chunk)
        own = arrays.given(fold.chunk) if fold.given else place
        if not own:
            raise EngineError(f"a rank adds to chunk {fold.chunk} before it has it; verify the plan")
        sources = (own, *(addresses[i] for i in fold.receives))
        if len(sources) > MOST_ENDS:
            raise EngineError(f"a rank adds {len(sources)} versions of chunk {fold.chunk} at once, at most {MOST_ENDS}")
        if count := int(arrays.length[fold.chunk]):
            group.rows.append((place, count, sources, 0))
    return first


def _finish(arrays: Arrays, written: set[int]) -> Group:
    """What a rank gives to itself is copied to the output; all that is there is divided for an average."""
    group = Group()
    for chunk, count in enumerate(arrays.length.tolist()):
        given, out = arrays.given(chunk), arrays.out(chunk)
        source = out if chunk in written else given
        if count and out and source and (arrays.average or source != out):
            group.rows.append((out, count, (source,), int(arrays.average)))
    return group
