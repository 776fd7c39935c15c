"""What the engines of GPUs do alike: streams and their order, copies to the device, ends of work."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collsched.errors import EngineError, InputError
from collsched.runtime import gpu
from collsched.runtime.pending import Pending
from collsched.runtime.trace import Event


class GpuEngine(ABC):
    """The common half of an engine whose calls are enqueued on the user's current stream."""

    name: str
    device = "cuda"
    queues = True

    def __init__(self, cupy: Any, number: int) -> None:
        self._cupy, self._number = cupy, number
        self._on = cupy.cuda.Device(number)
        with self._on:
            self._side = cupy.cuda.Stream(non_blocking=True)  # for copies that no call is to wait for
            self._end = cupy.cuda.Event(disable_timing=True)  # of the last call
        self._stream: Any = None
        self._launched = self._finished = 0  # calls

    @abstractmethod
    def _failed(self) -> str:
        """Why the communicator is over; empty while it is not."""

    def _check(self) -> None:
        if failure := self._failed():
            raise EngineError(failure)

    def _follow(self, stream: Any) -> None:
        """Calls of a communicator follow each other, on whatever streams they are enqueued."""
        if self._stream is not None and stream.ptr != self._stream.ptr:
            stream.wait_event(self._end)
        self._stream = stream

    def _follows(self, stream: Any) -> None:
        """Something has been enqueued."""
        self._end.record(stream)
        self._launched += 1

    def _pending(self) -> bool:
        """Whether calls are under way. Asks the device only while it does not know: some captures forbid to ask."""
        launched = self._launched
        if self._finished != launched and self._end.done:
            self._finished = launched
        return self._finished != launched

    def _upload(self, table: NDArray[Any]) -> Any:
        """A copy on the device, complete when this returns."""
        with self._on, self._side:
            copy = self._cupy.asarray(table)
        self._side.synchronize()
        return copy

    def again(self, x: Any, out: Any, op: str) -> bool:
        """There is no short way."""
        return False

    def empty(self, nbytes: int) -> Any:
        with self._on:
            return self._cupy.empty(nbytes, np.uint8)

    def mark(self) -> Pending:
        with self._on:
            return gpu.Mark(self._cupy, self._cupy.cuda.get_current_stream(), self._check)

    def record(self, on: bool) -> None:
        if on:
            raise InputError(f"the {self.name} engine records no transfers; look at its kernels with Nsight Systems")

    def events(self) -> list[Event]:
        return []
