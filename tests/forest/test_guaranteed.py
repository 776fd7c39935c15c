"""Forests of the guaranteed pipeline, judged by the certificate: every one reaches exactly the optimum."""

from __future__ import annotations

import numpy as np
import pytest
from random_fabrics import Case, arcs, case

from collsched.collective import make_collective
from collsched.errors import InputError, UnreachableError
from collsched.forest.check import check_forest
from collsched.forest.guaranteed import guaranteed
from collsched.forest.optimum import optimum
from collsched.forest.problem import problem
from collsched.forest.slots import best_for_k, exact_slots
from collsched.graph import oracle
from collsched.topology import bundled


def _check_case(example: Case, k: int | None = None) -> int:
    """Packs every phase; the number of phases that have data to move."""
    packed = 0
    for instance in example.problems:
        try:
            bound = optimum(instance)
        except UnreachableError:
            continue
        if not bound.ratio:
            continue
        found = exact_slots(instance, bound) if k is None else best_for_k(instance, bound, k)
        assert found is not None
        forest = guaranteed(instance, found.capacity, found.k)
        report = check_forest(example.topology, example.collective, forest, reverse=instance.reversed)
        if k is None:
            assert report.ratio == bound.reached
        else:
            assert bound.ratio <= report.ratio <= found.U / k
        packed += 1
    return packed


@pytest.mark.parametrize("block", range(0, 1000, 50))
def test_random_fabrics(block: int) -> None:
    """Rooted and not, weighted and not, groups among relaying ranks, with and without switches."""
    assert sum(_check_case(case(seed)) for seed in range(block, block + 50)) > 10


@pytest.mark.parametrize("block", range(0, 200, 50))
def test_larger_random_fabrics(block: int) -> None:
    cases = (case(seed, ranks=14, switches=8, balanced=True) for seed in range(block, block + 50))
    assert sum(map(_check_case, cases)) > 10


@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_fixed_number_of_trees(k: int) -> None:
    assert sum(_check_case(case(seed, balanced=True), k) for seed in range(100)) > 40


MACHINES = [
    ("dgx-a100", 1),
    ("dgx-a100", 2),
    ("dgx-a100", 4),
    ("dgx1-v100", 2),
    ("mi250", 1),
    ("mi250", 2),
    ("mi300x", 2),
    ("mixed-vendors", 4),
    ("unequal-boxes", 3),
    ("fat-tree", 4),
    ("leaf-spine", 8),
    ("rail-optimised", 4),
    ("pcie-bridge", 2),
    ("degraded", 4),
]


@pytest.mark.parametrize(("name", "boxes"), MACHINES)
@pytest.mark.parametrize("kind", ["allgather", "allreduce", "broadcast", "gather", "scatter"])
def test_machines(name: str, boxes: int, kind: str) -> None:
    topology = bundled(name, boxes=boxes)
    root = 3 if kind in ("broadcast", "gather", "scatter") else None
    assert _check_case(Case(topology, make_collective(topology, kind, root=root))) >= 1


def test_relaying_ranks_hold_a_temporary() -> None:
    """A group whose members reach each other through other ranks: those appear in trees, once each."""
    topology = bundled("torus-2d", dims=(4, 4))
    example = Case(topology, make_collective(topology, "allgather", group=[0, 5, 10, 15]))
    assert _check_case(example) == 1


def test_equal_input_gives_equal_forests() -> None:
    topology = bundled("dgx-a100", boxes=2)
    instance = problem(topology, make_collective(topology, "allgather"), reverse=False)
    found = exact_slots(instance, optimum(instance))
    assert found is not None
    first, second = (guaranteed(instance, found.capacity, found.k) for _ in range(2))
    for name in ("roots", "multiplicity", "ptr", "edges"):
        assert np.array_equal(getattr(first, name), getattr(second, name))


def test_too_few_slots_are_refused() -> None:
    topology = bundled("dgx-a100", boxes=2)
    instance = problem(topology, make_collective(topology, "allgather"), reverse=False)
    found = exact_slots(instance, optimum(instance))
    assert found is not None
    with pytest.raises(InputError, match="no 14 trees per root can be packed"):
        guaranteed(instance, found.capacity, 14)


def test_unbalanced_slots_are_refused() -> None:
    """A switch with fewer slots in than out, and every one of them needed."""
    topology = bundled("dgx-a100", boxes=1)
    instance = problem(topology, make_collective(topology, "broadcast", root=0), reverse=False)
    into_switch = instance.terminal[instance.dst] == 0
    with pytest.raises(InputError, match="no 1 trees per root can be packed"):
        guaranteed(instance, np.where(into_switch, 0, 1).astype(np.int64), 1)
    slots = np.where(into_switch & (instance.src != np.flatnonzero(instance.terminal)[0]), 0, 1).astype(np.int64)
    with pytest.raises(InputError, match="sends more than it receives"):
        guaranteed(instance, slots, 1)


@pytest.mark.parametrize("seed", range(30))
def test_oracle_packs_what_the_core_packs(seed: int) -> None:
    """Rank-only fabrics: the slow packing by Lovász' proof finds trees on the same slots."""
    example = case(seed, ranks=5, switches=0)
    instance = example.problems[-1]
    if not instance.terminal.all():
        return
    try:
        bound = optimum(instance)
    except UnreachableError:
        return
    if bound.ratio == 0:
        return
    found = best_for_k(instance, bound, 1)
    guaranteed(instance, found.capacity, 1)
    slots = dict(zip(arcs(instance), found.capacity.tolist(), strict=True))
    trees = oracle.pack(instance.nodes, slots, instance.weight.tolist())
    assert len(trees) == instance.weight.sum()
