import numpy as np
from numpy.typing import NDArray

_I32 = NDArray[np.int32]
_I64 = NDArray[np.int64]
_U8 = NDArray[np.uint8]

def optimum(
    nodes: int,
    src: _I32,
    dst: _I32,
    capacity: _I64,
    weight: _I64,
    terminal: _U8,
    rank: _U8,
    group: _I32 | None = None,
) -> tuple[int, int, _U8]: ...
def violated_cut(
    nodes: int, src: _I32, dst: _I32, slots: _I64, weight: _I64, terminal: _U8, rank: _U8, k: int
) -> tuple[int, int, _U8] | None: ...
def violated_cuts(
    nodes: int, src: _I32, dst: _I32, slots: _I64, weight: _I64, terminal: _U8, rank: _U8, k: int, most: int
) -> list[_U8]: ...
def trimmed_slots(
    nodes: int, src: _I32, dst: _I32, slots: _I64, weight: _I64, terminal: _U8, rank: _U8, k: int
) -> _I64 | None: ...
def pack_guaranteed(
    nodes: int, src: _I32, dst: _I32, slots: _I64, weight: _I64, terminal: _U8, rank: _U8, k: int
) -> tuple[_I32, _I64, _I64, NDArray[np.uint32], _I64, _I32]: ...
def construct(
    nodes: int,
    src: _I32,
    dst: _I32,
    slots: _I64,
    weight: _I64,
    terminal: _U8,
    rank: _U8,
    k: int,
    seed: int,
    attempts: int,
) -> tuple[tuple[_I32, _I64, _I64, NDArray[np.uint32], _I64, _I32] | None, dict[str, float]]: ...

class Simulator:
    def __init__(
        self,
        bandwidth: NDArray[np.float64],
        route_ptr: _I64,
        route_links: _I32,
        latency: NDArray[np.float64],
        route: _I32,
        lane: _I32,
        sender: _I32,
        join: _I32,
        join_ptr: _I64,
        join_member: _I32,
    ) -> None: ...
    def run(self, bytes: NDArray[np.float64], cost: float) -> NDArray[np.float64]: ...
    def timeline(self, bytes: NDArray[np.float64], cost: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...

def edge_colouring(left: _I32, right: _I32, colours: int) -> _I32: ...
def assign_paths(
    src: _I32,
    dst: _I32,
    pair: _I32,
    bytes: _I64,
    begin: _I64,
    link_begin: _I64,
    links: _I32,
    first: _I32,
    last: _I32,
    up_begin: _I64,
    up: _I32,
    down_begin: _I64,
    down: _I32,
    capacity: NDArray[np.float64],
    background: NDArray[np.float64],
    fixed: _I64,
    moves: int,
    free_all: bool,
) -> _I64: ...

class Exchange:
    def __init__(
        self,
        nodes: int,
        src: _I32,
        dst: _I32,
        capacity: NDArray[np.float64],
        source: _I32,
        demand: NDArray[np.float64],
        rank: _U8,
    ) -> None: ...
    def distances(self, price: _I64) -> _I64: ...
    def even(self, price: _I64) -> NDArray[np.float64]: ...
    def balance(
        self, flow: NDArray[np.float64], rounds: int, close: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
    def trace(
        self, flow: NDArray[np.float64], k: int, parts: int
    ) -> tuple[tuple[_I32, _I64, _I64, NDArray[np.uint32], _I64, _I32], _I64]: ...

class Timetabling:
    def __init__(
        self,
        bandwidth: _I64,
        route_ptr: _I64,
        route_links: _I32,
        latency: _I64,
        sender: _I32,
        route: _I32,
        join: _I32,
        join_ptr: _I64,
        join_member: _I32,
        bytes: _I64,
    ) -> None: ...
    def tails(self, backward: bool, cost: int) -> _I64: ...
    def listed(self, due: _I64, backward: bool, in_turn: bool, cost: int, early: int) -> tuple[_I64, _I64]: ...
