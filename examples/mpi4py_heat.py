"""A rod that cools, cut into pieces: neighbours exchange their ends with mpi4py, and a Communicator sums up the heat.

    mpirun -n 4 python examples/mpi4py_heat.py

mpi4py and collsched share the job: `collsched.connect` finds the ranks of mpirun, numbered as in COMM_WORLD, and uses
the engine mpi; `engine="shm"` uses shared memory where they are on one machine.
"""

from __future__ import annotations

import sys
from fractions import Fraction

import numpy as np
from mpi4py import MPI

import collsched
from collsched.topology.model import Link, Node, Topology

CELLS, STEPS = 1000, 300


def rod(ranks: int) -> Topology:
    """A ring of ranks, as a fabric; a topology file says the same."""
    nodes = tuple(Node(f"rank{rank}", "rank") for rank in range(ranks))
    pairs = {(rank, other % ranks) for rank in range(ranks) for other in (rank + 1, rank - 1)}
    links = tuple(Link(src, dst, Fraction(10)) for src, dst in sorted(pairs) if src != dst)
    return Topology("rod", nodes, links)


def main() -> int:
    world = MPI.COMM_WORLD
    rank, ranks = world.rank, world.size
    left, right = (peer if 0 <= peer < ranks else MPI.PROC_NULL for peer in (rank - 1, rank + 1))
    plan = collsched.compile(rod(ranks), "allreduce")
    with collsched.connect(plan) as comm:
        heat = np.zeros(CELLS + 2)  # a cell of each neighbour at the ends
        heat[1:-1] = np.random.default_rng(rank).random(CELLS)
        before = total(comm, heat)
        for _ in range(STEPS):
            heat[0], heat[-1] = heat[1], heat[-2]  # nothing leaves the rod
            world.Sendrecv(heat[1:2], left, 0, heat[-1:], right, 0)
            world.Sendrecv(heat[-2:-1], right, 1, heat[:1], left, 1)
            heat[1:-1] += 0.25 * (heat[:-2] - 2 * heat[1:-1] + heat[2:])
        after = total(comm, heat)
        if rank == 0:
            print(f"{ranks} ranks on engine {comm.engine}: heat {before:.6f} before, {after:.6f} after {STEPS} steps")
    return 0 if abs(after - before) < 1e-9 * before else 1


def total(comm: collsched.Communicator, heat: np.ndarray) -> float:
    """The heat of the whole rod."""
    found = np.array([heat[1:-1].sum()])
    comm.allreduce(found)
    return float(found[0])


if __name__ == "__main__":
    sys.exit(main())
