"""Mixed collectives in groups that come and go, beside gloo: python tests/soak/training.py [--rounds 500] [--seed 0]

Every round makes a process group of some of the ranks, makes ten calls in it and in the whole job, and compares every
element with gloo's. Prints what the memory and the open files of rank 0 did, and exits with 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

from jobs import RANKS, job
from mixed import repetition


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0, help="of the first round; the following ones count up")
    options = parser.parse_args()

    def body(rank: int) -> list[Any]:
        gloo: dict[tuple[int, ...], Any] = {}
        calls, seen = 0, []
        for number in range(options.rounds):
            calls += repetition(options.seed + number, gloo)
            if number in (options.rounds // 5, options.rounds - 1):
                seen.append([len(list(Path("/proc/self/fd").iterdir())), len(list(Path("/proc/self/task").iterdir()))])
            if rank == 0 and sys.stderr.isatty():
                print(f"\r{number + 1} of {options.rounds}", end="", file=sys.stderr)
        return [calls, seen, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10]

    start = time.monotonic()
    outcomes = job(body)
    bad = [(rank, outcome) for rank, outcome in enumerate(outcomes) if outcome is None or "error" in outcome]
    for rank, outcome in bad:
        print(f"rank {rank}: {'ended' if outcome is None else outcome['trace']}")
    if not bad:
        calls, seen, peak = outcomes[0]["result"]
        print(f"{options.rounds} rounds on {RANKS} ranks, {calls} calls on rank 0: all equal to gloo")
        print(f"files and threads of rank 0 after a fifth and at the end: {seen}; {peak} MiB at most")
    print(f"{time.monotonic() - start:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
