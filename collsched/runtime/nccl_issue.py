"""Puts the groups and kernels of a call into a stream, one by one or as a CUDA graph."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from collsched.runtime.engine import Call
from collsched.runtime.kernels import THREADS, kernel
from collsched.runtime.nccl_calls import Group, Jobs

_JOB_BYTES, _MOST_BLOCKS = 64 << 10, 64  # bytes of a job for each block, and blocks a job


@dataclass
class Run:
    """One call made ready: its groups, the tables of its kernels, its memory, and its graph, if there is one."""

    groups: list[Group]
    tables: list[Any]
    memory: Any
    calls: int = 0
    graph: Any = None


class Issuer:
    """Of one NCCL communicator on one device. `side`: a stream for captures; `divisor`: of an average."""

    def __init__(
        self, cupy: Any, nccl: Any, communicator: Any, device: int, side: Any, graphs: bool, divisor: int
    ) -> None:
        self._cupy, self._nccl, self._communicator = cupy, nccl, communicator
        self._device, self._side, self._graphs, self._divisor = device, side, graphs, divisor

    def launch(self, run: Run, call: Call, stream: Any) -> None:
        """The first time as it is, as NCCL then makes its connections; from the second time on as a graph.

        Raises NcclError.
        """
        run.calls += 1
        if run.graph is None and self._graphs and run.calls > 1:
            run.graph = self._capture(run, call)
        if run.graph is not None:
            run.graph.launch(stream=stream)
        else:
            self.issue(run, call, stream)

    def _capture(self, run: Run, call: Call) -> Any:
        """The call as a graph; None, said once, where it cannot be captured."""
        side = self._side
        try:
            with side:
                side.begin_capture(self._cupy.cuda.runtime.streamCaptureModeThreadLocal)
                try:
                    self.issue(run, call, side)
                finally:
                    graph = side.end_capture()
            graph.upload(side)
            side.synchronize()
            return graph
        except (self._nccl.NcclError, self._cupy.cuda.runtime.CUDARuntimeError) as error:
            self._graphs = False
            warnings.warn(f"CUDA graphs are off for this communicator: {error}", RuntimeWarning, stacklevel=2)
            return None

    def issue(self, run: Run, call: Call, stream: Any) -> None:
        """Everything of a call, one by one."""
        for group in run.groups:
            if group.sends or group.receives:
                self._exchange(group, stream)
            if group.jobs is not None:
                self._fold(group.jobs, call, stream)

    def _exchange(self, group: Group, stream: Any) -> None:
        communicator, nccl = self._communicator, self._nccl
        nccl.groupStart()
        try:
            for address, size, peer in group.sends:
                communicator.send(address, size, nccl.NCCL_INT8, peer, stream.ptr)
            for address, size, peer in group.receives:
                communicator.recv(address, size, nccl.NCCL_INT8, peer, stream.ptr)
        finally:
            nccl.groupEnd()

    def _fold(self, jobs: Jobs, call: Call, stream: Any) -> None:
        function = kernel(self._cupy, self._device, "collsched_jobs", call.dtype, call.op)
        blocks = min(_MOST_BLOCKS, max(1, -(-jobs.largest // _JOB_BYTES)))
        divisor = np.uint32(self._divisor if call.op == "avg" else 1)
        with stream:
            function((blocks, jobs.count), (THREADS,), (np.uint64(jobs.table), np.uint64(jobs.sources), divisor))
