"""Data-parallel linear regression in numpy: every rank has its own data, a Communicator averages the gradients.

    collsched launch -n 4 -- python examples/numpy_regression.py
    collsched launch -n 8 -- python examples/numpy_regression.py dgx-a100

The same calls take arrays of JAX as input, see docs/training.md.
"""

from __future__ import annotations

import sys

import numpy as np

import collsched
from collsched.runtime.peers import find
from collsched.topology import one_machine

FEATURES, ROWS = 64, 500


def main() -> int:
    peers = find()
    ranks = 1 if peers is None else peers.ranks
    topology = collsched.bundled(sys.argv[1]) if len(sys.argv) > 1 else one_machine(ranks)
    # Equal arguments give equal plans, so every rank compiles for itself.
    with collsched.connect(collsched.compile(topology, "allreduce", objective="auto")) as comm:
        truth = np.arange(FEATURES) / FEATURES
        own = np.random.default_rng(comm.rank)
        inputs = own.normal(size=(ROWS, FEATURES))
        outputs = inputs @ truth + 0.01 * own.normal(size=ROWS)

        weights = np.zeros(FEATURES)
        gradient = comm.empty(FEATURES, "float64")  # shared memory: nothing is copied into the engine
        for _ in range(200):
            gradient[:] = inputs.T @ (inputs @ weights - outputs) / ROWS
            comm.allreduce(gradient, op="avg")
            weights -= 0.3 * gradient
        error = float(np.abs(weights - truth).max())
        if comm.rank == 0:
            print(f"{comm.ranks} ranks on engine {comm.engine}: weights within {error:.1e} of the truth")
    return 0 if error < 0.01 else 1


if __name__ == "__main__":
    sys.exit(main())
