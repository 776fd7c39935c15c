"""All candidates: verified wherever they apply, on known and on random fabrics."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest
import random_fabrics
from hypothesis import given, settings
from hypothesis import strategies as st

from collsched.algorithms import Baseline, baselines, candidates
from collsched.collective import KINDS, Collective, Kind, make_collective
from collsched.errors import UnreachableError
from collsched.forest.check import ForestReport, check_forest
from collsched.forest.optimum import check_reachable
from collsched.forest.problem import directions
from collsched.ir.verify import verify
from collsched.lower import lower
from collsched.topology import bundled
from collsched.topology.model import Link, Node, Topology

FABRICS = ("dgx-a100", "mi250", "torus-2d", "unequal-boxes", "leaf-spine", "dgx1-v100", "random-irregular")


def checked(fabric: Topology, baseline: Baseline) -> list[ForestReport]:
    reports = [
        check_forest(fabric, baseline.collective, forest, reverse=reverse)
        for forest, reverse in zip(baseline.forests, directions(baseline.collective.kind), strict=True)
    ]
    verify(fabric, lower(fabric, baseline.collective, baseline.forests))
    return reports


def names(fabric: Topology, collective: Collective) -> set[str]:
    return {candidate.name for candidate in candidates(fabric, collective)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FABRICS)
def test_every_candidate_is_verified(name: str, kind: Kind) -> None:
    fabric = bundled(name)
    built = [(candidate, candidate.build()) for candidate in candidates(fabric, make_collective(fabric, kind))]
    assert all(baseline is not None for _, baseline in built)
    for candidate, baseline in built:
        assert baseline is not None
        checked(fabric, baseline)
        assert (baseline.name, baseline.variant) == (candidate.name, candidate.variant)
        if kind not in (Kind.GATHER, Kind.SCATTER):
            assert baseline.transfers == candidate.transfers
    told = Counter((candidate.name, candidate.variant) for candidate, _ in built)
    assert max(told.values()) == 1, "variants have different texts"


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6))
def test_whatever_applies_to_a_random_fabric_is_verified(seed: int) -> None:
    """Ranks that relay, inside the group and outside; links one way; unequal shards; ranks that cannot be reached."""
    case = random_fabrics.case(seed, ranks=9, switches=3)
    try:
        check_reachable(case.topology, case.collective)
    except UnreachableError:
        reachable = False
    else:
        reachable = True
    found = baselines(case.topology, case.collective)
    for candidate in candidates(case.topology, case.collective):
        baseline = candidate.build()
        if baseline is not None:
            checked(case.topology, baseline)
    if len(case.collective.group) > 1 and case.collective.kind in (Kind.ALLGATHER, Kind.ALLREDUCE):
        assert reachable == ("direct" in {baseline.name for baseline in found})


def test_the_kinds_have_their_usual_names() -> None:
    fabric = bundled("dgx-a100")
    common = {"hierarchical", "direct", "swing", "bruck"}
    expected = {
        "allgather": common | {"ring", "halving-doubling"},
        "allreduce": common | {"ring", "halving-doubling", "double-binary-tree", "postal"},
        "gather": common | {"chain", "binomial"},
        "broadcast": common | {"chain", "binomial", "double-binary-tree", "postal", "scatter-allgather"},
        "reduce": common | {"chain", "binomial", "double-binary-tree", "postal", "reduce-scatter-gather"},
    }
    for kind, algorithms in expected.items():
        assert names(fabric, make_collective(fabric, kind)) == algorithms
    assert "bucket" in names(bundled("torus-3d"), make_collective(bundled("torus-3d"), "gather"))


def test_there_are_none_for_one_rank_or_an_all_to_all() -> None:
    fabric = bundled("dgx-a100")
    assert list(candidates(fabric, make_collective(fabric, "allgather", group="3"))) == []
    assert list(candidates(fabric, make_collective(fabric, "all-to-all"))) == []


def test_a_root_anywhere_in_a_group_of_a_larger_fabric() -> None:
    fabric = bundled("torus-2d", dims="3x5")
    for kind in ("broadcast", "reduce", "gather", "scatter"):
        collective = make_collective(fabric, kind, group="1-3,7,9,12-14", root=9)
        for candidate in candidates(fabric, collective):
            baseline = candidate.build()
            assert baseline is not None
            checked(fabric, baseline)


def test_an_allreduce_of_few_roots_belongs_to_them() -> None:
    fabric = bundled("dgx-a100")
    found = {}
    for candidate in candidates(fabric, make_collective(fabric, "allreduce")):
        if candidate.name in ("postal", "double-binary-tree"):
            baseline = candidate.build()
            assert baseline is not None
            found[candidate.name, candidate.variant] = len(baseline.collective.owners)
    assert found["postal", "one root"] == 1 and found["postal", "4 roots"] == 4
    assert found["double-binary-tree", "one pair"] == 2


def test_ranks_outside_the_group_relay_only_what_is_needed() -> None:
    """a – x – b – y – c in a row: x and y are outside the group, y only matters if c is in it."""
    nodes = tuple(Node(name, "rank") for name in "axbyc")
    links = tuple(Link(i, j, Fraction(1)) for i in range(5) for j in (i - 1, i + 1) if 0 <= j < 5)
    fabric = Topology("row", nodes, links)
    for group, hops in (("0,2", 2), ("0,2,4", 4)):
        collective = make_collective(fabric, "broadcast", group=group, root=0)
        for baseline in baselines(fabric, collective):
            if baseline.name in ("direct", "binomial", "chain"):
                checked(fabric, baseline)
                assert baseline.transfers == hops * baseline.forests[0].k


def test_building_is_repeatable() -> None:
    fabric = bundled("random-irregular")
    collective = make_collective(fabric, "allreduce")

    def edges() -> list[list[int]]:
        return [forest.edges.tolist() for baseline in baselines(fabric, collective) for forest in baseline.forests]

    assert edges() == edges()


def test_what_is_too_large_is_not_built() -> None:
    fabric = bundled("dgx-a100")
    collective = make_collective(fabric, "allreduce")
    every, few = baselines(fabric, collective), baselines(fabric, collective, most_transfers=480)
    assert [b.variant for b in few] == [b.variant for b in every if b.transfers <= 480]
    assert 0 < len(few) < len(every)


def test_tables_taken_in_blocks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    fabric = bundled("torus-2d", dims="3x5")

    def edges() -> list[list[int]]:
        found = (candidate.build() for candidate in candidates(fabric, make_collective(fabric, "allreduce")))
        return [forest.edges.tolist() for baseline in found if baseline for forest in baseline.forests]

    whole = edges()
    for name in ("relaying._TABLE", "relaying._BLOCK", "latencies._BLOCK"):
        monkeypatch.setattr(f"collsched.algorithms.{name}", 200)
    assert edges() == whole
