"""What the engines of GPUs have in common: cupy, which is imported where it is used, devices, streams, ends of work."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from collsched.errors import InputError, MissingComponentError
from collsched.runtime.buffers import Buffer

_NAPS = (0.0, 20e-6, 50e-6, 200e-6, 1e-3)  # seconds between looks at an event; the last one repeats


def require(engine: str) -> Any:
    """cupy, where there is a GPU that it can use.

    Raises MissingComponentError that says which of them is missing. `import cupy` alone works without a driver.
    """
    try:
        cupy = import_module("cupy")
    except ImportError as error:
        raise MissingComponentError(
            f"the {engine} engine needs cupy ({error}): pip install cupy-cuda13x (or -cuda12x)"
        ) from None
    if not cupy.cuda.is_available():
        raise MissingComponentError(
            f"the {engine} engine needs a GPU of NVIDIA, and cupy {cupy.__version__} finds none: no driver, no GPU, or "
            "CUDA_VISIBLE_DEVICES hides it; engines shm and mpi need none"
        )
    return cupy


def require_nccl(cupy: Any) -> Any:
    """cupy's NCCL. Raises MissingComponentError where libnccl cannot be loaded."""
    try:
        nccl = import_module("cupy.cuda.nccl")
        available = bool(nccl.available)
    except ImportError:
        available = False
    if not available:
        major = int(cupy.cuda.runtime.runtimeGetVersion()) // 1000
        raise MissingComponentError(
            f"the nccl engine needs libnccl, which cupy {cupy.__version__} cannot load: "
            f"pip install nvidia-nccl-cu{major}"
        )
    return nccl


def device(cupy: Any, local_rank: int, wanted: int | None) -> int:
    """The number of the GPU of a rank, which becomes the current one of this thread: `wanted`; else the current one, if
    somebody has chosen it; else that of the rank's number on its machine. Raises InputError for one that is not there.
    """
    runtime = cupy.cuda.runtime
    count = int(runtime.getDeviceCount())
    number = wanted if wanted is not None else int(runtime.getDevice()) or local_rank % count
    if not 0 <= number < count:
        raise InputError(f"device={number}; this process sees GPUs 0 to {count - 1}")
    cupy.cuda.Device(number).use()
    return number


def check_buffers(cupy: Any, device: int, *buffers: Buffer | None) -> None:
    """Raises InputError for an array on another GPU, or between elements, where a kernel would fail."""
    for buffer in buffers:
        if buffer is None or not buffer.count:
            continue
        item = buffer.nbytes // buffer.count
        if buffer.address % item:
            raise InputError(f"an array at {buffer.address:#x}: a GPU needs elements at multiples of {item} bytes")
        where = int(cupy.cuda.runtime.pointerGetAttributes(buffer.address).device)
        if where != device:
            raise InputError(
                f"an array on GPU {where}, and this rank works on GPU {device}: make it there, or connect with "
                f"tuning=Tuning(device={where})"
            )


class Mark:
    """The end of all that a stream held when this was made. `check` raises if the engine has failed."""

    def __init__(self, cupy: Any, stream: Any, check: Callable[[], None]) -> None:
        self._event = cupy.cuda.Event(disable_timing=True)
        self._event.record(stream)
        self._check = check

    def done(self) -> bool:
        return bool(self._event.done)

    def wait(self, timeout: float | None = None) -> bool:
        """Looks again and again, so that Ctrl-C and failures are seen; the device never waits for the host here."""
        until = None if timeout is None else time.monotonic() + timeout
        look = 0
        while not self._event.done:
            self._check()
            if until is not None and time.monotonic() >= until:
                return False
            time.sleep(_NAPS[min(look // 16, len(_NAPS) - 1)])
            look += 1
        self._check()
        return True
