"""Calls on CUDA tensors: enqueued on a stream beside the caller's, so that they run during its kernels.

One stream a group: the calls of a communicator share its working buffers, so they follow one another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from collsched.errors import MissingComponentError


class SideStream:
    """A stream of a GPU for the calls of one group."""

    def __init__(self) -> None:
        """Of the current device. Raises MissingComponentError without CuPy, whose current stream the engines use."""
        try:
            import cupy
        except ImportError as error:
            raise MissingComponentError(f"CUDA tensors need CuPy, which is missing ({error})") from None
        self._device = torch.device("cuda", torch.cuda.current_device())
        self._stream = torch.cuda.Stream(self._device)
        self._external = cupy.cuda.ExternalStream(self._stream.cuda_stream, self._device.index)

    def run(
        self,
        call: Callable[[], None],
        outputs: Sequence[Tensor],
        inputs: Sequence[Tensor],
        finish: Callable[[Any], Any] | None,
    ) -> Any:
        """Enqueue a call after what the caller's stream holds. A Work: waiting for it makes the waiting stream wait.
        `finish` gives the value of its future, else `outputs` are."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        future = torch.futures.Future(devices=[self._device])
        with torch.cuda.stream(self._stream), self._external:
            call()
            # The caller's allocator must not give this memory away before the stream is through.
            for tensor in (*inputs, *outputs):
                tensor.record_stream(self._stream)
            # Marks the end with an event of this stream.
            future.set_result(list(outputs) if finish is None else finish(None))
        return torch._C._distributed_c10d._create_work_from_future(future)
