"""Two plans on the library that is named, for a process under ThreadSanitizer: prints "right", or fails."""

from __future__ import annotations

import ctypes
import sys

import numpy as np
from cuda_host import World
from handmade import handmade

from collsched.runtime.encode import Shape

library = ctypes.CDLL(sys.argv[1])
for kind in ("allreduce", "broadcast"):
    world = World(library, handmade(3, kind, k=2, seed=1), Shape(2, 2, 64), threads=2)
    calls = []
    for count in (700, 1, 333):
        inputs = [np.full(count, rank + 1, np.int32) for rank in range(3)]
        calls.append((inputs, [np.zeros(count, np.int32) for _ in range(3)], count))
    assert world.run(calls, "int32", "sum", limit=60) == [0, 0, 0]
    for _, outputs, count in calls:
        right = np.full(count, 6 if kind == "allreduce" else 1)
        assert all(np.array_equal(out, right) for out in outputs)
print("right")
