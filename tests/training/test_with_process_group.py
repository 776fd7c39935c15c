"""The process group "collsched" beside gloo, from Python, from C++, and when something goes wrong."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from jobs import RANKS, job, kill_self, results
from mixed import CALLS, compare, point_to_point, repetition
from torch.distributed import _functional_collectives as functional

import collsched
from collsched.topology import one_machine
from collsched.torch import Options

RING = """collsched: topology/1
name: ring
nodes:
  - {name: "r[0..3]", kind: rank}
links:
  - {a: r0, b: r1, bandwidth: 10}
  - {a: r1, b: r2, bandwidth: 10}
  - {a: r2, b: r3, bandwidth: 10}
  - {a: r3, b: r0, bandwidth: 10}
"""


def test_every_collective_equals_gloo() -> None:
    def body(rank: int) -> int:
        gloo = dist.new_group(backend="gloo")
        return sum(compare(dist.group.WORLD, gloo, seed) for seed in range(3))

    assert results(job(body)) == [3 * len(CALLS)] * RANKS


def test_a_group_of_one_rank() -> None:
    def body(rank: int) -> int:
        calls = tuple(call for call in CALLS if call is not point_to_point)
        return compare(dist.group.WORLD, dist.new_group(backend="gloo"), 0, calls)

    assert results(job(body, ranks=1)) == [len(CALLS) - 1]


def test_an_engine_that_was_asked_for_and_is_not_there_is_an_error() -> None:
    for outcome in job(lambda rank: None, options=Options(engine="mpi")):
        assert "MissingComponentError" in outcome["error"] and "mpi" in outcome["error"]


def test_groups_come_and_go_among_mixed_collectives() -> None:
    def body(rank: int) -> int:
        gloo: dict[tuple[int, ...], Any] = {}
        return sum(repetition(seed, gloo) for seed in range(20))

    assert min(results(job(body))) >= 100


def bits(tensor: torch.Tensor) -> list[int]:
    return tensor.view(torch.uint8).tolist()


def test_types_that_engines_do_not_have_travel_as_bytes() -> None:
    def body(rank: int) -> None:
        for dtype in (torch.bool, torch.complex64, torch.float8_e4m3fn):
            each = [(torch.arange(5) % (other + 2) == 0).to(torch.float32).to(dtype) for other in range(RANKS)]
            gathered = [torch.empty_like(each[0]) for _ in range(RANKS)]
            dist.all_gather(gathered, each[rank])
            assert [bits(tensor) for tensor in gathered] == [bits(tensor) for tensor in each]
            mine = each[rank].clone()
            dist.broadcast(mine, 3)
            assert bits(mine) == bits(each[3])
            dist.scatter(mine, each if rank == 1 else None, 1)
            assert bits(mine) == bits(each[rank])
        total = torch.full((3,), complex(rank, 1))
        dist.all_reduce(total)
        assert total.tolist() == [6 + 4j] * 3

    results(job(body))


def _functional(*names: str) -> Any:
    """A functional collective by its name in this version of torch."""
    return next(getattr(functional, name) for name in names if hasattr(functional, name))


def test_calls_from_cpp_and_in_one_go() -> None:
    def body(rank: int) -> None:
        world = dist.group.WORLD
        mine = torch.arange(8.0) + rank
        total = torch.arange(8.0) * RANKS + 6
        assert torch.equal(functional.all_reduce(mine, "sum", world).wait(), total)
        gathered = _functional("all_gather_single", "all_gather_tensor")(mine, 0, world).wait()
        assert torch.equal(gathered.view(RANKS, 8), torch.arange(8.0) + torch.arange(4.0)[:, None])
        assert torch.equal(
            _functional("reduce_scatter_single", "reduce_scatter_tensor")(mine, "sum", 0, world).wait(),
            total[2 * rank : 2 * rank + 2],
        )
        swapped = functional.all_to_all_single(mine, [2] * RANKS, [2] * RANKS, world).wait()
        assert torch.equal(swapped.view(RANKS, 2)[:, 0], 2.0 * rank + torch.arange(4.0))
        with dist._coalescing_manager(world):
            tensors = [mine.clone(), torch.full((3,), float(rank))]
            for tensor in tensors:
                dist.all_reduce(tensor)
        assert torch.equal(tensors[0], total) and tensors[1].tolist() == [6.0] * 3
        halves = [mine[:2].clone(), mine[2:].clone()]
        wholes = [torch.empty(2 * RANKS), torch.empty(6 * RANKS)]
        for gather in (world.all_gather_single_coalesced, world.allgather_into_tensor_coalesced):
            gather(wholes, halves, dist.distributed_c10d.AllgatherOptions()).wait()
            assert wholes[1].view(RANKS, 6)[:, 0].tolist() == [2.0, 3.0, 4.0, 5.0]
        for scatter in (world.reduce_scatter_single_coalesced, world.reduce_scatter_tensor_coalesced):
            scatter(halves, wholes).wait()
            assert torch.equal(halves[0], RANKS * (torch.arange(2.0) + rank))
        # As torch called them before 2.13.
        world._allgather_base(wholes[0], mine[:2].contiguous()).wait()
        assert wholes[0].view(RANKS, 2)[:, 0].tolist() == [0.0, 1.0, 2.0, 3.0]
        world._reduce_scatter_base(halves[0], mine, dist.distributed_c10d.ReduceScatterOptions()).wait()
        assert torch.equal(halves[0], total[2 * rank : 2 * rank + 2])
        swapped = torch.empty_like(mine)
        world.alltoall_base(swapped, mine, [], []).wait()
        assert torch.equal(swapped.view(RANKS, 2)[:, 0], 2.0 * rank + torch.arange(4.0))
        lists = [torch.empty(3) for _ in range(RANKS)]
        dist.all_to_all(lists, [torch.full((3,), 10.0 * rank + peer) for peer in range(RANKS)])
        assert [part[0].item() for part in lists] == [10.0 * peer + rank for peer in range(RANKS)]
        uneven = [torch.empty(rank + 1) for _ in range(RANKS)]
        dist.all_to_all(uneven, [torch.full((peer + 1,), 10.0 * rank + peer) for peer in range(RANKS)])
        assert [part[-1].item() for part in uneven] == [10.0 * peer + rank for peer in range(RANKS)]
        average = mine.clone()
        dist.all_reduce(average, dist.ReduceOp.AVG)
        assert torch.equal(average, total / RANKS)

    results(job(body))


def test_tensors_of_a_mesh_are_redistributed() -> None:
    def body(rank: int) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.tensor import Partial, Replicate, Shard, distribute_tensor

        mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("outer", "inner"))
        whole = torch.arange(64.0).view(8, 8)
        spread = distribute_tensor(whole, mesh, [Shard(0), Shard(1)])
        assert torch.equal(spread.full_tensor(), whole)
        assert torch.equal(spread.redistribute(mesh, [Replicate(), Shard(0)]).full_tensor(), whole)
        product = distribute_tensor(whole, mesh["inner"], [Shard(1)]) @ distribute_tensor(
            whole, mesh["inner"], [Shard(0)]
        )
        assert isinstance(product.placements[0], Partial) and torch.equal(product.full_tensor(), whole @ whole)

    results(job(body))


def test_a_topology_is_used_and_what_remains_of_it_for_groups(tmp_path: Path) -> None:
    (tmp_path / "ring.yaml").write_text(RING)

    def body(rank: int) -> list[str]:
        names = []
        for members in ([0, 1], [0, 2], [0, 1, 2, 3]):
            made = dist.new_group(members)
            if rank in members:
                tensor = torch.ones(1000) * rank
                dist.all_reduce(tensor, group=made)
                assert tensor[0] == sum(members)
                names.append(made.group("cpu").topology.name)
        return names

    found = results(job(body, options=Options(tmp_path / "ring.yaml", plans=tmp_path)))
    # 0 and 2 meet only over 1 or 3, which take no part: the memory of the machine serves them.
    assert found[0] == ["ring, 2 ranks", "one machine with 2 ranks", "ring"]
    kept = sorted(path.name for path in tmp_path.glob("*.cs"))
    assert len(kept) == 3 and all(collsched.Plan.load(tmp_path / name).verify() for name in kept)
    given = collsched.compile(collsched.load_topology(tmp_path / "ring.yaml"), "allgather")
    connected = results(job(lambda rank: len(dist.group.WORLD.group("cpu")._connected), options=Options(given)))
    assert connected == [1] * RANKS  # before the first call


def test_ranks_that_do_not_fit_stop_before_the_first_step(tmp_path: Path) -> None:
    plan = collsched.compile(one_machine(3), "allreduce")
    hub = collsched.compile(one_machine(4), "allreduce")

    def errors(options: Any) -> list[str]:
        outcomes = job(lambda rank: None, options=options)
        return [outcome["error"] for outcome in outcomes]

    assert all("has 3 ranks, this job 4" in text for text in errors(Options(plan)))
    (tmp_path / "ring.yaml").write_text(RING)
    differing = errors(lambda rank: Options(one_machine(4)) if rank else Options(tmp_path / "ring.yaml"))
    assert all("different topologies" in text for text in differing)
    one = errors(lambda rank: Options(hub if rank != 2 else str(tmp_path / "missing.cs")))
    assert "missing.cs" in one[2] and all("rank 2" in one[rank] and "missing.cs" in one[rank] for rank in (0, 1, 3))
    plans = errors(lambda rank: Options([hub]) if rank else Options(one_machine(4)))
    assert all("different plans" in text for text in plans)


def test_a_rank_that_is_killed_ends_the_job_with_an_error_on_all_ranks() -> None:
    def body(rank: int) -> None:
        tensor = torch.ones(100_000)
        for step in range(1000):
            if rank == 2 and step == 3:
                kill_self()
            dist.all_reduce(tensor, async_op=step % 2 == 1)

    outcomes = job(body)
    assert outcomes[2] is None
    for rank in (0, 1, 3):
        assert "EngineError" in outcomes[rank]["error"] and "rank 2" in outcomes[rank]["error"], outcomes[rank]


@pytest.mark.parametrize("seed", range(3))
def test_ranks_that_disagree_get_an_error_each(seed: int) -> None:
    length = random.Random(seed).randrange(2, 100)

    def body(rank: int) -> None:
        dist.all_reduce(torch.ones(length if rank else 1))

    for outcome in job(body):
        assert "EngineError" in outcome["error"]
