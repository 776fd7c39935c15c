"""The engine of jobs that an MPI launcher started: programs as messages, through mpi4py, with any MPI."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collsched import __version__
from collsched.errors import EngineError, InputError
from collsched.passes.segment import MAX_PIECES
from collsched.runtime import launchers, mpi_world
from collsched.runtime.buffers import Buffer
from collsched.runtime.communicator import Communicator
from collsched.runtime.engine import RELAY, Call, Executable, RankPlan, Wirings
from collsched.runtime.mpi_flight import Flight, Loaded
from collsched.runtime.mpi_link import Link
from collsched.runtime.mpi_small import Exchange
from collsched.runtime.pending import Pending
from collsched.runtime.shm import default_timeout
from collsched.runtime.trace import Event

_MOST_TRANSFERS = 1 << 17  # of a schedule whose chunks are cut for the pipeline
_INT_MAX = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Tuning:
    """Sizes of the engine, the same on all ranks.

    `segment`: bytes of the pieces that chunks are cut into, about, so that the ranks of a chain work at the same time.
    `window`: messages under way at once on each lane, and landing places of its reductions. `message`: the most bytes
    of one message, which MPI counts in an int. `timeout`: seconds without progress after which a wait is an error.
    """

    segment: int = 1 << 20
    window: int = 4
    message: int = 1 << 30
    timeout: float = 300.0

    def __post_init__(self) -> None:
        if min(self.segment, self.window, self.message, self.timeout) <= 0 or self.message > _INT_MAX:
            raise InputError(f"{self}: expected positive sizes, and messages of at most {_INT_MAX:,} bytes")


def launched() -> bool:
    """Whether a launcher of MPI programs started this process."""
    return launchers.started_by_mpi()


class MpiEngine:
    """Implements `runtime.engine.Engine`: one communicator of this process, with an MPI communicator of its own."""

    name = "mpi"
    device = "cpu"
    queues = False

    def __init__(self, plan: Executable, link: Link, tuning: Tuning) -> None:
        self.rank, self.ranks = link.rank, link.ranks
        self._link, self._tuning, self._kind = link, tuning, str(plan.collective.kind)
        self._exchange = Exchange(plan, link)
        self._events: list[Event] = []
        self._recording = False

    def segments(self, plan: Executable, nbytes: int) -> int:
        """A power of two, so that similar sizes share a program."""
        schedule = plan.schedule()
        lo, hi = schedule.chunks.ranges(plan.collective, plan.collective.total(nbytes))
        wanted = -(-int((hi - lo).max(initial=0)) // self._tuning.segment)
        most = min(MAX_PIECES, max(1, _MOST_TRANSFERS // max(1, len(schedule.transfers.chunk))))
        pieces = 1
        while pieces < wanted and 2 * pieces <= most:
            pieces *= 2
        return pieces

    def agree(self, call: Call) -> Call:
        with self._guard():
            return self._meet(call, None)[0]

    def _meet(self, call: Call, shown: Buffer | None) -> tuple[Call, bool]:
        """The call that all ranks made, and whether all have shown their input."""
        link = self._link
        link.calls += 1
        link.doing = f"call {link.calls:,}, {self._describe(call)}"
        link.raise_failure()
        calls, complete = self._exchange.meet(call, shown)
        made = [(rank, one) for rank, one in enumerate(calls) if one is not None and one.count != RELAY]
        if not made:
            raise EngineError(f"no rank gave data to {self._kind}")
        first = made[0]
        other = next((one for one in made if one[1] != first[1]), None)
        if other is not None:
            one, two = (f"rank {rank} made {self._describe(theirs)}" for rank, theirs in (first, other))
            raise EngineError(f"the ranks disagree in call {link.calls:,}: {one}, {two}")
        return first[1], complete

    def _describe(self, call: Call) -> str:
        return self._kind if call.count == RELAY else f"{self._kind} of {call.count:,} {call.dtype} ({call.op})"

    def load(self, rank_plan: RankPlan) -> Loaded:
        return Loaded(rank_plan, self._tuning.window)

    def execute(self, loaded: Loaded, call: Call, source: Buffer | None, target: Buffer | None, agreed: bool) -> None:
        with self._guard():
            if not agreed:
                shows = not self._recording and self._exchange.fits(loaded, call, source)
                _, shown = self._meet(call, source if shows else None)
                if shown:
                    self._exchange.add_up(loaded, call, target)
                    return
            self._link.doing = f"call {self._link.calls:,}, {self._describe(call)}"
            events = self._events if self._recording else None
            Flight(self._link, loaded, call, source, target, self._tuning.message, events).run()

    def again(self, x: Any, out: Any, op: str) -> bool:
        """There is no shorter way than the usual one."""
        return False

    def empty(self, nbytes: int) -> NDArray[np.uint8]:
        return np.empty(nbytes, np.uint8)

    def mark(self) -> Pending:
        raise NotImplementedError("the mpi engine queues nothing")

    def record(self, on: bool) -> None:
        self._recording = on

    def events(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def gather(self, data: bytes) -> list[bytes]:
        with self._guard():
            return mpi_world.share(self._link, data)

    def abort(self, text: str) -> None:
        self._link.declare(text)

    def close(self) -> None:
        mpi_world.close_link(self._link)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """What ends a call half done ends it for all ranks."""
        self._check_thread()
        try:
            yield
        except EngineError:
            raise
        except self._link.mpi.Exception as error:
            self._link.explain(str(error))
        except BaseException as error:
            self.abort(f"rank {self.rank} was interrupted ({type(error).__name__})")
            raise

    def _check_thread(self) -> None:
        mpi = self._link.mpi
        if mpi.Query_thread() < mpi.THREAD_SERIALIZED and not mpi.Is_thread_main():
            raise EngineError(
                "this MPI serves its main thread only (MPI_THREAD_FUNNELED): leave wait=False away, or initialise MPI "
                "with MPI_THREAD_MULTIPLE"
            )


def connect(plan: Executable, tuning: Tuning | None = None, wirings: Wirings | None = None) -> Communicator:
    """This rank's end of a plan; returns once all ranks of the MPI job have connected. `wirings`: what is known of the
    plan.

    Raises MissingComponentError without mpi4py, InputError where the job has another number of ranks than the plan,
    EngineError where the ranks brought different plans, or a rank ends or does not come.
    """
    tuning = tuning or Tuning(timeout=default_timeout())
    link = mpi_world.open_link(
        len(plan.topology.ranks), plan.digest, f"collsched {__version__}, {tuning}", tuning.timeout
    )
    return Communicator(plan, MpiEngine(plan, link, tuning), wirings)
