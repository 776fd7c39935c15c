"""One rank of an MPI job of the tests: `mpirun -n N python mpi_worker.py MODE…`, a mode after the other.

A mode is a function below, with its argument after a colon. Each tells what it found, as JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from handmade import handmade

import collsched
from collsched.collective import Kind
from collsched.errors import CollschedError
from collsched.runtime import connect, mpi_flight
from collsched.runtime.dtypes import DTYPES, OPS
from collsched.runtime.interpreter import interpret
from collsched.runtime.mpi import Tuning
from collsched.runtime.mpi_world import library

RANK = int(os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("PMI_RANK", "0")))
RANKS = int(os.environ.get("OMPI_COMM_WORLD_SIZE", os.environ.get("PMI_SIZE", "1")))
MODE = ""
ODD = 1  # the rank that does something else than the others
SHORT = Tuning(timeout=1)


def tell(content: Any) -> None:
    os.write(1, (json.dumps(["rank", RANK, MODE, content]) + "\n").encode())  # one write: lines of ranks do not mix


def text_of(action: Callable[[], Any]) -> str:
    """The error that an action raises on purpose."""
    try:
        action()
    except CollschedError as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def matrix(folder: str) -> None:
    """Every plan of a folder against numpy, a topology's communicators all open at once. Each element type comes with
    every other topology, and with another size each time."""
    from test_matrix import SIZES, failures

    ops = cycle(OPS)
    found = []
    for number, topology in enumerate(sorted(Path(folder).iterdir())):
        group = json.loads((topology / "group").read_text())
        plans = [collsched.Plan.load(file) for file in sorted(topology.glob("*.cs"))]
        communicators = [connect(plan) for plan in plans]
        some = list(enumerate(DTYPES))[number % 2 :: 2]
        calls = [(dtype, SIZES[(i // 2 + number) % len(SIZES)], next(ops)) for i, dtype in some]
        found += [f"{topology.name}: {text}" for text in failures(communicators, group, calls)]
        for communicator in communicators:
            communicator.close()
    tell(found)


def exact() -> None:
    """Random fractions: the bits of the interpreter, with messages and pieces of all sizes."""
    found = []
    for seed in range(16):
        rng = random.Random(seed)
        kind = rng.choice([kind for kind in Kind if kind.reduces])
        plan = handmade(RANKS, kind, seed=seed, k=rng.randint(1, 3))
        tuning = Tuning(
            segment=rng.choice([16, 100, 4096]), window=rng.randint(1, 4), message=rng.choice([40, 1 << 30])
        )
        with connect(plan, tuning=tuning) as communicator:
            for dtype in ("float16", "float32", "float64"):
                count, op = rng.choice([1, 5, 97, 500]), rng.choice(OPS)
                values = np.random.default_rng(seed)
                inputs = [values.normal(0, 3, count).astype(dtype) for _ in range(RANKS)]
                expected = interpret(plan.topology, plan.schedule(), list(inputs), count, op)[RANK]
                for _ in range(2):  # a size that is new to the communicator, and a known one
                    out = None if expected is None else np.empty_like(expected)
                    communicator.call(inputs[RANK], out, op=op)
                    if expected is not None and out is not None and out.tobytes() != expected.tobytes():
                        found.append(f"seed {seed}: {kind} of {count} {dtype} ({op})")
    tell(found)


def together() -> None:
    """Two communicators that call at the same time, on a thread each, while a third one waits."""
    plans = [handmade(RANKS, Kind.ALLREDUCE, seed=seed) for seed in range(3)]
    one, two, three = communicators = [connect(plan) for plan in plans]
    arrays = [np.full(50_000 + i, i + RANK, np.int64) for i in range(10)]
    handles = [(one if i % 2 else two).allreduce(x, wait=False) for i, x in enumerate(arrays)]
    y = np.full(10, RANK)
    three.allreduce(y)
    for handle in handles:
        handle.wait()
    ranks = sum(range(RANKS))
    assert all((x == i * RANKS + ranks).all() for i, x in enumerate(arrays))
    assert (y == ranks).all()
    for communicator in communicators:
        communicator.close()
    tell("fine")


def main_thread() -> None:
    """A call on another thread where MPI serves the main thread only, and one on that."""
    with connect(handmade(RANKS, Kind.ALLREDUCE)) as communicator:
        x = np.ones(5)
        text = text_of(lambda: communicator.allreduce(x, wait=False).wait())
        communicator.allreduce(x)
        tell([text, x.tolist()])


def traced() -> None:
    plan = handmade(RANKS, Kind.ALLREDUCE, seed=5, k=2)
    with connect(plan) as communicator:
        communicator.allreduce(np.ones(1000))
        with communicator.trace() as trace:
            communicator.allreduce(np.ones(1000))
        tell([len(trace.transfers), len(plan.schedule().transfers.chunk)])


def large(megabytes: str) -> None:
    """A chunk of more bytes than an int counts."""
    count = int(megabytes) << 20
    plan = handmade(RANKS, Kind.BROADCAST)
    with connect(plan, tuning=Tuning(segment=1 << 40)) as communicator:
        x = np.zeros(count, np.uint8)
        if plan.collective.root == RANK:
            x[::4097] = 7
        communicator.broadcast(x)
        tell([bool((x[::4097] == 7).all()), bool(x[4096::4097].any())])


def disagree() -> None:
    """Other sizes, element types and reductions: an error everywhere, after which calls go on."""
    with connect(handmade(RANKS, Kind.ALLREDUCE), tuning=Tuning(timeout=20)) as communicator:
        odd = RANK == ODD
        texts = []
        for _ in range(2):  # sizes that are new to the communicator, and known ones
            for count, dtype in ((6 if odd else 5, "int32"), (5, "int64" if odd else "int32")):
                texts.append(text_of(lambda count=count, dtype=dtype: communicator.allreduce(np.ones(count, dtype))))
            texts.append(text_of(lambda: communicator.allreduce(np.ones(5), op="max" if odd else "min")))
            x = np.ones(5)
            communicator.allreduce(x)
            assert (x == RANKS).all()
    tell(texts)


def plans() -> None:
    """A rank with another plan, and one with other settings."""
    odd = RANK == ODD
    other = text_of(lambda: connect(handmade(RANKS, Kind.ALLREDUCE, seed=8 if odd else 7)))
    settings = text_of(lambda: connect(handmade(RANKS, Kind.ALLREDUCE), tuning=Tuning(window=3 if odd else 4)))
    tell([other, settings, text_of(lambda: connect(handmade(RANKS + 1, Kind.ALLREDUCE)))])


def _failing(act: Callable[[Any], None]) -> None:
    """Calls without end, until the odd rank acts; the others tell their error, twice."""
    communicator = connect(handmade(RANKS, Kind.ALLREDUCE, k=2), tuning=SHORT)
    x = np.ones(300_000, np.float32)
    for _ in range(3):
        communicator.allreduce(x)
    if RANK == ODD:
        act(communicator)
    start = time.monotonic()
    first = text_of(lambda: [communicator.allreduce(x) for _ in range(1 << 30)])
    seconds = time.monotonic() - start
    tell([first, text_of(lambda: communicator.allreduce(x)), seconds])


def sleeps() -> None:
    _failing(lambda _: time.sleep(6))


def killed() -> None:
    _failing(lambda _: os.kill(os.getpid(), signal.SIGKILL))


def stopped() -> None:
    """In the middle of a call: its first reduction takes seconds."""

    def act(_: Any) -> None:
        kernels = mpi_flight._engine
        mpi_flight._engine = SimpleNamespace(reduce=lambda *_: time.sleep(6), divide=kernels.divide)  # type: ignore[assignment]

    _failing(act)


def closes() -> None:
    _failing(lambda communicator: (communicator.close(), tell("closed"), sys.exit(0)))


def raises() -> None:
    def act(_: Any) -> None:
        raise ValueError("a mistake of the user")

    _failing(act)


def endless() -> None:
    """Calls without end."""
    communicator = connect(handmade(RANKS, Kind.ALLREDUCE))
    communicator.allreduce(np.ones(5))
    tell(os.getpid())
    while True:
        communicator.allreduce(np.ones(5))


def restless(seed: str) -> None:
    """Calls of random sizes without end, some without waiting; tells its process, and the error that ends them."""
    rng = np.random.default_rng(int(seed))  # alike on all ranks
    communicator = connect(handmade(RANKS, Kind.ALLREDUCE, seed=int(seed), k=2), tuning=Tuning(timeout=30))
    tell(os.getpid())

    def calls() -> None:
        while True:
            x, wait = np.ones(int(rng.integers(0, 60_000)), np.float32), rng.random() < 0.7
            handle = communicator.allreduce(x, wait=wait)
            if not wait:
                handle.wait()
            assert (x == RANKS).all()

    tell(text_of(calls))


def late_connect() -> None:
    library()  # MPI itself begins with a meeting of all ranks
    if RANK == ODD:
        time.sleep(5)
    tell(text_of(lambda: connect(handmade(RANKS, Kind.ALLREDUCE), tuning=SHORT)))


MODES = (
    matrix, exact, together, main_thread, traced, large, disagree, plans,
    sleeps, killed, stopped, closes, raises, endless, restless, late_connect,
)  # fmt: skip

if __name__ == "__main__":
    for argument in sys.argv[1:]:
        MODE, _, option = argument.partition(":")
        {mode.__name__: mode for mode in MODES}[MODE](*([option] if option else []))
