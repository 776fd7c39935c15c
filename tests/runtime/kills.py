"""Kill a rank at a random moment, and look at how the others end and what is left: once, or over and over."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from handmade import handmade
from ranks import children

from collsched.collective import Kind
from collsched.errors import EngineError
from collsched.runtime import shm
from collsched.runtime.launch import Ranks

SOON = 5.0  # seconds; the engine looks for dead peers twenty times a second
TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one round: seconds from the kill to the end of the last rank, and what is wrong with it."""

    seconds: float
    wrong: list[str]


def kill_once(seed: int) -> Outcome:
    """Ranks call allreduces of random sizes without end, some from shared arrays and some without waiting, until one
    of them is killed: while it connects, in a call or between two."""
    rng = random.Random(seed)
    ranks = rng.choice([2, 3, 4, 6])
    plan = handmade(ranks, Kind.ALLREDUCE, seed=seed, k=2)
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    before = children()
    reader, writer = os.pipe()
    told: dict[int, str] = {}
    first: float | None = None
    data = b""
    with Ranks(ranks) as job:
        job.start(lambda rank, fd: _life(plan, rank, fd, writer, seed))
        os.close(writer)
        victim = rng.randrange(ranks)
        process = job.processes[victim]
        timer = threading.Timer(rng.uniform(0, 0.15), os.kill, (process, signal.SIGKILL))
        timer.start()
        for event in job.watch(reader):
            if isinstance(event, bytes):
                data += event
            elif first is None:
                first = time.monotonic()
        seconds = time.monotonic() - (first or 0.0)
        timer.join()
    os.close(reader)
    for line in data.splitlines():
        rank, text = json.loads(line)
        told[rank] = text
    wrong = [f"rank {rank}: {text}" for rank, text in told.items() if f"process {process})" not in text]
    wrong += [f"rank {rank} told nothing" for rank in range(ranks) if rank != victim and rank not in told]
    if seconds > SOON:
        wrong.append(f"the last rank ended {seconds:.1f} s after the first")
    if children() != before or len(list(Path("/proc/self/fd").iterdir())) != descriptors:
        wrong.append("processes or descriptors are left")
    if list(Path("/dev/shm").glob("*collsched*")):
        wrong.append("shared memory is left")
    return Outcome(seconds, wrong)


def _life(plan: object, rank: int, fd: int, writer: int, seed: int) -> int:
    shm.join(fd, rank)
    rng = np.random.default_rng(seed)  # alike on all ranks
    try:
        communicator = shm.connect(plan, shm.Tuning(arena=16384, timeout=TIMEOUT))  # type: ignore[arg-type]
        while True:
            count, shared, wait = int(rng.integers(0, 60_000)), rng.random() < 0.5, rng.random() < 0.7
            x = communicator.empty(count) if shared else np.empty(count, np.float32)
            x[:] = 1
            handle = communicator.allreduce(x, wait=wait)
            if not wait:
                handle.wait()
    except EngineError as error:
        os.write(writer, json.dumps([rank, str(error)[:1500]]).encode() + b"\n")
        return 1


def soak(text: str, kill_once: Callable[[int], Outcome], rounds: int) -> int:
    """The command of a soak: its exit code. `rounds`: by default."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--seed", type=int, default=0, help="of the first round; the following ones count up")
    options = parser.parse_args()
    bad, slowest, start = 0, 0.0, time.monotonic()
    for seed in range(options.seed, options.seed + options.rounds):
        outcome = kill_once(seed)
        slowest = max(slowest, outcome.seconds)
        bad += bool(outcome.wrong)
        for line in outcome.wrong:
            print(f"seed {seed}: {line}", flush=True)
        if sys.stderr.isatty():
            print(f"\r{seed - options.seed + 1} of {options.rounds}", end="", file=sys.stderr)
    print(f"{options.rounds} rounds in {time.monotonic() - start:.0f} s, {bad} of them wrong")
    print(f"the slowest ended {slowest:.2f} s after its kill (allowed: {SOON:g} s)")
    return 1 if bad else 0
