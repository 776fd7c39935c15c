"""Tests that need a GPU: marked `gpu`, and skipped with the reason where there is none."""

from __future__ import annotations

import subprocess
import sys

import pytest

# In a process of its own: this one must not touch the GPU, or what it forks could not.
_LOOK = """
from collsched.errors import CollschedError
from collsched.runtime import gpu
try:
    gpu.require_nccl(gpu.require("nccl")) if ENGINE == "nccl" else gpu.require("cuda")
except CollschedError as error:
    print(error)
"""


def missing(engine: str) -> str:
    """Why an engine cannot work here; empty if it can."""
    look = subprocess.run([sys.executable, "-c", f"ENGINE = {engine!r}\n{_LOOK}"], capture_output=True, text=True)
    return (look.stdout + look.stderr).strip()


@pytest.fixture(scope="session")
def cuda() -> str:
    if reason := missing("cuda"):
        pytest.skip(reason)
    return "cuda"


@pytest.fixture(scope="session")
def nccl() -> str:
    if reason := missing("nccl"):
        pytest.skip(reason)
    return "nccl"
