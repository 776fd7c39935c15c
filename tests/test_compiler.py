"""The whole pipeline: its options, its stages, and what it promises of a plan."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from collsched.collective import KINDS, Kind
from collsched.compiler import PIPELINES, Stages, compile
from collsched.errors import InputError, UnreachableError
from collsched.forest.mirror import mirrored, opposite_links
from collsched.topology import bundled
from collsched.topology.model import Link, Node, Topology


def one_way_ring(ranks: int, bandwidth: int = 10) -> Topology:
    nodes = tuple(Node(f"r{i}", "rank") for i in range(ranks))
    return Topology("ring", nodes, tuple(Link(i, (i + 1) % ranks, Fraction(bandwidth)) for i in range(ranks)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_meets_its_bound(kind: Kind) -> None:
    plan = compile(bundled("dgx-a100", boxes=2), kind)
    assert plan.report.optimal
    assert plan.report.ratio == plan.report.bound > 0
    assert [forest.direction for forest in plan.forests] == {
        Kind.ALLREDUCE: ["in", "out"],
        Kind.REDUCE_SCATTER: ["in"],
        Kind.REDUCE: ["in"],
        Kind.SCATTER: ["in"],
    }.get(kind, ["out"])


def test_equal_arguments_give_equal_plans_and_seeds_matter() -> None:
    fabric = bundled("dgx-a100", boxes=4)
    assert compile(fabric, "allgather").digest == compile(fabric, Kind.ALLGATHER).digest
    assert compile(fabric, "allgather", seed=7).digest != compile(fabric, "allgather").digest


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_pipeline_meets_the_bound(pipeline: str) -> None:
    plan = compile(bundled("dgx1-v100"), "allgather", pipeline=pipeline)  # type: ignore[arg-type]
    assert plan.report.optimal
    assert plan.options["pipeline"] == pipeline


def test_an_allreduce_on_a_symmetric_fabric_mirrors_one_forest() -> None:
    fabric = bundled("dgx-a100", boxes=2)
    plan = compile(fabric)
    towards, away = plan.forests
    opposite = opposite_links(fabric)
    assert opposite is not None
    assert np.array_equal(mirrored(away, opposite).routes.links, towards.routes.links)
    again = mirrored(mirrored(away, opposite), opposite)
    assert again.direction == "out" and np.array_equal(again.routes.links, away.routes.links)


def test_an_allreduce_on_a_lopsided_fabric_solves_both_phases() -> None:
    ring = one_way_ring(5)
    assert opposite_links(ring) is None
    plan = compile(ring)
    assert plan.report.optimal
    assert plan.bound[0].ratio == plan.bound[1].ratio == Fraction(4, 10)
    slow = replace(ring, links=(replace(ring.links[0], bandwidth=Fraction(1)), *ring.links[1:]))
    assert compile(slow).report.optimal


def test_opposite_links_need_equal_bandwidth() -> None:
    nodes = (Node("a", "rank"), Node("b", "rank"))
    same = Topology("pair", nodes, (Link(0, 1, Fraction(2)), Link(1, 0, Fraction(2))))
    assert opposite_links(same) is not None
    assert opposite_links(replace(same, links=(Link(0, 1, Fraction(2)), Link(1, 0, Fraction(3))))) is None


def test_stages_are_told_and_timed_in_order() -> None:
    told: list[str] = []
    stages = Stages(told.append)
    plan = compile(bundled("dgx-a100", boxes=1), "allgather", stages=stages)
    assert list(dict.fromkeys(told)) == ["reachability", "bound", "packing", "lowering", "verification"]
    assert set(stages.seconds) == set(told)
    assert all(seconds >= 0 for seconds in stages.seconds.values())
    assert plan.provenance["seconds"] == stages.seconds


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_one_and_two_ranks(kind: Kind, ranks: int) -> None:
    fabric = bundled("dgx-a100", boxes=1)
    plan = compile(fabric, kind, group=list(range(ranks)))
    assert plan.report.optimal
    assert (plan.report.ratio == 0) == (ranks == 1)
    assert plan.predict(0).seconds <= plan.predict(1).seconds


def test_trees_per_root() -> None:
    fabric = bundled("dgx-a100", boxes=2)
    ratios = [compile(fabric, "allgather", trees_per_root=k).report.ratio for k in (1, 2, 13)]
    assert ratios[0] == Fraction(7, 150)
    assert ratios[2] == Fraction(3, 65) <= ratios[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": -1}, "size -1"),
        ({"trees_per_root": 0}, "trees per root 0"),
        ({"seed": -1}, "seed -1"),
        ({"seed": 2**63}, "seed"),
        ({"pipeline": "hasty"}, "pipeline 'hasty'; one of auto, fast, guaranteed"),
        ({"kind": "gossip"}, "unknown collective"),
        ({"group": [0, 0]}, "named twice"),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        compile(bundled("dgx-a100", boxes=1), **options)  # type: ignore[arg-type]


def test_unreachable_ranks_name_a_witness() -> None:
    ring = one_way_ring(4)
    cut = replace(ring, links=ring.links[:-1])
    with pytest.raises(UnreachableError, match="rank r0 cannot be reached from rank r1"):
        compile(cut, "allgather")
    assert compile(cut, "broadcast", root="r0").report.optimal


def test_a_large_allreduce_is_joint_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two unequal boxes gain a third by running both phases at once; `auto` tries it on groups up to its limit."""
    from collsched import compiler

    topology = bundled("unequal-boxes", boxes=2)
    assert compiler.compile(topology, "allreduce").options["allreduce"] == "joint"
    monkeypatch.setattr(compiler, "JOINT_RANKS", 11)
    assert compiler.compile(topology, "allreduce").options["allreduce"] == "two-phase"
    assert compiler.compile(topology, "allreduce", allreduce="joint").options["allreduce"] == "joint"
