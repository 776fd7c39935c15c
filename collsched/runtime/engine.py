"""The contract between a Communicator and what moves its bytes.

A Communicator does all that engines have in common: it opens the user's arrays, finds the element type, the reduction
and the size of the whole buffer, allocates outputs, picks the plan for the size, keeps what has been made ready, and
runs calls that nobody waits for on a thread of its own. An engine does the rest, for one communicator on one rank:

    agree(call)                        compare what the ranks called; a relay learns it from the others
    load(rank_plan)                    make ready to execute, once a plan (flags, connections, device memory)
    execute(loaded, call, in, out)     compare, then run the program: input → working buffer → output

These three are collective: all ranks call them in the same order, and no two of them run at once for one communicator.
They may be called from another thread than the one that made the engine, but always from one at a time. Connecting
is the engine's too, and finds ranks that bring plans of different digests.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from collsched.collective import Collective
from collsched.ir.program import Program
from collsched.ir.schedule import Schedule
from collsched.lower import program, programs
from collsched.lower.programs import check_ranks_alone
from collsched.runtime.buffers import Buffer
from collsched.runtime.layout import Role, Slots
from collsched.runtime.pending import Pending
from collsched.runtime.trace import Event
from collsched.topology.model import Topology

RELAY = -1  # the count of a rank that gives and gets nothing


class Executable(Protocol):
    """What engines need of a plan. A plan with several size ranges also has `at(nbytes)`: see `select`."""

    @property
    def topology(self) -> Topology: ...
    @property
    def collective(self) -> Collective: ...
    @property
    def digest(self) -> str: ...
    def schedule(self, segments: int = 1) -> Schedule: ...


def select(plan: Executable, nbytes: int) -> Executable:
    """The plan to use for a buffer of `nbytes` bytes: the one size range that holds it."""
    at = getattr(plan, "at", None)
    chosen: Executable = plan if at is None else at(nbytes)
    return chosen


@dataclass(frozen=True, slots=True)
class Call:
    """One collective call, on which all ranks must agree.

    `count`: elements of one whole buffer (see `Role`), or RELAY from a rank without data, which agrees with whatever
    the others call. `dtype` and `op` are names from `runtime.dtypes`.
    """

    count: int
    dtype: str
    op: str


@dataclass(frozen=True)
class Wiring:
    """What all ranks compute alike from a plan of one size range whose chunks are cut into `segments` pieces."""

    plan: Executable
    segments: int = 1

    @property
    def key(self) -> tuple[str, int]:
        """Equal for equal schedules."""
        return self.plan.digest, self.segments

    @cached_property
    def schedule(self) -> Schedule:
        """Raises MissingComponentError where switches copy or sum data, which no engine can make them do."""
        schedule = self.plan.schedule(self.segments) if self.segments > 1 else self.plan.schedule()
        check_ranks_alone(self.plan.topology, schedule.routes)
        return schedule

    @cached_property
    def programs(self) -> tuple[Program, ...]:
        """The instructions of all ranks."""
        return tuple(programs(self.plan.topology, self.schedule))

    @cached_property
    def slots(self) -> Slots:
        """A number for every transfer, the same on all ranks: for engines that keep flags."""
        return Slots.of(self.plan.topology, self.schedule)


@dataclass(frozen=True)
class RankPlan:
    """A plan of one size range as one rank sees it."""

    wiring: Wiring
    rank: int

    @cached_property
    def role(self) -> Role:
        """What this rank gives and gets, and where the chunks lie for an element count."""
        schedule = self.wiring.schedule
        return Role(schedule.collective, schedule.chunks, self.rank)

    @cached_property
    def program(self) -> Program:
        """This rank's instructions."""
        return program(self.wiring.plan.topology, self.wiring.schedule, self.rank)


@dataclass(frozen=True, slots=True)
class Wirings:
    """What has been computed of a plan so far, by digest and pieces. Filled where ranks are forked, they share it."""

    known: dict[tuple[str, int], Wiring] = field(default_factory=dict)

    def get(self, plan: Executable, segments: int) -> Wiring:
        wiring = Wiring(plan, segments)
        return self.known.setdefault(wiring.key, wiring)


class Engine(Protocol):
    """Moves the bytes of one communicator on one rank. Raises EngineError for whatever goes wrong among ranks, with a
    text that names the rank; an engine that has failed repeats its error on every further call."""

    name: str
    rank: int
    ranks: int
    device: str
    """The memory that its buffers live in: "cpu" or "cuda"."""
    queues: bool
    """Whether `execute` only enqueues (on a stream): then calls that nobody waits for need no thread, and `mark` tells
    when they are done."""

    def segments(self, plan: Executable, nbytes: int) -> int:
        """The pieces to cut every chunk into for a buffer of that size; 1 where the engine pipelines by itself. The
        same on all ranks."""

    def agree(self, call: Call) -> Call:
        """The call that all ranks made. Raises EngineError on every rank, naming two of them and what they called, if
        they differ; the communicator stays usable."""

    def load(self, rank_plan: RankPlan) -> Any:
        """What `execute` takes for this plan. Raises EngineError where the ranks bring different plans, or there is no
        memory."""

    def execute(self, loaded: Any, call: Call, source: Buffer | None, target: Buffer | None, agreed: bool) -> None:
        """One collective, after a comparison like that of `agree` unless `agreed`. Ranks may differ in that: one that
        has met the size before meets others in `agree`, so both compare in the same way.

        Returns once `source` may be changed and `target` read (an engine that queues: in the order of its stream).
        Buffers are None where the role gives or gets nothing; their sizes are those of the role, `target` is writable,
        and the two are apart or in place (`Role.in_place`). For `avg` it sums, and divides what it gets; see
        `runtime.interpreter` for how types round. Releases the interpreter's lock while it waits and works.
        """

    def again(self, x: Any, out: Any, op: str) -> bool:
        """The short way of an allreduce: compare and execute, if an equal call has been executed before and nothing
        about the user's arrays is unusual. Else False, and nothing has been done. Engines may always say so."""

    def empty(self, nbytes: int) -> Any:
        """New memory that this engine moves without a copy, as an object with the buffer protocol or DLPack, which owns
        it."""

    def mark(self) -> Pending:
        """The end of all that was enqueued. Only of engines that queue."""

    def record(self, on: bool) -> None:
        """Start or stop recording transfers."""

    def events(self) -> list[Event]:
        """The transfers into this rank recorded since the last call, all of them finished."""

    def gather(self, data: bytes) -> list[bytes]:
        """The data of every rank, on every rank, in rank order. Collective."""

    def abort(self, text: str) -> None:
        """This rank cannot go on in the middle of a call; the others get an EngineError with the text."""

    def close(self) -> None:
        """Give everything back. Calls of other ranks that need this rank fail."""
