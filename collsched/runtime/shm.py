"""The embedded engine: the ranks of one machine over shared memory, executed by csrc/engine."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Protocol

from collsched import _engine
from collsched.collective import Collective, Kind
from collsched.errors import InputError
from collsched.ir.schedule import Schedule
from collsched.runtime.communicator import Communicator
from collsched.runtime.layout import Role, Slots
from collsched.topology.model import Topology

ENV_FD, ENV_RANK = "COLLSCHED_SHM_FD", "COLLSCHED_RANK"
ENV_RANKS, ENV_TIMEOUT = "COLLSCHED_RANKS", "COLLSCHED_TIMEOUT"
MAX_RANKS = 1024
_LINE = 64


class Executable(Protocol):
    """What the engine needs of a plan."""

    @property
    def topology(self) -> Topology: ...
    @property
    def collective(self) -> Collective: ...
    @property
    def digest(self) -> str: ...
    def schedule(self) -> Schedule: ...


@dataclass(frozen=True, slots=True)
class Tuning:
    """Sizes of the engine, the same on all ranks.

    `arena`: bytes of the buffer that are in flight at once; each rank keeps two arenas in shared memory, and a call on
    more data takes several rounds. `segment`: bytes that hop from rank to rank at once. `timeout`: seconds without
    progress after which a wait is an error.
    """

    arena: int = 256 << 10
    segment: int = 32 << 10
    timeout: float = 300.0


@dataclass(slots=True)
class Process:
    """This process as a rank of its launch."""

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


@dataclass(frozen=True, slots=True)
class Wiring:
    """What all ranks compute alike from a plan: made once where ranks are forked, else by each of them."""

    schedule: Schedule
    slots: Slots

    @classmethod
    def of(cls, plan: Executable) -> Wiring:
        if plan.collective.kind is Kind.ALL_TO_ALL:
            raise InputError(
                "the shm engine runs every collective but all-to-all; export the plan with "
                "`collsched export --to transfers` to run it elsewhere"
            )
        schedule = plan.schedule()
        return cls(schedule, Slots.of(plan.topology, schedule))


def connect(plan: Executable, tuning: Tuning | None = None, wiring: Wiring | None = None) -> Communicator:
    """This rank's end of a plan; returns once all ranks have connected. `wiring` is the plan's, if it is at hand.

    Raises InputError outside `collsched launch` or where the number of ranks differs from the plan's, EngineError where
    the ranks loaded different plans, memory is short, or a rank ends.
    """
    ranks = len(plan.topology.ranks)
    process = _attach(ranks)
    if process.world.ranks != ranks:
        raise InputError(
            f"the plan has {ranks} ranks, this launch {process.world.ranks}; use `collsched launch -n {ranks}`"
        )
    tuning = tuning or Tuning(timeout=_timeout())
    process.connected += 1
    return _communicator(plan, wiring or Wiring.of(plan), process, tuning)


def _communicator(plan: Executable, wiring: Wiring, process: Process, tuning: Tuning) -> Communicator:
    from collsched.lower import program

    schedule, slots = wiring.schedule, wiring.slots
    role = Role(plan.collective, schedule.chunks, process.world.rank)
    mine = program(plan.topology, schedule, role.rank)
    chunks = len(schedule.chunks.shard)
    connection = _engine.connect(
        process.world,
        process.connected - 1,
        digest=plan.digest,
        collective=str(plan.collective.kind),
        opcode=mine.opcode,
        chunk=mine.chunk,
        peer=mine.peer,
        slot=slots.of_program(mine),
        join=mine.join,
        join_ptr=mine.joins.ptr,
        join_member=mine.joins.member,
        chunks=chunks,
        slots=slots.total,
        # room for the rounds of many chunks: 1 KiB each at least
        arena_bytes=-(-max(tuning.arena, chunks << 10) // _LINE) * _LINE,
        segment_bytes=tuning.segment,
        divisor=len(plan.collective.group),
        timeout=tuning.timeout,
        layout=role.ranges,
    )
    return Communicator(role, len(plan.topology.ranks), connection)


def _attach(ranks: int) -> Process:
    if _process is not None:
        return _process
    if ENV_FD in os.environ:
        return join(int(os.environ[ENV_FD]), int(os.environ[ENV_RANK]))
    if ranks == 1:
        return join(_engine.World.create(1), 0)
    raise InputError(
        f"this process is not a rank: start it with `collsched launch -n {ranks} -- python …`, which sets {ENV_RANK}"
    )


def _timeout() -> float:
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
