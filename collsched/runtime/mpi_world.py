"""This process as a rank of an MPI job: the library, how communicators begin, and how everything ends.

At its end a rank tells the others that it makes no more calls, and waits a little for the same from them, so that
communicators are given back and MPI can be finalized. After a failure it ends the job instead (MPI_Abort): what is
left of a call cannot be finished, and MPI_Finalize would wait for it. It does so only once the others have told their
failure, too, or are silent.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import time
from functools import lru_cache
from typing import Any

import numpy as np

from collsched.errors import EngineError, InputError, MissingComponentError
from collsched.runtime.launchers import machine
from collsched.runtime.mpi_link import Link

_CARD = 1024  # bytes that a rank shows when it connects
_LEAVE, _LEAVE_FAILED = 5.0, 1.0  # seconds that a rank waits at its end for those of the others
_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")

_links: list[Link] = []  # that are not given back
_processes: dict[int, int] = {}  # pidfds of the other ranks of this machine
_abandoned: list[Any] = []  # what unfinished messages may still touch


@lru_cache(maxsize=1)
def library() -> Any:
    """mpi4py.MPI; importing it initialises MPI. Raises MissingComponentError where it, or an MPI, is missing."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise MissingComponentError(
            f"the mpi engine needs mpi4py and an MPI library ({str(error).splitlines()[0]}): pip install mpi4py; "
            "name the library with MPI4PY_MPIABI=openmpi or mpich, and its folder with LD_LIBRARY_PATH"
        ) from None
    atexit.register(_leave)  # Python calls this before mpi4py finalizes MPI
    return MPI


def open_link(ranks: int, digest: str, settings: str, timeout: float) -> Link:
    """A communicator of all ranks of the job. Collective.

    Raises InputError if the job has not that many ranks; EngineError if they bring plans of other digests or other
    settings, or do not come.
    """
    mpi = library()
    world = mpi.COMM_WORLD
    if world.size != ranks:
        raise InputError(_wrong_size(ranks, world.size, mpi.Get_library_version()))
    _give_back()
    meeting = Link(mpi, world, timeout, _processes)
    with meeting.lock:
        comm, request = world.Idup()
    try:
        meeting.wait_all([request])
    except EngineError:
        _links.append(meeting)  # others are told at the end
        raise
    link = Link(mpi, comm, timeout, _processes)
    _links.append(link)
    cards = [json.loads(card) for card in share(link, json.dumps([digest, settings, machine(), os.getpid()]).encode())]
    for what, at in (("plans", 0), ("versions or settings", 1)):
        other = next((rank for rank, card in enumerate(cards) if card[at] != cards[0][at]), None)
        if other is not None:
            raise EngineError(
                f"the ranks brought different {what}: rank 0 {cards[0][at]}, rank {other} {cards[other][at]}"
            )
    if not _processes and hasattr(os, "pidfd_open"):
        _watch([pid if where == machine() else None for _, _, where, pid in cards], link.rank)
    return link


def _wrong_size(ranks: int, found: int, version: str) -> str:
    told = next((os.environ[name] for name in _SIZES if name in os.environ), None)
    if found == 1 and told not in (None, "1"):
        version = version.strip("\0 \n").splitlines()[0]
        return (
            f"mpirun started {told} ranks, and mpi4py's library ({version}) sees one: it is of another MPI than "
            "mpirun; set MPI4PY_MPIABI and LD_LIBRARY_PATH, or install the mpi4py of this MPI"
        )
    return f"the plan has {ranks} ranks, this job {found}; use `mpirun -n {ranks} python …`"


def _watch(pids: list[int | None], me: int) -> None:
    for rank, pid in enumerate(pids):
        if pid is None or rank == me:
            continue
        try:
            _processes[rank] = os.pidfd_open(pid)
        except OSError:  # it has ended, or we may not look at it: the time limit remains
            continue


def finish(link: Link, start: Any, *arguments: Any) -> None:
    """A collective operation of MPI itself, to its end. Raises EngineError."""
    with link.lock:
        request = start(*arguments)
    try:
        link.wait_all([request])
    except BaseException:
        _abandoned.append((request, arguments))
        raise


def abandon(*things: Any) -> None:
    """Keep alive what messages that were given up may still touch."""
    _abandoned.append(things)


def share(link: Link, data: bytes) -> list[bytes]:
    """The data of every rank, in rank order. Collective."""
    mpi, comm = link.mpi, link.comm
    mine, sizes = np.array([len(data)], np.int64), np.empty(link.ranks, np.int64)
    finish(link, comm.Iallgather, [mine, mpi.INT64_T], [sizes, mpi.INT64_T])
    ends = np.cumsum(sizes)
    gathered = bytearray(int(ends[-1]))
    finish(link, comm.Iallgatherv, [data, mpi.BYTE], [gathered, sizes, ends - sizes, mpi.BYTE])
    return [bytes(gathered[end - size : end]) for size, end in zip(sizes, ends, strict=True)]


def close_link(link: Link) -> None:
    """Say that this rank makes no more calls. The communicator is given back when all have said so."""
    if not link.mpi.Is_finalized():
        link.close()
        _give_back()


def _give_back() -> None:
    """Free the communicators that no rank uses any more."""
    for link in list(_links):
        if link.over():
            if link.comm != link.mpi.COMM_WORLD:
                link.comm.Free()
            _links.remove(link)


def _leave() -> None:
    mpi = library()
    if mpi.Is_finalized():
        return
    sys.stdout.flush()
    sys.stderr.flush()
    for link in _links:
        link.close()
    start = time.monotonic()
    while _links:
        _give_back()
        failed = any(link.failure is not None for link in _links)
        if time.monotonic() - start > (_LEAVE_FAILED if failed else _LEAVE):
            break
        time.sleep(1e-3)
    if Link.failed:
        mpi.COMM_WORLD.Abort(1)
