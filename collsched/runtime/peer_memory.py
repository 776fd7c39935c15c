"""Device memory that the ranks of a machine write to each other: allocated, made known, mapped, and given back."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from collsched.errors import EngineError
from collsched.runtime.encode import Memory
from collsched.runtime.sharing import Card

_GRACE = 5.0  # seconds to wait at the end for what peers still write


@dataclass
class Arena:
    """One allocation that others map. It is never freed, but kept for the next communicator of this process: freeing
    memory that a peer may still map is undefined."""

    device: int
    pointer: int
    size: int
    memory: Memory  # how its user divides it


_free: list[Arena] = []


class PeerMemory:
    """The arenas of one rank, and those of its peers that it has mapped.

    `side`: a stream that waits for no other; `gather`: see `runtime.engine.Engine`.
    """

    def __init__(
        self, cupy: Any, side: Any, gather: Callable[[bytes], list[bytes]], cards: Sequence[Card], rank: int
    ) -> None:
        self._runtime, self._side, self._gather = cupy.cuda.runtime, side, gather
        self._cards, self._rank = cards, rank
        self._mine = cards[rank]
        self._on = cupy.cuda.Device(self._mine.device)
        self._arenas: list[Arena] = []
        self._opened: list[int] = []

    def exchange(self, memories: Sequence[Memory]) -> list[int]:
        """Allocate this rank's memory of `memories`, and return where this rank sees that of each rank. Collective.

        Raises EngineError on all ranks where one has not got the memory, or cannot map that of another.
        """
        address, handle, failure = 0, "", ""
        alone = all(card.process == os.getpid() for card in self._cards)
        try:
            with self._on:
                address = self._allocate(memories[self._rank])
                handle = "" if alone else base64.b64encode(self._runtime.ipcGetMemHandle(address)).decode()
        except self._runtime.CUDARuntimeError as error:
            size = memories[self._rank].size
            failure = f"rank {self._rank} cannot have {size:,} bytes of GPU {self._mine.gpu} that others map: {error}"
        found = [json.loads(data) for data in self._gather(json.dumps([address, handle, failure]).encode())]
        _raise_first([failure for _, _, failure in found])
        addresses: list[int] = []
        for peer, (theirs, handle, _) in enumerate(found):
            try:
                addresses.append(address if peer == self._rank else self._open(self._cards[peer], theirs, handle))
            except self._runtime.CUDARuntimeError as error:
                failure = (
                    f"rank {self._rank} on GPU {self._mine.gpu} cannot map the memory of rank {peer} on GPU "
                    f"{self._cards[peer].gpu} ({error}): the GPUs need peer access, and containers one IPC namespace; "
                    "or use the nccl engine"
                )
                break
        _raise_first([data.decode() for data in self._gather(failure.encode())])
        return addresses

    def _allocate(self, memory: Memory) -> int:
        """Memory for this rank, its flags zero."""
        device = self._mine.device
        fitting = [arena for arena in _free if arena.device == device and arena.size >= memory.size]
        if fitting:
            arena = min(fitting, key=lambda arena: arena.size)
            _free.remove(arena)
            arena.memory = memory
        else:
            # Not from cupy's pool: a handle stands for a whole allocation.
            arena = Arena(device, int(self._runtime.malloc(memory.size)), memory.size, memory)
        self._arenas.append(arena)
        self._runtime.memsetAsync(arena.pointer, 0, memory.flag_bytes, self._side.ptr)
        self._side.synchronize()  # before others are told the address
        return arena.pointer

    def _open(self, card: Card, address: int, handle: str) -> int:
        with self._on:
            if card.process != os.getpid():
                opened = int(self._runtime.ipcOpenMemHandle(base64.b64decode(handle)))
                self._opened.append(opened)
                return opened
            if card.device != self._mine.device:
                self._runtime._deviceEnsurePeerAccess(card.device)  # as cupy does between devices of a process
            return address

    def close(self, failed: Callable[[], bool]) -> None:
        """Unmap the others' memory, and keep this rank's own for later if the others have done with it. No kernel of
        this rank runs any more."""
        settled = [arena for arena in self._arenas if self._settled(arena, failed)]
        with self._on:
            for address in self._opened:
                self._runtime.ipcCloseMemHandle(address)
        _free.extend(settled)
        self._opened.clear()
        self._arenas.clear()

    def _settled(self, arena: Arena, failed: Callable[[], bool]) -> bool:
        """Whether peers have written all that they ever will: that they have taken what this rank sent. (What they send
        has come, as this rank's kernels have ended.)"""
        memory, until = arena.memory, time.monotonic() + _GRACE
        flags = np.empty(memory.flag_bytes // 8, np.uint64)
        epochs, taken = (memory.offsets[part] // 8 for part in (1, 3))
        stripes = memory.shape.stripes
        while not failed() and time.monotonic() < until:
            copy = (flags.ctypes.data, arena.pointer, flags.nbytes, self._runtime.memcpyDeviceToHost, self._side.ptr)
            with self._on:
                self._runtime.memcpyAsync(*copy)
                self._side.synchronize()
            seen = flags[taken : taken + stripes * memory.sent].reshape(stripes, memory.sent)
            if np.array_equal(seen, np.broadcast_to(flags[epochs : epochs + stripes, None], seen.shape)):
                return True
            time.sleep(1e-3)
        return False


def _raise_first(failures: Sequence[str]) -> None:
    if failure := next(filter(None, failures), ""):
        raise EngineError(failure)
