"""A thread that watches over kernels, and ends them when a rank that they wait for fails, ends, or never comes."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from collsched.runtime.encode import BOARD

_PERIOD = 0.02  # seconds between looks
_TOLD = 2 << 32  # the verdict of a host
_DISAGREEMENT = 1


class World(Protocol):
    """Where the ranks of a machine tell each other that they failed (`collsched._engine.World`)."""

    def fail(self, text: str) -> None: ...
    def failure(self) -> str: ...


class Watch:
    """Watches one communicator of one rank.

    `board`: see `Board` in csrc/cuda/execute.h, in memory that the device sees; `pending`: whether kernels run;
    `processes`: the process of every other rank, apart from those in this one; `timeout`: seconds for which a kernel
    may wait for one piece.
    """

    def __init__(
        self,
        world: World,
        rank: int,
        board: NDArray[np.uint64],
        pending: Callable[[], bool],
        processes: Mapping[int, int],
        timeout: float,
    ) -> None:
        self._world, self._rank, self._board, self._pending = world, rank, board, pending
        self._timeout = timeout
        self._failure = ""
        self._waits: NDArray[Any] = board[BOARD:].copy()
        self._since = np.full(len(self._waits), time.monotonic())
        self._descriptors: dict[int, tuple[int, int]] = {}  # of a process → rank, process
        for peer, process in processes.items():
            try:
                self._descriptors[os.pidfd_open(process)] = peer, process
            except OSError:  # it has ended, or the kernel does not know this: a time limit is left
                continue
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="collsched watch", daemon=True)
        self._thread.start()

    def failure(self) -> str:
        """Why the communicator is over; empty while it is not. Looks anew."""
        if not self._failure:
            self._failure = self._world.failure() or self._verdict()
            if self._failure:
                self.stop_kernels()
        return self._failure

    def fail(self, text: str) -> None:
        """End the kernels of this rank, and of all others as soon as they look."""
        self._world.fail(text)
        self.failure()

    def stop_kernels(self) -> None:
        self._board[0] = _TOLD

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._pending = lambda: False  # a method of the engine, which holds this
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()

    def _run(self) -> None:
        while not self._over.wait(_PERIOD):
            self.look()

    def look(self) -> None:
        """What the thread does again and again."""
        if self.failure() or not self._busy():
            return
        if ended := self._ended():
            # The launcher knows how it ended, and may be about to tell.
            if not self._over.wait(5 * _PERIOD) and self._busy() and not self.failure():
                self.fail(ended)
            return
        self._look_at_waits()

    def _busy(self) -> bool:
        """Also of kernels in a replayed graph, of which the host knows by their waits alone."""
        return bool(self._board[BOARD:].any()) or self._pending()

    def _ended(self) -> str:
        if not self._descriptors:
            return ""
        poll = select.poll()
        for descriptor in self._descriptors:
            poll.register(descriptor, select.POLLIN)
        found = sorted(self._descriptors[descriptor] for descriptor, _ in poll.poll(0))
        return f"rank {found[0][0]} (process {found[0][1]}) has ended; rank {self._rank} was in a call" if found else ""

    def _look_at_waits(self) -> None:
        now, waits = time.monotonic(), self._board[BOARD:].copy()
        self._since[(waits != self._waits) | (waits == 0)] = now
        self._waits = waits
        late = int(np.argmin(self._since)) if len(waits) else 0
        if len(waits) and now - self._since[late] > self._timeout:
            peer = (int(waits[late]) & 0xFFFF) - 1
            self.fail(
                f"rank {self._rank} waited {now - self._since[late]:.0f} s for rank {peer} "
                f"(block {late}, piece {int(waits[late]) >> 16} of the communicator)"
            )

    def _verdict(self) -> str:
        verdict = int(self._board[1])
        if verdict >> 32 == _DISAGREEMENT:
            return (
                f"ranks {verdict & 0xFFFF} and {verdict >> 16 & 0xFFFF} called different things: other sizes, types or "
                "reductions"
            )
        return "another rank gave up" if verdict else ""
