"""The fast pipeline and its fallback, judged by the certificate."""

from __future__ import annotations

import numpy as np
import pytest
from random_fabrics import Case, case

from collsched.collective import make_collective
from collsched.errors import UnreachableError
from collsched.forest.check import ForestReport, check_forest
from collsched.forest.model import Forest
from collsched.forest.optimum import optimum
from collsched.forest.packing import construct, pack
from collsched.forest.problem import problem
from collsched.forest.slots import best_for_k, exact_slots
from collsched.topology import bundled
from collsched.topology.model import Topology


def _equal(first: Forest, second: Forest) -> bool:
    same = (np.array_equal(getattr(first, name), getattr(second, name)) for name in ("roots", "multiplicity", "edges"))
    return all(same) and np.array_equal(first.routes.links, second.routes.links)


def _constructed(example: Case, k: int | None = None) -> list[bool]:
    """Per phase with data to move and several ranks to reach: whether construction found a forest, checked if so."""
    outcome = []
    for instance in example.problems:
        try:
            bound = optimum(instance)
        except UnreachableError:
            continue
        if not bound.ratio or instance.terminal.sum() < 2:
            continue
        slots = exact_slots(instance, bound) if k is None else best_for_k(instance, bound, k)
        forest = construct(instance, slots, seed=1)
        outcome.append(forest is not None)
        if forest is not None:
            report = check_forest(example.topology, example.collective, forest, reverse=instance.reversed)
            assert bound.ratio <= report.ratio <= slots.U / slots.k
            assert forest.k == slots.k
    return outcome


@pytest.mark.parametrize("block", range(0, 1000, 100))
def test_random_fabrics(block: int) -> None:
    """What construction returns is a forest at the bound; on most small fabrics it returns one."""
    outcome = [found for seed in range(block, block + 100) for found in _constructed(case(seed))]
    assert np.mean(outcome) > 0.8


@pytest.mark.parametrize("block", range(0, 200, 50))
def test_larger_random_fabrics(block: int) -> None:
    cases = (case(seed, ranks=24, switches=8, balanced=True) for seed in range(block, block + 50))
    outcome = [found for example in cases for found in _constructed(example)]
    assert np.mean(outcome) > 0.8


@pytest.mark.parametrize("k", [1, 2, 5])
def test_fixed_number_of_trees(k: int) -> None:
    outcome = [found for seed in range(150) for found in _constructed(case(seed, balanced=True), k)]
    assert np.mean(outcome) > 0.8


def _pack(topology: Topology, kind: str = "allgather", **options: object) -> ForestReport:
    collective = make_collective(topology, kind)
    instance = problem(topology, collective, reverse=kind == "reduce-scatter")
    bound = optimum(instance)
    forest = pack(instance, bound, **options)  # type: ignore[arg-type]
    report = check_forest(topology, collective, forest, reverse=instance.reversed)
    assert report.ratio == bound.ratio
    return report


# Ranks, and the depth that trees may have on average: bars of what is reached, not of what is possible.
FAMILIES = [
    ("dgx-a100", {"boxes": 32}, 2),
    ("dgx1-v100", {"boxes": 32}, 3.5),
    ("mi250", {"boxes": 16}, 8),
    ("mi300x", {"boxes": 32}, 2),
    ("mixed-vendors", {"boxes": 32}, 3),
    ("degraded", {"boxes": 32}, 3),
    ("unequal-boxes", {"boxes": 40}, 3),
    ("rail-only", {"boxes": 32}, 3),
    ("rail-optimised", {"boxes": 32}, 3),
    ("fat-tree", {"boxes": 32}, 4),
    ("leaf-spine", {"boxes": 32}, 4),
    ("dragonfly", {"groups": 8}, 3),
    ("pcie-bridge", {"boxes": 32}, 4),
    ("gb200-nvl72", {"boxes": 3}, 3),
    ("torus-2d", {"dims": (16, 16)}, 24),
    ("torus-3d", {"dims": (8, 8, 4)}, 15),
    ("hypercube", {"dimension": 8}, 12),
    ("random-irregular", {"ranks": 256}, 10),
    ("random-switched", {"ranks": 256}, 4),
]


@pytest.mark.parametrize(("name", "parameters", "depth"), FAMILIES, ids=[name for name, *_ in FAMILIES])
@pytest.mark.parametrize("kind", ["allgather", "reduce-scatter"])
def test_families_are_constructed_shallow(name: str, parameters: dict[str, object], depth: float, kind: str) -> None:
    """The fast pipeline alone reaches the bound on every family, with trees close to the least depth."""
    assert _pack(bundled(name, **parameters), kind, pipeline="fast", seed=3).depth_mean <= depth


def test_what_construction_misses_is_guaranteed() -> None:
    """Four MI250 boxes are tight at boxes and at pairs of GCDs at once."""
    topology = bundled("mi250", boxes=4)
    instance = problem(topology, make_collective(topology, "allgather"), reverse=False)
    bound = optimum(instance)
    assert construct(instance, exact_slots(instance, bound), seed=0, attempts=1) is None
    assert _pack(topology).trees > 0


def test_groups_among_relaying_ranks() -> None:
    topology = bundled("torus-2d", dims=(6, 6))
    example = Case(topology, make_collective(topology, "allgather", group=[0, 7, 14, 21, 28, 35]))
    assert _constructed(example) == [True]


def test_equal_seeds_give_equal_forests() -> None:
    topology = bundled("torus-2d", dims=(8, 8))
    instance = problem(topology, make_collective(topology, "allgather"), reverse=False)
    bound = optimum(instance)
    first, again, other = (pack(instance, bound, seed=seed, pipeline="fast") for seed in (5, 5, 6))
    assert _equal(first, again)
    assert not _equal(first, other)


@pytest.mark.parametrize("kind", ["allgather", "broadcast", "gather", "reduce"])
def test_one_rank_has_nothing_to_move(kind: str) -> None:
    topology = bundled("dgx-a100", boxes=1)
    collective = make_collective(topology, kind, group=[2], root=2 if kind != "allgather" else None)
    instance = problem(topology, collective, reverse=kind == "reduce")
    forest = pack(instance, optimum(instance))
    assert check_forest(topology, collective, forest, reverse=instance.reversed).ratio == 0
