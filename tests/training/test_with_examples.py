"""The examples run as their first lines say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from collsched.doctor.components import mpi_launcher

EXAMPLES = Path(__file__).parents[2] / "examples"
LAUNCH = [sys.executable, "-m", "collsched.cli.main", "launch", "-n", "2", "--", sys.executable]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def run(*command: str | Path) -> str:
    environment = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("launcher", "name"), [(LAUNCH, "train_ddp.py"), (TORCHRUN, "train_fsdp.py")])
def test_training_equals_gloo_step_by_step(launcher: list[str], name: str) -> None:
    found = json.loads(run(*launcher, EXAMPLES / name, "--steps", "5", "--compare", "--json"))
    assert found["ranks"] == 2 and found["steps"] == 5
    assert found["gradients_furthest"] < 1e-4 and found["loss_difference"] < 1e-4
    assert found["loss_last"] < found["loss_first"]
    assert found["communication_seconds"] > 0 and found["communication_seconds_gloo"] > 0


def test_numpy_alone() -> None:
    assert "2 ranks on engine shm" in run(*LAUNCH, EXAMPLES / "numpy_regression.py")


def test_beside_mpi4py() -> None:
    pytest.importorskip("mpi4py")
    launcher = mpi_launcher()
    if launcher is None:
        pytest.skip("no mpiexec is installed")
    assert "2 ranks on engine mpi" in run(launcher, "-n", "2", sys.executable, EXAMPLES / "mpi4py_heat.py")
