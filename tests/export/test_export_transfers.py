"""Exported transfers do their collective, judged by a checker that knows only the format."""

from __future__ import annotations

import copy
import json
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import growth
import pytest
import transfers_checker
from hypothesis import given, settings
from hypothesis import strategies as st

from collsched.collective import KINDS, Collective, Kind
from collsched.errors import InputError
from collsched.export.transfers import FILES, write_transfers
from collsched.forest.optimum import optimum
from collsched.forest.problem import directions, problem
from collsched.plan import Plan


def plan_of(rng: random.Random, kind: Kind, *, subset: bool = False) -> Plan:
    topology = growth.fabric(rng, rng.randint(1, 6), rng.randint(0, 4))
    topology = growth.able(rng, topology) if rng.random() < 0.4 else topology
    ranks = range(len(topology.ranks))
    group = tuple(sorted(rng.sample(ranks, rng.randint(1, len(ranks))))) if subset else tuple(ranks)
    collective = growth.collective(rng, topology, kind, group)
    phases = directions(kind)
    forests = tuple(growth.grow(rng, topology, collective, reverse=r, k=rng.randint(1, 3)) for r in phases)
    bound = tuple(optimum(problem(topology, collective, reverse=reverse)) for reverse in phases)
    return Plan(topology, collective, forests, bound)


def written(plan: Plan, directory: Path, size: int, segments: int = 1) -> tuple[dict[str, Any], dict[str, Any]]:
    write_transfers(plan, directory, size, segments, force=True)
    topology, schedule = (json.loads((directory / name).read_text()) for name in FILES)
    return topology, schedule


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(KINDS),
    size=st.sampled_from((0, 1, 13, 1009, 10**9 + 7)),
    segments=st.integers(1, 4),
    subset=st.booleans(),
)
def test_exports_do_their_collective(
    tmp_path_factory: pytest.TempPathFactory, seed: int, kind: Kind, size: int, segments: int, subset: bool
) -> None:
    plan = plan_of(random.Random(seed), kind, subset=subset)
    topology, schedule = written(plan, tmp_path_factory.getbasetemp() / "export", size, segments)
    load = transfers_checker.check(topology, schedule, size, seed)
    ratio = plan.report.ratio
    pieces = len(schedule["chunks"])
    for a, b, gbps, _ in topology["links"]:
        # Bytes round up by less than one for every chunk that crosses; phases add up.
        assert load[a, b] <= size * ratio * Fraction(gbps) / plan.weight + 2 * pieces


def test_what_the_files_say(tmp_path: Path) -> None:
    topology, out, _ = growth.boxes(2, 2)
    ranks = tuple(range(4))
    collective = Collective(Kind.ALLGATHER, ranks, ranks, (1,) * 4)
    plan = Plan(topology, collective, (out,), (optimum(problem(topology, collective, reverse=False)),))
    fabric, schedule = written(plan, tmp_path, 103)
    assert (fabric["npus"], fabric["devices"], fabric["smart"]) == (4, 7, [])
    assert fabric["names"] == ["gpu0", "gpu1", "gpu2", "gpu3", "nvs0", "nvs1", "ib"]
    assert fabric["links"][:2] == [[0, 4, 300, 1], [4, 0, 300, 1]]
    assert schedule["collective"] == "allgather" and schedule["root"] is None
    assert schedule["chunks"][0] == {"id": 0, "bytes": 25, "owner": 0, "dst": None}
    assert schedule["transfers"][0] == {
        "id": 0, "src": 0, "dst": 2, "path": [0, 6, 2], "chunk": 0, "op": "copy", "deps": [], "chan": 0,
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_checker_can_fail(kind: Kind, tmp_path: Path) -> None:
    """Broken copies of a right export are not let through."""
    rng = random.Random(5)
    plan = next(p for p in iter(lambda: plan_of(rng, kind), None) if len(p.schedule().transfers.chunk) > 3)
    topology, schedule = written(plan, tmp_path, 1000)
    dropped, moved, stolen = (copy.deepcopy(schedule) for _ in range(3))
    del dropped["transfers"][-1]
    moved["transfers"][0]["path"].reverse()
    stolen["chunks"][0]["bytes"] += 1
    for broken in (dropped, moved, stolen):
        with pytest.raises(AssertionError):
            transfers_checker.check(topology, broken, 1000)


@pytest.mark.parametrize("size", [-1, 1 << 61, 10**30])
def test_sizes_have_limits(size: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="number of bytes"):
        write_transfers(plan_of(random.Random(1), Kind.ALLGATHER), tmp_path, size)
    assert not list(tmp_path.iterdir())


def test_existing_files_stay(tmp_path: Path) -> None:
    plan = plan_of(random.Random(1), Kind.ALLGATHER)
    (tmp_path / "schedule.json").write_text("mine")
    with pytest.raises(InputError, match="exists"):
        write_transfers(plan, tmp_path, 100)
    assert [file.name for file in tmp_path.iterdir()] == ["schedule.json"]
    with pytest.raises(InputError, match="cannot be written"):
        write_transfers(plan, tmp_path / "schedule.json" / "below", 100)
