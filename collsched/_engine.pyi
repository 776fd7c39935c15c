from typing import Any

import numpy as np
from numpy.typing import NDArray

from collsched.runtime.layout import Layout

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

class Connection:
    def call(
        self, count: int, dtype: int, op: int, source: int, source_count: int, target: int, target_count: int
    ) -> None: ...
    def agree(self, count: int, dtype: int, op: int) -> tuple[int, int, int]: ...
    def close(self) -> None: ...
    @property
    def shared_bytes(self) -> int: ...

def connect(
    world: World,
    index: int,
    digest: str,
    collective: str,
    program: Arrays,
    chunks: int,
    slots: int,
    arena_bytes: int,
    segment_bytes: int,
    divisor: int,
    timeout: float,
    layout: Layout,
) -> Connection: ...
def examine(array: Any) -> tuple[int, int, int, int, bool]: ...
def die_with_parent(parent: int) -> bool: ...
