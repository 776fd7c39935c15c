"""Processes of one launch: started together, watched together, ended together.

The launcher forks every rank and dies last. Nothing outlives it: the shared memory has no name; the kernel kills a rank
whose launcher is gone; a rank that fails is written into the shared memory, where the others find it; what does not
end by itself is ended.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from collsched import _engine
from collsched.errors import EngineError, InputError
from collsched.runtime.shm import ENV_FD, ENV_RANK, ENV_RANKS, create

_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_GRACE = 5.0  # seconds between asking and forcing
_WOKEN = "woken"  # marks the pipe that signals write to


@dataclass(frozen=True, slots=True)
class Ended:
    """How a rank ended: its exit code, or 128 + the signal that killed it, as a shell would say it."""

    rank: int
    process: int
    status: int  # of waitpid

    @property
    def code(self) -> int:
        code = os.waitstatus_to_exitcode(self.status)
        return code if code >= 0 else 128 - code

    def __str__(self) -> str:
        code = os.waitstatus_to_exitcode(self.status)
        how = f"ended with exit code {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"
        return f"rank {self.rank} (process {self.process}) {how}"


class Ranks:
    """The processes of a launch. Use as a context: on leaving it, none of them is left."""

    def __init__(self, ranks: int) -> None:
        """Raises InputError for a number of ranks out of range, EngineError if memory is short."""
        self.ranks = ranks
        self._fd = create(ranks)
        self._world: _engine.World | None = _engine.World(self._fd, -1)
        self._running: dict[int, tuple[int, int]] = {}  # rank → process, its descriptor

    def start(self, main: Callable[[int, int], int]) -> None:
        """Fork every rank, which calls main(rank, fd) with the shared memory's descriptor and exits with its result."""
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        for rank in range(self.ranks):
            before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
            try:
                with warnings.catch_warnings():
                    # Threads of a numerical library do not matter: the child leaves them alone.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    process = os.fork()
                if process == 0:
                    _child(rank, self._fd, parent, before, main)
                # Here too: the rank may not have come to it when it is to be ended. It may also have ended.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.setpgid(process, process)
                self._running[rank] = (process, _descriptor(process))
            except OSError as error:
                raise EngineError(
                    f"cannot start rank {rank} of {self.ranks}: {error.strerror}; raise `ulimit -u` and `ulimit -n`"
                ) from None
            finally:
                if os.getpid() == parent:
                    signal.pthread_sigmask(signal.SIG_SETMASK, before)

    @property
    def processes(self) -> list[int]:
        """The process of each rank that has not been seen to end, in rank order."""
        return [process for _, (process, _) in sorted(self._running.items())]

    def watch(self, pipe: int | None = None) -> Iterator[Ended | bytes]:
        """Every rank as it ends, and what arrives on `pipe` meanwhile (the caller has closed its write end).

        A rank that fails ends the run of the others: those in a collective get an EngineError; those that go on
        regardless are asked to end after a while, then forced.
        """
        deadline: float | None = None
        force = False
        with selectors.DefaultSelector() as selector, _signals_wake(selector):
            for rank, (_, descriptor) in self._running.items():
                selector.register(descriptor, selectors.EVENT_READ, rank)
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ, None)
            while self._running:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                for key, _ in selector.select(left):
                    if key.data is _WOKEN:
                        os.read(key.fd, 1 << 12)  # the signal's handler has run
                        continue
                    if key.data is None:
                        if data := os.read(key.fd, 1 << 16):
                            yield data
                        else:
                            selector.unregister(key.fd)
                        continue
                    selector.unregister(key.fd)
                    ended = self._reap(key.data)
                    self._note(ended)
                    if ended.code != 0:
                        deadline = deadline or time.monotonic() + _GRACE
                    yield ended
                if deadline is not None and time.monotonic() >= deadline:
                    self.send(signal.SIGKILL if force else signal.SIGTERM)
                    force, deadline = True, time.monotonic() + _GRACE
        while pipe is not None and (data := os.read(pipe, 1 << 16)):
            yield data

    def send(self, number: signal.Signals) -> None:
        """Send a signal to every rank and the processes that it started."""
        for process, _ in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process, number)

    def stop(self, grace: float = _GRACE) -> None:
        """End all ranks: ask, wait up to `grace` seconds, force; and reap them."""
        if self._running and grace > 0:
            self.send(signal.SIGINT)
            until = time.monotonic() + grace
            while self._running and time.monotonic() < until:
                for rank, (process, _) in list(self._running.items()):
                    if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                        self._reap(rank)
                time.sleep(0.01)
        self.send(signal.SIGKILL)
        for rank in list(self._running):
            self._reap(rank)

    def _note(self, ended: Ended) -> None:
        """Tell the other ranks."""
        if self._world is not None:
            self._world.note_end(ended.rank)
            if ended.code != 0:
                self._world.fail(str(ended))

    def _reap(self, rank: int) -> Ended:
        process, descriptor = self._running.pop(rank)
        os.close(descriptor)
        return Ended(rank, process, os.waitpid(process, 0)[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            self.stop(0.0)
            self._world = None
            os.close(self._fd)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _signals_wake(selector: selectors.BaseSelector) -> Iterator[None]:
    """Signals end a wait of `selector` even if they come just before it starts, or to another thread."""
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers run in the main thread alone
        return
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    selector.register(reader, selectors.EVENT_READ, _WOKEN)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)


def _descriptor(process: int) -> int:
    """A descriptor that becomes readable when the child process ends. Without one the child is not kept."""
    try:
        return os.pidfd_open(process)
    except OSError:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        raise


def _child(rank: int, fd: int, parent: int, mask: set[int | signal.Signals], main: Callable[[int, int], int]) -> None:
    """The life of a forked rank. Never returns: it shares the launcher's stack only until here."""
    code = 1
    try:
        os.setpgid(0, 0)  # a group of its own: what the rank starts ends with it
        if not _engine.die_with_parent(parent):
            os._exit(1)
        for number in _SIGNALS:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        code = main(rank, fd)
        sys.stdout.flush()
        sys.stderr.flush()
    except KeyboardInterrupt:
        code = 130
    except BaseException as error:
        os.write(2, f"rank {rank}: {type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def launch(ranks: int, command: Sequence[str], report: Callable[[str], None]) -> int:
    """Run a program once a rank and return the exit code of the first rank that failed, or 0.

    `report` gets a line for every rank that fails. Raises InputError if the program does not exist.
    """
    import shutil

    program = shutil.which(command[0])
    if program is None:
        raise InputError(f"{command[0]!r}: no such program, or not executable")
    code = 0
    with raising_signals(), Ranks(ranks) as job:
        try:
            job.start(lambda rank, fd: _execute(program, command, rank, ranks, fd))
            for ended in job.watch():
                if isinstance(ended, Ended) and ended.code != 0:
                    report(str(ended))
                    code = code or ended.code
        except KeyboardInterrupt:
            job.stop()
            raise
    return code


def _execute(program: str, command: Sequence[str], rank: int, ranks: int, fd: int) -> int:
    os.set_inheritable(fd, True)
    environment = {**os.environ, ENV_FD: str(fd), ENV_RANK: str(rank), ENV_RANKS: str(ranks)}
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    os.execve(program, list(command), environment)


@contextlib.contextmanager
def raising_signals() -> Iterator[None]:
    """Ends by SIGTERM or SIGHUP leave through the same door as Ctrl-C. Only a main thread can see to that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
