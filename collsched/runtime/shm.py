"""The embedded engine: the ranks of one machine over shared memory, executed by csrc/engine."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collsched import _engine
from collsched.errors import EngineError, InputError
from collsched.runtime.buffers import Buffer
from collsched.runtime.communicator import Communicator
from collsched.runtime.dtypes import DTYPES, OPS
from collsched.runtime.engine import Call, Executable, RankPlan, Wirings
from collsched.runtime.launchers import Peers, foreign, machine
from collsched.runtime.pending import Pending
from collsched.runtime.small import sums
from collsched.runtime.trace import Event

ENV_FD, ENV_RANK = "COLLSCHED_SHM_FD", "COLLSCHED_RANK"
ENV_RANKS, ENV_TIMEOUT = "COLLSCHED_RANKS", "COLLSCHED_TIMEOUT"
MAX_RANKS = 1024
_LINE = 64
_ARENA, _ARENAS = 1 << 20, 32 << 20  # bytes of one arena, of all together
_SMALL, _SMALLS = 16 << 10, 64 << 10  # bytes of a small call, of those of all ranks together
_CODES = {name: code for names in (DTYPES, OPS) for code, name in enumerate(names)}


@dataclass(frozen=True, slots=True)
class Tuning:
    """Sizes of the engine, the same on all ranks.

    `arena`: bytes of the buffer that are in flight at once; each rank keeps two arenas in shared memory, and a call on
    more data takes several rounds. None: 1 MiB, less where many ranks share the caches. `segment`: bytes that hop from
    rank to rank at once. `small`: bytes of a buffer up to which every rank adds up the inputs of all by itself; at most
    an arena. None: 16 KiB, less for more than four ranks. `timeout`: seconds without progress after which a wait is an
    error.
    """

    arena: int | None = None
    segment: int = 64 << 10
    small: int | None = None
    timeout: float = 300.0

    def row(self, ranks: int, chunks: int) -> int:
        """Bytes of an arena: at least 1 KiB a chunk, for the rounds of many chunks."""
        arena = min(_ARENA, _ARENAS // ranks) if self.arena is None else self.arena
        return -(-max(arena, chunks << 10) // _LINE) * _LINE

    def small_bytes(self, ranks: int) -> int:
        return min(_SMALL, _SMALLS // ranks) if self.small is None else self.small


@dataclass(slots=True)
class Process:
    """This process as a rank of those that share a memory: of its launch, or of some who met (`meet`)."""

    world: _engine.World
    connected: int = 0  # communicators so far


_process: Process | None = None


def join(fd: int, rank: int) -> Process:
    """Make this process the given rank of the launch whose shared memory is `fd`. Once in the life of a process."""
    global _process
    if _process is None or _process.world.rank != rank:
        _process = Process(_engine.World(fd, rank))
    return _process


def launched() -> bool:
    """Whether this process is a rank that `collsched launch` or `collsched run` started."""
    return _process is not None or ENV_FD in os.environ


def siblings() -> Peers | None:
    """The ranks of this launch, if it is one of `collsched launch`. Collective."""
    if not launched():
        return None
    process = _process or join(int(os.environ[ENV_FD]), int(os.environ[ENV_RANK]))
    exchange = _engine.Connection(process.world, process.connected, "exchange", "exchange", default_timeout()).gather
    process.connected += 1
    return Peers(process.world.rank, process.world.ranks, exchange, "collsched launch")


def meet(peers: Peers) -> Process:
    """A new shared memory of ranks on one machine that something else launched. Collective; pass it to `connect`.

    Raises InputError where the ranks are on several machines, EngineError on all of them where one cannot have it.
    """
    mine, failure = -1, ""
    if peers.rank == 0:
        try:
            mine = create(peers.ranks)
        except (InputError, EngineError) as error:
            failure = str(error)  # the others wait for a word
    try:
        card = json.dumps([machine(), os.getpid(), mine, failure])
        cards = [json.loads(other) for other in peers.exchange(card.encode())]
        if cards[0][3]:
            raise EngineError(f"rank 0: {cards[0][3]}")
        elsewhere = next((rank for rank, (where, *_) in enumerate(cards) if where != cards[0][0]), None)
        if elsewhere is not None:
            raise InputError(
                f"ranks 0 and {elsewhere} are on different machines or in different containers; the shm engine serves "
                "one: use engine='mpi' or 'nccl'"
            )
        try:
            # Through the first rank's descriptor, since the memory has no name.
            fd = os.open(f"/proc/{cards[0][1]}/fd/{cards[0][2]}", os.O_RDWR | os.O_CLOEXEC)
            try:
                process = Process(_engine.World(fd, peers.rank))
            finally:
                os.close(fd)
        except (OSError, EngineError) as error:
            failure = f"rank {peers.rank} cannot open the shared memory of rank 0: {error}"
        # The first rank keeps its descriptor until all have opened it.
        if failed := next(filter(None, peers.exchange(failure.encode())), b""):
            raise EngineError(failed.decode())
    finally:
        if mine >= 0:
            os.close(mine)
    return process


class ShmEngine:
    """Implements `runtime.engine.Engine`: one communicator of this process."""

    name = "shm"
    device = "cpu"
    queues = False

    def __init__(self, plan: Executable, process: Process, tuning: Tuning) -> None:
        self.rank, self.ranks = process.world.rank, process.world.ranks
        self._world, self._tuning = process.world, tuning
        self._members = len(plan.collective.group)
        self._connection = _engine.Connection(
            process.world, process.connected, plan.digest, str(plan.collective.kind), tuning.timeout
        )
        process.connected += 1
        self.again = self._connection.again

    def segments(self, plan: Executable, nbytes: int) -> int:
        """The engine cuts pieces into segments itself."""
        return 1

    def agree(self, call: Call) -> Call:
        count, dtype, op = self._connection.agree(call.count, _CODES[call.dtype], _CODES[call.op])
        return Call(count, DTYPES[dtype], OPS[op])

    def load(self, rank_plan: RankPlan) -> int:
        wiring, mine, tuning = rank_plan.wiring, rank_plan.program, self._tuning
        chunks = len(wiring.schedule.chunks.shard)
        return self._connection.load(
            wiring.plan.digest,
            (
                mine.opcode, mine.chunk, mine.peer, wiring.slots.of_program(mine),
                mine.join, mine.joins.ptr, mine.joins.member,
            ),
            sums(rank_plan),
            chunks=chunks,
            slots=wiring.slots.total,
            row_bytes=tuning.row(self.ranks, chunks),
            segment_bytes=tuning.segment,
            small_bytes=tuning.small_bytes(self.ranks),
            divisor=self._members,
            layout=rank_plan.role.ranges,
        )  # fmt: skip

    def execute(self, loaded: int, call: Call, source: Buffer | None, target: Buffer | None, agreed: bool) -> None:
        given, got = ((0, 0) if buffer is None else (buffer.address, buffer.count) for buffer in (source, target))
        self._connection.call(loaded, call.count, _CODES[call.dtype], _CODES[call.op], *given, *got, agreed)

    def empty(self, nbytes: int) -> NDArray[np.uint8]:
        return self._world.allocate(nbytes)

    def mark(self) -> Pending:
        raise NotImplementedError("the shm engine queues nothing")

    def record(self, on: bool) -> None:
        self._connection.record(on)

    def events(self) -> list[Event]:
        return [
            Event(self.rank, call, chunk, piece, nbytes, ready, begin, end, sources, targets)
            for call, chunk, piece, nbytes, ready, begin, end, sources, targets in self._connection.events()
        ]

    def gather(self, data: bytes) -> list[bytes]:
        return self._connection.gather(data)

    def abort(self, text: str) -> None:
        self._world.fail(text)

    def close(self) -> None:
        self._connection.close()


def connect(
    plan: Executable, tuning: Tuning | None = None, wirings: Wirings | None = None, process: Process | None = None
) -> Communicator:
    """This rank's end of a plan; returns once all ranks have connected. `wirings`: what is known of the plan.
    `process`: this one among those that met; by default in its launch, by whatever launcher.

    Raises InputError for a process that is not a rank, or where the number of ranks differs from the plan's,
    EngineError where the ranks loaded different plans, memory is short, or a rank ends.
    """
    ranks = len(plan.topology.ranks)
    process = process or attach(ranks)
    if process.world.ranks != ranks:
        raise InputError(
            f"the plan has {ranks} ranks, this launch {process.world.ranks}; use `collsched launch -n {ranks}`"
        )
    return Communicator(plan, ShmEngine(plan, process, tuning or Tuning(timeout=default_timeout())), wirings)


def attach(ranks: int) -> Process:
    """This process as a rank of its launch, by whatever launcher. Raises InputError if it is none."""
    global _process
    if _process is not None:
        return _process
    if ENV_FD in os.environ:
        return join(int(os.environ[ENV_FD]), int(os.environ[ENV_RANK]))
    if (peers := foreign()) is not None:
        _process = meet(peers)
        return _process
    if ranks == 1:
        return join(_engine.World.create(1), 0)
    raise InputError(
        f"this process is not a rank: start it with `collsched launch -n {ranks} -- python …`, which sets {ENV_RANK}, "
        "or with mpirun or torchrun"
    )


def default_timeout() -> float:
    """Seconds without progress after which a wait is an error, from the environment. Raises InputError."""
    text = os.environ.get(ENV_TIMEOUT)
    if text is None:
        return Tuning().timeout
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InputError(f"{ENV_TIMEOUT}={text!r}: expected a positive number of seconds")
    return seconds


def create(ranks: int) -> int:
    """The descriptor of shared memory for a new launch. Raises InputError for a number of ranks out of range."""
    if not 1 <= ranks <= MAX_RANKS:
        raise InputError(f"{ranks} ranks; one machine takes 1 to {MAX_RANKS}")
    return _engine.World.create(ranks)
