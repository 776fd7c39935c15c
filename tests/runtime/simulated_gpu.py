"""What the GPU engines use of cupy, on the host: streams are threads, device memory is memory, kernels are csrc/cuda
built by the C++ compiler, and NCCL's send and recv are a rendezvous. For tests of the engines' own logic; it shows
nothing of how a GPU, its memory or NCCL behave."""

from __future__ import annotations

import ctypes
import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, ClassVar, Self

import numpy as np

from collsched.runtime.dtypes import DTYPES

_TYPES = ("Half", "Bfloat", "float", "double", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64")
_current = threading.local()
_allocated: list[Any] = []  # for good, as the engine does not free


class Array(np.ndarray[Any, Any]):
    """An array "on the device"."""

    @property
    def data(self) -> Any:  # type: ignore[override]
        return SimpleNamespace(ptr=self.ctypes.data)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        shown = self.__array_interface__
        return {key: shown[key] for key in ("data", "shape", "strides", "typestr")} | {"version": 3}

    def get(self) -> np.ndarray[Any, Any]:
        current_stream().synchronize()
        return np.array(self)


def on_device(array: np.ndarray[Any, Any]) -> Array:
    """A copy at a multiple of 256 bytes, as allocations of a GPU are."""
    flat = empty(array.nbytes, np.uint8)
    flat[:] = np.frombuffer(array.tobytes(), np.uint8)
    copy: Array = flat.view(array.dtype).reshape(array.shape)
    return copy


def empty(size: int, dtype: Any) -> Array:
    raw = np.full(size * np.dtype(dtype).itemsize + 256, 0x5B, np.uint8)
    at = -raw.ctypes.data % 256
    memory: Array = raw[at : at + size * np.dtype(dtype).itemsize].view(dtype).view(Array)
    return memory


class Stream:
    """Executes what is enqueued, in order, on a thread of its own."""

    all: ClassVar[dict[int, Stream]] = {}

    def __init__(self, non_blocking: bool = False) -> None:
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._captured: list[Callable[[], None]] | None = None
        self.ptr = 0x1000 + len(Stream.all)
        Stream.all[self.ptr] = self
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            self._work.get()()

    def put(self, work: Callable[[], None]) -> None:
        if self._captured is None:
            self._work.put(work)
        else:
            self._captured.append(work)

    def synchronize(self) -> None:
        event = Event()
        event.record(self)
        event.synchronize()

    def wait_event(self, event: Event) -> None:
        self.put(event.flag.wait)

    def is_capturing(self) -> bool:
        return self._captured is not None

    def begin_capture(self, mode: int | None = None) -> None:
        self._captured = []

    def end_capture(self) -> Graph:
        assert self._captured is not None
        graph, self._captured = Graph(self._captured), None
        return graph

    def __enter__(self) -> Self:
        stack = _current.__dict__.setdefault("stack", [])
        stack.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _current.stack.pop()


class Graph:
    def __init__(self, work: list[Callable[[], None]]) -> None:
        self._captured = work

    def upload(self, stream: Stream) -> None:
        pass

    def launch(self, stream: Stream | None = None) -> None:
        for work in self._captured:
            (stream or current_stream()).put(work)


class Event:
    def __init__(self, disable_timing: bool = False, block: bool = False) -> None:
        self.flag: Any = threading.Event()
        self.flag.set()

    def record(self, stream: Stream) -> None:
        self.flag = threading.Event()
        stream.put(self.flag.set)

    @property
    def done(self) -> bool:
        return bool(self.flag.is_set())

    def synchronize(self) -> None:
        self.flag.wait()


def current_stream() -> Stream:
    stack = getattr(_current, "stack", None)
    assert stack, "a test uses a stream of its own"
    found: Stream = stack[-1]
    return found


class Kernel:
    def __init__(self, library: ctypes.CDLL, name: str, dtype: int, op: int) -> None:
        self._library, self._name, self._codes = library, name, (dtype, op)
        self.kernel = SimpleNamespace(ptr=0)

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
        words = [argument.data.ptr if isinstance(argument, Array) else int(argument) for argument in arguments]
        run = self._execute if self._name == "collsched_execute" else self._jobs
        current_stream().put(lambda: run(grid, words))

    def _execute(self, grid: tuple[int, ...], words: list[int]) -> None:
        plan, chunks, source, target, rounds, divisor, stamp = words
        call = np.array([chunks, source, target, rounds, divisor | stamp << 32], np.uint64)
        launch = np.array([plan, call.ctypes.data, 1, grid[0], 1], np.uint64)
        self._library.collsched_host_execute(
            ctypes.c_void_p(launch.ctypes.data),
            ctypes.c_int64(1),
            *self._codes,
            ctypes.c_double(60),
            ctypes.c_uint64(9),
        )

    def _jobs(self, grid: tuple[int, ...], words: list[int]) -> None:
        jobs, sources, divisor = words
        self._library.collsched_host_jobs(
            ctypes.c_void_p(jobs),
            ctypes.c_int64(grid[1]),
            ctypes.c_void_p(sources),
            ctypes.c_uint32(divisor),
            *self._codes,
        )


class Nccl:
    """Point-to-point calls of NCCL: between two ranks, within a group and from group to group, sends and receives match
    in order; a group is complete when all of its calls are, and none before somebody takes what it sends."""

    available = True
    NCCL_INT8 = 0

    class NcclError(Exception):
        pass

    def __init__(self) -> None:
        self._mail: defaultdict[tuple[bytes, int, int], queue.Queue[Any]] = defaultdict(queue.Queue)
        self._lock = threading.Lock()
        self._group = threading.local()
        self._identities = 0
        self.groups = 0
        outer = self

        class NcclCommunicator:
            def __init__(self, ndev: int, identity: bytes, rank: int) -> None:
                self._identity, self._rank = identity, rank

            def send(self, address: int, count: int, datatype: int, peer: int, stream: int) -> None:
                outer.add("send", (self._identity, self._rank, peer), address, count, stream)

            def recv(self, address: int, count: int, datatype: int, peer: int, stream: int) -> None:
                outer.add("recv", (self._identity, peer, self._rank), address, count, stream)

            def check_async_error(self) -> int:
                return 0

            def abort(self) -> None:
                pass

            destroy = abort

        self.NcclCommunicator = NcclCommunicator

    def get_unique_id(self) -> bytes:
        with self._lock:
            self._identities += 1
            return b"identity %d" % self._identities

    def get_version(self) -> int:
        return 23203

    def groupStart(self) -> None:
        self._group.calls = []

    def add(self, *call: Any) -> None:
        self._group.calls.append(call)

    def groupEnd(self) -> None:
        calls, self._group.calls = self._group.calls, None
        if calls:
            self.groups += 1
            Stream.all[calls[0][4]].put(lambda: self._run(calls))

    def _run(self, calls: list[Any]) -> None:
        sent = []
        for kind, key, address, count, _ in calls:
            if kind == "send":
                letter = SimpleNamespace(address=address, count=count, taken=threading.Event())
                with self._lock:
                    self._mail[key].put(letter)
                sent.append(letter)
        for kind, key, address, count, _ in calls:
            if kind == "recv":
                with self._lock:
                    box = self._mail[key]
                letter = box.get(timeout=20)
                assert letter.count == count, f"{key}: {letter.count} bytes sent, {count} expected"
                ctypes.memmove(address, letter.address, count)
                letter.taken.set()
        for letter in sent:
            assert letter.taken.wait(20), "nobody takes what was sent"


class Module(SimpleNamespace):
    __hash__ = object.__hash__


def module(library: ctypes.CDLL, multiprocessors: int = 8) -> Any:
    """A stand-in for the module `cupy`."""

    def malloc(size: int) -> int:
        _allocated.append(empty(size, np.uint8))
        return int(_allocated[-1].data.ptr)

    class RawModule:
        def __init__(self, code: str, options: tuple[str, ...], backend: str) -> None:
            chosen = dict(option[2:].split("=") for option in options if option.startswith("-D"))
            op = ("sum", "prod", "min", "max").index(chosen["COLLSCHED_OP"])
            self._codes = _TYPES.index(chosen["COLLSCHED_TYPE"]), op

        def get_function(self, name: str) -> Kernel:
            return Kernel(library, name, *self._codes)

    class Device:
        compute_capability = "90"
        attributes: ClassVar = {"MultiProcessorCount": multiprocessors}

        def __init__(self, number: int) -> None:
            self.id = number

        def use(self) -> None:
            pass

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    def enqueue(function: Callable[..., Any], *arguments: Any, stream: int) -> None:
        Stream.all[stream].put(lambda: function(*arguments))

    runtime = SimpleNamespace(
        CUDARuntimeError=OSError,
        memcpyDeviceToHost=2,
        streamCaptureModeThreadLocal=1,
        getDeviceCount=lambda: 1,
        getDevice=lambda: 0,
        deviceGetPCIBusId=lambda number: "0000:01:00.0",
        malloc=malloc,
        pointerGetAttributes=lambda address: SimpleNamespace(device=0),
        memsetAsync=lambda at, value, size, stream: enqueue(ctypes.memset, at, value, size, stream=stream),
        memcpyAsync=lambda to, at, size, kind, stream: enqueue(ctypes.memmove, to, at, size, stream=stream),
    )
    cuda = SimpleNamespace(
        runtime=runtime,
        driver=SimpleNamespace(occupancyMaxActiveBlocksPerMultiprocessor=lambda function, threads, memory: 2),
        compiler=SimpleNamespace(CompileException=ValueError),
        Device=Device,
        Stream=Stream,
        Event=Event,
        get_current_stream=current_stream,
        alloc_pinned_memory=lambda size: np.zeros(size, np.uint8),
    )
    return Module(
        __version__="simulated", cuda=cuda, RawModule=RawModule, asarray=on_device, empty=empty,
        uint8=np.uint8, dtypes=DTYPES,
    )  # fmt: skip


@contextmanager
def stream() -> Iterator[Stream]:
    """A stream that is the current one of this thread, complete at the end."""
    with Stream() as own:
        yield own
        own.synchronize()
