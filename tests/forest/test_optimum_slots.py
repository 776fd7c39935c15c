"""Slots for a fixed number of trees, against exhaustive search on tiny fabrics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from random_fabrics import arcs, case, terminals

from collsched.collective import make_collective
from collsched.errors import InputError, UnreachableError
from collsched.forest.balance import excess_egress
from collsched.forest.optimum import optimum
from collsched.forest.problem import Problem, problem
from collsched.forest.slots import best_for_k, exact_slots, slots
from collsched.graph import oracle
from collsched.topology import bundled


def _steps(instance: Problem, low: Fraction) -> Iterator[Fraction]:
    """The values U ≥ low at which some link gains a slot, ascending."""
    bandwidths = {Fraction(int(c), instance.scale) for c in instance.capacity}
    U = low
    while True:
        yield U
        U = min(((U * b).__floor__() + 1) / b for b in bandwidths)


def _supports(instance: Problem, full: np.ndarray, k: int) -> bool:
    """Whether some trimming of these slots, of all there are, supports k trees."""
    out_of_relays = [i for i in range(len(full)) if not instance.terminal[instance.src[i]]]
    if int(instance.terminal.sum()) == 1:
        out_of_relays = []
    for kept in product(*(range(int(full[i]), -1, -1) for i in out_of_relays)):
        capacity = full.copy()
        capacity[out_of_relays] = kept
        trimmed = replace(instance, capacity=capacity)
        if out_of_relays and excess_egress(trimmed).any():
            continue
        weight = instance.weight.tolist()
        if oracle.supports(instance.nodes, arcs(trimmed), weight, terminals(instance), k):
            return True
    return False


def _check(instance: Problem, capacity: np.ndarray, U: Fraction, k: int) -> None:
    assert all(s <= U * Fraction(int(c), instance.scale) for s, c in zip(capacity, instance.capacity, strict=True))
    trimmed = replace(instance, capacity=capacity)
    assert oracle.supports(instance.nodes, arcs(trimmed), instance.weight.tolist(), terminals(instance), k)
    assert int(instance.terminal.sum()) == 1 or not excess_egress(trimmed).any()


@pytest.mark.parametrize("block", range(0, 600, 100))
def test_best_rate_for_k(block: int) -> None:
    """No U below the one found supports k trees, whatever is trimmed."""
    searched = 0
    for seed in range(block, block + 100):
        instance = case(seed, ranks=4, switches=1, balanced=True).problems[0]
        try:
            bound = optimum(instance)
        except UnreachableError:
            continue
        if not bound.ratio or instance.capacity.max() > 3 or len(instance.src) > 10:
            continue
        for k in (1, 2, 3):
            found = best_for_k(instance, bound, k)
            _check(instance, found.capacity, found.U, k)
            for U in _steps(instance, bound.ratio * k):
                full = np.array([int(U * int(c) / instance.scale) for c in instance.capacity])
                if _supports(instance, full, k):
                    assert found.U == U, (seed, k)
                    searched += 1
                    break
    assert searched > 10, searched


@pytest.mark.parametrize("block", range(0, 500, 100))
def test_exact_slots_reach_the_optimum(block: int) -> None:
    for seed in range(block, block + 100):
        for instance in case(seed).problems:
            try:
                bound = optimum(instance)
            except UnreachableError:
                continue
            if not bound.ratio:
                continue
            found = exact_slots(instance, bound)
            assert found is not None, seed
            assert found.k <= bound.k
            assert found.U / found.k == bound.reached
            _check(instance, found.capacity, found.U, found.k)


def test_fewer_trees_may_reach_the_same_rate() -> None:
    """Four MI250 boxes: some links' slots are not whole for one tree a root, but no cut that matters has such links."""
    topology = bundled("mi250", boxes=4)
    instance = problem(topology, make_collective(topology, "allgather"), reverse=False)
    bound = optimum(instance)
    found = exact_slots(instance, bound)
    assert found is not None
    assert found.k < bound.k


def test_too_low_a_ratio_has_no_slots() -> None:
    topology = bundled("dgx-a100", boxes=2)
    instance = problem(topology, make_collective(topology, "allgather"), reverse=False)
    bound = optimum(instance)
    assert slots(instance, bound.ratio * Fraction(999, 1000), 13) is None
    assert slots(instance, bound.ratio, 13) is not None


@pytest.mark.parametrize(("k", "share"), [(1, Fraction(91, 90)), (13, Fraction(1)), (14, Fraction(1))])
def test_rate_of_two_boxes_by_trees(k: int, share: Fraction) -> None:
    topology = bundled("dgx-a100", boxes=2)
    instance = problem(topology, make_collective(topology, "allgather"), reverse=False)
    bound = optimum(instance)
    assert best_for_k(instance, bound, k).U / k >= bound.ratio
    if k != 14:
        assert best_for_k(instance, bound, k).U / k == bound.ratio * share


def test_a_tree_at_least() -> None:
    topology = bundled("dgx-a100", boxes=1)
    instance = problem(topology, make_collective(topology, "allgather"), reverse=False)
    with pytest.raises(InputError, match="trees per root is 0"):
        best_for_k(instance, optimum(instance), 0)
