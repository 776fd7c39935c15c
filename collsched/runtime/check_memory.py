"""The memory that a communicator's buffers live in, for checks that are prepared in numpy."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from collsched.runtime.communicator import Communicator

Array = NDArray[Any]


class CheckMemory(Protocol):
    def place(self, array: Array | None) -> Any:
        """The array in this memory."""

    def write(self, array: Array, there: Any) -> None:
        """Copy the array to its place."""

    def read(self, there: Any, array: Array) -> None:
        """Copy it back."""

    def call(self, communicator: Communicator, x: Any, out: Any, **options: Any) -> None:
        """A call, to its end."""


class HostMemory:
    """Where arrays are already."""

    def place(self, array: Array | None) -> Any:
        return array

    def write(self, array: Array, there: Any) -> None:
        pass

    def read(self, there: Any, array: Array) -> None:
        pass

    def call(self, communicator: Communicator, x: Any, out: Any, **options: Any) -> None:
        communicator.call(x, out, **options)


class GpuMemory:
    """That of the communicator's GPU, by cupy."""

    def __init__(self, communicator: Communicator) -> None:
        self._communicator = communicator

    def place(self, array: Array | None) -> Any:
        if array is None:
            return None
        there = self._communicator.empty(array.shape, _name(array))
        self.write(array, there)
        return there

    def write(self, array: Array, there: Any) -> None:
        there.set(array)

    def read(self, there: Any, array: Array) -> None:
        array[...] = there.get()

    def call(self, communicator: Communicator, x: Any, out: Any, **options: Any) -> None:
        communicator.call(x, out, wait=False, **options).wait()


def memory_of(communicator: Communicator) -> CheckMemory:
    return HostMemory() if communicator.device == "cpu" else GpuMemory(communicator)


def _name(array: Array) -> str:
    return np.dtype(array.dtype).name
