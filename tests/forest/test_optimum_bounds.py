"""Bounds of an allreduce, and what would raise an optimum."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import pytest
from random_fabrics import Case, arcs, fabric, terminals

from collsched.collective import make_collective
from collsched.errors import UnreachableError
from collsched.forest.bounds import Bound, allreduce_bound
from collsched.forest.optimum import optimum
from collsched.forest.problem import Problem, problem
from collsched.forest.sensitivity import Raise, sensitivity
from collsched.graph import oracle
from collsched.topology import bundled
from collsched.topology.model import Topology


def _bound(topology: Topology) -> Bound:
    return allreduce_bound(topology, make_collective(topology, "allreduce"))


def _two_phases(topology: Topology) -> Fraction:
    collective = make_collective(topology, "allreduce")
    return sum((optimum(problem(topology, collective, reverse=r)).reached for r in (True, False)), Fraction(0))


@pytest.mark.parametrize("boxes", [1, 2, 4, 8])
def test_equal_boxes_cannot_beat_two_phases(boxes: int) -> None:
    topology = bundled("dgx-a100", boxes=boxes)
    found = _bound(topology)
    assert found.ratio == _two_phases(topology)
    assert found.cut is None
    assert found.parts is not None


def test_a_torus_cannot_beat_two_phases_by_much() -> None:
    topology = bundled("torus-2d", dims=(4, 4))
    assert _bound(topology).ratio == _two_phases(topology)


def test_two_ranks_are_bound_by_a_cut() -> None:
    """Both directions of one link carry all of the data at once: copies of partial sums need no more."""
    topology = bundled("torus-2d", dims=(1, 2))
    found = _bound(topology)
    assert found.ratio == _two_phases(topology)


def _partitions(members: list[int]) -> Iterator[list[list[int]]]:
    if not members:
        yield []
        return
    for parts in _partitions(members[1:]):
        yield [[members[0]], *parts]
        for i in range(len(parts)):
            yield [*parts[:i], [members[0], *parts[i]], *parts[i + 1 :]]


def _best_by_enumeration(instance: Problem) -> Fraction:
    """The best cut or partition of a fabric of ranks that are all in the group."""
    total, best = int(instance.weight.sum()), Fraction(0)
    for side, weight, leaving in oracle.cuts(
        instance.nodes, arcs(instance), instance.weight.tolist(), terminals(instance)
    ):
        if weight and side:
            best = max(best, Fraction(total, leaving))
    for parts in _partitions(list(range(instance.nodes))):
        label = {v: i for i, part in enumerate(parts) for v in part}
        between = sum(c for (u, v), c in arcs(instance).items() if label[u] != label[v])
        if len(parts) > 1:
            best = max(best, Fraction(total * 2 * (len(parts) - 1), between))
    return best * instance.scale


@pytest.mark.parametrize("block", range(0, 300, 50))
def test_random_fabrics(block: int) -> None:
    """Never above what two phases reach; on fabrics of ranks, never above the best cut or partition."""
    for seed in range(block, block + 50):
        topology = fabric(random.Random(seed), ranks=5, switches=seed % 3)
        try:
            reached = _two_phases(topology)
        except UnreachableError:
            with pytest.raises(UnreachableError):
                _bound(topology)
            continue
        found = _bound(topology)
        assert found.ratio <= reached, seed
        if len(topology.ranks) == len(topology.nodes) > 1:
            instance = problem(topology, make_collective(topology, "allgather"), reverse=False)
            assert found.ratio <= _best_by_enumeration(instance), seed
        _check_claim(topology, found)


def _check_claim(topology: Topology, found: Bound) -> None:
    if found.parts is not None:
        label = {v: i for i, part in enumerate(found.parts) for v in part}
        assert len(label) == sum(map(len, found.parts))
        assert set(label) >= set(topology.ranks)
        leaving, entering = Fraction(0), Fraction(0)
        for link in topology.links:
            between = label.get(link.src) != label.get(link.dst)
            leaving += link.bandwidth if between and link.src in label else 0
            entering += link.bandwidth if between and link.dst in label else 0
        assert found.ratio == len(topology.ranks) * 2 * (len(found.parts) - 1) / min(leaving, entering)
    elif found.ratio:
        assert found.cut is not None
        side = set(found.cut.side)
        assert 0 < found.cut.weight_inside < len(topology.ranks)
        leaving = sum(link.bandwidth for link in topology.links if link.src in side and link.dst not in side)
        assert found.ratio == len(topology.ranks) / Fraction(leaving)


def test_helpers_belong_to_parts() -> None:
    """A rank outside the group can combine: it may not be left out of the partition."""
    topology = bundled("torus-2d", dims=(4, 4))
    found = allreduce_bound(topology, make_collective(topology, "allreduce", group=[0, 5, 10, 15]))
    if found.parts is not None:
        assert {v for part in found.parts for v in part} >= set(topology.ranks)
    assert found.ratio > 0


def _raised(instance: Problem, raise_: Raise, factor: Fraction) -> Fraction:
    capacity = instance.capacity * factor.denominator
    capacity[list(raise_.links)] = instance.capacity[list(raise_.links)] * factor.numerator
    return optimum(replace(instance, capacity=capacity, scale=instance.scale * factor.denominator)).ratio


CASES = [("dgx-a100", 1), ("dgx-a100", 2), ("dgx-a100", 4), ("rail-only", 4), ("degraded", 2), ("unequal-boxes", 3)]


@pytest.mark.parametrize(("name", "boxes"), CASES)
def test_faster_links_do_what_is_said(name: str, boxes: int) -> None:
    topology = bundled(name, boxes=boxes)
    example = Case(topology, make_collective(topology, "allgather"))
    instance = example.problems[0]
    bound = optimum(instance)
    found = sensitivity(instance, bound)
    assert found
    for raise_ in found:
        if raise_.bandwidth is None or raise_.ratio is None:
            assert _raised(instance, raise_, Fraction(1000)) < bound.ratio / 100
            continue
        factor = raise_.bandwidth / raise_.now
        assert factor > 1
        assert raise_.ratio < bound.ratio
        assert _raised(instance, raise_, factor) == raise_.ratio
        assert _raised(instance, raise_, factor * 2) == raise_.ratio
        assert _raised(instance, raise_, 1 + (factor - 1) * Fraction(9, 10)) > raise_.ratio


def test_every_link_of_a_torus_binds() -> None:
    topology = bundled("torus-2d", dims=(4, 4))
    instance = problem(topology, make_collective(topology, "allgather"), reverse=False)
    (found,) = sensitivity(instance, optimum(instance))
    assert len(found.links) == len(topology.links)
    assert found.bandwidth is None


def test_nothing_to_move_has_nothing_to_raise() -> None:
    topology = bundled("dgx-a100", boxes=1)
    instance = problem(topology, make_collective(topology, "allgather", group=[0]), reverse=False)
    assert sensitivity(instance, optimum(instance)) == []
