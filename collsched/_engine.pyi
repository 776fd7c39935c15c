from typing import Any

import numpy as np
from numpy.typing import NDArray

from collsched.runtime.layout import Layout

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
    def call(self, count: int, dtype: int, op: int, input: Any, output: Any) -> None: ...
    def close(self) -> None: ...
    @property
    def shared_bytes(self) -> int: ...

def connect(
    world: World,
    index: int,
    digest: str,
    collective: str,
    opcode: NDArray[np.uint8],
    chunk: NDArray[np.int32],
    peer: NDArray[np.int32],
    slot: NDArray[np.int64],
    join: NDArray[np.int32],
    join_ptr: NDArray[np.int64],
    join_member: NDArray[np.int32],
    chunks: int,
    slots: int,
    arena_bytes: int,
    segment_bytes: int,
    divisor: int,
    timeout: float,
    layout: Layout,
) -> Connection: ...
def examine(array: Any) -> tuple[int, int]: ...
def die_with_parent(parent: int) -> bool: ...
