"""Broken schedules of all-to-alls are refused."""

from __future__ import annotations

import random

import growth
import pytest
from exchanges import plan_of
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import Mutation, dropped_dependency, dropped_transfer, swapped_chunk

from collsched.compiler import compile
from collsched.errors import VerificationError
from collsched.ir.verify import verify


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), mutation=st.sampled_from([dropped_transfer, swapped_chunk]))
def test_broken_schedules_are_refused(seed: int, mutation: Mutation) -> None:
    plan = plan_of(seed)
    broken = mutation(random.Random(seed), plan.schedule())
    if broken is not None:
        with pytest.raises(VerificationError):
            verify(plan.topology, broken, claimed=plan.report.ratio)


def test_a_relay_waits_for_what_it_passes_on() -> None:
    plan = compile(growth.fabric(random.Random(3), 5, 0), "all-to-all")
    broken = dropped_dependency(random.Random(0), plan.schedule())
    assert broken is not None
    with pytest.raises(VerificationError, match=r"“(read|data)”"):
        verify(plan.topology, broken)
