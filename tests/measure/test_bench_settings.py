"""The algorithms that MPI lets a running process choose, against what the library itself says of them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from mpirun import Mpi, mpi  # noqa: F401 (a fixture)

from collsched.bench.baselines.mpi_settings import Tool, open_tool
from collsched.collective import Kind

ASK = """
import os, sys
names = {"Open MPI": ("OMPI_MCA_coll_tuned_allreduce_algorithm", "ring"),
         "MPICH": ("MPIR_CVAR_ALLREDUCE_INTRA_ALGORITHM", "ring")}
if len(sys.argv) > 1:
    name, value = names[sys.argv[1]]
    os.environ[name] = value
from mpi4py import MPI
from collsched.bench.baselines.mpi_settings import open_tool
from collsched.collective import Kind
vendor = MPI.get_vendor()[0]
if vendor not in names:
    print("other")
elif len(sys.argv) == 1:
    print(vendor)
else:
    tool = open_tool(vendor, Kind.ALLREDUCE, 4)
    variable = list(tool.settings["ring"])[-1]
    print(tool._before[variable] == tool.settings["ring"][variable])  # the environment's word is the same number
    tool.choose("recursive_doubling")
    print(tool._interface.read(variable) == tool.settings["recursive_doubling"][variable])
    tool.choose("default")
    print(tool._interface.read(variable) == tool._before[variable])
"""


def ask(mpi: Mpi, *words: str) -> list[str]:  # noqa: F811
    command = [sys.executable, "-c", ASK, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=mpi.environment)
    return done.stdout.split("\n")[:-1]


def test_numbers_of_algorithms_are_those_of_the_library(mpi: Mpi) -> None:  # noqa: F811
    (vendor,) = ask(mpi)
    assert vendor in ("Open MPI", "MPICH")
    assert ask(mpi, vendor) == ["True", "True", "True"]


def test_without_mpi_there_is_nothing_to_choose() -> None:
    if "mpi4py.MPI" in sys.modules:
        pytest.skip("an MPI library is loaded in this process")
    tool = open_tool("Open MPI", Kind.ALLREDUCE, 4)
    assert tool.settings == {}
    tool.choose("ring")
    assert Tool().at_call is False
