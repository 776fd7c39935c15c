"""Where the data of a joint allreduce meets: the same rate with few and shallow trees."""

from __future__ import annotations

import random

import numpy as np
import pytest
from random_fabrics import fabric

from collsched.collective import make_collective
from collsched.compiler import compile
from collsched.errors import UnreachableError
from collsched.forest import joint as joint_module
from collsched.forest.bounds import allreduce_bound
from collsched.forest.joint import joint
from collsched.forest.optimum import check_reachable
from collsched.topology import bundled
from collsched.topology.model import Topology


def found(topology: Topology) -> joint_module.Joint | None:
    collective = make_collective(topology, "allreduce")
    proven = sum(collective.shards) / allreduce_bound(topology, collective).ratio
    return joint(topology, collective, proven=proven)


@pytest.mark.parametrize(
    ("topology", "depth", "deepest"),
    [
        (bundled("unequal-boxes", boxes=42), 2.5, 10),
        (bundled("mixed-vendors", boxes=32), 2.5, 10),
    ],
    ids=lambda value: value.name if isinstance(value, Topology) else "",
)
def test_trees_are_shallow(topology: Topology, depth: float, deepest: int) -> None:
    plan = compile(topology, "allreduce", allreduce="joint")
    assert plan.report.optimal
    for report in plan.report.forests:
        assert report.depth_mean <= depth and report.depth_max <= deepest


def test_ranks_of_one_host_and_kind_have_equal_weights() -> None:
    plan = compile(bundled("unequal-boxes", boxes=8), "allreduce", allreduce="joint")
    weights = np.array(plan.collective.shards).reshape(-1, 12)
    assert (weights[:, :8] == weights[0, 0]).all() and (weights[:, 8:] == weights[0, 8]).all()
    assert weights[0, 0] > weights[0, 8] > 0  # the larger box has more NICs to send its data with


@pytest.mark.parametrize("block", range(0, 80, 40))
def test_the_rate_stays(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = 0
    for seed in range(block, block + 40):
        topology = fabric(random.Random(seed), ranks=6, switches=2)
        try:
            check_reachable(topology, make_collective(topology, "allreduce"))
        except UnreachableError:
            continue
        if len(topology.ranks) < 2:
            continue
        settled = found(topology)
        with monkeypatch.context() as patch:
            patch.setattr(joint_module, "settle", lambda *_: [])
            plain = found(topology)
        assert settled is not None and plain is not None, seed
        assert settled.rate >= plain.rate, seed
        changed += settled.collective.shards != plain.collective.shards
    assert changed > 3
