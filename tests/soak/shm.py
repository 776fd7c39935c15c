"""Kill ranks of the shm engine at random moments, over and over: python tests/soak/shm.py [--rounds 1000] [--seed 0]

Prints what went wrong, round by round, and at the end the slowest round; exits with 1 if anything did.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))

from kills import kill_once, soak

if __name__ == "__main__":
    sys.exit(soak(str(__doc__), kill_once, 1000))
