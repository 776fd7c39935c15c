"""The engines on a GPU, which all ranks share: right results, to the bit, and ends that are clean."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.gpu

WORKER = str(Path(__file__).with_name("worker.py"))
TYPES = ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
ODD = [0, 1, 1009, 40_009]


def run(body: str, engine: str, ranks: int, arguments: dict[str, Any] | None = None, **environment: str) -> Any:
    """The body in `ranks` processes; its output and exit code."""
    launch = [sys.executable, "-m", "collsched.cli.main", "launch", "-n", str(ranks), "--"]
    command = [*launch, sys.executable, WORKER, body, engine, str(ranks), json.dumps(arguments or {})]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=240)


def check(*arguments: Any, **environment: str) -> None:
    done = run(*arguments, **environment)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("ranks", "types"), [(2, TYPES), (3, TYPES), (8, ["float32", "int16"])])
def test_cuda_every_collective(cuda: str, ranks: int, types: list[str]) -> None:
    check("matrix", cuda, ranks, {"dtypes": types, "counts": ODD})


def test_cuda_bfloat16(cuda: str) -> None:
    check("bfloat16", cuda, 3)


@pytest.mark.parametrize("ranks", [2, 4])
def test_cuda_stress(cuda: str, ranks: int) -> None:
    check("stress", cuda, ranks, {"calls": 60, "compare": "first", "stripes": 8, "depth": 2})


def test_cuda_in_a_graph(cuda: str) -> None:
    check("replayed", cuda, 2)


def test_cuda_disagreement(cuda: str) -> None:
    check("disagreement", cuda, 3)


def test_cuda_names_a_rank_that_dies(cuda: str) -> None:
    done = run("killed", cuda, 3)
    assert "rank 2" in done.stdout and "no error" not in done.stdout, done.stdout + done.stderr
    assert done.returncode == 128 + 9


def test_cuda_run(cuda: str, tmp_path: Path) -> None:
    commands = [
        ["compile", "torus-2d", "--set", "dims=2x2", "-o", str(tmp_path / "plan.cs")],
        ["run", str(tmp_path / "plan.cs"), "--engine", cuda],
    ]
    for words in commands:
        done = subprocess.run([sys.executable, "-m", "collsched.cli.main", *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


SHARED = {"NCCL_MULTI_RANK_GPU_ENABLE": "1", "NCCL_MAX_CTAS": "4"}


@pytest.mark.parametrize("graphs", [True, False])
def test_nccl_every_collective(nccl: str, graphs: bool) -> None:
    types = TYPES if graphs else ["float32"]
    check("matrix", nccl, 2, {"dtypes": types, "counts": ODD}, COLLSCHED_TEST_GRAPHS=str(int(graphs)), **SHARED)


def test_nccl_four_ranks(nccl: str) -> None:
    check("matrix", nccl, 4, {"dtypes": ["float32"], "counts": [1, 1009]}, **SHARED)


def test_nccl_stress(nccl: str) -> None:
    check("stress", nccl, 2, {"calls": 60}, **SHARED)


def test_nccl_in_a_graph(nccl: str) -> None:
    check("replayed", nccl, 2, **SHARED)


def test_nccl_disagreement(nccl: str) -> None:
    check("disagreement", nccl, 2, **SHARED)
