"""NCCL by way of CuPy: as it chooses itself, and with algorithms and protocols forced when a communicator is made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

from collsched.bench.sides import DEFAULT, Call, Place
from collsched.bench.sweep import Case
from collsched.collective import Kind
from collsched.errors import EngineError
from collsched.runtime.dtypes import carrier
from collsched.runtime.layout import Role

# codes of ncclDataType_t and ncclRedOp_t
_TYPES = {
    "int8": 0, "uint8": 1, "int32": 2, "uint32": 3, "int64": 4, "uint64": 5, "float16": 6, "float32": 7, "float64": 8,
    "bfloat16": 9,
}  # fmt: skip
_OPS = {"sum": 0, "prod": 1, "max": 2, "min": 3, "avg": 4}
_UINT8 = 1
_FORCED = {
    Kind.ALLREDUCE: [("Ring", "Simple"), ("Ring", "LL"), ("Ring", "LL128"), ("Tree", "Simple"), ("Tree", "LL"),
                     ("NVLS", "Simple")],
    Kind.ALLGATHER: [("Ring", "Simple"), ("Ring", "LL"), ("Ring", "LL128"), ("NVLS", "Simple")],
    Kind.REDUCE_SCATTER: [("Ring", "Simple"), ("Ring", "LL"), ("Ring", "LL128"), ("NVLS", "Simple")],
    Kind.BROADCAST: [("Ring", "Simple"), ("Ring", "LL"), ("Ring", "LL128")],
    Kind.REDUCE: [("Ring", "Simple"), ("Ring", "LL"), ("Ring", "LL128")],
}  # fmt: skip


def missing(place: Place) -> tuple[str, bool] | None:
    if find_spec("cupy") is None:
        return "cupy is not installed; pip install cupy-cuda12x or cupy-cuda13x", True
    import cupy

    if not cupy.cuda.is_available():
        return "there is no GPU that CUDA can use", True
    from cupy.cuda import nccl

    if not getattr(nccl, "available", False):
        return "cupy finds no NCCL; pip install nvidia-nccl-cu12 or nvidia-nccl-cu13", True
    if place.device != "cuda":
        return f"NCCL serves buffers in GPU memory, and this engine's are in {place.device} memory", False
    return None


def connect(place: Place) -> NcclBaseline:
    return NcclBaseline(place)


class NcclBaseline:
    engine = "nccl"

    def __init__(self, place: Place) -> None:
        from cupy.cuda import nccl

        self._place = place
        number = nccl.get_version()
        self.version = f"NCCL {number // 10000}.{number // 100 % 100}.{number % 100}"
        self._sides: dict[str, NcclSide] = {}

    def lacks(self, case: Case) -> str | None:
        kind = self._place.collective.kind
        if kind.reduces and case.dtype not in _TYPES:
            return f"NCCL has no {case.dtype}"
        if not self._place.equal and kind is not Kind.ALLREDUCE and not kind.rooted:
            return "NCCL has no parts of unequal sizes"
        if kind is Kind.ALL_TO_ALL and case.in_place:
            return "NCCL has no all-to-all in place"
        return None

    def settings(self) -> list[str]:
        """Forced ones, unless the user forces one."""
        if any(name in os.environ for name in ("NCCL_ALGO", "NCCL_PROTO")):
            return []
        return [f"{algorithm} {protocol}" for algorithm, protocol in _FORCED.get(self._place.collective.kind, [])]

    def side(self, setting: str) -> NcclSide:
        """In a communicator of its own: NCCL reads the choice from the environment when it makes one. Raises
        EngineError on all ranks where NCCL cannot do it on these GPUs."""
        if setting not in self._sides:
            with _forced(setting):
                communicator, failure = self._connect()
            if failed := next(filter(None, self._place.control.gather(failure)), None):
                raise EngineError(f"NCCL, {setting}: {failed}")
            self._sides[setting] = NcclSide(self._place, communicator, setting)
        return self._sides[setting]

    def _connect(self) -> tuple[Any, str]:
        """(communicator, why there is none)."""
        from cupy.cuda import nccl

        place, identity, failure = self._place, None, ""
        try:
            identity = list(nccl.get_unique_id()) if place.member == 0 else None
        except nccl.NcclError as error:
            failure = str(error)
        identity = place.control.gather(identity)[place.collective.group[0]]
        if identity is None or place.member is None:
            return None, failure
        try:
            return nccl.NcclCommunicator(len(place.collective.group), tuple(identity), place.member), ""
        except nccl.NcclError as error:
            return None, str(error)

    def close(self) -> None:
        for side in self._sides.values():
            side.free()


@contextmanager
def _forced(setting: str) -> Iterator[None]:
    if setting == DEFAULT:
        yield
        return
    os.environ["NCCL_ALGO"], os.environ["NCCL_PROTO"] = setting.split()
    try:
        yield
    finally:
        del os.environ["NCCL_ALGO"], os.environ["NCCL_PROTO"]


class NcclSide:
    engine = "nccl"

    def __init__(self, place: Place, communicator: Any, setting: str) -> None:
        self.setting = setting
        self._place, self._communicator = place, communicator

    def align(self) -> None:
        self._place.control.barrier()

    def free(self) -> None:
        if self._communicator is not None:
            self._communicator.destroy()

    def call(self, case: Case, role: Role, x: Any, out: Any) -> Call:
        if self._communicator is None:
            return lambda: None
        import cupy

        stream = cupy.cuda.get_current_stream().ptr
        kind, group, root = self._place.collective.kind, self._communicator, self._place.root
        code, unit = _TYPES.get(case.dtype, _UINT8), 1
        if not kind.reduces:
            code, unit = _UINT8, carrier(case.dtype).itemsize
        given, got = (0 if array is None else array.data.ptr for array in (x, out))
        sizes = [0 if array is None else array.size * unit for array in (x, out)]
        op = _OPS[case.op]
        calls: dict[Kind, Call] = {
            Kind.ALLREDUCE: lambda: group.allReduce(given, got, sizes[0], code, op, stream),
            Kind.REDUCE: lambda: group.reduce(given, got, sizes[0], code, op, root, stream),
            Kind.BROADCAST: lambda: group.broadcast(given, got, max(sizes), code, root, stream),
            Kind.ALLGATHER: lambda: group.allGather(given, got, sizes[0], code, stream),
            Kind.REDUCE_SCATTER: lambda: group.reduceScatter(given, got, sizes[1], code, op, stream),
        }
        return calls.get(kind) or self._exchange(role, case, (given, got), unit, stream)

    def _exchange(self, role: Role, case: Case, pointers: tuple[int, int], unit: int, stream: int) -> Call:
        """Gather, scatter and all-to-all, as NCCL's manual builds them: sends and receives in one group."""
        from cupy.cuda import nccl

        kind, group, me, root = self._place.collective.kind, self._communicator, self._place.member, self._place.root
        given, got = pointers
        borders = role.borders(case.count)[: len(self._place.collective.group) + 1] * unit
        parts = [(int(first), int(last - first)) for first, last in pairwise(borders)]
        own = parts[me or 0][1]
        sends = [(peer, given + at, size) for peer, (at, size) in enumerate(parts)]
        receives = [(peer, got + at, size) for peer, (at, size) in enumerate(parts)]
        if kind is Kind.GATHER:
            sends, receives = [(root, given, own)], receives if me == root else []
        if kind is Kind.SCATTER:
            sends, receives = sends if me == root else [], [(root, got, own)]

        def run() -> None:
            nccl.groupStart()
            for peer, address, size in sends:
                group.send(address, size, _UINT8, peer, stream)
            for peer, address, size in receives:
                group.recv(address, size, _UINT8, peer, stream)
            nccl.groupEnd()

        return run
