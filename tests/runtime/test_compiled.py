"""Compiled plans of real machines, executed and checked in every element."""

from __future__ import annotations

import pytest

import collsched
from collsched.collective import KINDS, Kind
from collsched.runtime.check import Case, run_plan
from collsched.runtime.shm import Tuning

CASES = [Case("float32", 10_007), Case("float16", 997, values="fractions"), Case("int64", 1), Case("uint8", 0)]
MACHINES = (
    "dgx1-v100", "dgx-a100", "mi250", "pcie-bridge", "unequal-boxes", "mixed-vendors", "degraded",
    "torus-2d", "hypercube", "fat-tree", "leaf-spine", "random-irregular", "random-switched",
)  # fmt: skip


@pytest.mark.parametrize("name", MACHINES)
def test_allreduce(name: str) -> None:
    topology = collsched.bundled(name)
    rows = run_plan(collsched.compile(topology, Kind.ALLREDUCE), CASES, tuning=Tuning(arena=8192, segment=512))
    assert [row.wrong for row in rows] == [0] * len(CASES)


@pytest.mark.parametrize("kind", KINDS)
def test_every_collective_on_a_group_with_relays(kind: Kind) -> None:
    options: dict[str, int] = {"root": 4} if kind.rooted else {}
    topology = collsched.bundled("mi250", boxes="1")
    plan = collsched.compile(topology, kind, group="0-2,4,9", **options)
    assert [row.wrong for row in run_plan(plan, CASES)] == [0] * len(CASES)
