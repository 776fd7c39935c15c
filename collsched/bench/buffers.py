"""A rank's input and output in a case: made and touched once, used by every side, restored alike before every call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from collsched.bench.memory import FILL, Memory
from collsched.bench.sweep import Case
from collsched.collective import Kind
from collsched.runtime.check import Data
from collsched.runtime.dtypes import carrier
from collsched.runtime.layout import Role

Allocate = Callable[[int, str], Any]


@dataclass(slots=True)
class Buffers:
    """`x` and `out` of one rank, None where it gives or gets nothing; in place, views of one array."""

    x: Any
    out: Any
    original: Any  # what `x` holds before a call, in the same memory; None: no call changes it
    memory: Memory

    def restore(self) -> None:
        """Before a call in place: the input that the last call overwrote."""
        if self.original is not None:
            self.memory.copy(self.x, self.original)

    def blank(self) -> None:
        """Before a call that is checked: no result of an earlier call is left in the output."""
        if self.out is not None:
            self.out.view(np.uint8)[...] = FILL
        self.restore()


def make(case: Case, role: Role, data: Data, memory: Memory, allocate: Allocate) -> Buffers:
    """The buffers of a case, filled."""
    dtype = carrier(case.dtype).name
    given = data.given(role)
    sizes = role.size(role.given, case.count), role.size(role.got, case.count)
    if not case.in_place or "nothing" in (role.gives, role.gets):
        x = None if given is None else allocate(sizes[0], dtype)
        out = None if role.gets == "nothing" else allocate(sizes[1], dtype)
    else:
        x, out = _overlaid(role, case.count, sizes, allocate, dtype)
    original = memory.empty(sizes[0], dtype) if case.in_place and x is not None else None
    if out is not None:
        out.view(np.uint8)[...] = FILL  # so that its pages are there
    for array in (x, original):
        if array is not None and given is not None:
            memory.copy(array, given)
    return Buffers(x, out, original, memory)


def _overlaid(role: Role, count: int, sizes: tuple[int, int], allocate: Allocate, dtype: str) -> tuple[Any, Any]:
    """Input and output in one array, each element where it belongs."""
    whole = allocate(max(sizes), dtype)
    if role.collective.kind is Kind.ALL_TO_ALL or not all(sizes):
        return whole[: sizes[0]], whole[: sizes[1]]
    first = [role.spans(held, count)[0][0] for held in (role.given, role.got)]
    start = [at - min(first) for at in first]
    x, out = (whole[at : at + size] for at, size in zip(start, sizes, strict=True))
    return x, out
