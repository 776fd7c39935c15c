"""Plan files and exports of all-to-alls, checked by simulation."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
import transfers_checker
from exchanges import plan_of
from hypothesis import given, settings
from hypothesis import strategies as st

from collsched.export.transfers import FILES, write_transfers
from collsched.plan import Plan


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.sampled_from((0, 1, 13, 1009, 10**9 + 7)), segments=st.integers(1, 3))
def test_files_and_exports_hold_what_was_compiled(
    tmp_path_factory: pytest.TempPathFactory, seed: int, size: int, segments: int
) -> None:
    directory = tmp_path_factory.getbasetemp() / "all-to-all"
    directory.mkdir(exist_ok=True)
    plan = plan_of(seed)
    plan.save(directory / "plan.cs")
    loaded = Plan.load(directory / "plan.cs")
    assert (loaded.digest, loaded.bound[0].prices) == (plan.digest, plan.bound[0].prices)
    assert loaded.report.ratio == plan.report.ratio
    write_transfers(loaded, directory, size, segments, force=True)
    topology, schedule = (json.loads((directory / name).read_text()) for name in FILES)
    assert schedule["collective"] == "alltoall"
    load = transfers_checker.check(topology, schedule, size * len(plan.collective.group), seed)
    pieces = len(schedule["chunks"])
    for a, b, gbps, _ in topology["links"]:
        assert load[a, b] <= size * plan.report.ratio * Fraction(gbps) / plan.weight + 2 * pieces
    sent = dict.fromkeys(plan.collective.group, 0)
    for chunk in schedule["chunks"]:
        sent[chunk["owner"]] += chunk["bytes"]
    assert set(sent.values()) == {size}
