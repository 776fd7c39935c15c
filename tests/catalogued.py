"""Known algorithms by name."""

from __future__ import annotations

from collsched.algorithms import Baseline, candidates
from collsched.collective import make_collective
from collsched.topology.model import Topology


def built(fabric: Topology, kind: str, name: str, variant: str = "") -> Baseline:
    """The first candidate of that name whose variant begins so."""
    for candidate in candidates(fabric, make_collective(fabric, kind)):
        if candidate.name == name and candidate.variant.startswith(variant):
            baseline = candidate.build()
            assert baseline is not None
            return baseline
    raise AssertionError(f"no {name} {variant}")
