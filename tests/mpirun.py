"""Start programs under the MPI launchers that are there.

COLLSCHED_OPENMPI and COLLSCHED_MPICH each name a virtual environment, or any other prefix, with bin/mpirun and
lib/libmpi.so; without them, the mpirun on the PATH is used. mpi4py is that of the environment that runs the tests, and
loads the library of the launcher.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

WORKER = Path(__file__).parent / "runtime" / "mpi_worker.py"
MPIS = {"openmpi": ("COLLSCHED_OPENMPI", "Open MPI"), "mpich": ("COLLSCHED_MPICH", "MPICH")}


@dataclass(frozen=True, slots=True)
class Mpi:
    """A launcher, and the environment in which mpi4py finds the library that belongs to it."""

    kind: str
    mpirun: str
    library: str | None

    @property
    def environment(self) -> dict[str, str]:
        found = os.environ | {"MPI4PY_MPIABI": self.kind}
        return found if self.library is None else found | {"LD_LIBRARY_PATH": self.library}

    def launcher(self, ranks: int) -> list[str]:
        """What goes before a command."""
        flags = ["--allow-run-as-root", "--oversubscribe"] if self.kind == "openmpi" else []
        return [self.mpirun, *flags, "-n", str(ranks)]

    def popen(self, ranks: int, *command: Any, **variables: str) -> subprocess.Popen[str]:
        line, environment, pipe = (
            [*self.launcher(ranks), *map(str, command)],
            self.environment | variables,
            subprocess.PIPE,
        )
        return subprocess.Popen(line, env=environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)

    def run(self, ranks: int, *modes: Any, **variables: str) -> Outcome:
        """The worker, to its end, with variables of the environment."""
        return finish(self.popen(ranks, sys.executable, WORKER, *modes, **variables))


@dataclass(frozen=True, slots=True)
class Outcome:
    code: int
    stdout: str
    stderr: str

    def told(self, mode: str) -> dict[int, Any]:
        """What each rank of a worker found in a mode."""
        lines = (json.loads(line) for line in self.stdout.splitlines() if line.startswith('["rank"'))
        return {rank: content for _, rank, name, content in lines if name == mode}


def finish(process: subprocess.Popen[str], timeout: float = 120) -> Outcome:
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        stdout, stderr = process.communicate()
        pytest.fail(f"the job did not end within {timeout:g} s\n{stdout}\n{stderr}")
    return Outcome(process.returncode, stdout, stderr)


@lru_cache
def find(kind: str) -> Mpi | str:
    """The launcher of a kind of MPI, or why there is none."""
    variable, name = MPIS[kind]
    if find_spec("mpi4py") is None:
        return "mpi4py is not installed"
    if prefix := os.environ.get(variable):
        mpirun = Path(prefix, "bin", "mpirun")
        return Mpi(kind, str(mpirun), str(Path(prefix, "lib"))) if mpirun.exists() else f"{mpirun} does not exist"
    mpirun = shutil.which("mpirun")
    if mpirun is None:
        return f"no mpirun of {name}: set {variable} to its prefix"
    text = subprocess.run([mpirun, "--version"], capture_output=True, text=True, check=False).stdout
    found = "openmpi" if "Open MPI" in text or "OpenRTE" in text else "mpich"
    return Mpi(kind, mpirun, None) if found == kind else f"{mpirun} is not of {name}; set {variable} to its prefix"


@contextmanager
def tidied() -> Iterator[None]:
    """Removes the shared memory that MPI libraries leave behind when a rank is killed."""

    def segments() -> set[Path]:
        return {file for pattern in ("mpich_shm_*", "sm_segment*") for file in Path("/dev/shm").glob(pattern)}

    before = segments()
    try:
        yield
    finally:
        for file in segments() - before:
            file.unlink(missing_ok=True)


@pytest.fixture(params=list(MPIS), scope="session")
def mpi(request: pytest.FixtureRequest) -> Iterator[Mpi]:
    found = find(request.param)
    if isinstance(found, str):
        pytest.skip(found)
    with tidied():
        yield found
