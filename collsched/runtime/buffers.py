"""The user's arrays as an engine sees them: an address, a number of elements and their type. Nothing is copied."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collsched import _engine
from collsched.errors import InputError
from collsched.runtime.dtypes import DTYPES, carrier, dtype_code

_CPU = 1  # kDLCPU
_DEVICES = {2: "cuda", 3: "cuda", 10: "rocm", 11: "rocm", 13: "cuda"}  # of DLPack; pinned memory belongs to its GPU


@dataclass(frozen=True, slots=True)
class Buffer:
    """A C-contiguous array of the user: `count` elements of `dtype` (a name from `runtime.dtypes`) at `address`, in the
    memory of the engine's device. `owner` keeps that memory alive."""

    owner: Any
    address: int
    count: int
    dtype: str
    writable: bool = True

    @property
    def nbytes(self) -> int:
        return self.count * carrier(self.dtype).itemsize

    def overlaps(self, other: Buffer) -> bool:
        first, last = max(self.address, other.address), min(self.end, other.end)
        return first < last

    @property
    def end(self) -> int:
        return self.address + self.nbytes

    def array(self) -> NDArray[Any]:
        """The same memory as a flat numpy array of the carrier type. Of CPU memory only."""
        if self.count == 0:
            return np.empty(0, carrier(self.dtype))
        memory = memoryview((ctypes.c_ubyte * self.nbytes).from_address(self.address))
        return np.frombuffer(memory, np.uint8).view(carrier(self.dtype))


def open_buffer(x: Any, dtype: str | None, device: str) -> Buffer:
    """The memory of an array in the memory of `device` ("cpu" or "cuda"): numpy, torch, cupy, or anything with DLPack,
    the buffer protocol, `__array_interface__` or `__cuda_array_interface__`. `dtype` overrides the array's own type.

    Raises InputError for what is none, is not contiguous, lives elsewhere, or has elements that engines do not know.
    """
    if dtype is not None:
        dtype_code(dtype)
    if getattr(x, "requires_grad", False):
        raise InputError(f"{_describe(x)} requires a gradient: pass x.detach()")
    where = _device(x)
    if where != device:
        raise InputError(f"{_describe(x)} lives in {where} memory; {_MEND[device]}")
    address, count, code, bits, writable = _on_gpu(x) if device == "cuda" else _on_cpu(x)
    name = dtype or (DTYPES[code] if code >= 0 else None)
    if name is None:
        raise InputError(f"{_describe(x)}: the engine has {', '.join(DTYPES)}")
    if bits != 8 * carrier(name).itemsize:
        raise InputError(f"{_describe(x)}: the size of an element does not fit its type, {name}")
    return Buffer(x, address, count, name, writable)


_MEND = {
    "cpu": "the engine works in CPU memory: copy it there, or run on the nccl or cuda engine",
    "cuda": "the engine works in GPU memory: copy it there, or run on the shm or mpi engine",
}


def _device(x: Any) -> str:
    if hasattr(x, "__cuda_array_interface__"):
        return "cuda"
    if isinstance(x, np.ndarray) or not hasattr(x, "__dlpack_device__"):
        return "cpu"
    kind = int(x.__dlpack_device__()[0])
    return "cpu" if kind == _CPU else _DEVICES.get(kind, f"device {kind}")


def _on_cpu(x: Any) -> tuple[int, int, int, int, bool]:
    """(address, elements, type or −1, bits an element, writable)."""
    if isinstance(x, np.ndarray) and x.dtype.kind == "V" and x.dtype.name == "bfloat16":  # of a package that adds it
        address, count, _, bits, writable = _on_cpu(x.view(np.uint16))
        return address, count, DTYPES.index("bfloat16"), bits, writable
    try:
        return _engine.examine(x)
    except TypeError:
        pass
    if hasattr(x, "__array_interface__") and not isinstance(x, np.ndarray):
        return _on_cpu(np.asarray(x))
    raise InputError(f"{_describe(x)}: expected a C-contiguous array in CPU memory")


def _on_gpu(x: Any) -> tuple[int, int, int, int, bool]:
    interface = x.__cuda_array_interface__
    code = next((i for i, name in enumerate(DTYPES) if carrier(name).str == interface["typestr"] and i != 1), -1)
    if str(getattr(x, "dtype", "")).endswith("bfloat16"):
        code = DTYPES.index("bfloat16")
    item = int(interface["typestr"][2:])
    count = int(np.prod(interface["shape"], dtype=np.int64))
    strides, step, packed = interface.get("strides"), item, True
    for size, stride in zip(reversed(interface["shape"]), reversed(strides or ()), strict=False):
        packed &= size <= 1 or stride == step
        step *= size
    if not packed and count:
        raise InputError(f"{_describe(x)}: expected a C-contiguous array in GPU memory")
    address, read_only = interface["data"]
    return int(address or 0), count, code, 8 * item, not read_only


def _describe(x: Any) -> str:
    shape = tuple(getattr(x, "shape", ()))
    return f"{type(x).__name__} of {getattr(x, 'dtype', 'no element type')}, shape {shape}"
