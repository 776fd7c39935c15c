"""Measurements and messages of a benchmark that never ran, with figures that are easy to check by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from collsched.bench.results import PLAN, Measurement
from collsched.bench.sweep import Case

US = 1e-6


def measurement(
    times: list[float], count: int = 256, *, engine: str = "shm", setting: str = "default", in_place: bool = False,
    wrong: int | None = 0,
) -> Measurement:  # fmt: skip
    """`times`: microseconds of the slowest of two ranks, an iteration each; the other takes half as long."""
    samples = np.array([[time * US, time * US / 2] for time in times])
    role = PLAN if engine == "shm" else "baseline"
    return Measurement(role, engine, setting, Case(count, "float32", "sum", in_place), samples, wrong)


PROVENANCE = {
    "versions": {"collsched": "0", "python": "3", "baseline mpi": "Some MPI 1.0"},
    "cpu": {"model": "a processor", "cores": 2},
    "load_1min": 0.5,
    "environment": {"OMPI_MCA_coll": "<tuned>"},
    "command": ["collsched", "bench", "plan.cs"],
}


def messages(plan_wins: bool, wrong: int = 0) -> Iterator[dict[str, Any]]:
    """Two sizes, out of place and in place: MPI at its default and at a faster setting; gloo in place."""
    yield {"start": {"engine": "shm", "left_out": {"nccl": "no GPU"}, "provenance": PROVENANCE}}
    factor = 1.0 if plan_wins else 8.0
    for count in (256, 4096):
        for in_place in (False, True):
            sides = [
                measurement([count / 64 * factor * (1 + i / 10) for i in range(5)], count, in_place=in_place),
                measurement(
                    [count / 32 * part for part in (0.8, 1, 1.2)], count, engine="mpi", in_place=in_place, wrong=wrong
                ),
                measurement([count / 40], count, engine="mpi", setting="ring", in_place=in_place),
            ]
            if in_place:
                sides.append(measurement([count / 4], count, engine="gloo", in_place=True))
            yield {"measured": [side.to_json() for side in sides]}
    yield {"lacking": [["gloo", False, "it works in place only"]], "dropped": [["mpi", "odd", "3 wrong elements"]]}
