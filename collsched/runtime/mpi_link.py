"""One communicator's messages: waiting without polling for ever, and finding out who does not come.

A rank that waits tests its requests in turns: some at once, some after letting others run, then with sleeps in between,
so that a wait of more than a millisecond leaves the cores to others. Every few milliseconds of sleep it looks
around: at messages about the communicator (NOTE) and at the processes of its own machine.

    timeout     ──ASK──▶ all         who answers with what it waits for, at once, if it waits in a call too
    after GRACE ──FAILED, text──▶ all   names a rank that was silent, or the end of the chain of those that wait

Ranks that learn of a failure raise it too. A rank that makes no more calls says so (CLOSED, with how many it made), so
that others need not wait for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

from collsched.errors import EngineError

NOTE = 32767  # the tag of notes; lanes have smaller ones, and every MPI has tags up to this
_SPINS, _YIELDS = 30, 300  # tests of the requests before the first sleep
_NAP, _LONGEST_NAP = 20e-6, 1e-3  # seconds of the first sleep, and of later ones
_LOOK = 0.02  # seconds between two looks around
GRACE = 1.0  # seconds in which a rank that waits surely answers; at most half the time limit
_MOST = 2000  # characters of a failure's text in a note


@dataclass(frozen=True, slots=True)
class Awaited:
    """What a rank waits for: `peer` (−1: all ranks) at `step` of `steps` of the program (0: it compares calls) with
    data that goes from `src` to `dst`."""

    peer: int = -1
    chunk: int = -1
    step: int = 0
    steps: int = 0
    src: int = -1
    dst: int = -1

    def __str__(self) -> str:
        if not self.step:
            return ""
        link = f"chunk {self.chunk} from rank {self.src} to rank {self.dst}"
        return f" at step {self.step:,} of {self.steps:,}, {link}"


ALL = Awaited()


class Link:
    """The ranks of one communicator; `comm` is private to it. `processes`: pidfds of ranks on this machine, by rank."""

    failed = False  # any of this process

    def __init__(self, mpi: Any, comm: Any, timeout: float, processes: dict[int, int]) -> None:
        self.mpi, self.comm, self.timeout, self.processes = mpi, comm, timeout, processes
        self.rank, self.ranks = comm.rank, comm.size
        self._grace = min(GRACE, timeout / 2)
        self.calls = 0  # entered
        self.doing = "connect"
        self.failure: str | None = None
        self.closed: dict[int, int] = {}  # ranks that make no more calls, and how many they made
        self.answers: dict[int, Awaited] = {}
        self._posted: list[tuple[Any, bytes]] = []  # notes on their way
        self._noting = threading.Lock()  # an interrupted call is given up from another thread than its own
        self._gone: set[int] = set()  # processes seen to have ended
        # Without MPI_THREAD_MULTIPLE two communicators' threads take turns in the library: no call in it blocks.
        self.lock: Any = contextlib.nullcontext() if mpi.Query_thread() == mpi.THREAD_MULTIPLE else _TURNS

    def wait(self, requests: Sequence[Any], awaited: Callable[[], Awaited] = lambda: ALL) -> list[int]:
        """Positions of requests that are complete, at least one. Raises EngineError once the communicator has failed:
        no progress within the time limit, a rank that ended, or the failure of another."""
        test, tests, nap = self.mpi.Request.Testsome, 0, _NAP
        since = looked = 0.0
        while True:
            with self.lock:
                done: list[int] | None = test(requests)
            if done:
                return done
            if done is None:
                raise EngineError("a wait for nothing: the program is stuck; verify the plan")
            tests += 1
            if tests <= _SPINS:
                continue
            if tests <= _SPINS + _YIELDS:
                os.sched_yield()
                continue
            time.sleep(nap)
            nap = min(2 * nap, _LONGEST_NAP)
            now = time.monotonic()
            if not since:
                since = looked = now
            elif now - looked > _LOOK:
                self.look_around(awaited())
                if now - since > self.timeout - self._grace:
                    self._give_up(awaited())
                looked = time.monotonic()

    def wait_all(self, requests: Sequence[Any]) -> None:
        """Returns when all requests are complete."""
        left = len(requests)
        while left:
            left -= len(self.wait(requests))

    def look_around(self, awaited: Awaited) -> None:
        """Read notes; raise what others, or the end of a process, mean for a rank that waits."""
        self.read_notes(awaited)
        self.raise_failure(awaited)
        needed = range(self.ranks) if awaited.peer < 0 else [awaited.peer]
        for peer in needed:
            if self.closed.get(peer, self.calls) < self.calls:
                self.fail(f"rank {peer} ended, or closed its communicator, after {self.closed[peer]:,} calls", awaited)
        for peer in self._ended():
            # What it sent may have come in since the last test: the next look decides.
            if peer in self._gone and peer not in self.closed:
                self.fail(f"rank {peer} ended in the middle of the job", awaited)
            self._gone.add(peer)

    def raise_failure(self, awaited: Awaited = ALL) -> None:
        """Raises EngineError if the communicator has failed."""
        if self.failure is not None:
            raise EngineError(f"{self.failure}; rank {self.rank} was in {self.doing}{awaited}")

    def fail(self, text: str, awaited: Awaited = ALL) -> NoReturn:
        """The end of the communicator, for all ranks. Raises EngineError."""
        self.declare(text + f", which rank {self.rank} needs in {self.doing}{awaited}")
        raise EngineError(self.failure)

    def explain(self, error: str) -> NoReturn:
        """MPI itself reports an error: raise what it comes from, which is mostly the end of a rank, else its text."""
        for _ in range(3):
            time.sleep(_LOOK)
            self.look_around(ALL)
        self.declare(f"rank {self.rank}, {self.doing}: MPI reports {error}")
        raise EngineError(self.failure)

    def declare(self, text: str) -> None:
        """Let this rank's calls, and those of all others, fail with a text. The first failure counts."""
        if self.failure is None:
            self._note_failure(text)
            self.tell_all("failed", text=text[:_MOST])

    def _note_failure(self, text: str) -> None:
        self.failure = self.failure or text
        Link.failed = True

    def close(self) -> None:
        """Tell the others that this rank makes no more calls."""
        if self.rank not in self.closed:
            self.closed[self.rank] = self.calls
            self.tell_all("closed", calls=self.calls)

    def over(self) -> bool:
        """Whether no rank makes calls any more, and all know."""
        if self.rank not in self.closed:
            return False
        self.read_notes()
        self._drop_sent()
        return len(self.closed) == self.ranks and not self._posted

    def tell_all(self, kind: str, **content: Any) -> None:
        for peer in range(self.ranks):
            if peer != self.rank:
                self.tell(peer, kind, **content)

    def tell(self, peer: int, kind: str, **content: Any) -> None:
        note = json.dumps({"kind": kind, **content}).encode()
        self._drop_sent()
        with self._noting, self.lock:
            self._posted.append((self.comm.Isend([note, self.mpi.BYTE], peer, NOTE), note))

    def _drop_sent(self) -> None:
        with self._noting, self.lock:
            self._posted = [(request, data) for request, data in self._posted if not request.Test()]

    def read_notes(self, awaited: Awaited | None = None) -> None:
        """Take in what others told; answer those who ask, if this rank is `awaited` something itself."""
        status = self.mpi.Status()
        while True:
            with self.lock:
                if not self.comm.Iprobe(self.mpi.ANY_SOURCE, NOTE, status):
                    return
                peer, data = status.Get_source(), bytearray(status.Get_count(self.mpi.BYTE))
                self.comm.Recv([data, self.mpi.BYTE], peer, NOTE)
            note = json.loads(data)
            match note["kind"]:
                case "failed":
                    self._note_failure(note["text"])
                case "closed":
                    self.closed[peer] = note["calls"]
                case "ask" if awaited is not None:
                    self.tell(peer, "waits", awaited=asdict(awaited))
                case "waits":
                    self.answers[peer] = Awaited(**note["awaited"])

    def _ended(self) -> list[int]:
        """Ranks of this machine whose process has ended."""
        if not self.processes:
            return []
        poll = select.poll()
        rank_of = {fd: rank for rank, fd in self.processes.items() if rank != self.rank}
        for fd in rank_of:
            poll.register(fd, select.POLLIN)
        return [rank_of[fd] for fd, _ in poll.poll(0)]

    def _give_up(self, awaited: Awaited) -> NoReturn:
        """Nothing has moved for the time limit: find out whom all wait for, tell all, and raise."""
        self.answers = {self.rank: awaited}
        self.tell_all("ask")
        end = time.monotonic() + self._grace
        while time.monotonic() < end and len(self.answers) < self.ranks and self.failure is None:
            time.sleep(_LONGEST_NAP)
            self.read_notes(awaited)
        self.raise_failure(awaited)
        silent = [rank for rank in range(self.ranks) if rank not in self.answers]
        who, last = self.rank, awaited
        seen = {who}
        while last.peer >= 0 and last.peer in self.answers and last.peer not in seen:
            who, last = last.peer, self.answers[last.peer]
            seen.add(who)
        if last.peer in seen:
            text = (
                f"nothing moved for {self.timeout:g} s: rank {who} waits for rank {last.peer}, which waits too,{last}"
            )
        elif last.peer >= 0:
            text = f"rank {last.peer} did nothing for {self.timeout:g} s: rank {who} waits for it{last}"
        else:
            names = " and ".join(f"rank {rank}" for rank in silent) or "no rank"
            text = f"{names} did not come to {self.doing} within {self.timeout:g} s"
        self.declare(f"{text} (rank {self.rank} found)")
        raise EngineError(self.failure)


_TURNS = threading.Lock()
