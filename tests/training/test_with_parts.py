"""The parts of collsched.torch that need no second rank."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

import collsched
from collsched.collective import Kind
from collsched.errors import EngineError, InputError, PlanError
from collsched.runtime.launchers import Peers
from collsched.topology.builder import Builder
from collsched.torch import fabric, options, tensors
from collsched.torch.lane import Lane
from collsched.torch.plans import Plans, from_bytes, share, to_bytes

ALONE = Peers(0, 1, lambda data: [data], "nobody")


def ring(ranks: int, switch: bool) -> collsched.Topology:
    builder = Builder()
    numbers = [builder.node(f"r{i}", "rank") for i in range(ranks)]
    if switch:
        hub = builder.node("hub", "switch")
        for number in numbers:
            builder.both(number, hub, Fraction(5), Fraction(1))
    for one, other in zip(numbers, numbers[1:] + numbers[:1], strict=True):
        builder.both(one, other, Fraction(10), Fraction(1))
    return builder.finish("ring", None)


@given(st.integers(3, 8), st.booleans(), st.data())
def test_what_remains_of_a_fabric_is_its_ranks_the_switches_and_the_links_between(
    ranks: int, switch: bool, data: st.DataObject
) -> None:
    whole = ring(ranks, switch)
    members = data.draw(st.lists(st.integers(0, ranks - 1), min_size=2, unique=True))
    part = fabric.restricted(whole, members)
    # Along a ring alone, only neighbours reach each other without the others.
    steps = sum((a + 1) % ranks in members for a in members)
    assert (part is None) == (not switch and steps < len(members) - 1)
    if part is None:
        return
    names = [part.nodes[node].name for node in part.ranks]
    assert names == [f"r{member}" for member in members]
    links = {(part.nodes[link.src].name, part.nodes[link.dst].name, link.bandwidth) for link in part.links}
    kept = {*names, "hub"}
    of = [(whole.nodes[link.src].name, whole.nodes[link.dst].name, link.bandwidth) for link in whole.links]
    assert links == {link for link in of if link[0] in kept and link[1] in kept}


def test_one_digest_a_topology() -> None:
    assert fabric.digest(ring(4, True)) == fabric.digest(ring(4, True)) != fabric.digest(ring(4, False))


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=5), st.sampled_from([torch.float32, torch.bool, torch.complex64])
)
def test_elements_are_the_same_memory(shape: list[int], dtype: torch.dtype) -> None:
    tensor = torch.zeros(shape, dtype=dtype)
    flat = tensors.elements(tensor)
    assert flat.dim() == 1 and flat.nbytes == tensor.nbytes
    flat.fill_(1)
    assert tensor.view(-1).eq(1 + 1j if dtype.is_complex else 1).all()


@given(st.integers(1, 5), st.integers(0, 7), st.sampled_from(["views", "copies", "gaps"]))
def test_lists_are_joined_where_they_lie_together(count: int, size: int, how: str) -> None:
    buffer = torch.arange(2.0 * count * (size + 1))
    step = size + 1 if how == "gaps" else size
    parts = [buffer[i * step : i * step + size] for i in range(count)]
    if how == "copies":
        parts = [part.clone() for part in parts]
    expected = torch.cat(parts)
    assert torch.equal(tensors.stacked(parts), expected)
    whole = tensors.room(parts)
    whole.copy_(-expected - 1)
    tensors.spread(whole, parts)
    assert torch.equal(torch.cat(parts), -expected - 1)


def test_reductions_by_their_names() -> None:
    names = [tensors.reduction(getattr(dist.ReduceOp, name)) for name in ("SUM", "PRODUCT", "MIN", "MAX", "AVG", "BOR")]
    assert names == ["sum", "prod", "min", "max", "avg", None]
    assert not tensors.reducible(torch.zeros(3, dtype=torch.bool), "sum")
    assert not tensors.movable(torch.zeros(3, dtype=torch.complex64).conj())


def test_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = collsched.compile(ring(4, True), "allgather")
    plan.save(tmp_path / "plan.cs")
    assert [found.digest for found in options.read(tmp_path / "plan.cs").plans] == [plan.digest]
    assert options.read("dgx-a100").topology == collsched.bundled("dgx-a100")
    assert options.read(None).topology is None
    monkeypatch.setenv("COLLSCHED_TOPOLOGY", str(tmp_path / "plan.cs"))
    assert options.read(None).topology == ring(4, True)
    with pytest.raises(InputError, match="two topologies"):
        options.read([plan, collsched.compile(ring(5, True), "allgather")])
    with pytest.raises(InputError, match="2 of 4 ranks"):
        options.read(collsched.compile(ring(4, True), "allgather", group=[0, 1]))
    with pytest.raises(InputError, match="unequal shards"):
        options.read(collsched.compile(ring(4, True), "allgather", shards={f"r{i}": 1 + i for i in range(4)}))
    with pytest.raises(InputError, match="objective"):
        options.Options(objective="speed")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="not a directory"):
        _ = options.Options(plans=tmp_path / "none").directory


def test_plans_travel_and_are_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    topology = ring(3, False)
    mine = collsched.compile(topology, "broadcast", root=1)
    plans = Plans((mine,), tmp_path, "throughput")
    assert plans.find(topology, Kind.BROADCAST, 1) is mine
    other = plans.find(topology, Kind.BROADCAST, 2)
    assert other.collective.root == 2 and from_bytes(to_bytes(other)).digest == other.digest
    (path,) = tmp_path.glob("*.cs")
    path.write_bytes(path.read_bytes()[:-1])
    from collsched.torch import plans as module

    module._found.clear()  # as in another process
    assert Plans((), tmp_path, "throughput").find(topology, Kind.BROADCAST, 2).digest == other.digest
    assert "compiled again" in caplog.text and collsched.Plan.load(path).digest == other.digest
    assert share(ALONE, lambda: other) is other


def test_rank_0_without_a_plan_is_an_error_for_all() -> None:
    def fail() -> collsched.Plan:
        raise PlanError("no plan today")

    with pytest.raises(PlanError, match="no plan today"):
        share(ALONE, fail)
    with pytest.raises(EngineError, match="rank 0 has no plan for this call: no plan today"):
        share(Peers(1, 2, lambda data: [b"-no plan today", b""], "test"), fail)


def test_a_lane_keeps_the_order_and_tells_errors() -> None:
    lane = Lane("test", lambda text: None)
    seen: list[int] = []
    recorded = lane.record()
    works = [lane.run(f"call {i}", lambda i=i: seen.append(i), wait=i % 3 == 0) for i in range(9)]
    assert all(work.wait() for work in works) and seen == list(range(9))
    assert [interval.name for interval in recorded] == [f"call {i}" for i in range(9)]
    assert all(a.end <= b.begin for a, b in pairwise(recorded))

    def fail() -> None:
        raise EngineError("rank 3 ended")

    for wait in (True, False):
        work = lane.run("fails", fail, wait=wait)
        with pytest.raises(EngineError, match="rank 3 ended"):
            work.wait()
        with pytest.raises(RuntimeError, match="rank 3 ended"):
            work.get_future().wait()
        assert work.is_completed() and not work.is_success()
    lane.close()
