"""One rank of a test on a GPU, started by `collsched launch`: worker.py BODY ENGINE ranks [arguments as JSON].

Prints what it finds wrong, and ends with 1 then.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import bodies
from bodies import handmade

from collsched.collective import Kind
from collsched.errors import EngineError
from collsched.runtime import connect, tuning


def main(body: str, engine: str, ranks: int, arguments: dict[str, Any]) -> int:
    import cupy

    # Under a launch of one GPU all ranks share it.
    sizes = partial(tuning(engine), timeout=arguments.pop("timeout", 60))
    if os.environ.get("COLLSCHED_TEST_GRAPHS") == "0":
        sizes = partial(sizes, graphs=False)

    def make(plan: Any, **options: Any) -> Any:
        return connect(plan, engine, sizes(**options))

    if body == "killed":
        return killed(cupy, make, ranks, engine)
    if body == "replayed":
        arguments["stream"] = cupy.cuda.Stream(non_blocking=True)
    wrong = list(getattr(bodies, body)(cupy, make, ranks, **arguments))
    for text in wrong:
        print(f"rank {os.environ.get('COLLSCHED_RANK')}: {text}", flush=True)
    return 1 if wrong else 0


def killed(cupy: Any, make: Any, ranks: int, engine: str) -> int:
    """The last rank dies in the middle; each of the others must get an error, soon, and the name of the dead one."""
    with make(handmade(ranks, Kind.ALLREDUCE)) as communicator:
        x = cupy.asarray(np.ones(1 << 20, np.float32))
        communicator.allreduce(x, wait=False).wait(60)
        if communicator.rank == ranks - 1:
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGKILL)
        begin = time.monotonic()
        try:
            communicator.allreduce(x, wait=False).wait(60)
            print("no error")
            return 1
        except EngineError as error:
            seconds = time.monotonic() - begin
            print(f"after {seconds:.1f} s: {error}", flush=True)
            named = f"rank {ranks - 1}" in str(error)
            return 0 if named and seconds < 10 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads((sys.argv[4:] or ["{}"])[0])))
