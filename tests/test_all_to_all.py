"""All-to-all from topology to verified plan."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from collsched.collective import make_collective
from collsched.compiler import compile
from collsched.errors import InputError, VerificationError
from collsched.plan import Plan
from collsched.topology import bundled


def test_shards_are_pairs() -> None:
    collective = make_collective(bundled("dgx-a100"), "alltoall", group="1,4,9")
    assert collective.owners == (1, 1, 1, 4, 4, 4, 9, 9, 9)
    assert [collective.target(shard) for shard in range(9)] == [1, 4, 9] * 3
    assert collective.weight == 3


def test_the_rate_is_that_of_one_rank() -> None:
    """Each of 8 remote blocks of 16 leaves over a 25 GB/s port."""
    plan = compile(bundled("dgx-a100", boxes=2), "all-to-all")
    assert plan.report.optimal and plan.report.ratio == Fraction(8, 25)
    assert plan.predict(10**9).bandwidth_seconds == pytest.approx(10**9 / 16 * 8 / 25e9)


def test_prices_are_believed_only_as_far_as_they_prove() -> None:
    plan = compile(bundled("mi250"), "all-to-all")
    (bound,) = plan.bound
    assert bound.prices is not None and bound.certified
    free = (0,) * len(bound.prices)
    other = tuple(price + (i == 0) for i, price in enumerate(bound.prices))
    for claim in (
        replace(bound, prices=None),
        replace(bound, prices=free),
        replace(bound, prices=bound.prices[1:]),
        replace(bound, prices=other),
        replace(bound, ratio=bound.ratio + Fraction(1, 10**9)),
    ):
        with pytest.raises(VerificationError, match="price"):
            replace(plan, bound=(claim,)).verify()


def test_a_file_with_other_shards_fails_verification(tmp_path: Path) -> None:
    plan = compile(bundled("dgx1-v100"), "all-to-all")
    shards = (1, 2, *plan.collective.shards[2:])
    replace(plan, collective=replace(plan.collective, shards=shards)).save(tmp_path / "plan.cs")
    with pytest.raises(VerificationError, match="“root weight”: the paths from box0/gpu0 to box0/gpu1"):
        Plan.load(tmp_path / "plan.cs").verify()


def test_equal_arguments_give_equal_plans() -> None:
    fabric = bundled("random-irregular")
    assert compile(fabric, "all-to-all").digest == compile(fabric, "all-to-all").digest


def test_one_rank_has_nothing_to_send() -> None:
    plan = compile(bundled("dgx-a100"), "all-to-all", group="3")
    assert plan.report.ratio == 0 and not len(plan.schedule().transfers.chunk)
    assert np.array_equal(plan.schedule().chunks.length, [1])


def test_trees_do_not_apply() -> None:
    with pytest.raises(InputError, match="trees per root"):
        compile(bundled("dgx-a100"), "all-to-all", trees_per_root=1)
