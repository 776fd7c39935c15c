"""The processes of a job, as mpirun or torchrun launched them: how many there are, which one this is, and an exchange
of bytes. Those of `collsched launch` are in `shm`; whoever does not care asks `peers`.

Engines use it to find each other: to agree on a shared memory, on the identity of a communicator, on device memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from collsched.errors import InputError, MissingComponentError

# Rank and size as launchers of MPI programs give them: Open MPI; MPICH and its relatives (PMI); anything with PMIx
_MPI = (("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), ("PMI_RANK", "PMI_SIZE"), ("PMIX_RANK", "PMIX_SIZE"))
_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class Peers:
    """`exchange(data)` returns the data of every rank, in rank order. It is collective: all ranks call it, in the same
    order as their other exchanges, and wait for one another. `launcher` is for messages."""

    rank: int
    ranks: int
    exchange: Callable[[bytes], list[bytes]]
    launcher: str


@lru_cache(maxsize=1)
def foreign() -> Peers | None:
    """The ranks of a launch by mpirun or torchrun, or None."""
    if started_by_mpi():
        return of_mpi()
    if all(name in os.environ for name in _TORCHRUN):
        return of_torchrun()
    return None


def started() -> bool:
    """Whether mpirun or torchrun started this process."""
    return started_by_mpi() or all(name in os.environ for name in _TORCHRUN)


def started_by_mpi() -> bool:
    """Whether a launcher of MPI programs started this process."""
    return any(rank in os.environ for rank, _ in _MPI)


def of_mpi() -> Peers:
    """All ranks of COMM_WORLD, on a communicator of their own. Importing mpi4py initialises MPI."""
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise MissingComponentError(
            f"mpirun started this process, and mpi4py is missing ({error}): pip install mpi4py"
        ) from None
    world = MPI.COMM_WORLD.Dup()

    def exchange(data: bytes) -> list[bytes]:
        import numpy as np

        sizes = np.empty(world.size, np.int64)
        world.Allgather(np.array([len(data)], np.int64), sizes)
        ends = np.cumsum(sizes)
        gathered = bytearray(int(ends[-1]))
        world.Allgatherv([data, MPI.BYTE], [gathered, sizes, ends - sizes, MPI.BYTE])
        return [bytes(gathered[end - size : end]) for size, end in zip(sizes, ends, strict=True)]

    return Peers(world.rank, world.size, exchange, "mpirun")


def of_torchrun() -> Peers:
    """All ranks that torchrun started, or whatever else sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT."""
    rank, ranks = (_number(name) for name in _TORCHRUN[:2])
    try:
        import torch.distributed as dist
    except ImportError as error:
        raise MissingComponentError(
            f"{', '.join(_TORCHRUN)} name a torchrun job, and torch is missing ({error}): pip install torch"
        ) from None
    store, _, _ = next(dist.rendezvous("env://", rank, ranks))
    return of_store(dist.PrefixStore("collsched", store), rank, ranks)


def of_store(store: Any, rank: int, ranks: int, launcher: str = "torchrun") -> Peers:
    """Ranks that share a key-value store of torch, under keys that nobody else uses (a PrefixStore)."""
    rounds = 0

    def exchange(data: bytes) -> list[bytes]:
        nonlocal rounds
        store.set(f"{rounds}/{rank}", data)
        gathered = [bytes(store.get(f"{rounds}/{peer}")) for peer in range(ranks)]
        # All have come to this round, so all have read the one before.
        if rounds:
            store.delete_key(f"{rounds - 1}/{rank}")
        rounds += 1
        return gathered

    return Peers(rank, ranks, exchange, launcher)


def machine() -> str:
    """The running system and the process numbers in force on it: where these agree, processes see each other."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {Path('/proc/self/ns/pid').readlink()}"


def _number(name: str) -> int:
    text = os.environ[name]
    if not text.isdecimal():
        raise InputError(f"{name}={text!r}: expected a number, as torchrun sets it")
    return int(text)
