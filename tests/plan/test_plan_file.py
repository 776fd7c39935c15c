"""Plan files: what is saved is what is loaded, and everything else is refused with a message that helps."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import growth
import numpy as np
import plan_edits as edits
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collsched.collective import KINDS, Collective, Kind
from collsched.errors import PlanError, VerificationError
from collsched.forest.optimum import optimum
from collsched.forest.problem import directions, problem
from collsched.plan import Plan, container, is_plan
from collsched.topology.model import Node, Topology


def random_plan(seed: int) -> Plan:
    rng = random.Random(seed)
    topology = growth.fabric(rng, rng.randint(1, 6), rng.randint(0, 4))
    ranks = len(topology.ranks)
    group = tuple(sorted(rng.sample(range(ranks), rng.randint(1, ranks))))
    collective = growth.collective(rng, topology, rng.choice(KINDS), group)
    phases = directions(collective.kind)
    forests = tuple(growth.grow(rng, topology, collective, reverse=r, k=rng.randint(1, 3)) for r in phases)
    bound = tuple(optimum(problem(topology, collective, reverse=reverse)) for reverse in phases)
    return Plan(topology, collective, forests, bound, {"seed": seed}, {"version": "1", "seconds": {"packing": 0.5}})


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    plan = random_plan(seed)
    path = tmp_path_factory.getbasetemp() / "round.cs"
    plan.save(path)
    loaded = Plan.load(path)
    assert loaded.digest == plan.digest
    assert (loaded.topology, loaded.collective) == (plan.topology, plan.collective)
    assert loaded.bound == tuple(replace(optimum, limit=None) for optimum in plan.bound)
    assert (loaded.options, loaded.provenance) == (plan.options, plan.provenance)
    report = loaded.verify(topology=plan.topology)
    assert report.ratio >= report.bound
    assert report.optimal == (report.ratio == report.bound)


def test_digest_covers_what_matters_and_nothing_else() -> None:
    plan = edits.small_plan()
    assert plan.digest == edits.small_plan().digest
    assert plan.digest == replace(plan, provenance={"seconds": 3.5}).digest
    assert plan.digest == replace(plan, topology=replace(plan.topology, source="/somewhere/else.yaml")).digest
    forest = plan.forests[0]
    others = [
        replace(plan, options={"seed": 8}),
        replace(plan, topology=replace(plan.topology, links=plan.topology.links[:-1])),
        replace(plan, collective=replace(plan.collective, group=(0, 1))),
        replace(plan, forests=(replace(forest, edges=forest.edges[::-1].copy()),)),
        replace(plan, forests=(replace(forest, k=2),)),
    ]
    assert len({plan.digest, *(other.digest for other in others)}) == 6


def test_two_saves_give_the_same_bytes(tmp_path: Path) -> None:
    edits.small_plan().save(tmp_path / "a.cs")
    edits.small_plan().save(tmp_path / "b.cs")
    assert (tmp_path / "a.cs").read_bytes() == (tmp_path / "b.cs").read_bytes()


def test_one_rank_is_an_empty_plan(tmp_path: Path) -> None:
    topology = Topology("one", (Node("a", "rank"),), ())
    collective = Collective(Kind.ALLREDUCE, (0,), (0,), (1,))
    bound = tuple(optimum(problem(topology, collective, reverse=reverse)) for reverse in (True, False))
    none = growth.pack("in", 1, [], [], [0], [], [])
    Plan(topology, collective, (none, replace(none, direction="out")), bound).save(tmp_path / "one.cs")
    report = Plan.load(tmp_path / "one.cs").verify()
    assert (report.ratio, report.schedule.transfers, report.optimal) == (0, 0, True)


# -- writing -----------------------------------------------------------------------------------------------------------


def test_a_plan_is_replaced_and_anything_else_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.cs"
    edits.small_plan().save(path)
    edits.small_plan().save(path)
    assert is_plan(path)
    path.write_text("my thesis")
    with pytest.raises(PlanError, match="--force"):
        edits.small_plan().save(path)
    assert path.read_text() == "my thesis"
    edits.small_plan().save(path, force=True)
    assert Plan.load(path).digest == edits.small_plan().digest
    assert [file.name for file in tmp_path.iterdir()] == ["a.cs"]


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="no directory"):
        edits.small_plan().save(tmp_path / "none" / "a.cs")


# -- damage ------------------------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_flipped_byte_is_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped.cs"
    edits.small_plan().save(path, force=True)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    with pytest.raises(PlanError):
        Plan.load(path)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_other_length_is_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.cs"
    edits.small_plan().save(path, force=True)
    content = path.read_bytes()
    length = data.draw(st.integers(0, len(content) - 1))
    path.write_bytes(data.draw(st.sampled_from((content[:length], content + content[: length + 1]))))
    with pytest.raises(PlanError):
        Plan.load(path)


def test_mistakes_in_a_plan_file(tmp_path: Path, golden) -> None:  # type: ignore[no-untyped-def]
    """Every mistake is an error that names the file, what was found and how to mend it."""
    path, lines = tmp_path / "plan.cs", []
    for case, content in edits.raw_files(tmp_path).items():
        path.write_bytes(content)
        lines.append(f"{case}\n    {refusal(path)}")
    for case, edit in edits.EDITS.items():
        edits.edited(path, edit)
        lines.append(f"{case}\n    {refusal(path)}")
    path.unlink()
    lines.append(f"no file\n    {refusal(path)}")
    golden.check("\n".join(lines), "plan-errors")


def refusal(path: Path) -> str:
    with pytest.raises(PlanError) as caught:
        Plan.load(path)
    assert str(path) in str(caught.value)
    return str(caught.value).replace(str(path), "plan.cs")


# -- lies: well formed, signed and wrong ------------------------------------------------------------------------------


def both(*steps: edits.Edit) -> edits.Edit:
    def edit(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:  # type: ignore[type-arg]
        for step in steps:
            step(header, arrays)

    return edit


LIES: dict[str, Callable[..., None]] = {
    "parents first": edits.section("forests.0.edges", [1, 0]),
    "spanning": both(edits.section("forests.0.edges", [0]), edits.section("forests.0.sizes", [1])),
    "path": edits.section("forests.0.routes.links", [0, 1, 4, 5]),
    "root weight": edits.section("forests.0.multiplicity", [2]),
    "the cut of the bound holds weight": edits.at("bound.0.cut.exit_bandwidth", "25"),
    "does not prove": edits.at("bound.0.ratio", "1/100"),
    "without a cut": both(edits.at("bound.0.cut", None), edits.section("bound.0.side", None)),
    "proves nothing": edits.section("bound.0.side", [0, 1, 2, 3]),
}


@pytest.mark.parametrize("rule", LIES)
def test_verification_believes_nothing(tmp_path: Path, rule: str) -> None:
    path = tmp_path / "plan.cs"
    edits.edited(path, LIES[rule])
    edits.sign(path)
    plan = Plan.load(path)
    with pytest.raises(VerificationError, match=rule):
        plan.verify()


def test_a_good_plan_signed_again_passes(tmp_path: Path) -> None:
    path = tmp_path / "plan.cs"
    edits.edited(path, both())
    edits.sign(path)
    assert Plan.load(path).verify().optimal


def test_verification_against_another_topology() -> None:
    plan = edits.small_plan()
    links = plan.topology.links
    plan.verify(topology=replace(plan.topology, links=links[::-1]))
    slower = replace(plan.topology, links=(replace(links[0], bandwidth=Fraction(1)), *links[1:]))
    renamed = replace(plan.topology, nodes=(replace(plan.topology.nodes[0], name="z"), *plan.topology.nodes[1:]))
    larger = replace(plan.topology, nodes=(*plan.topology.nodes, Node("more", "switch")))
    for other, text in ((slower, "link a → sw"), (renamed, "node a"), (larger, "numbers of nodes")):
        with pytest.raises(VerificationError, match=text):
            plan.verify(topology=other)


def test_a_large_file_is_not_read_before_its_size_is_known_to_fit(tmp_path: Path) -> None:
    path = tmp_path / "huge.cs"
    edits.small_plan().save(path)
    with path.open("r+b") as file:
        file.truncate(1 << 36)  # sparse: reading it would take 64 GiB of memory
    with pytest.raises(PlanError, match="extra bytes"):
        Plan.load(path)


def test_a_directory_is_no_plan(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="not a file"):
        Plan.load(tmp_path)


def test_arrays_of_any_width_survive(tmp_path: Path) -> None:
    arrays = {str(bits): np.array([0, 2**bits - 1, 1]) for bits in (1, 8, 9, 24, 33, 63)} | {"none": np.zeros(0, int)}
    container.write(tmp_path / "wide", {"a": 1}, arrays, force=False)
    header, found = container.read(tmp_path / "wide")
    assert header == {"a": 1}
    assert {name: array.tolist() for name, array in found.items()} == {n: a.tolist() for n, a in arrays.items()}
