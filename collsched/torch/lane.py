"""The calls of one process group, in order: on the caller's thread if it waits, else on a thread of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from collsched.runtime.pending import Job, Worker


@dataclass(frozen=True, slots=True)
class Interval:
    """A call as it was executed: from `begin` to `end` in nanoseconds of `time.monotonic_ns`."""

    name: str
    nbytes: int
    begin: int
    end: int


class LaneWork(dist.Work):  # type: ignore[misc]
    """A call under way, as torch wants it: `wait()`, or a future of the outputs. Both raise what the call raised."""

    def __init__(self, job: Job, outputs: Sequence[Tensor], future: Any) -> None:
        super().__init__()
        self._job, self._outputs, self._future = job, list(outputs), future

    def wait(self, timeout: timedelta | None = None) -> bool:
        seconds = timeout.total_seconds() if timeout else 0.0
        if not self._job.wait(seconds if seconds > 0 else None):
            raise RuntimeError(f"the call is not done after {seconds:g} s")
        return True

    def synchronize(self) -> None:
        self.wait()

    def is_completed(self) -> bool:
        return self._job.done()

    def is_success(self) -> bool:
        return self._job.done() and self.exception() is None

    def exception(self) -> BaseException | None:
        """What the call raised, once it is done."""
        try:
            if self._job.done():
                self._job.wait()
        except BaseException as error:
            return error
        return None

    def result(self) -> list[Tensor]:
        return self._outputs

    def get_future(self) -> Any:
        return self._future


class Lane:
    """Executes calls one after the other, in the order in which they were made."""

    def __init__(self, name: str, abort: Callable[[str], None]) -> None:
        """`abort` tells the other ranks that this one was interrupted within a call."""
        self._worker = Worker(name)
        self._abort = abort
        self._executing = threading.Lock()
        self._intervals: list[Interval] | None = None

    def run(
        self,
        name: str,
        call: Callable[[], None],
        outputs: Sequence[Tensor] = (),
        *,
        wait: bool = False,
        finish: Callable[[Any], Any] | None = None,
    ) -> LaneWork:
        """Make a call. `outputs`: what its future holds. `wait`: the caller waits anyway, so it may run here.
        `finish`: a function of the future that gives another value to hold."""
        done = torch.futures.Future()
        error: list[BaseException] = []
        nbytes = sum(tensor.nbytes for tensor in outputs)

        def execute() -> None:
            try:
                with self._executing:
                    begin = time.monotonic_ns()
                    call()
                    self._note(Interval(name, nbytes, begin, time.monotonic_ns()))
            except BaseException as failed:
                error.append(failed)
                raise
            finally:
                done.set_result(None)

        def value(_: Any) -> Any:
            # Here and not in `set_exception`: only what a callback raises is an error to C++ as well.
            if error:
                raise error[0]
            return list(outputs) if finish is None else finish(None)

        job = Job(execute, lambda: self._abort("was interrupted"))
        work = LaneWork(job, outputs, done.then(value))
        if wait and not self._worker.busy:
            job.execute()
        else:
            self._worker.submit(job)
        return work

    def record(self) -> list[Interval]:
        """From now on, what is executed appears in the list that this returns, until the next call of `record`."""
        self._intervals = []
        return self._intervals

    def _note(self, interval: Interval) -> None:
        if self._intervals is not None:
            self._intervals.append(interval)

    def close(self) -> None:
        """Returns when all calls are done."""
        self._worker.stop()
