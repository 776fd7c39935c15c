"""GPUs of any number of machines: the waves of a schedule as groups of NCCL's sends and receives (runtime/waves.py).

What a wave brings to be reduced is put down beside its chunk and added by one kernel after the group. All of it goes
into one stream; from the second call with the same arrays on, as one CUDA graph. NCCL chooses its own ways between
two ranks: paths within the network, NVLS and SHARP are out of reach.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from collsched.errors import EngineError, InputError
from collsched.runtime import gpu, shm
from collsched.runtime.agreement import Agreement
from collsched.runtime.buffers import Buffer
from collsched.runtime.communicator import Communicator
from collsched.runtime.dtypes import carrier
from collsched.runtime.engine import Call, Executable, RankPlan, Wirings
from collsched.runtime.gpu_engine import GpuEngine
from collsched.runtime.launchers import Peers, machine
from collsched.runtime.nccl_calls import Arrays, groups
from collsched.runtime.nccl_issue import Issuer, Run
from collsched.runtime.peers import find
from collsched.runtime.waves import Moves, choose, waves

_SHARED = "NCCL_MULTI_RANK_GPU_ENABLE"
_SHARED_FROM = 23000  # NCCL 2.30
_SEGMENT = 16 << 20  # bytes of the buffer for each pipeline piece of a chunk
_RUNS = 64  # calls that are kept ready
_PERIOD = 0.05  # seconds between looks at work under way


@dataclass(frozen=True, slots=True)
class Tuning:
    """The same on all ranks.

    `graphs`: replay repeated calls as CUDA graphs. `start`, `rate`: what a wave is taken to cost, in seconds and bytes
    a second, when their number is chosen. `device`: the GPU of this rank; None: see `gpu.device`. `timeout`: seconds
    that a call may take once the stream has come to it.
    """

    graphs: bool = True
    start: float = 10e-6
    rate: float = 200e9
    device: int | None = None
    timeout: float = 300.0


@dataclass
class Loaded:
    rank_plan: RankPlan
    moves: Moves
    runs: OrderedDict[tuple[Any, ...], Run] = field(default_factory=OrderedDict)


class NcclEngine(GpuEngine):
    """Implements `runtime.engine.Engine`: one communicator of one rank."""

    name = "nccl"

    def __init__(self, plan: Executable, peers: Peers, tuning: Tuning) -> None:
        cupy = gpu.require("nccl")
        self._nccl = nccl = gpu.require_nccl(cupy)
        self._tuning = tuning
        self.rank, self.ranks = peers.rank, peers.ranks
        self._divisor = len(plan.collective.group)
        self._relays = self._divisor < self.ranks
        self._agreement = Agreement(peers, str(plan.collective.kind))
        self._agreement.same("plans", plan.digest)
        # Containers of one machine may see the same GPUs: the running system counts, not what processes see of it.
        machines = [data.decode() for data in self._agreement.gather(machine().split()[0].encode())]
        local = machines[: self.rank].count(machines[self.rank])
        super().__init__(cupy, gpu.device(cupy, local, tuning.device))
        self._check_sharing(machines)
        identity = self._agreement.gather(nccl.get_unique_id() if self.rank == 0 else b"")[0]
        with self._on:
            self._communicator = nccl.NcclCommunicator(self.ranks, identity, self.rank)
            self._begin = cupy.cuda.Event(disable_timing=True)
        self._issuer = Issuer(cupy, nccl, self._communicator, self._number, self._side, tuning.graphs, self._divisor)
        self._loads: list[Loaded] = []
        self._memory: Any = None
        self._failure = ""
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._run_watch, name="collsched watch", daemon=True)
        self._watch.start()

    def _check_sharing(self, machines: list[str]) -> None:
        """NCCL refuses several ranks on a GPU, or hangs, unless it is new and told that this is meant."""
        bus = self._cupy.cuda.runtime.deviceGetPCIBusId(self._number)
        mine = f"{machines[self.rank]} {bus}"
        found = [data.decode() for data in self._agreement.gather(mine.encode())]
        for rank, other in enumerate(found):
            first = found.index(other)
            if first == rank:
                continue
            if self._nccl.get_version() < _SHARED_FROM or os.environ.get(_SHARED) != "1":
                raise EngineError(
                    f"ranks {first} and {rank} share GPU {other.split()[-1]}: NCCL takes that from version 2.30 on "
                    f"with {_SHARED}=1 (here: {self._nccl.get_version()}, {_SHARED}={os.environ.get(_SHARED, '')}); or "
                    "start one rank a GPU, or use the cuda engine"
                )

    def segments(self, plan: Executable, nbytes: int) -> int:
        return max(1, min(int(getattr(plan, "segments", 1)), nbytes // _SEGMENT))

    def agree(self, call: Call) -> Call:
        self._check()
        return self._agreement.agree(call)

    def gather(self, data: bytes) -> list[bytes]:
        return self._agreement.gather(data)

    def load(self, rank_plan: RankPlan) -> Loaded:
        self._check()
        wiring = rank_plan.wiring
        self._agreement.same("plans", list(wiring.key))
        loaded = Loaded(rank_plan, Moves.of(wiring.plan.topology, wiring.schedule))
        self._loads.append(loaded)
        return loaded

    def execute(self, loaded: Loaded, call: Call, source: Buffer | None, target: Buffer | None, agreed: bool) -> None:
        self._check()
        gpu.check_buffers(self._cupy, self._number, source, target)
        if not agreed:
            call = self.agree(call)
        with self._on:
            stream = self._cupy.cuda.get_current_stream()
            captured = bool(stream.is_capturing())
            if not captured:  # a graph sees to itself
                self._follow(stream)
            run = self._ready(loaded, call, source, target, captured)
            if captured:
                self._issuer.issue(run, call, stream)
                return
            self._begin.record(stream)
            try:
                self._issuer.launch(run, call, stream)
            except self._nccl.NcclError as error:
                self._fail(f"NCCL failed on rank {self.rank}: {error}")
                self._check()
            self._follows(stream)

    def _ready(self, loaded: Loaded, call: Call, source: Buffer | None, target: Buffer | None, captured: bool) -> Run:
        """The groups and tables of a call on these arrays."""
        key = (call, source.address if source else 0, target.address if target else 0)
        run = loaded.runs.get(key)
        if run is not None:
            loaded.runs.move_to_end(key)
            return run
        if captured:
            raise InputError("a call with new arrays cannot be captured in a graph: make it once before")
        item, role = carrier(call.dtype).itemsize, loaded.rank_plan.role
        ranges = role.ranges(call.count)
        numbers = choose(
            loaded.moves, (ranges[1] - ranges[0]) * item, self.ranks, self._tuning.start, self._tuning.rate
        )
        arrays = Arrays(ranges, item, key[1], key[2], average=call.op == "avg")
        planned = groups(waves(loaded.moves, numbers, self.rank), arrays)
        memory = self._reserve(planned.memory)
        made, tables = planned.at(memory.data.ptr, self._upload)
        if len(loaded.runs) == _RUNS:
            self._end.synchronize()  # its graph may be under way
            loaded.runs.popitem(last=False)
        run = loaded.runs[key] = Run(made, tables, memory)
        return run

    def _reserve(self, size: int) -> Any:
        """Memory for what is neither input nor output: calls follow each other, and share it."""
        if self._memory is None or self._memory.nbytes < size:
            self._end.synchronize()
            self._memory = self._cupy.empty(max(size, 256), np.uint8)
        return self._memory

    def _run_watch(self) -> None:
        """Ends what NCCL has given up, and calls that take too long."""
        since, of = time.monotonic(), -1
        while not self._over.wait(_PERIOD):
            if self._failure or not self._pending():
                continue
            if of != self._launched or not self._begin.done:
                since, of = time.monotonic(), self._launched
            try:
                self._communicator.check_async_error()
            except self._nccl.NcclError as error:
                self._fail(f"NCCL failed on rank {self.rank}: {error}")
            if time.monotonic() - since > self._tuning.timeout:
                self._fail(
                    f"a call of rank {self.rank} has not ended after {self._tuning.timeout:g} s: some rank has ended, "
                    "or makes other calls"
                )

    def _fail(self, text: str) -> None:
        """The communicator is over: NCCL ends its kernels, and so the stream goes on."""
        if not self._failure:
            self._failure = text
            self._communicator.abort()

    def _failed(self) -> str:
        return self._failure

    def abort(self, text: str) -> None:
        self._fail(text)

    def close(self) -> None:
        while self._pending() and not self._failure:
            time.sleep(1e-3)
        self._over.set()
        self._watch.join()
        for loaded in self._loads:
            loaded.runs.clear()  # NCCL keeps what a graph refers to
        if not self._failure:
            self._failure = "this communicator is closed"
            self._communicator.destroy()


def launched() -> bool:
    """Whether this is a rank that torchrun started where there is a GPU, and cupy with NCCL."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return False
    try:
        gpu.require_nccl(gpu.require("nccl"))
    except Exception:  # whatever is missing: another engine serves
        return False
    return True


def connect(
    plan: Executable, tuning: Tuning | None = None, wirings: Wirings | None = None, peers: Peers | None = None
) -> Communicator:
    """This rank's end of a plan; returns once all ranks have connected. `peers`: by default those of the launch, by
    `collsched launch`, mpirun or torchrun.

    Raises MissingComponentError without cupy, a GPU or libnccl, InputError for a process that is not a rank or where
    the number of ranks differs from the plan's, EngineError where ranks loaded different plans or share a GPU that NCCL
    does not let them share.
    """
    gpu.require_nccl(gpu.require("nccl"))
    ranks = len(plan.topology.ranks)
    peers = peers or find()
    if peers is None:
        raise InputError("this process is not a rank: start it with `collsched launch`, mpirun or torchrun")
    if peers.ranks != ranks:
        raise InputError(f"the plan has {ranks} ranks, this launch {peers.ranks} ({peers.launcher})")
    return Communicator(plan, NcclEngine(plan, peers, tuning or Tuning(timeout=shm.default_timeout())), wirings)
