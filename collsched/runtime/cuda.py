"""GPUs of one machine: a persistent kernel a rank writes to the memory of its peers (csrc/cuda/execute.h).

The ranks are processes, which map each other's memory by CUDA IPC, or threads of one process, which share addresses.
Several may share a GPU. They find each other, compare their calls and learn of failures on the host, through the
meeting point of the shm engine; the data and its flags stay on the devices.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collsched import _engine
from collsched.errors import EngineError, InputError
from collsched.runtime import gpu, shm
from collsched.runtime.buffers import Buffer
from collsched.runtime.communicator import Communicator
from collsched.runtime.dtypes import DTYPES, OPS, carrier
from collsched.runtime.encode import Memory, Numbers, Shape, board_words, encode, plan_words
from collsched.runtime.engine import Call, Executable, RankPlan, Wirings
from collsched.runtime.gpu_engine import GpuEngine
from collsched.runtime.kernels import THREADS, kernel
from collsched.runtime.launchers import Peers
from collsched.runtime.layout import Role
from collsched.runtime.peer_memory import PeerMemory
from collsched.runtime.sharing import CONNECTIONS, Card, blocks
from collsched.runtime.watch import Watch

_CODES = {name: code for names in (DTYPES, OPS) for code, name in enumerate(names)}
_VECTOR, _LEAST_SLOT, _MOST_SLOT = 16, 1 << 12, 1 << 18
_TABLES = 64  # sizes whose tables are kept on the device


@dataclass(frozen=True, slots=True)
class Tuning:
    """Sizes of the engine, the same on all ranks.

    `stripes`: blocks a rank; None: as many as fit beside those of ranks on the same GPU, up to 32. `depth`: pieces in
    flight per transfer, a power of two. `memory`: bytes of a GPU that mailboxes of a size range may take on a rank.
    `device`: the GPU of this rank; None: see `gpu.device`. `compare`: "always" compares every call on the host;
    "first" only those of a new size, and whatever else differs is found by the kernels, which ends the communicator.
    `timeout`: seconds that a rank may wait for another.
    """

    stripes: int | None = None
    depth: int = 4
    memory: int = 128 << 20
    device: int | None = None
    compare: str = "always"
    timeout: float = 300.0

    def __post_init__(self) -> None:
        if self.depth < 1 or self.depth & (self.depth - 1):
            raise InputError(f"depth={self.depth}; a power of two")
        if self.compare not in ("always", "first"):
            raise InputError(f"compare={self.compare!r}; 'always' or 'first'")
        if self.stripes is not None and self.stripes < 1:
            raise InputError(f"stripes={self.stripes}; at least 1")

    def slot(self, stripes: int, places: int) -> int:
        """Bytes of a piece in flight, for the rank with the most places."""
        fits = self.memory // max(1, stripes * self.depth * places)
        return min(_MOST_SLOT, max(_LEAST_SLOT, fits)) // _VECTOR * _VECTOR


@dataclass
class Loaded:
    """A plan of one size range on the device. What the device refers to by address is kept alive here."""

    role: Role
    shape: Shape
    plan: Any
    tables: list[Any]
    chunks: dict[tuple[int, int], tuple[Any, int, int]] = field(default_factory=dict)


class CudaEngine(GpuEngine):
    """Implements `runtime.engine.Engine`: one communicator of one rank."""

    name = "cuda"

    def __init__(self, plan: Executable, process: shm.Process, tuning: Tuning) -> None:
        cupy = gpu.require("cuda")
        super().__init__(cupy, gpu.device(cupy, process.world.rank, tuning.device))
        self._world, self._tuning = process.world, tuning
        self.rank, self.ranks = process.world.rank, process.world.ranks
        self._divisor = len(plan.collective.group)
        self._relays = self._divisor < self.ranks
        self._connection = _engine.Connection(
            process.world, process.connected, plan.digest, str(plan.collective.kind), tuning.timeout
        )
        process.connected += 1
        cards = [Card.decode(data) for data in self.gather(self._card().encode())]
        self._stripes = blocks(cards)
        with self._on:
            words = board_words(self._stripes)
            self._pinned = cupy.cuda.alloc_pinned_memory(8 * words)
        self._board: NDArray[np.uint64] = np.frombuffer(self._pinned, np.uint64, words)
        self._board[:] = 0
        self._memory = PeerMemory(cupy, self._side, self._connection.gather, cards, self.rank)
        others = {rank: card.process for rank, card in enumerate(cards) if card.process != os.getpid()}
        self._alone = len(others) == self.ranks - 1
        self._watch = Watch(process.world, self.rank, self._board, self._pending, others, tuning.timeout)

    def _card(self) -> Card:
        known = Card(os.getpid(), self._number)
        try:
            with self._on:
                bus = self._cupy.cuda.runtime.deviceGetPCIBusId(self._number)
                function = kernel(self._cupy, self._number, "collsched_execute", "float32", "sum").kernel
                each = self._cupy.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor(function.ptr, THREADS, 0)
                room = int(self._on.attributes["MultiProcessorCount"]) * int(each)
        except (EngineError, self._cupy.cuda.runtime.CUDARuntimeError) as error:
            return Card(os.getpid(), self._number, failure=f"rank {self.rank} cannot use GPU {self._number}: {error}")
        queues = int(os.environ.get(CONNECTIONS, known.queues))
        return Card(os.getpid(), self._number, str(bus), room, queues, self._tuning.stripes)

    def segments(self, plan: Executable, nbytes: int) -> int:
        """The kernels cut pieces themselves."""
        return 1

    def agree(self, call: Call) -> Call:
        self._check()
        count, dtype, op = self._connection.agree(call.count, _CODES[call.dtype], _CODES[call.op])
        return Call(count, DTYPES[dtype], OPS[op])

    def gather(self, data: bytes) -> list[bytes]:
        return self._connection.gather(data)

    def load(self, rank_plan: RankPlan) -> Loaded:
        self._check()
        wiring = rank_plan.wiring
        numbers = Numbers.of(wiring.plan.topology, wiring.schedule)
        encoded = encode(rank_plan.program, numbers, rank_plan.role)
        kept = [int(data) for data in self.gather(str(encoded.kept).encode())]
        slot = self._tuning.slot(self._stripes, int((numbers.received + kept).max(initial=0)))
        shape = Shape(self._stripes, self._tuning.depth, slot)
        sizes = zip(numbers.received.tolist(), numbers.sent.tolist(), kept, strict=True)
        memories = [Memory(shape, *of_rank) for of_rank in sizes]
        addresses = self._memory.exchange(memories)
        mailboxes = [memory.mailbox(address) for memory, address in zip(memories, addresses, strict=True)]
        parts = (encoded.steps, encoded.operands, encoded.sends, np.array(mailboxes, np.uint64))
        tables = [self._upload(part) for part in parts]
        words = plan_words(
            shape, self.rank, self.ranks, len(encoded.steps), [table.data.ptr for table in tables],
            memories[self.rank].epochs(addresses[self.rank]), self._board.ctypes.data,
        )  # fmt: skip
        return Loaded(rank_plan.role, shape, self._upload(words), tables)

    def _chunks(self, loaded: Loaded, count: int, item: int, captured: bool) -> tuple[Any, int, int]:
        """Where the chunks of a call lie, and its rounds and blocks."""
        known = loaded.chunks.get((count, item))
        if known is None:
            if captured:
                raise InputError(
                    "a size that this communicator has not met cannot be captured in a graph: make the call once before"
                )
            if len(loaded.chunks) == _TABLES:
                self._end.synchronize()  # kernels may still read them
                loaded.chunks.clear()
            table, rounds, stripes = loaded.shape.place(loaded.role, count, item)
            known = loaded.chunks[count, item] = self._upload(table), rounds, stripes
        if captured:
            loaded.tables.append(known[0])  # the graph refers to it for as long as it lives
        return known

    def execute(self, loaded: Loaded, call: Call, source: Buffer | None, target: Buffer | None, agreed: bool) -> None:
        self._check()
        gpu.check_buffers(self._cupy, self._number, source, target)
        if not agreed and (self._relays or self._tuning.compare == "always"):
            call = self.agree(call)
        with self._on:
            stream = self._cupy.cuda.get_current_stream()
            captured = bool(stream.is_capturing())
            self._check_stream(stream)
            if not captured:  # a graph sees to itself
                self._follow(stream)
            item = carrier(call.dtype).itemsize
            chunks, rounds, stripes = self._chunks(loaded, call.count, item, captured)
            function = kernel(self._cupy, self._number, "collsched_execute", call.dtype, call.op)
            arguments = (
                loaded.plan, chunks,
                np.uint64(source.address if source else 0), np.uint64(target.address if target else 0),
                np.int64(rounds), np.uint32(self._divisor if call.op == "avg" else 1), np.uint32(stamp(call)),
            )  # fmt: skip
            function((stripes,), (THREADS,), arguments)
            if not captured:
                self._follows(stream)

    def _check_stream(self, stream: Any) -> None:
        if not self._alone and stream.ptr == 0:
            raise InputError(
                f"rank {self.rank} calls on the default stream, where the ranks of this process would wait for one "
                "another: give each a stream of its own (cupy.cuda.Stream(non_blocking=True))"
            )

    def _failed(self) -> str:
        return self._watch.failure()

    def abort(self, text: str) -> None:
        self._watch.fail(text)

    def close(self) -> None:
        until = time.monotonic() + self._tuning.timeout
        while self._pending() and not self._watch.failure() and time.monotonic() < until:
            time.sleep(1e-3)
        self._connection.close()
        self._watch.close()
        if self._pending():
            self._watch.stop_kernels()
            self._end.synchronize()
        self._memory.close(lambda: bool(self._watch.failure()))


def stamp(call: Call) -> int:
    """16 bits that differ, most likely, where calls do."""
    mixed = call.count * 64 + _CODES[call.dtype] * 5 + OPS.index(call.op)
    mixed = mixed * 0x9E3779B97F4A7C15 & (1 << 64) - 1
    return mixed >> 48


def launched() -> bool:
    """Never by itself: which engine serves the GPUs of a machine is for the user to say."""
    return False


def connect(
    plan: Executable,
    tuning: Tuning | None = None,
    wirings: Wirings | None = None,
    process: shm.Process | None = None,
    peers: Peers | None = None,
) -> Communicator:
    """This rank's end of a plan; returns once all ranks have connected: those of the launch, or `peers`. `process`: see
    `runtime.shm.connect`; ranks that are threads of one process pass one each: `shm.Process(World(fd, rank))`, fd from
    `shm.create`.

    Raises MissingComponentError without cupy or a GPU, InputError for a process that is not a rank or where the number
    of ranks differs from the plan's, EngineError where the ranks loaded different plans, do not fit on their GPUs,
    cannot map each other's memory, or one ends.
    """
    gpu.require("cuda")
    ranks = len(plan.topology.ranks)
    process = process or (shm.meet(peers) if peers else shm.attach(ranks))
    if process.world.ranks != ranks:
        raise InputError(
            f"the plan has {ranks} ranks, this launch {process.world.ranks}; use `collsched launch -n {ranks}`"
        )
    return Communicator(plan, CudaEngine(plan, process, tuning or Tuning(timeout=shm.default_timeout())), wirings)
