"""Calls that run while the caller computes."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, Protocol


class Pending(Protocol):
    """Work under way, on a thread or on a device."""

    def done(self) -> bool:
        """Whether it has ended, well or not."""

    def wait(self, timeout: float | None = None) -> bool:
        """Returns at its end, or after `timeout` seconds: whether it has ended. Raises what it raised."""


class Handle:
    """A collective call under way, from `comm.allreduce(x, wait=False)` and its like.

    Until it is done the caller must neither change the input nor look at the output.
    """

    def __init__(self, result: Any, pending: Pending) -> None:
        self._result = result
        self._pending = pending

    def done(self) -> bool:
        """Whether `wait` would return, or raise, at once."""
        return self._pending.done()

    def wait(self, timeout: float | None = None) -> Any:
        """What the call returns, once it is done. Raises what the call raises, TimeoutError after `timeout` seconds.

        An exception meanwhile, such as Ctrl-C, ends the run of all ranks: a call cannot be taken back.
        """
        if not self._pending.wait(timeout):
            raise TimeoutError(f"the call is not done after {timeout:g} s")
        return self._result


class Job:
    """A function that a Worker executes, as something pending."""

    def __init__(self, run: Callable[[], None], abort: Callable[[], None]) -> None:
        self._run: Callable[[], None] | None = run
        self._abort = abort
        self._over = threading.Event()
        self._error: BaseException | None = None

    def done(self) -> bool:
        return self._over.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        try:
            over = self._over.wait(timeout)
        except BaseException:
            self._abort()
            raise
        if self._error is not None:
            raise self._error
        return over

    def execute(self) -> None:
        run, self._run = self._run, None  # the arrays of the call are free when it is done
        try:
            if run is not None:
                run()
        except BaseException as error:
            self._error = error
        finally:
            del run
            self._over.set()


class Worker:
    """A thread that executes the jobs of one communicator in order. It starts with the first of them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._last: Job | None = None

    @property
    def busy(self) -> bool:
        """Whether some job is not done."""
        return self._last is not None and not self._last.done()

    def submit(self, job: Job) -> Job:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._last = job
        self._jobs.put(job)
        return job

    def flush(self) -> None:
        """Returns when the jobs under way have ended, well or not."""
        if self._last is not None:
            with contextlib.suppress(Exception):
                self._last.wait()

    def stop(self) -> None:
        """Returns when the jobs under way are done."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.execute()
            del job
