"""Buffers and clocks of the two kinds of memory: numpy and the processor's clock, CuPy and the stream's events."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Host = NDArray[Any]
FILL = 0x5B  # what has not been written shows


class Memory(Protocol):
    """Where a side's buffers live, and how a call on them is timed."""

    device: str

    def empty(self, size: int, dtype: str) -> Any:
        """A new array whose pages are there."""

    def host(self, array: Any) -> Host: ...

    def copy(self, target: Any, source: Any) -> None: ...

    def timed(self, before: Callable[[], None], call: Callable[[], None], iterations: int) -> list[float]:
        """Seconds of each `call`; `before` each, outside the time, is `before`."""


class CpuMemory:
    device = "cpu"

    def empty(self, size: int, dtype: str) -> Host:
        array = np.empty(size, dtype)
        array.view(np.uint8)[:] = FILL
        return array

    def host(self, array: Host) -> Host:
        return array

    def copy(self, target: Host, source: Host) -> None:
        np.copyto(target, source)

    def timed(self, before: Callable[[], None], call: Callable[[], None], iterations: int) -> list[float]:
        seconds = []
        for _ in range(iterations):
            before()
            start = time.perf_counter_ns()
            call()
            seconds.append((time.perf_counter_ns() - start) / 1e9)
        return seconds


class CudaMemory:
    """Calls are enqueued on the current stream one after the other, each between two events, as they would be in
    training; the host waits at the end."""

    device = "cuda"

    def __init__(self) -> None:
        import cupy

        self._cupy = cupy

    def empty(self, size: int, dtype: str) -> Any:
        array = self._cupy.empty(size, dtype)
        array.view(np.uint8).fill(FILL)
        return array

    def host(self, array: Any) -> Host:
        found: Host = self._cupy.asnumpy(array)
        return found

    def copy(self, target: Any, source: Any) -> None:
        if isinstance(source, np.ndarray):
            target.set(source)
        else:
            self._cupy.copyto(target, source)

    def timed(self, before: Callable[[], None], call: Callable[[], None], iterations: int) -> list[float]:
        cuda = self._cupy.cuda
        pairs = [(cuda.Event(), cuda.Event()) for _ in range(iterations)]
        for start, end in pairs:
            before()
            start.record()
            call()
            end.record()
        cuda.get_current_stream().synchronize()
        return [cuda.get_elapsed_time(start, end) / 1e3 for start, end in pairs]


def memory(device: str) -> Memory:
    """Of an engine's `device`."""
    return CudaMemory() if device == "cuda" else CpuMemory()
