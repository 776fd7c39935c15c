from typing import Any

import numpy as np
from numpy.typing import NDArray

from collsched.runtime.layout import Layout
from collsched.runtime.small import Sums

# opcode, chunk, peer, slot, join of every instruction; where joins begin, their members
Arrays = tuple[
    NDArray[np.uint8],
    NDArray[np.int32],
    NDArray[np.int32],
    NDArray[np.int64],
    NDArray[np.int32],
    NDArray[np.int64],
    NDArray[np.int32],
]

class World:
    def __init__(self, fd: int, rank: int) -> None: ...
    @staticmethod
    def create(ranks: int) -> int: ...
    @property
    def rank(self) -> int: ...
    @property
    def ranks(self) -> int: ...
    def note_end(self, rank: int) -> None: ...
    def fail(self, text: str) -> None: ...
    def failure(self) -> str: ...
    def allocate(self, size: int) -> NDArray[np.uint8]: ...

class Connection:
    def __init__(self, world: World, index: int, digest: str, collective: str, timeout: float) -> None: ...
    def agree(self, count: int, dtype: int, op: int) -> tuple[int, int, int]: ...
    def load(
        self,
        digest: str,
        program: Arrays,
        sums: Sums,
        chunks: int,
        slots: int,
        row_bytes: int,
        segment_bytes: int,
        small_bytes: int,
        divisor: int,
        layout: Layout,
    ) -> int: ...
    def call(
        self,
        loaded: int,
        count: int,
        dtype: int,
        op: int,
        source: int,
        source_count: int,
        target: int,
        target_count: int,
        agreed: bool,
    ) -> None: ...
    def again(self, x: Any, out: Any, op: str) -> bool: ...
    def gather(self, data: bytes) -> list[bytes]: ...
    def record(self, on: bool) -> None: ...
    def events(
        self,
    ) -> list[tuple[int, int, int, int, int, int, int, tuple[int, ...], tuple[int, ...]]]: ...
    def close(self) -> None: ...
    @property
    def shared_bytes(self) -> int: ...

def reduce(dtype: int, op: int, into: int, a: int, b: int, count: int) -> None: ...
def divide(dtype: int, data: int, count: int, divisor: int) -> None: ...
def examine(array: Any) -> tuple[int, int, int, int, bool]: ...
def die_with_parent(parent: int) -> bool: ...
