"""Kill ranks of the mpi engine at random moments, over and over: python tests/soak/mpi.py [--rounds 100] [--seed 0]

Under Open MPI and MPICH in turns, as far as they are found (see tests/mpirun.py); before, a message larger than
an int counts, which takes 5 GiB of memory. Prints what went wrong, round by round, and at the end the slowest round;
exits with 1 if anything did.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))

from kills import Outcome, soak
from mpi_kills import kill_once
from mpirun import MPIS, Mpi, find, tidied


def main() -> int:
    found = [find(kind) for kind in MPIS]
    mpis = [mpi for mpi in found if isinstance(mpi, Mpi)]
    for text in found:
        if isinstance(text, str):
            print(f"left out: {text}")
    if not mpis:
        return 1
    for mpi in mpis:
        done = mpi.run(2, "large:2300")
        if done.told("large") != {0: [True, False], 1: [True, False]}:
            print(f"{mpi.kind}: a chunk of 2,300 MiB did not arrive\n{done.stdout}{done.stderr}")
            return 1

    def once(seed: int) -> Outcome:
        return kill_once(mpis[seed % len(mpis)], seed)

    with tidied():
        return soak(str(__doc__), once, 100)


if __name__ == "__main__":
    sys.exit(main())
