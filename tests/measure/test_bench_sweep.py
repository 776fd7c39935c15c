"""Sizes, counts and turns."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

import collsched
from collsched.bench.sweep import ROUNDS, Sweep, per_rank, spaced
from collsched.collective import Collective, Kind, make_collective
from collsched.errors import InputError
from collsched.topology.model import Link, Node, Topology

RANKS = 3


def collective(kind: str, **options: object) -> Collective:
    nodes = tuple(Node(f"r{i}", "rank") for i in range(RANKS))
    links = tuple(Link(a, b, Fraction(1)) for a in range(RANKS) for b in range(RANKS) if a != b)
    return make_collective(Topology("mesh", nodes, links), kind, **options)  # type: ignore[arg-type]


def test_sizes_grow_by_the_factor_up_to_the_last() -> None:
    assert spaced(1024, 16384, 4) == (1024, 4096, 16384)
    assert spaced(1024, 16383, 4) == (1024, 4096)
    assert spaced(8, 8, 2) == (8,)
    assert spaced(2, 9, 1.5) == (2, 3, 4, 6)


NO_SIZES = [(0, 8, 2), (8, 4, 2), (8, 16, 1), (8, 16, 0.5), (8, 16, math.inf), (8, 16, math.nan), (8, 1 << 50, 1.001)]


@pytest.mark.parametrize(("first", "last", "factor"), NO_SIZES)
def test_sizes_that_make_no_sense(first: int, last: int, factor: float) -> None:
    with pytest.raises(InputError):
        spaced(first, last, factor)


@pytest.mark.parametrize("kind", list(Kind))
def test_parts_of_one_size_are_whole_elements(kind: Kind) -> None:
    sweep = Sweep((1, 1000, 1001, 4096), "float32")
    cases = [placements[0] for placements in sweep.cases(collective(kind))]
    sharded = kind not in (Kind.ALLREDUCE, Kind.BROADCAST, Kind.REDUCE)
    assert [case.count for case in cases] == ([3, 249, 1023] if sharded else [1, 250, 1024])
    assert per_rank(collective(kind), cases[-1].count) == (341 if sharded else 1024)
    assert all(case.op == "sum" for case in cases)


def test_unequal_parts_need_no_rounding() -> None:
    unequal = collective("allgather", shards={"r0": 1, "r1": 2, "r2": 0})
    assert [placements[0].count for placements in Sweep((1000,)).cases(unequal)] == [250]


@given(st.integers(1, 1000))
def test_turns_are_all_iterations(iterations: int) -> None:
    turns = Sweep((8,), iterations=iterations).turns
    assert sum(turns) == iterations
    assert len(turns) <= ROUNDS
    assert max(turns) - min(turns) <= 1


@pytest.mark.parametrize("wrong", [{"iterations": 0}, {"warmup": -1}, {"dtype": "float128"}, {"op": "xor"}])
def test_sweeps_that_make_no_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Sweep((8,), **wrong)  # type: ignore[arg-type]


def test_only_a_collective_that_reduces_has_an_op() -> None:
    assert collsched.collective.Kind.ALLGATHER.reduces is False
    assert Sweep((64,), op="max").cases(collective("allgather"))[0][0].op == "sum"
    assert Sweep((64,), op="max").cases(collective("reduce"))[0][0].op == "max"
