"""Kill ranks of the shm engine at random moments, over and over: python tests/soak/shm.py [--rounds 1000] [--seed 0]

Prints what went wrong, round by round, and at the end the slowest round; exits with 1 if anything did.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))

from kills import SOON, kill_once


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the first round; the following ones count up")
    options = parser.parse_args()
    bad, slowest, start = 0, 0.0, time.monotonic()
    for seed in range(options.seed, options.seed + options.rounds):
        outcome = kill_once(seed)
        slowest = max(slowest, outcome.seconds)
        bad += bool(outcome.wrong)
        for text in outcome.wrong:
            print(f"seed {seed}: {text}", flush=True)
        if sys.stderr.isatty():
            print(f"\r{seed - options.seed + 1} of {options.rounds}", end="", file=sys.stderr)
    print(f"{options.rounds} rounds in {time.monotonic() - start:.0f} s, {bad} of them wrong")
    print(f"the slowest ended {slowest:.2f} s after its kill (allowed: {SOON:g} s)")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
