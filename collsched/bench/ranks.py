"""The processes of a benchmark: forked here, or those that mpirun, torchrun or `collsched launch` started."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from collsched.bench.baselines import open_baselines
from collsched.bench.control import Control, Meeting, PeerLeft, listen
from collsched.bench.protocol import Session
from collsched.bench.provenance import provenance
from collsched.bench.sides import Place
from collsched.bench.sweep import Sweep
from collsched.errors import CollschedError, EngineError, InputError, MissingComponentError
from collsched.plan import Plan
from collsched.runtime import connect, shm
from collsched.runtime.check import Case as Checked
from collsched.runtime.check import check_memory
from collsched.runtime.communicator import Communicator
from collsched.runtime.launch import Ended, Ranks, raising_signals
from collsched.runtime.launchers import Peers

Message = dict[str, Any]
_PIECE = 1500  # characters; twice as many bytes, quoted, and the rest are a write that stays whole in a pipe
_CODES = {2: InputError, 3: MissingComponentError}


@dataclass(frozen=True)
class Job:
    """What every rank is to do. `trace`: a file for the timeline of a call at the last size."""

    plan: Plan
    engine: str
    baselines: Sequence[str]
    sweep: Sweep
    timeout: float = 300.0
    trace: Path | None = None


def launched(job: Job, peers: Peers) -> Iterator[Message]:
    """The messages of rank 0, in rank 0; on the other ranks there are none. Raises what the ranks raise."""
    _check_ranks(job, peers.ranks, peers.launcher)
    with closing(_meet(peers, job.timeout)) as control:
        yield from _perform(job, control)


def forked(job: Job) -> Generator[Message, None, None]:
    """Start a process for each rank on this machine; yield the messages of rank 0.

    Raises InputError if there is not enough memory, EngineError if a rank fails or ends. No process is left once the
    iterator is closed.
    """
    ranks = len(job.plan.topology.ranks)
    cases = [case for placements in job.sweep.cases(job.plan.collective) for case in placements]
    check_memory([Checked(case.dtype, case.count) for case in cases], ranks)
    reader, writer = os.pipe()
    listener, meeting = listen("127.0.0.1", ranks)
    report = _Report()
    try:
        with raising_signals(), Ranks(ranks) as processes:
            processes.start(lambda rank, fd: _forked_rank(job, rank, fd, listener, meeting, writer))
            listener.close()
            os.close(writer)
            writer = -1
            for event in processes.watch(reader):
                if isinstance(event, Ended):
                    report.ended(event)
                else:
                    yield from report.feed(event)
    finally:
        listener.close()
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    if report.error is not None:
        code, text = report.error
        raise _CODES.get(code, EngineError)(text)


@dataclass
class _Report:
    """Puts together what the ranks write in pieces: lines of rank, whether more follows, text.

    `error`: exit code and text of the first failure, or of the first that is known where every rank blames another.
    """

    rest: bytes = b""
    begun: dict[int, str] = field(default_factory=dict)
    told: set[int] = field(default_factory=set)  # ranks that gave an error
    error: tuple[int, str] | None = None
    echo: bool = False  # `error` says only that another rank has left

    def feed(self, data: bytes) -> Iterator[Message]:
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            rank, more, text = json.loads(line)
            self.begun[rank] = self.begun.get(rank, "") + text
            if more:
                continue
            message = json.loads(self.begun.pop(rank))
            if "error" in message:
                self.told.add(rank)
                self._fail(message["code"], message["error"], message["echo"])
            else:
                yield message

    def ended(self, event: Ended) -> None:
        """A rank that gives no error did not end by itself."""
        if event.code != 0 and event.rank not in self.told:
            self._fail(1, str(event), False)

    def _fail(self, code: int, text: str, echo: bool) -> None:
        if self.error is None or (self.echo and not echo):
            self.error, self.echo = (code, text), echo


def tell(pipe: int, rank: int, message: Message) -> None:
    """Write a message to a pipe that several ranks write to."""
    text = json.dumps(message)
    for at in range(0, len(text), _PIECE):
        line = json.dumps([rank, at + _PIECE < len(text), text[at : at + _PIECE]])
        os.write(pipe, line.encode() + b"\n")


def _forked_rank(job: Job, rank: int, fd: int, listener: socket.socket, meeting: Meeting, pipe: int) -> int:
    ranks = len(job.plan.topology.ranks)
    try:
        shm.join(fd, rank)
        if rank == 0:
            control = Control.serve(listener, meeting, ranks, job.timeout)
        else:
            listener.close()
            control = Control.join(meeting, rank, ranks, job.timeout)
        with closing(control):
            for message in _perform(job, control):
                tell(pipe, rank, message)
    except CollschedError as error:
        text, echo = str(error)[:4000], isinstance(error, PeerLeft)
        tell(pipe, rank, {"error": text, "code": error.exit_code, "echo": echo})
        return 1
    return 0


def _perform(job: Job, control: Control) -> Iterator[Message]:
    """The life of a rank; rank 0 yields what is to be reported."""
    with _connect(job) as communicator:
        place = Place(job.plan.collective, control, communicator.device)
        baselines, left_out = open_baselines(job.baselines, place)
        session = Session(job.plan, communicator, baselines, place, job.sweep)
        first = control.rank == 0
        if first:
            versions = {baseline.engine: baseline.version for baseline in baselines}
            about = provenance(place.device, versions, control.ranks)
            yield {"start": {"engine": communicator.engine, "left_out": left_out, "provenance": about}}
        for measured in session.measure():
            if first:
                yield {"measured": [one.to_json() for one in measured]}
        if first:
            lacking = [[name, in_place, reason] for (name, in_place), reason in session.lacking.items()]
            yield {"lacking": lacking, "dropped": [[*which, why] for which, why in session.dropped.items()]}
        if job.trace is not None:
            yield from _trace(session, job.trace)
        # Only here: it is collective, and after a failure the ranks are in different places.
        for baseline in baselines:
            baseline.close()


def _trace(session: Session, path: Path) -> Iterator[Message]:
    trace = session.trace()
    if session.place.rank == 0:
        trace.save(path)
        yield {"trace": {"file": str(path), "events": len(trace.events), "text": trace.text()}}


def _connect(job: Job) -> Communicator:
    return connect(job.plan, job.engine, shm.Tuning(timeout=job.timeout) if job.engine == "shm" else None)


def _check_ranks(job: Job, ranks: int, launcher: str) -> None:
    wanted = len(job.plan.topology.ranks)
    if ranks != wanted:
        raise InputError(f"the plan has {wanted} ranks, {launcher} started {ranks}; start {wanted}")


def _meet(peers: Peers, timeout: float) -> Control:
    """The star of a launch. On one host over loopback, else by the address of rank 0's host name."""
    names = [part.decode() for part in peers.exchange(socket.gethostname().encode())]
    host = "127.0.0.1" if len(set(names)) == 1 else names[0]
    if peers.rank == 0:
        try:
            listener, meeting = listen(host, peers.ranks)
        except EngineError as error:
            peers.exchange(json.dumps(str(error)).encode())
            raise
        peers.exchange(meeting.to_bytes())
        return Control.serve(listener, meeting, peers.ranks, timeout)
    told = peers.exchange(b"")[0]
    if told.startswith(b'"'):
        raise EngineError(json.loads(told))
    return Control.join(Meeting.from_bytes(told), peers.rank, peers.ranks, timeout)
