"""Kill a rank of an MPI job at a random moment, and look at how the job ends and what is left."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from kills import SOON, Outcome
from mpirun import WORKER, Mpi, finish
from mpirun import Outcome as Ended


def kill_once(mpi: Mpi, seed: int) -> Outcome:
    """Ranks call allreduces of random sizes without end, some without waiting, until one of them is killed."""
    rng = random.Random(seed)
    ranks = rng.choice([2, 3, 4])
    job = mpi.popen(ranks, sys.executable, WORKER, f"restless:{seed}")
    assert job.stdout is not None
    processes = {rank: process for _, rank, _, process in (json.loads(job.stdout.readline()) for _ in range(ranks))}
    victim = rng.randrange(ranks)
    time.sleep(rng.uniform(0, 0.3))
    os.kill(processes[victim], signal.SIGKILL)
    start = time.monotonic()
    done = finish(job)
    seconds = time.monotonic() - start
    wrong = list(_complaints(mpi, done, victim, processes[victim]))
    if seconds > SOON:
        wrong.append(f"the job ended {seconds:.1f} s after the kill")
    end = time.monotonic() + 2
    while (left := [rank for rank, process in processes.items() if Path(f"/proc/{process}").exists()]) and (
        time.monotonic() < end
    ):
        time.sleep(0.02)
    if left:
        wrong.append(f"processes of ranks {left} are left")
    return Outcome(seconds, wrong)


def _complaints(mpi: Mpi, done: Ended, victim: int, process: int) -> list[str]:
    """What is wrong with the output of a job: ranks that tell of something else, or a launcher that names nobody."""
    told = [text for text in done.told("restless").values() if isinstance(text, str)]
    wrong = [f"a rank told: {text}" for text in told if f"rank {victim} ended" not in text]
    # MPICH's launcher tells a process only, at times one that it ended itself.
    launcher = f"process rank {victim} with PID {process}" if mpi.kind == "openmpi" else "EXIT CODE: 9"
    if not told and launcher not in done.stdout + done.stderr:
        wrong.append(f"nobody names rank {victim} (process {process}): {done}")
    if done.code == 0:
        wrong.append("the job ended well")
    return wrong
